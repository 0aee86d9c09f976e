"""A picture of how far the rule is from the exact meta-gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skcml.inspection._meta_gradient_error import meta_gradient_error
from skcml.inspection._style import COLORS, one_axes, pyplot
from skcml.rules.contrastive import ORDER

# What is drawn of a result; of each scheme, an array.
BY_SCHEME = ("error", "best_beta", "best_error", "auto_beta", "auto_error")
DRAWN = ("beta", "tol", "beta_limit", *BY_SCHEME)


class MetaGradientErrorDisplay:
    """Error of the meta-gradient against the nudging strength.

    Each scheme has a colour, each tolerance of the inner solver a line, the paler the looser. Stars
    mark the least error, rings with a line below what ``beta="auto"`` takes, and the dashed line
    is ``beta_limit``.

    Parameters
    ----------
    result : Bunch
        What `meta_gradient_error` returned.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : dict of str to list of matplotlib.lines.Line2D
        Of each scheme, a line for each tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml import CMLRegressor
    >>> from skcml.inspection import MetaGradientErrorDisplay
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat(np.arange(20), 8)
    >>> X = rng.normal(size=(160, 2))
    >>> y = (X * rng.normal(size=(20, 2))[groups]).sum(axis=1) + 0.3 * rng.normal(size=160)
    >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    >>> est.meta_fit(X, y, groups=groups)
    CMLRegressor(...)
    >>> display = MetaGradientErrorDisplay.from_estimator(
    ...     est, X, y, groups, tols=[1e-6], random_state=0
    ... )
    >>> display.ax_.get_xlabel()
    'nudging strength beta'
    """

    def __init__(self, *, result: Bunch) -> None:
        self.result = result

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        betas: ArrayLike | None = None,
        tols: ArrayLike = (1e-3, 1e-5, 1e-7),
        schemes: Sequence[str] = tuple(ORDER),
        n_tasks: int = 10,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Compare and draw; see `meta_gradient_error`.

        Parameters
        ----------
        estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
            After `meta_fit`.
        X : array-like or frame of shape (n_samples, n_features)
            Rows of two groups or more.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row; not needed with ``group_column``.
        betas : array-like of shape (n_betas,), optional
            Nudging strengths.
        tols : array-like of shape (n_tols,), default=(1e-3, 1e-5, 1e-7)
            Tolerances of the inner solver.
        schemes : sequence of {"forward", "symmetric", "second_order"}
            Schemes to compare; all by default.
        n_tasks : int, default=10
            Tasks to draw.
        random_state : int, RandomState instance or None, default=None
            Source of the tasks.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : MetaGradientErrorDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import MetaGradientErrorDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=boy)
        >>> display = MetaGradientErrorDisplay.from_estimator(
        ...     est,
        ...     X,
        ...     y,
        ...     boy,
        ...     tols=[1e-6],
        ...     schemes=["forward", "symmetric"],
        ...     n_tasks=5,
        ...     random_state=0,
        ... )
        >>> list(display.lines_)
        ['forward', 'symmetric']
        """
        pyplot(cls)  # before the work
        result = meta_gradient_error(
            estimator,
            X,
            y,
            groups,
            betas=betas,
            tols=tols,
            schemes=schemes,
            n_tasks=n_tasks,
            random_state=random_state,
        )
        return cls(result=result).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : MetaGradientErrorDisplay
            Itself, with the attributes `ax_`, `figure_` and `lines_`.

        Raises
        ------
        TypeError
            If ``result`` is no Bunch, or another mapping.
        ValueError
            If it lacks what `meta_gradient_error` returns, or its arrays do not go together.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import MetaGradientErrorDisplay, meta_gradient_error
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=boy)
        >>> found = meta_gradient_error(
        ...     est, X, y, boy, tols=[1e-4, 1e-6], n_tasks=5, random_state=0
        ... )
        >>> figure, ax = plt.subplots()
        >>> display = MetaGradientErrorDisplay(result=found).plot(ax=ax)
        >>> len(display.lines_["symmetric"])  # a line for each tolerance
        2
        """
        found = _checked(self.result)
        ax = one_axes(type(self), ax)
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = {
            scheme: self._draw(found, scheme, color)
            for scheme, color in zip(found.error, COLORS, strict=False)
        }
        ax.axvline(found.beta_limit, color="0.4", linestyle="--", label="beta_limit")
        ax.plot([], [], "*", color="0.4", label="least")
        ax.plot([], [], "o", color="0.4", fillstyle="none", label='beta="auto"')
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="nudging strength beta",
            ylabel="relative error of the meta-gradient",
        )
        ax.legend()
        return self

    def _draw(self, found: Bunch, scheme: str, color: str) -> list[Any]:
        """Draw one scheme: a line, a star and a ring for each tolerance."""
        lines: list[Any] = []
        tightest = found.tol.argmin()
        order = np.argsort(-found.tol)
        for shade, row in zip(np.linspace(0.35, 1.0, len(order)), order, strict=True):
            look = {"color": color, "alpha": shade if len(order) > 1 else 1.0}
            label = scheme if row == tightest else None
            lines += self.ax_.plot(found.beta, found.error[scheme][row], label=label, **look)
            self.ax_.plot(found.best_beta[scheme][row], found.best_error[scheme][row], "*", **look)
            auto, error = found.auto_beta[scheme][row], found.auto_error[scheme][row]
            self.ax_.plot(auto, error, "o", fillstyle="none", **look)
            self.ax_.axvline(auto, linestyle=":", linewidth=0.8, **look)
        return lines


def _checked(result: Any) -> Bunch:
    """Return what is drawn of a result, as arrays, or refuse one of another origin."""
    advice = "pass what meta_gradient_error returned"
    if not isinstance(result, Mapping):
        raise TypeError(f"result must be a Bunch; got a {type(result).__name__}: {advice}.")
    lacking = [name for name in DRAWN if name not in result]
    if lacking:
        raise ValueError(f"result has no {', '.join(lacking)}: {advice}.")
    try:
        beta, tol = (np.atleast_1d(np.asarray(result[n], float)) for n in ("beta", "tol"))
        shapes = dict.fromkeys(BY_SCHEME, tol.shape) | {"error": tol.shape + beta.shape}
        parts = {
            name: {
                scheme: np.asarray(result[name][scheme], dtype=float).reshape(shape)
                for scheme in result["error"]
            }
            for name, shape in shapes.items()
        }
        return Bunch(beta=beta, tol=tol, beta_limit=float(result["beta_limit"]), **parts)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(
            "result holds arrays that do not go together, one row for each tolerance and one "
            f"column for each strength ({type(error).__name__}: {error}): {advice}."
        ) from error
