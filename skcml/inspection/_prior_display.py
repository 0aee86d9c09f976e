"""A picture of what groups share, and of what varies between them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from skcml.estimators._inputs import check_whole
from skcml.estimators._pool import PoolState
from skcml.inspection._learned import output_of, what_learned
from skcml.inspection._style import BLUE, GREY, place_for, pyplot

# Numbers are written into the cells of a heat map up to this many coefficients.
WRITTEN_UP_TO = 7
# Structures in which more than one coefficient varies.
CORRELATED = ("full", "diagonal")
# Of a row of the picture, in inches.
ROW = 0.34


class PriorDisplay:
    """What groups share (dots) and how much it varies between them (bars), per coefficient.

    It draws `prior_summary`, the linear part of what was learned. The intercept has an axis of its
    own. So that the other coefficients can be compared, each is drawn as the change of the outcome
    per standard deviation of its feature; the numbers beside are those of `prior_summary`, per unit
    of the feature. A bar is the mean and one standard deviation between groups to either side. A
    bar that crosses zero says that the effect has either sign, a bar of no length that its linear
    part does not vary; networks, whose weight is in the title, may still make the effect differ.

    Beside it, if more than the intercept varies, how coefficients vary together.

    Parameters
    ----------
    names : list of str
        Of the coefficients, the intercept first.
    mean, sd : ndarray of shape (n_coefficients,)
        What is shared, and its standard deviation between groups, in units of X and y.
    scale : ndarray of shape (n_coefficients,)
        Standard deviation of each feature; one for the intercept.
    correlation : ndarray of shape (n_coefficients, n_coefficients) or None
        Between groups; None draws none.
    effect_name : str
        What a coefficient is a change of.
    note : str, default=""
        Set above the picture.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Panel of the features' coefficients.
    axes_ : ndarray of Axes
        Panel of the intercept, that of the features and, if it is drawn, that of the correlations.
    figure_ : matplotlib.figure.Figure
        Their figure.
    bars_ : list of matplotlib.collections.LineCollection
        Standard deviations of the intercept and of the features' coefficients.
    image_ : matplotlib.image.AxesImage or None
        The correlations.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml import CMLRegressor
    >>> from skcml.inspection import PriorDisplay
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat(np.arange(20), 8)
    >>> X = rng.normal(size=(160, 2))
    >>> y = (X * rng.normal(size=(20, 2))[groups]).sum(axis=1) + 0.3 * rng.normal(size=160)
    >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    >>> est.meta_fit(X, y, groups=groups)
    CMLRegressor(...)
    >>> display = PriorDisplay.from_estimator(est)
    >>> display.names
    ['intercept', 'x0', 'x1']
    """

    def __init__(
        self,
        *,
        names: list[str],
        mean: np.ndarray,
        sd: np.ndarray,
        scale: np.ndarray,
        correlation: np.ndarray | None,
        effect_name: str,
        note: str = "",
    ) -> None:
        self.names = names
        self.mean = mean
        self.sd = sd
        self.scale = scale
        self.correlation = correlation
        self.effect_name = effect_name
        self.note = note

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        output: Any = None,
        max_features: int = 20,
        ax: Any = None,
    ) -> Self:
        """Draw what an estimator has learned.

        Parameters
        ----------
        estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
            After `meta_fit`, from groups. Of a pipeline the coefficients are those of the columns
            that its transformers make.
        output : object, optional
            Which of several outputs, by its place; of three classes or more, by the label.
        max_features : int, default=20
            Features to draw at most: those whose effects, mean and spread together, are largest.
        ax : matplotlib.axes.Axes, optional
            Whose place is divided into panels; a new figure by default.

        Returns
        -------
        display : PriorDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import PriorDisplay
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> display = PriorDisplay.from_estimator(est.meta_fit(X, y, groups=person))
        >>> dict(zip(display.names, display.sd.round(1).tolist()))
        {'intercept': 24.7, 'Days': 5.9}
        """
        pyplot(cls)
        estimator, state, _ = what_learned(estimator, "PriorDisplay", "is no prior to draw")
        if isinstance(state, PoolState):
            raise ValueError(
                "What was learned from exchangeable classes has no coefficients to draw: "
                "prior_summary returns its few numbers, and ShotCurveDisplay shows what they do."
            )
        check_whole(max_features=max_features)
        summary = estimator.prior_summary(as_frame=False)
        place, effect_name = _effect_of(estimator, output, len(summary.mean))
        mean, sd = summary.mean[place], summary.sd_between_groups[place]
        scale = np.append(1.0, state.scaling.x_scale)  # type: ignore[attr-defined]
        shown = _largest(scale * (abs(mean) + sd), max_features)
        correlation = None
        if summary.covariance_structure in CORRELATED:
            correlation = summary.correlation[place][np.ix_(shown, shown)]
        names = ["intercept", *estimator._feature_names()]
        return cls(
            names=[names[coefficient] for coefficient in shown],
            mean=mean[shown],
            sd=sd[shown],
            scale=scale[shown],
            correlation=correlation,
            effect_name=effect_name,
            note=_note(summary, place, len(mean) - len(shown)),
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Whose place is divided into panels; a new figure by default.

        Returns
        -------
        display : PriorDisplay
            Itself, with the attributes `ax_`, `axes_`, `figure_`, `bars_` and `image_`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import PriorDisplay
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> display = PriorDisplay.from_estimator(est.meta_fit(X, y, groups=person))
        >>> figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        >>> again = display.plot(ax=left)  # divided into panels
        >>> len(again.axes_)
        3
        """
        n, has_map = len(self.names), self.correlation is not None
        height = max(ROW * n + 2.2, 3.2)
        side = min(max(2.6, 0.45 * n + 1.2), height)
        figsize = (6.4 + side * has_map, height)
        self.figure_, spec = place_for(type(self), ax, figsize)
        grid = spec.subgridspec(
            2,
            1 + has_map,
            height_ratios=[1.0, max(n - 1.0, 1.0)],
            width_ratios=[6.0, side][: 1 + has_map],
        )
        top, bottom = (self.figure_.add_subplot(grid[row, 0]) for row in (0, 1))
        self.bars_ = [self._bars(top, slice(0, 1)), self._bars(bottom, slice(1, None))]
        title = f"mean ± sd between groups\n{self.note}".strip()
        top.set_title(title, loc="left", fontsize="medium")
        bottom.set_xlabel(f"change of {self.effect_name} per standard deviation of the feature")
        self.ax_, panels, self.image_ = bottom, [top, bottom], None
        if has_map:
            panels.append(self.figure_.add_subplot(grid[:, 1]))
            self.image_ = self._map(panels[2])
        self.axes_ = np.array(panels)
        return self

    def _bars(self, panel: Any, which: slice) -> Any:
        """Draw coefficients below each other, and their numbers beside."""
        mean, sd, scale = self.mean[which], self.sd[which], self.scale[which]
        y = np.arange(len(mean))
        bars = panel.hlines(y, scale * (mean - sd), scale * (mean + sd), color=BLUE, linewidth=5)
        bars.set_alpha(0.45)
        panel.plot(scale * mean, y, "o", color=BLUE)
        if len(mean) and which.start:
            panel.axvline(0, color=GREY, linewidth=0.8)
        panel.set_yticks(y, labels=self.names[which])
        panel.set_ylim(len(mean) - 0.4, -0.6)
        panel.grid(axis="x", alpha=0.3)
        panel.margins(x=0.08)
        right = panel.secondary_yaxis("right")
        right.set_yticks(y, labels=[_written(m, s) for m, s in zip(mean, sd, strict=True)])
        right.tick_params(length=0)
        for spine in ("top", "right", "left"):
            panel.spines[spine].set_visible(False)
        right.spines["right"].set_visible(False)
        return bars

    def _map(self, panel: Any) -> Any:
        """Draw correlations."""
        assert self.correlation is not None
        n = len(self.correlation)
        image = panel.imshow(self.correlation, cmap="PuOr_r", vmin=-1, vmax=1)
        panel.set_xticks(np.arange(n), labels=self.names, rotation=45, ha="right")
        panel.set_yticks(np.arange(n), labels=self.names)
        panel.tick_params(length=0)
        panel.set_title("correlation\nbetween groups", fontsize="medium")
        if n <= WRITTEN_UP_TO:
            for row, column in np.ndindex(n, n):
                value = self.correlation[row, column]
                color = "white" if abs(value) > 0.6 else "black"
                look = {"color": color, "ha": "center", "va": "center", "size": "small"}
                panel.text(column, row, _with_minus(f"{value:.2f}"), **look)
        else:
            self.figure_.colorbar(image, ax=panel, shrink=0.7)
        return image


def _effect_of(estimator: Any, output: Any, n_outputs: int) -> tuple[int, str]:
    """Return the place of an output, and what its coefficients change."""
    place, name = output_of(estimator, output, n_outputs)
    if not hasattr(estimator, "classes_"):
        return place, "the log mean" if estimator.loss == "poisson" else name
    if n_outputs > 1:
        return place, f"the logit of {name}"
    if place == 0:
        raise ValueError(
            f"output={output!r}: of two classes there are coefficients of the log odds of "
            f"{estimator.classes_.tolist()[1]!r} alone; leave output out."
        )
    return 0, f"the log odds of {name}"


def _written(mean: float, sd: float) -> str:
    """Return a mean and its standard deviation, to as many digits as the latter is worth."""
    if 1e-4 <= sd < 1e5:
        digits = max(1 - int(np.floor(np.log10(sd))), 0)
        text = f"{np.round(mean, digits) + 0.0:.{digits}f} ± {sd:.{digits}f}"  # no minus zero
    else:
        text = f"{mean:.3g} ± {sd:.2g}"
    return _with_minus(text)


def _with_minus(text: str) -> str:
    """Return numbers with the minus sign that axes have."""
    return text.replace("-", "\N{MINUS SIGN}")


def _largest(size: np.ndarray, n_features: int) -> np.ndarray:
    """Return the places of the intercept and of the largest others, in their order."""
    others = np.argsort(-size[1:], kind="stable")[:n_features]
    return np.append(0, 1 + np.sort(others))


def _note(summary: Any, place: int, n_left_out: int) -> str:
    """Return what else is known, in a few lines."""
    parts = []
    if "noise_sd" in summary:
        parts.append(f"sd of the noise {summary.noise_sd[place]:.3g}")
    if "dispersion" in summary:
        parts.append(f"dispersion {summary.dispersion:.3g}")
    weight = summary.network_weight[min(place, len(summary.network_weight) - 1)]
    if weight > 0:
        parts.append(f"weight of networks beside it {weight:.2f}")
    if n_left_out:
        parts.append(f"{n_left_out} smaller not drawn")
    return "\n".join(parts)
