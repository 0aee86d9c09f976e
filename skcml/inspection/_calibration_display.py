"""A picture of how often intervals hold what they say."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier

from skcml.estimators._inputs import read_outputs
from skcml.grouping import encode_groups, pop_group_column
from skcml.inspection._coverage import ends_of, interval_of_shares, read_intervals
from skcml.inspection._learned import last_step, output_of
from skcml.inspection._style import BAND_ALPHA, BLUE, GREY, legend_above, one_axes, pyplot
from skcml.pipeline import Pipeline
from skcml.pipeline._frozen import transformed

# Nominal coverage that is looked at by default.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class CalibrationDisplay:
    """Observed against nominal coverage of intervals for new observations.

    Points on the diagonal are right; above it intervals are too wide, below it too narrow. The band
    is the 95 % interval of the observed share by Wilson's formula. The rows of a group have their
    errors in common: they count as fewer, as many as the scatter between groups says, and Student's
    t takes the place of the normal distribution. Without groups, or of a single one, rows count as
    independent. The diagonal should cross the band nearly everywhere.

    Counts are whole numbers, and an interval of them holds more with its ends than without. Both
    shares are kept; bars connect them, and the diagonal should cross the bars.

    Parameters
    ----------
    nominal : ndarray of shape (n_levels,)
        Probabilities that central intervals are said to hold.
    observed : ndarray of shape (n_levels,)
        Share of rows that lie inside, the ends included.
    observed_inside : ndarray of shape (n_levels,)
        The same without the ends.
    low, high : ndarray of shape (n_levels,)
        Interval of the middle of the two.
    n_rows : int
        Rows that were counted.
    n_groups : int or None
        Groups that they belong to, if known.
    name : str, optional
        What made the intervals.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        Its figure.
    line_ : matplotlib.lines.Line2D
        Observed against nominal coverage; of counts the middle of the bars.
    band_ : matplotlib.collections.PolyCollection
        Its interval.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The same question about probabilities of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from skcml.inspection import CalibrationDisplay
    >>> q = [0.05, 0.25, 0.75, 0.95]
    >>> y = np.random.default_rng(0).normal(size=500)
    >>> display = CalibrationDisplay.from_predictions(y, np.tile(stats.norm.ppf(q), (500, 1)), q)
    >>> display.nominal
    array([0.5, 0.9])
    >>> bool((abs(display.observed - display.nominal) < 0.05).all())
    True
    """

    def __init__(
        self,
        *,
        nominal: np.ndarray,
        observed: np.ndarray,
        observed_inside: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        n_rows: int,
        n_groups: int | None = None,
        name: str | None = None,
    ) -> None:
        self.nominal = nominal
        self.observed = observed
        self.observed_inside = observed_inside
        self.low = low
        self.high = high
        self.n_rows = n_rows
        self.n_groups = n_groups
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        levels: ArrayLike = LEVELS,
        output: int | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Predict quantiles and draw.

        Parameters
        ----------
        estimator : CMLRegressor or skcml.pipeline.Pipeline
            Adapted to some rows of groups that `meta_fit` has not seen.
        X : array-like or frame of shape (n_samples, n_features)
            Other rows of these groups; rows that `fit` saw would make intervals look too wide.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row, as `predict_quantiles` takes it.
        levels : array-like of shape (n_levels,), optional
            Nominal coverage of central intervals; by default 0.1, 0.2, ..., 0.9 and 0.95.
        output : int, optional
            Which of several outputs.
        name : str, optional
            Label of the line; the class of the estimator by default.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : CalibrationDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import CalibrationDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known, even = boy <= 16, X.index % 2 == 0
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=boy[known])
        >>> seen, asked = ~known & even, ~known & ~even
        >>> est = est.fit(X[seen], y[seen], groups=boy[seen])
        >>> display = CalibrationDisplay.from_estimator(
        ...     est, X[asked], y[asked], boy[asked], levels=[0.5, 0.9]
        ... )
        >>> display.observed.round(2), display.n_rows, display.n_groups
        (array([0.4 , 0.89]), 45, 10)
        """
        pyplot(cls)  # before the work
        if isinstance(estimator, type) or not hasattr(estimator, "predict_quantiles"):
            raise TypeError(_no_quantiles(estimator))
        q = ends_of(levels)
        quantiles = np.asarray(estimator.predict_quantiles(X, q, groups=groups))
        quantiles = quantiles.reshape(len(quantiles), -1, len(q))
        y, _ = read_outputs(y, len(quantiles), estimator)
        n_outputs = quantiles.shape[1]
        if y.shape[1] != n_outputs:
            raise ValueError(
                f"y has {y.shape[1]} output(s), but {type(estimator).__name__} predicts "
                f"{n_outputs}; pass y with {n_outputs}."
            )
        place, _ = output_of(estimator, output, n_outputs)
        last, steps = last_step(estimator, Pipeline._check_unchanged)
        column = getattr(last, "group_column", None)
        if groups is None and column is not None:
            _, groups = pop_group_column(transformed(steps, X), column)
        name = type(estimator).__name__ if name is None else name
        return cls.from_predictions(
            y[:, place], quantiles[:, place], q, groups=groups, name=name, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        quantiles: ArrayLike,
        q: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw for quantiles from anywhere.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            What was observed.
        quantiles : array-like of shape (n_samples, n_quantiles)
            What was predicted; the lower end of an interval is not above its upper end.
        q : array-like of shape (n_quantiles,)
            Their probabilities, ascending, in pairs that add up to one; 0.5 may stand alone.
        groups : array-like of shape (n_samples,), optional
            Group of each row: what the band allows for.
        name : str, optional
            Label of the line.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : CalibrationDisplay

        Examples
        --------
        >>> import numpy as np
        >>> from skcml.inspection import CalibrationDisplay
        >>> y = np.random.default_rng(0).uniform(size=300)
        >>> too_narrow = np.tile([0.1, 0.9], (300, 1))  # said to hold 90 %
        >>> display = CalibrationDisplay.from_predictions(y, too_narrow, [0.05, 0.95])
        >>> display.nominal, display.observed.round(2)
        (array([0.9]), array([0.75]))
        """
        pyplot(cls)
        y, table, q = read_intervals(y_true, quantiles, q)
        n_levels = len(q) // 2
        lower, upper = table[:, :n_levels][:, ::-1], table[:, -n_levels:]
        y = y[:, None]
        closed, inside = (lower <= y) & (y <= upper), (lower < y) & (y < upper)
        codes = None if groups is None else encode_groups(groups, len(y))[0]
        low, high, n_groups = interval_of_shares((closed + inside.astype(float)) / 2, codes)
        return cls(
            nominal=1 - 2 * q[:n_levels][::-1],
            observed=closed.mean(axis=0),
            observed_inside=inside.mean(axis=0),
            low=low,
            high=high,
            n_rows=len(y),
            n_groups=n_groups,
            name=name,
        ).plot(ax=ax)

    def plot(self, ax: Any = None, *, name: str | None = None, ref_line: bool = True) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        name : str, optional
            Label of the line, instead of ``name``.
        ref_line : bool, default=True
            Whether to draw the diagonal.

        Returns
        -------
        display : CalibrationDisplay
            Itself, with the attributes `ax_`, `figure_`, `line_` and `band_`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from skcml.inspection import CalibrationDisplay
        >>> y = np.random.default_rng(0).uniform(size=300)
        >>> q = [0.05, 0.25, 0.75, 0.95]
        >>> display = CalibrationDisplay.from_predictions(y, np.tile(q, (300, 1)), q)
        >>> figure, ax = plt.subplots()
        >>> again = display.plot(ax=ax, name="uniform")
        >>> again.line_.get_label()
        'uniform'
        """
        self.ax_ = ax = one_axes(type(self), ax, (4.8, 5.0))
        self.figure_ = ax.figure
        if ref_line:
            ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="as said")
        over = f"{self.n_rows} rows" if self.n_groups is None else f"{self.n_groups} groups"
        middle = (self.observed + self.observed_inside) / 2
        self.band_ = ax.fill_between(
            self.nominal,
            self.low,
            self.high,
            color=BLUE,
            alpha=BAND_ALPHA,
            linewidth=0,
            label=f"95 % interval over {over}",
        )
        (self.line_,) = ax.plot(
            self.nominal, middle, "o-", color=BLUE, label=name or self.name or "observed"
        )
        if (self.observed > self.observed_inside).any():
            ends = "without and with the ends of intervals"
            ax.vlines(self.nominal, self.observed_inside, self.observed, color=BLUE, label=ends)
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
            xlabel="nominal coverage",
            ylabel="observed coverage",
        )
        ax.grid(alpha=0.3)
        legend_above(ax, 1)
        return self


def _no_quantiles(estimator: Any) -> str:
    """Return what to do about an estimator that predicts no quantiles."""
    kind = type(estimator).__name__
    if estimator is None or isinstance(estimator, type):
        return f"estimator={estimator!r} must be an instance with predict_quantiles."
    if hasattr(estimator, "__sklearn_tags__") and is_classifier(estimator):
        return (
            f"{kind} predicts probabilities of classes, which have no intervals: use "
            "sklearn.calibration.CalibrationDisplay.from_estimator with it, or from_predictions "
            "with predict_proba."
        )
    return (
        f"CalibrationDisplay needs predict_quantiles, which {kind} has not: use from_predictions."
    )
