"""Reading what users pass: tables with or without a group column, outputs, weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    validate_data,
)

from skcml.grouping import pop_group_column


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Leave the estimator as it was if the body fails or is interrupted."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def read_features(
    estimator: BaseEstimator, X: Any, groups: Any, *, reset: bool, name: str = "X"
) -> tuple[np.ndarray, Any]:
    """Return the features, without the group column, and the group labels as they came.

    Parameters
    ----------
    estimator : estimator
        Its ``group_column`` says whether X holds the groups; ``groups`` goes first.
    X : array-like of shape (n_samples, n_columns)
    groups : array-like of shape (n_samples,) or None
    reset : bool
        Whether number and names of columns are learned here or checked.
    name : str
        What errors call X.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
    groups : array-like or None
    """
    if estimator.group_column is None:
        if not reset and _is_plain(X) and _fits(estimator, X):
            return X, groups
        return validate_data(estimator, X, reset=reset, dtype=np.float64), groups
    if np.ndim(X) == 2 or hasattr(X, "columns"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        X, column = pop_group_column(X, estimator.group_column)
        groups = column if groups is None else groups
    X = check_array(X, dtype=np.float64, estimator=estimator, input_name=name)
    return X, groups


def _is_plain(array: Any) -> bool:
    """Whether an array is float64 and finite, seen in a microsecond.

    The general checks take longer than adapting to a task. One whose sum overflows goes to them.
    """
    return (
        type(array) is np.ndarray
        and array.dtype == np.float64
        and array.size > 0
        and bool(np.isfinite(array.sum()))
    )


def _fits(estimator: BaseEstimator, X: np.ndarray) -> bool:
    """Whether an array has the columns that were learned, which have no names."""
    return (
        X.ndim == 2
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
    )


def read_outputs(y: Any, n_samples: int, estimator: BaseEstimator) -> tuple[np.ndarray, bool]:
    """Return y of shape (n_samples, n_outputs), and whether it came with one dimension."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    if _is_plain(y) and y.shape == (n_samples,):
        return y[:, None], True
    y = check_array(
        y, dtype=np.float64, ensure_2d=False, allow_nd=False, estimator=estimator, input_name="y"
    )
    if len(y) != n_samples:
        check_consistent_length(np.empty(n_samples), y)
    if y.ndim == 1:
        return y[:, None], True
    if y.shape[1] == 0:
        raise ValueError("y has no column; pass at least one output.")
    return y, False


def read_weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    """Return non-negative weights of shape (n_samples,), or None for equal ones."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
