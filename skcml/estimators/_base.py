"""What the estimators share: learning from many groups, adapting, cloning."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from skcml.episodes import TaskRows
from skcml.estimators._adapted import Adapted
from skcml.estimators._adapting import adapt_learned, adapt_ridge, task_rows
from skcml.estimators._inputs import all_or_nothing, read_features, read_outputs, read_weights
from skcml.estimators._meta_options import (
    check_outputs,
    check_tasks,
    learn_options,
    warn_of_few_rows,
)
from skcml.estimators._meta_state import MetaState, check_params, state_attributes, watched_params
from skcml.estimators._progress import CallbackProgress, hook_data
from skcml.estimators._scaling import Scaling
from skcml.estimators._summaries import SummariesMixin
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection import Learned, learn
from skcml.selection.families import Numbers
from skcml.selection.folds import n_descents
from skcml.selection.learning import snapshot


class BaseCML(SummariesMixin, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators; `Self` says that the methods return the estimator itself."""

    _meta: MetaState
    _group_column: str | int | None
    _adapted: Adapted

    def meta_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups_val: ArrayLike | None = None,
    ) -> Self:
        """Learn what many groups share.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of all groups, in any order.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row, labels of any hashable kind. Not needed with ``group_column``.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights; rows of weight zero are left out.
        X_val, y_val, groups_val : array-like, optional
            Groups to judge by, instead of held-out groups of X. Each needs two rows or more.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If groups are missing, of the wrong length or fewer than two, if no group has two rows,
            or if X, y or a parameter is not what it should be. What was learned before is kept.
        """
        with all_or_nothing(self):
            return self._meta_fit(X, y, groups, sample_weight, X_val, y_val, groups_val)

    @with_callbacks
    def _meta_fit(
        self,
        X: Any,
        y: Any,
        groups: Any,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        groups_val: Any,
    ) -> Self:
        self._validate_params()
        options = learn_options(self, Numbers())
        data = hook_data(X, y, sample_weight)
        X, groups = read_features(self, X, groups, reset=True)
        y, is_flat = read_outputs(y, len(X), self)
        weight = read_weights(sample_weight, X)
        if groups is None:
            raise ValueError(
                f"meta_fit needs the group of each of the n_samples = {len(X)} rows: pass groups=, "
                "or keep the groups in a column of X and name it as group_column."
            )
        scaling = Scaling.none(X.shape[1], y.shape[1])
        if self.standardize:
            scaling = Scaling.fit(X, y, weight)
        tasks, _ = task_rows(X, y, weight, groups, scaling)
        tasks = tasks.subset(np.flatnonzero(tasks.sizes))
        check_tasks(tasks)
        if options.is_reml:
            warn_of_few_rows(tasks)
        validation = self._read_validation(X_val, y_val, groups_val, scaling, y.shape[1])
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))

        params = watched_params(self)

        def attributes_of(learned: Learned) -> dict[str, Any]:
            return state_attributes(
                MetaState(learned, scaling, params, is_flat, tasks.n_tasks, len(X))
            )

        progress = None
        context = self._init_callback_context(
            task_name="meta_fit",
            max_subtasks=n_descents(int((tasks.sizes > 1).sum()), validation is not None, options),
        )
        if getattr(self, "_skl_callbacks", None):

            def attributes(mixed: list[MixedModel], theta: MetaParams) -> dict[str, Any]:
                return attributes_of(snapshot(mixed, theta, options))

            progress = CallbackProgress(self, context, options.meta_max_iter, data, attributes)
        try:
            with threadpool_limits(1):
                learned = learn(tasks, validation, options, rng, progress)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "The columns of X, y or sample_weight differ too much in scale for float64 "
                f"({error}): rescale them{'' if self.standardize else ', or set standardize=True'}."
            ) from error
        self.__dict__.update(attributes_of(learned))
        if progress is not None:
            progress.end()
        if self.verbose and learned.gain is not None:
            scores = ", ".join(f"{name} {score:.4g}" for name, score in learned.gain.items())
            name = type(self).__name__
            print(f"[{name}] {tasks.n_tasks} groups, {len(X)} rows; held-out RMSE: {scores}")
        return self

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Adapt to one task, or to every group at once.

        Without `meta_fit` before it, this is ridge regression on standardised features, with
        ``prior_strength`` as its penalty; with ``groups``, one for each group.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of the task, or of all tasks.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row; without it (and without ``group_column``) all rows are one task.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights; a weight of two is the row twice.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a parameter that shaped `meta_fit` has changed since, or X, y or groups are not what
            they should be. What was fitted before is kept.
        """
        with all_or_nothing(self):
            fit = self._fit_followed if hasattr(self, "_skl_callbacks") else self._fit
            return fit(X, y, groups, sample_weight)

    @with_callbacks
    def _fit_followed(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> Self:
        """Fit as a task of its own, as which a search follows it."""
        data = hook_data(X, y, sample_weight)
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, **data)
        self._fit(X, y, groups, sample_weight)
        # A scorer has no groups to pass on; those in a column it has.
        fitted: dict[str, Any] | None = {} if groups is None else None
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes=fitted, **data)
        return self

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> Self:
        state = getattr(self, "_meta", None)
        if state is None:
            self._validate_params()
        else:
            check_params(self, state)
        X, groups = read_features(self, X, groups, reset=state is None)
        self._group_column = self.group_column
        y, is_flat = read_outputs(y, len(X), self)
        weight = read_weights(sample_weight, X)
        if state is not None:
            check_outputs(y, state)
            tasks, index = task_rows(X, y, weight, groups, state.scaling)
            self._adapted = adapt_learned(
                state.learned,
                state.scaling,
                tasks,
                index,
                prior_strength=self.prior_strength,
                is_flat=is_flat,
            )
            return self
        scaling = Scaling.none(X.shape[1], y.shape[1])
        if self.standardize:
            scaling = Scaling.fit(X, y, weight)
        tasks, index = task_rows(X, y, weight, groups, scaling)
        self._adapted = adapt_ridge(
            tasks, index, scaling, prior_strength=self.prior_strength, is_flat=is_flat
        )
        return self

    def _read_rows(self, X: Any, groups: Any) -> tuple[Adapted, np.ndarray, np.ndarray]:
        """Return what has been adapted, and the rows to predict with their tasks' codes."""
        self._check_readable()
        X, groups = read_features(self, X, groups, reset=False)
        return self._adapted, X, self._adapted.codes(groups, len(X))

    def _read_validation(
        self, X_val: Any, y_val: Any, groups_val: Any, scaling: Scaling, n_outputs: int
    ) -> TaskRows | None:
        """Read the user's own groups to judge by."""
        if X_val is None:
            if y_val is not None or groups_val is not None:
                raise ValueError("y_val or groups_val was passed without X_val; pass all of them.")
            return None
        X, groups = read_features(self, X_val, groups_val, reset=False, name="X_val")
        if y_val is None or groups is None:
            missing = "y_val" if y_val is None else "groups_val"
            raise ValueError(f"X_val was passed without {missing}; pass both.")
        y, _ = read_outputs(y_val, len(X), self, suffix="_val")
        if y.shape[1] != n_outputs:
            raise ValueError(f"y_val has {y.shape[1]} outputs, but y has {n_outputs}.")
        tasks, _ = task_rows(X, y, None, groups, scaling, name="groups_val")
        usable = np.flatnonzero(tasks.sizes > 1)
        if len(usable) == 0:
            raise ValueError(
                "Every group of groups_val has one row; judging needs a row to learn from and one "
                "to predict. Pass groups of two rows or more."
            )
        return tasks.subset(usable)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_adapted")

    def __sklearn_clone__(self) -> Self:
        """Clone parameters, and keep what `meta_fit` learned: a clone adapts anew."""
        clone: Self = super().__sklearn_clone__()
        if hasattr(self, "_meta"):
            clone.__dict__.update(state_attributes(self._meta))
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(self, name):
                    setattr(clone, name, getattr(self, name))
        return clone
