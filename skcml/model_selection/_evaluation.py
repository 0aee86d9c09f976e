"""What an estimator over tasks is worth: scores of tasks that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from skcml.model_selection._parts import adapting_part, class_setting, group_column_of
from skcml.model_selection._rows import (
    KnownUnits,
    Table,
    check_outputs,
    read_table,
    warn_of_known_units,
)
from skcml.model_selection._scoring import (
    mean_and_interval,
    read_scorer,
    score_tasks,
    warn_of_tasks_without_score,
)
from skcml.model_selection._tasks import (
    Task,
    class_tasks,
    group_class_tasks,
    group_tasks,
    labels_of,
    read_shots,
)


class EvaluationMixin:
    """Scores of held-out tasks, each after adapting to some of its rows."""

    n_shots: int
    n_ways: int | None
    n_episodes: int
    scoring: str | Callable[..., float] | None
    support: str | None
    group_column: str | int | None
    random_state: int | np.random.RandomState | None
    estimator_: Any
    _known: KnownUnits
    _validate_params: Callable[[], None]

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the mean score of held-out tasks.

        Each task is adapted to by ``n_shots`` of its rows and scored on the others. Tasks whose
        other rows have no score (one class, with ``scoring="roc_auc"``) are left out of the mean,
        with one warning that counts them.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of tasks that `fit` has not seen.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row, as for `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights, of the rows to adapt to and, if the scorer takes them, of the others. Rows
            of weight zero are left out.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no task has more than ``n_shots`` rows, or none has a score; if groups are missing,
            or what was passed is not what it should be.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.model_selection import TaskLearner
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known = person < 370
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> learner = TaskLearner(
        ...     mixed_model, n_shots=4, scoring="neg_root_mean_squared_error", random_state=0
        ... )
        >>> learner = learner.fit(X[known], y[known], groups=person[known])
        >>> round(learner.score(X[~known], y[~known], groups=person[~known]))  # milliseconds
        -21
        """
        return float(self.evaluate(X, y, groups, sample_weight).mean[0])

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        n_shots: int | Sequence[int] | None = None,
        scoring: str | Callable[..., float] | None = None,
    ) -> Bunch:
        """Return the scores of held-out tasks, their mean and its 95 % interval over tasks.

        With several numbers of shots, all are about the same tasks and the same rows to predict,
        those that remain at the largest number: what changes is how many rows are shown.

        Parameters
        ----------
        X, y, groups, sample_weight : array-like
            As for `score`.
        n_shots : int or sequence of int, optional
            Instead of the parameter of that name.
        scoring : str or callable, optional
            Instead of the parameter of that name.

        Returns
        -------
        Bunch
            ``n_shots``, ``mean``, ``low``, ``high`` and ``n_tasks``, ndarrays of shape
            (n_numbers,), one value for each number of shots: the mean over tasks, its interval by
            Student's t (nan for a single task) and how many tasks have a score; ``tasks``, ndarray
            of shape (n_tasks,), labels of the groups, or numbers of the tasks drawn from a pool;
            ``task_scores``, ndarray of shape (n_tasks, n_numbers), nan where a task has no score.
            Tasks drawn from a pool have classes in common: the interval is about the draw, not
            about other classes.

        Raises
        ------
        ValueError
            As for `score`.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.model_selection import TaskLearner
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known = boy <= 16
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> learner = TaskLearner(
        ...     mixed_model, scoring="neg_root_mean_squared_error", random_state=0
        ... )
        >>> learner = learner.fit(X[known], y[known], groups=boy[known])
        >>> found = learner.evaluate(X[~known], y[~known], boy[~known], n_shots=(0, 1, 2, 4))
        >>> found.task_scores.shape  # ten boys
        (10, 4)
        >>> found.mean.round(1)  # minus the errors after 0, 1, 2 and 4 heights, in centimetres
        array([-6.2, -1.4, -1.1, -1.1])
        """
        check_is_fitted(self)
        self._validate_params()
        scoring = self.scoring if scoring is None else scoring
        scorer = read_scorer(self.estimator_, scoring)
        shots = read_shots(self.n_shots if n_shots is None else n_shots)
        table = self._read(X, y, groups, sample_weight)
        tasks = self._tasks(table, max(shots))
        scores = np.full((len(tasks), len(shots)), np.nan)
        for column, n in enumerate(shots):
            scores[:, column], reason = score_tasks(self.estimator_, table, tasks, n, scorer)
            warn_of_tasks_without_score(scores[:, column], reason, scoring, n)
        mean, low, high = np.array([mean_and_interval(column) for column in scores.T]).T
        return Bunch(
            n_shots=np.array(shots),
            mean=mean,
            low=low,
            high=high,
            n_tasks=(~np.isnan(scores)).sum(axis=0),
            tasks=labels_of(tasks),
            task_scores=scores,
        )

    def _read(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> Table:
        """Read rows to score, and say if they are of tasks that were learned from."""
        table = read_table(
            X,
            y,
            groups,
            sample_weight,
            estimator=self.estimator_,
            group_column=group_column_of(self.group_column, self.estimator_),
            method="score",
        )
        check_outputs(table.y, self.estimator_)
        warn_of_known_units(table, self._known)
        return table if table.weight is None else table.subset(np.flatnonzero(table.weight))

    def _tasks(self, table: Table, n_most: int) -> list[Task]:
        """Return what is to be scored."""
        support = self.support
        if support is None:
            support = str(getattr(adapting_part(self.estimator_), "support", "random"))
        rng = check_random_state(self.random_state)
        if class_setting(self.estimator_) == "shared":
            return group_tasks(table.units, n_most, support, rng)
        if n_most == 0:
            raise ValueError(
                "n_shots=0 leaves exchangeable classes without a row to know them by; pass one or "
                "more."
            )
        if table.groups is not None:
            return group_class_tasks(table.groups, table.classes, n_most, support, rng)
        return class_tasks(table.classes, n_most, support, rng, self.n_ways, self.n_episodes)
