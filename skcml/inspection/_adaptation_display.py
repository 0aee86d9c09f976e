"""A picture of what a few rows of a task change."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skcml.estimators._inputs import check_whole
from skcml.estimators._pool import PoolState
from skcml.inspection._adaptation import adapt_and_predict
from skcml.inspection._along import Along
from skcml.inspection._learned import name_of, what_learned
from skcml.inspection._style import BLUE, GREY, legend_of_panels, place_for, pyplot

# Of a panel, and the height of the legend, in inches.
WIDTH, HEIGHT, LEGEND = 3.2, 2.6, 0.5


class AdaptationDisplay:
    """What is predicted of a few groups, before and after their first rows.

    A panel for each group, along one feature: the prior (dashed), which is the same for all groups
    but for the values at which other features are held; the rows that `fit` saw (filled), the
    prediction after them (solid), and others that it did not see (rings). Bands hold new
    observations of a group with the given probability.

    Other features are held at the group's mean, or at its most frequent value where a column holds
    no numbers, or two values at most; rows may lie off the curve on their account. Features of a
    pipeline are the columns that go into it, in their units; make codes that are numbers text or
    categories, since their mean is no code.

    Parameters
    ----------
    tasks : list of Bunch
        Of each group: ``label``; ``grid``, values of the feature; ``prior``, ``prior_low``,
        ``prior_high``, ``mean``, ``low`` and ``high``, what is predicted there (of classes a
        probability, without an interval); ``x_support``, ``y_support``, ``x_query`` and
        ``y_query``, rows; ``others``, all features where they are held; ``output``, what is drawn.
    feature_name : str
        Label of the horizontal axis.
    target_name : str
        Label of the vertical axis.
    group_name : str, optional
        Set before the label of each group.
    level : float, default=0.9
        Probability that the bands hold.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The first panel.
    axes_ : ndarray of shape (n_tasks,) of Axes
        All panels.
    figure_ : matplotlib.figure.Figure
        Their figure.

    Examples
    --------
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> from skcml.inspection import AdaptationDisplay
    >>> X, y, groups = make_sinusoid_tasks(60, 12, amplitude=(1, 2), random_state=0)
    >>> known = groups < 40
    >>> est = CMLRegressor(meta_max_iter=50, early_stopping=False, random_state=0)
    >>> est.meta_fit(X[known], y[known], groups=groups[known])
    CMLRegressor(...)
    >>> display = AdaptationDisplay.from_estimator(est, X[~known], y[~known], groups[~known])
    >>> len(display.axes_)
    4
    """

    def __init__(
        self,
        *,
        tasks: list[Bunch],
        feature_name: str,
        target_name: str,
        group_name: str | None = None,
        level: float = 0.9,
    ) -> None:
        self.tasks = tasks
        self.feature_name = feature_name
        self.target_name = target_name
        self.group_name = group_name
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_support: ArrayLike,
        y_support: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        feature: str | int | None = None,
        X_query: ArrayLike | None = None,
        y_query: ArrayLike | None = None,
        groups_query: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        tasks: Sequence[Any] | None = None,
        n_tasks: int = 4,
        output: Any = None,
        level: float = 0.9,
        ax: Any = None,
    ) -> Self:
        """Adapt a copy of the estimator, and draw.

        Parameters
        ----------
        estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
            After `meta_fit`, from groups. It is left as it is, whatever it was adapted to.
        X_support : array-like or frame of shape (n_samples, n_features)
            Rows to adapt to.
        y_support : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row; without it (and without ``group_column``) there is one task.
        feature : str or int, optional
            Name or place, among the features, of the one to draw along, a column of numbers; may be
            left out if there is one.
        X_query : array-like or frame of shape (n_queries, n_features), optional
            Rows to compare with.
        y_query : array-like of shape (n_queries,) or (n_queries, n_outputs), optional
            Their outputs.
        groups_query : array-like of shape (n_queries,), optional
            Their groups.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the support rows.
        tasks : sequence, optional
            Labels of the groups to draw, instead of the first ``n_tasks``.
        n_tasks : int, default=4
            Groups to draw at most, in the order in which they come.
        output : object, optional
            Which of several outputs, by its place; of classes, by its label, whose probability is
            drawn (of two, the second by default).
        level : float, default=0.9
            Probability that the bands hold.
        ax : matplotlib.axes.Axes, optional
            Whose place is divided into panels; a new figure by default.

        Returns
        -------
        display : AdaptationDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import AdaptationDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known, early = boy > 3, X["age"] < -0.3
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=boy[known])
        >>> seen, others = ~known & early, ~known & ~early
        >>> display = AdaptationDisplay.from_estimator(
        ...     est,
        ...     X[seen],
        ...     y[seen],
        ...     boy[seen],
        ...     X_query=X[others],
        ...     y_query=y[others],
        ...     groups_query=boy[others],
        ... )
        >>> [panel.get_title() for panel in display.axes_]
        ['Subject 1', 'Subject 2', 'Subject 3']
        """
        pyplot(cls)  # before the work
        learned = what_learned(estimator, "AdaptationDisplay", "is nothing to adapt")
        if isinstance(learned.state, PoolState):
            raise ValueError(
                "Exchangeable classes are new at fit, so that there is no prediction before it to "
                "draw; ShotCurveDisplay shows what more rows of them are worth."
            )
        _check(n_tasks, level, X_support)
        estimator, known = learned.estimator, learned.state.targets
        user = {"X": learned.rows(X_support, "X_support"), "y": y_support}
        support = estimator._read(
            user["X"], y_support, groups, sample_weight, known=known, suffix="_support"
        )
        query = None
        if X_query is not None:
            if y_query is None:
                raise ValueError("X_query was passed without y_query; pass both.")
            query = estimator._read(
                learned.rows(X_query, "X_query"),
                y_query,
                groups_query,
                None,
                known=known,
                suffix="_query",
            )
        elif y_query is not None or groups_query is not None:
            raise ValueError("y_query or groups_query was passed without X_query; pass all.")
        along = Along(learned, X_support, X_query, feature)
        if groups is not None:
            user["groups"] = groups
        if sample_weight is not None:
            user["sample_weight"] = sample_weight
        found = adapt_and_predict(
            learned, along, support, query, user, tasks, n_tasks, output, level
        )
        return cls(
            tasks=found,
            feature_name=along.name,
            target_name=_target_name(estimator, y_support, found[0].output),
            group_name=_group_name(estimator, groups),
            level=level,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Whose place is divided into panels; a new figure by default.

        Returns
        -------
        display : AdaptationDisplay
            Itself, with the attributes `ax_`, `axes_` and `figure_`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import AdaptationDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> few = boy <= 2
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[~few], y[~few], groups=boy[~few])
        >>> display = AdaptationDisplay.from_estimator(est, X[few], y[few], boy[few])
        >>> figure, (left, right) = plt.subplots(1, 2, layout="constrained")
        >>> again = display.plot(ax=left)  # divided into two panels
        >>> again.axes_.shape
        (2,)
        """
        n = len(self.tasks)
        if n == 0:
            raise ValueError("tasks is empty: pass what is to be drawn of one group or more.")
        n_columns = n if n <= 3 else int(np.ceil(np.sqrt(n)))
        n_rows = -(-n // n_columns)
        size = (WIDTH * n_columns + 0.4, HEIGHT * n_rows + 0.8)
        self.figure_, spec = place_for(type(self), ax, size)
        for_legend = None
        if ax is not None:
            spec, for_legend = spec.subgridspec(2, 1, height_ratios=[HEIGHT * n_rows, LEGEND])
        grid = spec.subgridspec(n_rows, n_columns).subplots(sharex=True, sharey=True, squeeze=False)
        self.axes_ = grid.ravel()[:n]
        self.ax_ = self.axes_[0]
        drawn = [
            self._draw(panel, task) for panel, task in zip(self.axes_, self.tasks, strict=True)
        ]
        for empty in grid.ravel()[n:]:
            empty.set_axis_off()
        for place, panel in enumerate(self.axes_):
            if place % n_columns == 0:
                panel.set_ylabel(self.target_name)
            if place + n_columns >= n:  # nothing below
                panel.set_xlabel(self.feature_name)
                panel.tick_params(labelbottom=True)
        legend_of_panels(self.figure_, for_legend, drawn[0])
        return self

    def _draw(self, panel: Any, task: Bunch) -> list[Any]:
        """Draw one group; return what the legend names."""
        percent = f"{100 * self.level:g} %"
        drawn = panel.plot(
            task.grid, task.prior, color=GREY, linestyle="--", label="before fit: the prior"
        )
        if task.low is not None:
            before = (task.prior_low, task.prior_high)
            drawn.append(_band(panel, task.grid, before, ("0.5", 0.15), f"{percent} before"))
        drawn += panel.plot(task.grid, task.mean, color=BLUE, linewidth=2.2, label="after fit")
        if task.low is not None:
            after = (task.low, task.high)
            drawn.append(_band(panel, task.grid, after, (BLUE, 0.25), f"{percent} after"))
        dots = {"color": "black", "markersize": 5, "zorder": 4, "clip_on": False}
        drawn += panel.plot(task.x_support, task.y_support, "o", label="rows seen", **dots)
        if any(len(other.x_query) for other in self.tasks):
            dots["fillstyle"] = "none"
            drawn += panel.plot(task.x_query, task.y_query, "o", label="rows not seen", **dots)
        if task.label is not None:
            named = f"{self.group_name} {task.label}" if self.group_name else f"{task.label}"
            panel.set_title(named, fontsize="medium")
        if task.low is None:
            panel.set_ylim(-0.04, 1.04)
        return drawn


def _band(panel: Any, grid: Any, ends: Any, look: tuple[str, float], label: str) -> Any:
    """Fill an interval."""
    color, alpha = look
    return panel.fill_between(grid, *ends, color=color, alpha=alpha, linewidth=0, label=label)


def _check(n_tasks: Any, level: Any, X: Any) -> None:
    """Refuse what cannot be drawn."""
    check_whole(n_tasks=n_tasks)
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1, both excluded.")
    if len(getattr(X, "shape", ())) > 2:
        raise ValueError(
            f"X_support has rows of shape {X.shape[1:]}; AdaptationDisplay draws along one column "
            "of a table."
        )


def _target_name(estimator: Any, y: Any, output: Any) -> str:
    """Return the label of the vertical axis."""
    if hasattr(estimator, "classes_"):
        return f"probability of {name_of(y) or 'class'} = {output}"
    columns = list(getattr(y, "columns", []))
    if columns and output != "y":
        return str(columns[int(output[1:])])
    return name_of(y) or str(output)


def _group_name(estimator: Any, groups: Any) -> str | None:
    """Return the name of the column of groups, if it has one."""
    if isinstance(estimator.group_column, str):
        return estimator.group_column
    return name_of(groups)
