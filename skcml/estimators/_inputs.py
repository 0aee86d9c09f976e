"""Reading what users pass: tables with or without a group column, outputs, weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    validate_data,
)

from skcml.estimators._group_column import agreed_groups
from skcml.estimators._naming import naming
from skcml.estimators._warnings import warn
from skcml.grouping import pop_group_column

# Largest size of a number: its fourth power, and sums of many, are still numbers in float64.
MAX_SIZE = 1e60


@dataclass(frozen=True)
class Targets:
    """What y is.

    Attributes
    ----------
    n_outputs : int
        Columns of y; one, if they are labels.
    is_flat : bool
        Whether y came with one dimension.
    classes : ndarray of shape (n_classes,) or None
        Labels of the classes, sorted; None for numbers and counts.
    class_weight : ndarray of shape (n_classes,) or None
        Factor on the weights of each class's rows.
    is_balanced : bool
        Whether it gives every class the same total.
    """

    n_outputs: int
    is_flat: bool
    classes: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    is_balanced: bool = False


@dataclass(frozen=True)
class Rows:
    """What a user passed, read.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows, n_outputs)
        Numbers or counts; or one column of indices into the classes.
    given_weight : ndarray of shape (n_rows,) or None
        As the user gave it.
    groups : array-like of shape (n_rows,) or None
        Labels, as they came.
    targets : Targets
    """

    X: np.ndarray
    y: np.ndarray
    given_weight: np.ndarray | None
    groups: Any
    targets: Targets

    @property
    def weight(self) -> np.ndarray | None:
        """Weight of each row, that of its class included."""
        if self.targets.class_weight is None:
            return self.given_weight
        factor: np.ndarray = self.targets.class_weight[self.y[:, 0]]
        return factor if self.given_weight is None else self.given_weight * factor

    @property
    def outputs(self) -> np.ndarray:
        """Outputs as a likelihood has them: two classes are 0 and 1, several are one-hot."""
        classes = self.targets.classes
        if classes is None:
            return self.y
        return self.y.astype(float) if len(classes) == 2 else np.eye(len(classes))[self.y[:, 0]]


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Leave the estimator as it was if the body fails or is interrupted."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        # In an order that never leaves the estimator empty, should it be interrupted here too.
        vars(estimator).update(before)
        for name in set(vars(estimator)) - set(before):
            delattr(estimator, name)
        raise


def read_features(
    estimator: BaseEstimator, X: Any, groups: Any, *, reset: bool, name: str = "X"
) -> tuple[np.ndarray, Any]:
    """Return the features, without the group column, and the group labels as they came.

    Parameters
    ----------
    estimator : estimator
        Its ``group_column`` says whether X holds the groups; ``groups`` must agree with it.
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
        _refuse_lazy(X, name)
        refuse_dates(X, name)
        with naming(name, X):
            X = validate_data(estimator, X, reset=reset, dtype=np.float64)
        return _moderate(X, name), groups
    _refuse_lazy(X, name)
    column = None
    with naming(name):
        if hasattr(X, "columns") or np.asarray(X).ndim == 2:
            validate_data(estimator, X, reset=reset, skip_check_array=True)
            X, column = pop_group_column(X, estimator.group_column)
    if column is not None:
        groups = agreed_groups(groups, column, estimator.group_column, name)
    refuse_dates(X, name)
    with naming(name, X, estimator.group_column):
        X = check_array(X, dtype=np.float64, estimator=estimator, input_name=name)
    return _moderate(X, name), groups


def _moderate(values: np.ndarray, name: str) -> np.ndarray:
    """Return values whose squares, and the squares of these, are numbers in float64."""
    largest = max(values.max(initial=0.0), -values.min(initial=0.0))
    if largest > MAX_SIZE:
        raise ValueError(
            f"{name} holds a value of size {largest:.1e}; at most {MAX_SIZE:.0e} can be computed "
            f"with: rescale {name}, or remove what is not data."
        )
    return values


def _refuse_lazy(table: Any, name: str) -> None:
    """Refuse what is no table yet."""
    if hasattr(table, "collect") and not hasattr(table, "shape"):
        raise TypeError(f"{name} is a {type(table).__name__}: call its collect() first.")


def refuse_dates(values: Any, name: str) -> None:
    """Refuse what would become numbers without meaning."""
    _refuse_lazy(values, name)
    # scikit-learn takes what is under the mask.
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        raise ValueError(
            f"{name} is a masked array with {np.sum(values.mask)} masked value(s): fill them in, "
            "or leave these rows out."
        )
    first = values[0] if isinstance(values, (list, tuple)) and values else values
    dtypes = [(None, getattr(first, "dtype", None))]
    if hasattr(values, "columns"):
        dtypes = list(zip(values.columns, getattr(values, "dtypes", ()), strict=False))
    for column, dtype in dtypes:
        if getattr(dtype, "kind", "") in ("m", "M"):
            where = "" if column is None else f" in column {column!r}"
            raise TypeError(
                f"{name} holds dates or durations{where}, which are no numbers: subtract a date "
                "and divide by a duration, or leave them out."
            )


def read_numbers(values: Any, name: str, **options: Any) -> np.ndarray:
    """Return finite numbers, in float64.

    Parameters
    ----------
    values : array-like
    name : str
        What errors call them.
    **options : dict
        Of `sklearn.utils.check_array`.
    """
    refuse_dates(values, name)
    with naming(name, values):
        return check_array(values, dtype=np.float64, input_name=name, **options)


def _is_plain(array: Any) -> bool:
    """Whether an array is float64, finite and of moderate size, seen in a microsecond.

    The general checks take longer than adapting to a task.
    """
    if type(array) is not np.ndarray or array.dtype != np.float64 or array.size == 0:
        return False
    return bool(np.vdot(array, array) <= MAX_SIZE**2)  # not if it is not a number


def _fits(estimator: BaseEstimator, X: np.ndarray) -> bool:
    """Whether an array has the columns that were learned, which have no names."""
    return (
        X.ndim == 2
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
    )


def read_outputs(
    y: Any, n_samples: int, estimator: BaseEstimator, *, suffix: str = ""
) -> tuple[np.ndarray, bool]:
    """Return y of shape (n_samples, n_outputs), and whether it came with one dimension.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    n_samples : int
        Rows of X.
    estimator : estimator
        Whose input y is.
    suffix : str
        What errors put after "X" and "y".
    """
    name = f"y{suffix}"
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires {name} to be passed, but the target y is None."
        )
    if _is_plain(y) and y.shape == (n_samples,):
        return y[:, None], True
    y = read_numbers(y, name, ensure_2d=False, estimator=estimator)
    if len(y) != n_samples:
        raise ValueError(
            f"{name} has {len(y)} rows, but X{suffix} has {n_samples}; pass one for each row."
        )
    y = _moderate(y, name)
    return (y[:, None], True) if y.ndim == 1 else (y, False)


def warn_of_a_column(name: str) -> None:
    """Say, as scikit-learn does, that outputs came as a column where there is only one."""
    warn(
        f"A column-vector y was passed when a 1d array was expected: pass {name}.ravel().",
        DataConversionWarning,
    )


def the_only_column(y: np.ndarray, name: str) -> np.ndarray:
    """Return counts of shape (n_samples, 1), of which there is one output."""
    if y.shape[1] != 1:
        raise ValueError(
            f"{name} should be a 1d array, got an array of shape {y.shape}: with loss='poisson' "
            "there is one output. Pass one column, or fit an estimator to each."
        )
    warn_of_a_column(name)
    return y


def read_weights(
    sample_weight: Any, X: np.ndarray, *, all_may_be_zero: bool = False
) -> np.ndarray | None:
    """Return non-negative weights of shape (n_samples,), or None for equal ones."""
    if sample_weight is None:
        return None
    refuse_dates(sample_weight, "sample_weight")
    with naming("sample_weight", sample_weight):
        weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, allow_all_zero_weights=all_may_be_zero
        )
    if (weight < 0).any():
        raise ValueError(
            f"Negative values in sample_weight, the least of them {weight.min():.4g}: a weight "
            "says how often a row is there, and must be zero or more."
        )
    small = weight[weight > 0].min(initial=1.0)
    if small < 1 / MAX_SIZE:
        raise ValueError(
            f"sample_weight holds {small:.1e}; a weight is zero, or at least {1 / MAX_SIZE:.0e}: "
            "multiply all weights by the same number."
        )
    return _moderate(weight, "sample_weight")


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether a value is a whole number of that much or more."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_whole(least: int = 1, **values: Any) -> None:
    """Refuse what is no number of something, by its name."""
    for name, value in values.items():
        if not is_whole(value, least):
            raise ValueError(f"{name}={value!r} must be a whole number of {least} or more.")


def read_probabilities(q: Any, name: str = "q") -> np.ndarray:
    """Return probabilities of shape (n_quantiles,)."""
    refuse_dates(q, name)
    try:
        probabilities = np.atleast_1d(np.asarray(q, dtype=float))
    except (TypeError, ValueError, OverflowError):
        probabilities = np.empty(0)
    inside = (probabilities > 0) & (probabilities < 1)
    if probabilities.ndim != 1 or len(probabilities) == 0 or not inside.all():
        raise ValueError(f"{name} must be probabilities between 0 and 1, both excluded; got {q!r}.")
    return probabilities
