"""A picture of the descents of `meta_fit`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from skcml.inspection._learned import what_learned
from skcml.inspection._style import BLUE, GREY, ORANGE, legend_above, one_axes, pyplot

# Steps over which a running mean goes.
WINDOW = 20


class MetaLearningCurveDisplay:
    """Loss against meta-steps, a line for each fold.

    Pale lines are the loss of each step's episode, on the groups that are learned from: noisy,
    since every episode is drawn anew. Blue lines are the loss on the groups that the fold holds
    out, and their dots where it was least, which is where the network was taken. Groups that are
    held out differ from fold to fold, and so does the level of their loss; what matters is where a
    line falls, and where it turns. Of a descent during which nothing was held out, the dark line is
    the running mean of 20 steps.

    Parameters
    ----------
    history : list of dict
        As in ``meta_history_``: of each descent ``loss``, ``validation_step``,
        ``validation_loss`` and ``best_step``.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : list of matplotlib.lines.Line2D
        Of each descent, the loss of its steps.
    mean_lines_ : list of matplotlib.lines.Line2D
        Of each descent that held no group out, the running mean of its steps.
    validation_lines_ : list of matplotlib.lines.Line2D
        Of each descent that held groups out, their loss.
    best_ : list of matplotlib.lines.Line2D
        Of the same, the dot where it was least.

    Examples
    --------
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> from skcml.inspection import MetaLearningCurveDisplay
    >>> X, y, groups = make_sinusoid_tasks(20, 8, random_state=0)
    >>> est = CMLRegressor(meta_max_iter=20, random_state=0).meta_fit(X, y, groups=groups)
    >>> display = MetaLearningCurveDisplay.from_estimator(est)
    >>> len(display.lines_)
    10
    """

    def __init__(self, *, history: list[dict[str, Any]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw how an estimator has learned.

        Parameters
        ----------
        estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
            After `meta_fit` with at least one meta-step.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : MetaLearningCurveDisplay

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import MetaLearningCurveDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known = boy <= 16
        >>> est = CMLRegressor(hidden_layer_sizes=(8,), meta_max_iter=40, random_state=0)
        >>> est = est.meta_fit(
        ...     X[known],
        ...     y[known],
        ...     boy[known],
        ...     X_val=X[~known],
        ...     y_val=y[~known],
        ...     groups_val=boy[~known],
        ... )
        >>> display = MetaLearningCurveDisplay.from_estimator(est)
        >>> len(display.validation_lines_)  # a single descent, judged by ten boys
        1
        """
        pyplot(cls)
        learned = what_learned(estimator, "MetaLearningCurveDisplay", "is no descent to draw")
        history = [descent for descent in learned.estimator.meta_history_ if descent["loss"]]
        if not history:
            raise ValueError(
                "meta_fit took no meta-step (meta_max_iter=0), so that there is no descent to draw."
            )
        return cls(history=history).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : MetaLearningCurveDisplay
            Itself, with the attributes `ax_`, `figure_`, `lines_`, `mean_lines_`,
            `validation_lines_` and `best_`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.inspection import MetaLearningCurveDisplay
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(8,), meta_max_iter=40, early_stopping=False)
        >>> display = MetaLearningCurveDisplay.from_estimator(est.meta_fit(X, y, groups=boy))
        >>> figure, ax = plt.subplots()
        >>> again = display.plot(ax=ax)
        >>> len(again.mean_lines_)  # nobody was held out, so that the running mean is drawn
        1
        """
        if not self.history or not all(descent["loss"] for descent in self.history):
            raise ValueError("history must hold one descent or more, each with a meta-step.")
        self.ax_ = ax = one_axes(type(self), ax)
        self.figure_ = ax.figure
        self.lines_, self.mean_lines_, self.validation_lines_, self.best_ = [], [], [], []
        alpha = max(0.5 / len(self.history), 0.12)
        for descent in self.history:
            steps = np.arange(1, len(descent["loss"]) + 1)
            self.lines_ += ax.plot(
                steps, descent["loss"], color=GREY, alpha=alpha, linewidth=0.8, zorder=1
            )
            at, loss = descent["validation_step"], descent["validation_loss"]
            if not at:
                self.mean_lines_ += self._running_mean(steps, np.asarray(descent["loss"]))
                continue
            self.validation_lines_ += ax.plot(at, loss, color=BLUE, alpha=0.8, linewidth=1.4)
            best = descent["best_step"]
            self.best_ += ax.plot(
                best, loss[at.index(best)], "o", color=ORANGE, markeredgecolor="black", zorder=3
            )
        self._label()
        return self

    def _running_mean(self, steps: np.ndarray, loss: np.ndarray) -> list[Any]:
        """Draw the mean of each step and those before it."""
        width = min(WINDOW, len(loss))
        mean = np.convolve(loss, np.full(width, 1 / width), mode="valid")
        return self.ax_.plot(steps[width - 1 :], mean, color="black", linewidth=1.4)

    def _label(self) -> None:
        """Name the axes and what is drawn."""
        ax, folds = self.ax_, f"{len(self.history)} folds"
        if len(self.history) == 1:
            folds = "one descent"
        handles = [*ax.plot([], [], color=GREY, alpha=0.6, label=f"each step's episode, {folds}")]
        if self.mean_lines_:
            handles += ax.plot([], [], color="black", label="their running mean")
        if self.validation_lines_:
            handles += ax.plot([], [], color=BLUE, label="groups held out")
            look = {"color": ORANGE, "markeredgecolor": "black"}
            handles += ax.plot([], [], "o", label="least: what was taken", **look)
        ax.set(xlabel="meta-step", ylabel="mean loss of query rows")
        ax.grid(axis="y", alpha=0.3)
        legend_above(ax, handles=handles, n_columns=3)
