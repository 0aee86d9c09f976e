"""What the estimators share: learning from many groups, adapting, cloning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils._param_validation import Interval, StrOptions

from skcml.estimators._adapting import AdaptedTasks, adapt_ridge, scaling_of, task_rows
from skcml.estimators._bodies import flat_rows
from skcml.estimators._body_params import BodyParamsMixin
from skcml.estimators._diagram import DiagramMixin
from skcml.estimators._groups import learn_groups
from skcml.estimators._inputs import Rows, Targets, all_or_nothing, read_features, read_weights
from skcml.estimators._meta_options import ADAPTING, RULES, learn_options, solver_of
from skcml.estimators._meta_state import MetaState, check_params, warn_of_unused_params
from skcml.estimators._partial_fit import PartialFitMixin
from skcml.estimators._progress import hook_data
from skcml.estimators._saving import SavingMixin
from skcml.estimators._summaries import SummariesMixin
from skcml.problems.mlp import ACTIVATIONS
from skcml.problems.pull import STRENGTHS
from skcml.rules.contrastive import SCHEMES
from skcml.selection.families import Family
from skcml.solvers.choice import CHOICES


class BaseCML(
    SavingMixin,
    PartialFitMixin,
    SummariesMixin,
    BodyParamsMixin,
    DiagramMixin,
    CallbackSupportMixin,
    BaseEstimator,
    ABC,
):
    """Base of the estimators; `Self` says that the methods return the estimator itself.

    A subclass says what y is: `_read_targets` and `_family`.
    """

    # Of the parameters that all of them have; a subclass adds its own.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "model": [StrOptions({"head", "modulatory", "synaptic"})],
        "body": [callable, None],
        "transductive": ["boolean"],
        "device": [str],
        "strength": [StrOptions(set(STRENGTHS))],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "prior_covariance": [StrOptions({"full", "diagonal"})],
        "solver": [StrOptions({"auto", *CHOICES})],
        "inner_max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "inner_tol": [Interval(Real, 0, None, closed="left"), None],
        "prior_strength": [Interval(Real, 0, None, closed="neither")],
        "rule": [StrOptions(RULES)],
        "scheme": [StrOptions(set(SCHEMES))],
        "beta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "n_shots": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "n_queries": [Interval(Integral, 1, None, closed="left"), None],
        "support": [StrOptions({"random", "first"})],
        "meta_batch_size": [Interval(Integral, 1, None, closed="left")],
        "meta_max_iter": [Interval(Integral, 0, None, closed="left")],
        "meta_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "group_column": [str, Integral, None],
        "standardize": ["boolean"],
        "compile": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # With metadata routing, groups that are passed have nowhere else to go.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    _meta: MetaState
    _group_column: str | int | None
    _adapted: AdaptedTasks

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
            Group of each row, labels of any hashable kind. Not needed with ``group_column``; if
            both are there, they must agree, here and in `fit` and `predict`.
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

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, random_state=0)
        >>> est = est.meta_fit(X, y, groups=person)
        >>> for name, error in est.meta_gain_.items():  # of people that were held out
        ...     print(f"{name:11} {error:.1f}")
        pooled      0.8
        per_task    0.8
        mixed_model 0.6
        final       0.6
        >>> est.predict(X[:10:9]).round()  # days 0 and 9; without a row of a person, the prior
        array([251., 346.])
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
        data = hook_data(X, y, sample_weight)
        rows = self._read(X, y, groups, sample_weight, reset=True)
        validation = None
        if X_val is not None:
            if y_val is None:
                raise ValueError("X_val was passed without y_val; pass both.")
            known = self._targets_in_common(rows)
            validation = self._read(X_val, y_val, groups_val, None, known=known, suffix="_val")
        elif y_val is not None or groups_val is not None:
            raise ValueError("y_val or groups_val was passed without X_val; pass all of them.")
        state = self._learn(rows, validation, data)
        for name in ("_adapted", "classes_"):
            self.__dict__.pop(name, None)
        self.__dict__.update(state.attributes())
        if self.verbose and self.meta_gain_ is not None:
            print(f"[{type(self).__name__}] {state.report()}")
        return self

    def _learn(self, rows: Rows, validation: Rows | None, data: dict[str, Any]) -> MetaState:
        """Learn from groups that have their outputs in common."""
        return learn_groups(self, self._family(rows), rows, validation, data)

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Adapt to one task, or to every group at once.

        Without `meta_fit` before it, this is ridge regression (logistic or Poisson regression for
        classes or counts) on standardised features, with ``prior_strength`` as its penalty; with
        ``groups``, one for each group. It warns if parameters were set that only shape `meta_fit`.

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

        Warns
        -----
        ConvergenceWarning
            If, with ``model="synaptic"`` or ``"modulatory"``, or a ``body`` for new classes, the
            solver stops far from a task's minimum.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known, early, last = person < 370, X["Days"] < 4, X["Days"] == 9
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=person[known])
        >>> seen, asked = ~known & early, ~known & last
        >>> est = est.fit(X[seen], y[seen], groups=person[seen])  # three new people at once
        >>> est.predict(X[asked], groups=person[asked]).round()
        array([291., 344., 377.])
        >>> one = person == 371  # without groups, all rows are of one task
        >>> est.fit(X[seen & one], y[seen & one]).predict(X[asked & one]).round()
        array([344.])
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
        if state is not None:
            if check_params(self, state):
                state = state.solved_by(partial(solver_of, self, effort=ADAPTING))
            rows = self._read(X, y, groups, sample_weight, known=state.targets)
            adapted = state.adapt(rows, self.prior_strength)
        else:
            self._validate_params()
            rows = self._read(X, y, groups, sample_weight, reset=True)
            adapted = self._adapt_without_meta_fit(rows)
        self._group_column = self.group_column
        self._adapted = adapted
        if rows.targets.classes is not None:
            self.classes_ = rows.targets.classes.copy()
        return self

    def _adapt_without_meta_fit(self, rows: Rows) -> AdaptedTasks:
        family = self._family(rows)
        learn_options(self, family)  # refuses what does not go together
        likelihood = family.likelihood
        scaling = scaling_of(rows, likelihood, standardize=self.standardize)
        tasks, index = task_rows(rows, scaling)
        adapted = adapt_ridge(
            tasks,
            index,
            scaling,
            prior_strength=self.prior_strength,
            targets=rows.targets,
            likelihood=likelihood,
        )
        kind = "ridge"
        if likelihood is not None:
            kind = "Poisson" if likelihood.has_exposure else "logistic"
        warn_of_unused_params(self, kind, is_grouped=index is not None)
        return adapted

    def _read(
        self,
        X: Any,
        y: Any,
        groups: Any,
        sample_weight: Any,
        *,
        reset: bool = False,
        known: Targets | None = None,
        suffix: str = "",
        all_may_be_zero: bool = False,
    ) -> Rows:
        """Read rows, with outputs as those that were learned from, if they are known."""
        X = flat_rows(self, X, reset=reset, name=f"X{suffix}")
        X, groups = read_features(self, X, groups, reset=reset, name=f"X{suffix}")
        weight = read_weights(sample_weight, X, all_may_be_zero=all_may_be_zero)
        y, targets = self._read_targets(y, len(X), weight, known, suffix)
        return Rows(X, y, weight, groups, targets)

    @abstractmethod
    def _read_targets(
        self,
        y: Any,
        n_samples: int,
        weight: np.ndarray | None,
        known: Targets | None,
        suffix: str,
    ) -> tuple[np.ndarray, Targets]:
        """Return y as `Rows` holds it, and what it is."""

    def _targets_in_common(self, rows: Rows) -> Targets | None:
        """Return what y must be in every task; None where each brings classes of its own."""
        return rows.targets

    @abstractmethod
    def _family(self, rows: Rows) -> Family:
        """Return the kind of outputs."""

    def _read_rows(self, X: Any, groups: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return what predicts these rows, and the rows with their tasks' codes."""
        self._check_readable()
        X = flat_rows(self, X, reset=False, name="X")
        X, groups = read_features(self, X, groups, reset=False)
        adapted, codes = self._adapted.for_rows(groups, len(X))
        return adapted, X, codes

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_adapted")

    def __sklearn_clone__(self) -> Self:
        """Clone parameters, and keep what `meta_fit` learned: a clone adapts anew."""
        clone: Self = super().__sklearn_clone__()
        if hasattr(self, "_meta"):
            clone.__dict__.update(self._meta.attributes())
            for name in ("n_features_in_", "feature_names_in_", "_row_shape"):
                if hasattr(self, name):
                    setattr(clone, name, getattr(self, name))
        return clone
