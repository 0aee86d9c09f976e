"""Errors from deep inside that name the argument, and the column that is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np


@contextmanager
def naming(name: str, values: Any = None, group_column: str | int | None = None) -> Iterator[None]:
    """Make errors from deep inside name the argument, and the column that is not numbers.

    Values are without the group column, whose place says where the others were.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        message = str(error)
        if found := re.match(rf"Input {name} contains (NaN|infinity)[^\n]*", message):
            column = _first_column(values, _is_not_finite, group_column)
            where = f" The first column that holds it is {column[0]!r}." if column else ""
            raise ValueError(found[0] + where + message[found.end() :]) from error
        if re.search(rf"\b{name}\b", message) and not isinstance(error, OverflowError):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        advice = _not_a_number(name, values, group_column)
        raise kind(f"{name}: {message}{advice}") from error


def _not_a_number(name: str, values: Any, group_column: str | int | None) -> str:
    """Say which column holds something other than numbers and what to do, if there is one."""
    table = np.asarray(values, dtype=object)
    if table.ndim == 1 and any(isinstance(value, str) for value in table):
        is_target = name in ("y", "y_val", "y_support", "y_query")
        return ". For labels of classes use CMLClassifier." if is_target else ""
    if found := _first_column(values, _is_no_number, group_column):
        return (
            f". Column {found[0]!r} of {name} holds {found[1]!r:.60}, which is not a number: "
            "encode it, leave it out, or name it as group_column if it holds the groups."
        )
    return ""


def _first_column(
    values: Any, is_bad: Callable[[Any], bool], group_column: str | int | None
) -> tuple[Any, Any] | None:
    """Return name (or place) of the first column that holds a bad value, and that value."""
    table = np.asarray(values, dtype=object)
    if table.ndim != 2:
        return None
    places = list(range(table.shape[1] + (group_column is not None)))
    if isinstance(group_column, Integral):
        places.pop(int(group_column))
    for number, column in enumerate(getattr(values, "columns", places[: table.shape[1]])):
        for value in table[:, number]:
            if is_bad(value):
                return column, value
    return None


def _is_no_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def _is_not_finite(value: Any) -> bool:
    return _is_no_number(value) or not math.isfinite(float(value))
