"""An estimator over tasks: what scikit-learn's searches and cross-validation take as one."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval, StrOptions

from skcml.estimators._inputs import all_or_nothing, check_whole
from skcml.estimators._progress import hook_data
from skcml.model_selection._evaluation import EvaluationMixin
from skcml.model_selection._parts import group_column_of, is_carried, meta_learner, wrapped
from skcml.model_selection._prior import PriorMixin
from skcml.model_selection._rows import known_units, read_table
from skcml.model_selection._scoring import read_scorer


class TaskLearner(
    EvaluationMixin, PriorMixin, CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator
):
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
            If the estimator has no ``meta_fit``, or is a `TaskLearner`.
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
        if any(isinstance(part, TaskLearner) for part in wrapped(self.estimator)):
            raise TypeError(
                "TaskLearner was passed a TaskLearner, which adapts to no task itself: pass the "
                "estimator that is inside."
            )
        learner = meta_learner(self.estimator)
        self._validate_params()
        check_whole(0, n_shots=self.n_shots)
        read_scorer(self.estimator, self.scoring)
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

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags, theirs = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = theirs.estimator_type
        tags.classifier_tags, tags.regressor_tags = theirs.classifier_tags, theirs.regressor_tags
        tags.target_tags, tags.input_tags = theirs.target_tags, theirs.input_tags
        return tags
