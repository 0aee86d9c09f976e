"""Rows that keep coming, and groups to forget."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from skcml.estimators._adapting import AdaptedTasks
from skcml.estimators._group_column import shown
from skcml.estimators._inputs import all_or_nothing
from skcml.estimators._meta_state import MetaState, check_params
from skcml.grouping import GroupIndex

# Labels that an error names.
_NAMED = 5


def _takes_rows_by_and_by(estimator: Any) -> bool:
    """Whether a task's rows may come in several calls; raise a sentence that says why not."""
    state = getattr(estimator, "_meta", None)
    if state is None:
        raise AttributeError(
            "partial_fit needs meta_fit first, of a CMLRegressor with loss='squared_error' and "
            "model='head': without it, fit standardises by the rows that it is given, and more "
            "rows would change every group. Keep the rows, and call fit with all of them."
        )
    if state.needs_rows_at_once:
        raise AttributeError(
            "partial_fit is there for a CMLRegressor with loss='squared_error' and model='head', "
            f"whose posterior is in closed form. Here {state.needs_rows_at_once}: keep the rows of "
            "each group, and call fit with all of them."
        )
    return True


class PartialFitMixin:
    """Updates of what `fit` leaves behind."""

    prior_strength: float
    group_column: str | int | None
    classes_: np.ndarray
    _group_column: str | int | None
    _adapted: AdaptedTasks
    _meta: MetaState
    _read: Any
    _check_readable: Any

    @available_if(_takes_rows_by_and_by)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Adapt to more rows, of groups that are known or new.

        The result is that of `fit` on all rows so far, in whatever order they came: those of `fit`,
        if it was called since `meta_fit`, and of each `partial_fit`. No row is kept, but a
        triangular factor of each group's rows, which never has more rows than there are
        coefficients; groups without a new row are not touched. Predictions solve for the groups
        that are asked.

        There is such an update where the posterior is in closed form: after `meta_fit` of
        `CMLRegressor`, with ``loss="squared_error"`` and ``model="head"``. Elsewhere the method is
        not there, and ``hasattr(estimator, "partial_fit")`` is False.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows that are new. A row that comes twice counts twice.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row, if the rows so far had groups.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights; a weight of two is the row twice.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a parameter that shaped `meta_fit` has changed since, if groups are passed and the
            rows so far had none, or the other way round, if all labels are of another kind than
            those so far, text after numbers, or if X, y or groups are not what they should be.
            Nothing that was fitted before is lost.

        Examples
        --------
        >>> import numpy as np
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import make_sinusoid_tasks
        >>> X, y, groups = make_sinusoid_tasks(60, 10, random_state=0)
        >>> est = CMLRegressor(meta_max_iter=20, random_state=0).meta_fit(X, y, groups=groups)
        >>> for row in range(20):  # one after the other
        ...     est = est.partial_fit(X[[row]], y[[row]], groups=groups[[row]])
        >>> by_and_by = est.predict(X[:20], groups=groups[:20])
        >>> est = est.fit(X[:20], y[:20], groups=groups[:20])
        >>> np.allclose(by_and_by, est.predict(X[:20], groups=groups[:20]), atol=1e-10)
        True
        """
        with all_or_nothing(self):
            state: Any = self._meta
            check_params(self, state)
            # Rows of no weight, by themselves: there are others.
            rows = self._read(
                X, y, groups, sample_weight, known=state.targets, all_may_be_zero=True
            )
            self._adapted = state.update(self._adapted, rows, self.prior_strength)
            self._group_column = self.group_column
        return self

    def forget(self, groups: Any = None) -> Self:
        """Forget the rows of groups: afterwards these are as if they had never been seen.

        Nothing that was computed from their rows is left of what `fit` and `partial_fit` keep.
        Predictions for other groups do not change by a bit. What `meta_fit` learned stays: if a
        group was among those that it saw, call `meta_fit` without it. So do the weights that
        ``class_weight="balanced"`` gave to the rows of other exchangeable classes.

        Parameters
        ----------
        groups : label or array-like of labels, optional
            Groups that `fit` or `partial_fit` has seen. A tuple is one label, if it is a known one.
            None forgets all: the single task, if rows had no groups. The estimator is then as after
            `meta_fit` alone.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a group is not known, or if `meta_fit` has not been called: scales, noise and what
            unseen groups get are then computed from the rows of all groups. Nothing is forgotten
            then.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import make_sinusoid_tasks
        >>> X, y, groups = make_sinusoid_tasks(60, 10, random_state=0)
        >>> est = CMLRegressor(meta_max_iter=20, random_state=0).meta_fit(X, y, groups=groups)
        >>> est = est.fit(X, y, groups=groups).forget([3, 7])
        >>> len(est.group_effects(as_frame=False))
        58
        """
        self._check_readable()
        if not hasattr(self, "_meta"):
            raise ValueError(
                "forget needs meta_fit: without it, scales, noise and what unseen groups get are "
                "computed from the rows of all groups. Call fit without the rows of these groups."
            )
        with all_or_nothing(self):
            left, classes = self._adapted.without(_codes_of(groups, self._adapted))
            if left is None:
                del self._adapted, self.classes_
                return self
            self._adapted = left
            if hasattr(self, "classes_"):
                self.classes_ = self.classes_[classes]
        return self


def _codes_of(groups: Any, adapted: AdaptedTasks) -> np.ndarray:
    """Return the tasks to forget."""
    if groups is None:
        if not adapted.n_tasks:
            raise ValueError("There is nothing to forget: fit has not been called since meta_fit.")
        return np.arange(adapted.n_tasks)
    if adapted.groups is None:
        raise ValueError(
            "forget was called with groups, but rows came without groups, as a single task: call "
            "forget() to forget it."
            if adapted.n_tasks
            else "forget was called with groups, but none is known: fit has not been called since "
            "meta_fit."
        )
    labels = _labels_of(groups, adapted.groups)
    codes = adapted.groups.lookup(labels, len(labels))
    unknown = list(dict.fromkeys(labels[place] for place in np.flatnonzero(codes < 0)))
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        named = ", ".join(map(shown, unknown[:_NAMED]))
        raise ValueError(
            f"groups holds {named}{more}, which fit has not seen: leave what is not known out. "
            "Nothing has been forgotten."
        )
    return codes


def _labels_of(groups: Any, index: GroupIndex) -> Any:
    """Return labels as a list or an array, of one label or of many."""
    is_one = isinstance(groups, (str, bytes)) or not hasattr(groups, "__len__")
    if isinstance(groups, tuple):  # beside a label that is known, for one kind of labels or another
        is_one = index.lookup([groups, index.labels[0]], 2)[0] >= 0
    if getattr(groups, "ndim", 1) == 0:
        is_one, groups = True, np.asarray(groups)[()]
    return [groups] if is_one else groups
