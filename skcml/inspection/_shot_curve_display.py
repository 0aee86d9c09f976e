"""A picture of what more rows of a new group are worth."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import get_scorer_names
from sklearn.utils import Bunch

from skcml.inspection._shot_curve import shot_curve
from skcml.inspection._style import (
    BAND_ALPHA,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    legend_above,
    one_axes,
    pyplot,
)

# How each is drawn; a baseline that coincides with the estimator is seen on top of it.
LOOKS: dict[str, dict[str, Any]] = {
    "final": {"color": BLUE, "marker": "o", "linestyle": "-", "linewidth": 2.6},
    "mixed_model": {"color": ORANGE, "marker": "s", "linestyle": "--"},
    "class_mean": {"color": ORANGE, "marker": "s", "linestyle": "--"},
    "per_task": {"color": GREEN, "marker": "^", "linestyle": "-."},
    "pooled": {"color": GREY, "marker": "", "linestyle": ":"},
}
NAMES = {
    "mixed_model": "mixed model alone",
    "class_mean": "nearest class mean",
    "per_task": "each group by itself",
    "pooled": "pooled over all groups",
}
SCORES = {
    "root_mean_squared_error": "root mean squared error",
    "mean_poisson_deviance": "mean Poisson deviance",
    "log_loss": "log loss",
}


class ShotCurveDisplay:
    """Score against the number of rows of a new group that `fit` saw.

    Lines are means over groups, or over tasks of exchangeable classes, and bands their 95 %
    intervals, cut at zero where scikit-learn's errors cannot be less. All curves are of the same
    groups, which may differ much from each other: two curves may well differ though their bands
    overlap. Compare the scores in ``result`` group by group.

    Parameters
    ----------
    result : Bunch
        What `shot_curve` returned.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : dict of str to matplotlib.lines.Line2D
        Of the estimator, "final", and of each baseline.
    bands_ : dict of str to matplotlib.collections.PolyCollection
        Intervals.

    Examples
    --------
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> from skcml.inspection import ShotCurveDisplay
    >>> X, y, groups = make_sinusoid_tasks(60, 12, amplitude=(1, 2), random_state=0)
    >>> known = groups < 40
    >>> est = CMLRegressor(meta_max_iter=50, early_stopping=False, random_state=0)
    >>> est.meta_fit(X[known], y[known], groups=groups[known])
    CMLRegressor(...)
    >>> display = ShotCurveDisplay.from_estimator(
    ...     est, X[~known], y[~known], groups[~known], n_shots=(1, 3, 8), random_state=0
    ... )
    >>> display.ax_.get_ylabel()
    'root mean squared error'
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
        sample_weight: ArrayLike | None = None,
        n_shots: ArrayLike | None = None,
        scoring: Any = None,
        n_ways: int | None = None,
        n_tasks: int = 50,
        n_repeats: int | None = None,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Score and draw; see `shot_curve`.

        Parameters
        ----------
        estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
            After `meta_fit`. It is left as it is.
        X : array-like or frame of shape (n_samples, n_features)
            Rows of groups, or of exchangeable classes, that `meta_fit` has not seen.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.
        n_shots : array-like of int, optional
            Numbers of rows to adapt to.
        scoring : str or callable, optional
            One of scikit-learn's scorers.
        n_ways : int, optional
            Exchangeable classes in a task.
        n_tasks : int, default=50
            Groups at most, or tasks of exchangeable classes.
        n_repeats : int, optional
            Draws of support rows of each task.
        random_state : int, RandomState instance or None, default=None
            Source of tasks and rows.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : ShotCurveDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import ShotCurveDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known = boy <= 16
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=boy[known])
        >>> display = ShotCurveDisplay.from_estimator(
        ...     est, X[~known], y[~known], boy[~known], n_shots=(0, 1, 2, 4), random_state=0
        ... )
        >>> display.ax_.get_ylabel()
        'root mean squared error of height'
        >>> -display.result.mean["final"].round(1)  # centimetres
        array([6.1, 1.4, 1.2, 0.9])
        """
        pyplot(cls)  # before the work
        result = shot_curve(
            estimator,
            X,
            y,
            groups,
            sample_weight=sample_weight,
            n_shots=n_shots,
            scoring=scoring,
            n_ways=n_ways,
            n_tasks=n_tasks,
            n_repeats=n_repeats,
            random_state=random_state,
        )
        return cls(result=result).plot(ax=ax)

    def plot(
        self,
        ax: Any = None,
        *,
        negate_score: bool | None = None,
        score_name: str | None = None,
        bands: str = "final",
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        negate_score : bool, optional
            Whether to draw minus the score. By default where its name begins with ``neg_``, so that
            an error is an error.
        score_name : str, optional
            Label of the axis; by default made of the name of the scorer.
        bands : {"final", "all"}, default="final"
            Whether the estimator alone has a band, or the baselines too.

        Returns
        -------
        display : ShotCurveDisplay
            Itself, with the attributes `ax_`, `figure_`, `lines_` and `bands_`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import ShotCurveDisplay, shot_curve
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known = boy <= 16
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=boy[known])
        >>> found = shot_curve(
        ...     est, X[~known], y[~known], boy[~known], n_shots=(1, 4), random_state=0
        ... )
        >>> figure, ax = plt.subplots()
        >>> display = ShotCurveDisplay(result=found).plot(
        ...     ax=ax, score_name="error (cm)", bands="all"
        ... )
        >>> sorted(display.bands_)
        ['final', 'per_task', 'pooled']
        """
        if bands not in ("final", "all"):
            raise ValueError(f"bands={bands!r} must be 'final' or 'all'.")
        if negate_score is not None and not isinstance(negate_score, (bool, np.bool_)):
            raise ValueError(f"negate_score={negate_score!r} must be True, False or None.")
        found = self.result
        if negate_score is None:
            negate_score = found.scoring.startswith("neg_")
        self.ax_ = ax = one_axes(type(self), ax)
        self.figure_ = ax.figure
        self.lines_: dict[str, Any] = {}
        self.bands_: dict[str, Any] = {}
        for model in found.mean:
            has_band = bands == "all" or model == "final"
            self._draw(model, -1 if negate_score else 1, has_band=has_band)
        self._label(score_name or _score_name(found))
        return self

    def _draw(self, model: str, sign: int, *, has_band: bool) -> None:
        """Draw one curve."""
        found, look = self.result, LOOKS[model]
        there = np.isfinite(found.mean[model])  # a group by itself says nothing without a row
        x = found.n_shots[there]
        names = NAMES | {"final": found.estimator_name}
        if found.is_exchangeable:
            names["per_task"] = "logistic regression"
        is_error = found.scoring.startswith("neg_") and found.scoring in get_scorer_names()
        mean, low, high = (
            sign * np.minimum(part[model][there], 0.0 if is_error else np.inf)
            for part in (found.mean, found.low, found.high)
        )
        (self.lines_[model],) = self.ax_.plot(x, mean, label=names[model], **look)
        if has_band:
            what = "tasks" if found.is_exchangeable else "groups"
            label = f"95 % interval over {len(found.task)} {what}" if model == "final" else None
            self.bands_[model] = self.ax_.fill_between(
                x, low, high, color=look["color"], alpha=BAND_ALPHA, linewidth=0, label=label
            )

    def _label(self, score_name: str) -> None:
        """Name the axes, and put numbers of shots where they are."""
        found, ax = self.result, self.ax_
        what = "a new group"
        if found.is_exchangeable:
            what = f"each of {len(found.task[0])} new classes"
        # The first rows say most: they get more room.
        ax.set_xscale("function", functions=(_root, _square))
        ax.set_xticks(found.n_shots, labels=map(str, found.n_shots))
        ax.minorticks_off()
        ax.set(xlabel=f"rows of {what} that fit has seen", ylabel=score_name)
        ax.grid(axis="y", alpha=0.3)
        legend_above(ax)


def _root(x: Any) -> Any:
    """Return the root, continued below zero, so that axes have a margin."""
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: Any) -> Any:
    """Return the inverse of `_root`."""
    return np.sign(x) * np.square(x)


def _score_name(found: Bunch) -> str:
    """Return what the score is called in a picture."""
    bare = found.scoring.removeprefix("neg_")
    name = SCORES.get(bare, bare.replace("_", " "))
    return name if found.y_name is None else f"{name} of {found.y_name}"
