"""What a group label is: reading labels from any container, and telling missing ones.

Labels travel as an array where all are numbers, dates or durations, and as a list of Python objects
otherwise. Columns of pandas and polars are read through ``__array__``.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Set
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Labels",
    "as_objects",
    "as_typed_array",
    "kind_of",
    "missing_rows",
    "read_labels",
    "refuse_missing",
]

Labels = npt.NDArray[Any] | list[Any]

# What a whole column of labels may consist of: for arrays by dtype kind, for objects by type.
_ARRAY_KINDS = {
    "b": "numbers",
    "i": "numbers",
    "u": "numbers",
    "f": "numbers",
    "M": "dates",
    "m": "durations",
}
_OBJECT_KINDS: dict[str, tuple[type, ...]] = {
    "strings": (str,),
    "numbers": (numbers.Number, np.bool_),
    "dates": (date, np.datetime64),
    "durations": (timedelta, np.timedelta64),
}


def read_labels(groups: Any, n_samples: int, name: str) -> Labels:
    """Return labels as an array of numbers, dates or durations, or else as a list of objects."""
    has_array = hasattr(groups, "__array__")
    if not has_array and (
        isinstance(groups, (str, bytes, Mapping, Set)) or not hasattr(groups, "__len__")
    ):
        hint = ""
        if isinstance(groups, str):
            hint = " For a column of X, set group_column to its name, or pass the column itself."
        raise TypeError(
            f"{name} must be a list, array or Series with one label per row, "
            f"was {groups!r:.60} of type {type(groups).__name__}.{hint}"
        )
    values: Labels
    if has_array:
        array = np.asarray(groups)
        if array.ndim != 1:
            raise ValueError(
                f"{name} must have one dimension, one label per row, had shape {array.shape}; "
                "to group by several columns, make one label of them: list(zip(a, b))."
            )
        if np.ma.is_masked(groups):
            values = groups.tolist()  # with None where masked; np.asarray unmasks
        else:
            values = array if array.dtype.kind in _ARRAY_KINDS else array.tolist()
    else:
        # Never np.asarray: it would make text of [1, "a"] and a matrix of a list of tuples.
        values = list(groups)
    if len(values) != n_samples:
        raise ValueError(
            f"{name} has {len(values)} labels for {n_samples} rows; pass one label for each row."
        )
    return values


def as_typed_array(values: list[Any]) -> Labels:
    """Return labels that are all integers, all floats or all dates as an array; others as is."""
    types = set(map(type, values))
    if not types:
        return values
    if all(t in (bool, int) or issubclass(t, (np.integer, np.bool_)) for t in types):
        array = np.array(values)
        return array if array.dtype.kind in "biu" else values  # else they do not fit 64 bits
    if all(t is float or issubclass(t, np.floating) for t in types):
        return np.array(values)
    if types == {np.datetime64} and len({value.dtype for value in values}) == 1:
        return np.array(values)
    # NaT, times with a zone and times finer than a microsecond stay as they are.
    if all(issubclass(t, date) for t in types) and not any(
        value != value or getattr(value, "tzinfo", None) or getattr(value, "nanosecond", 0)
        for value in values
    ):
        unit = "us" if any(issubclass(t, datetime) for t in types) else "D"
        return np.array(values, dtype=f"datetime64[{unit}]")
    return values


def as_objects(values: Labels) -> list[Any]:
    """Return labels as Python objects, which hash alike whatever container they came from."""
    if isinstance(values, list):
        return values
    kind = values.dtype.kind
    if kind in "mM" and np.datetime_data(values.dtype)[0] != "D":
        # numpy gives date for days and datetime for microseconds, but int for nanoseconds.
        coarse = values.astype(f"{kind}8[us]")
        if not np.array_equal(coarse.astype(values.dtype), values):
            return list(values)
        values = coarse
    objects: list[Any] = values.tolist()
    return objects


def missing_rows(values: Labels) -> list[int]:
    """Return the rows whose labels are None, NaN, NA or NaT."""
    if isinstance(values, list):
        # By type first: nearly always no type is one that can be missing.
        suspects = {t for t in set(map(type, values)) if _may_be_missing(t)}
        if not suspects:
            return []
        return [
            row
            for row, value in enumerate(values)
            if type(value) in suspects and _is_missing(value)
        ]
    rows: list[int] = []
    if values.dtype.kind == "f":
        rows = np.flatnonzero(np.isnan(values)).tolist()
    elif values.dtype.kind in "mM":
        rows = np.flatnonzero(np.isnat(values)).tolist()
    return rows


def _is_missing(value: Any) -> bool:
    """Tell whether a label, or a part of it, is missing."""
    if isinstance(value, tuple):
        return any(_may_be_missing(type(part)) and _is_missing(part) for part in value)
    return _is_missing_type(type(value)) or bool(value != value)


def _is_missing_type(label_type: type) -> bool:
    # By name, since pandas is not imported here, and comparing its NA gives no truth value.
    return label_type.__name__ in ("NoneType", "NAType", "NaTType")


def _may_be_missing(label_type: type) -> bool:
    scalars = (numbers.Number, np.datetime64, np.timedelta64)
    is_scalar = issubclass(label_type, scalars) and not issubclass(label_type, int)
    return is_scalar or issubclass(label_type, tuple) or _is_missing_type(label_type)


def refuse_missing(rows: list[int], name: str) -> None:
    """Raise if there are rows without a label."""
    if rows:
        raise ValueError(
            f"{name} has {len(rows)} missing label{'s' * (len(rows) > 1)} (None, NaN, NA or NaT), "
            f"the first in row {rows[0]}; drop such rows or give them a label of their own."
        )


def kind_of(values: Labels) -> str | None:
    """Name the kind that all labels share, or return None if there is no one kind."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return _ARRAY_KINDS[values.dtype.kind]
    types = set(map(type, values))
    for kind, bases in _OBJECT_KINDS.items():
        if all(issubclass(t, bases) for t in types):
            return kind
    return None
