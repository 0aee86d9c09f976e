"""The column of a table that holds the group labels."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["pop_group_column"]


def pop_group_column(X: Any, group_column: str | int) -> tuple[Any, Any]:
    """Split a table into its features and its column of group labels.

    Parameters
    ----------
    X : pandas or polars DataFrame, ndarray, or list of rows, of shape (n_samples, n_columns)
        Left unchanged.
    group_column : str or int
        Name (data frames only) or position of the column; negative positions count from the end.

    Returns
    -------
    X_rest : of the type of X, of shape (n_samples, n_columns - 1)
        The other columns, in their order. Shares memory with `X` where that is possible.
    groups : Series, ndarray or list of shape (n_samples,)
        The labels, as `encode_groups` takes them.

    Raises
    ------
    ValueError
        If `X` has no such column, or is not a table.
    TypeError
        If `group_column` is neither a name nor a position, or `X` is sparse.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml.grouping import pop_group_column
    >>> X_rest, groups = pop_group_column(np.array([[0.5, 7.0], [1.5, 9.0]]), group_column=-1)
    >>> X_rest.ravel(), groups
    (array([0.5, 1.5]), array([7., 9.]))
    """
    if isinstance(group_column, bool) or not isinstance(group_column, (str, numbers.Integral)):
        raise TypeError(
            "group_column must be the name (str) or the position (int) of a column of X, "
            f"was {group_column!r} of type {type(group_column).__name__}."
        )
    if hasattr(X, "tocsr"):
        raise TypeError(
            f"X was a sparse {type(X).__name__}, which group_column cannot split; "
            "pass groups instead, or X.toarray()."
        )
    if hasattr(X, "iloc"):
        return _pop_from_pandas(X, group_column)
    if hasattr(X, "get_column"):
        column = X.columns[_position(X.columns, len(X.columns), group_column)]
        return X.drop(column), X.get_column(column)
    if isinstance(X, (list, tuple)):
        return _pop_from_rows(X, group_column)
    return _pop_from_array(np.asarray(X), group_column)


def _pop_from_pandas(X: Any, group_column: str | int) -> tuple[Any, Any]:
    if X.ndim != 2:
        raise ValueError(f"X must be a table with two dimensions, had shape {X.shape}.")
    columns = list(X.columns)
    position = _position(columns, len(columns), group_column)
    groups = X.iloc[:, position]
    if columns.count(columns[position]) == 1:  # drop shares memory; a list of positions copies
        return X.drop(columns=columns[position]), groups
    return X.iloc[:, [i for i in range(len(columns)) if i != position]], groups


def _pop_from_array(X: Any, group_column: str | int) -> tuple[Any, Any]:
    if X.ndim != 2:
        raise ValueError(f"X must be a table with two dimensions, had shape {X.shape}.")
    position = _position(None, X.shape[1], group_column)
    groups = X[:, position]
    if position == 0:  # The first and the last column are split off without a copy.
        return X[:, 1:], groups
    if position == X.shape[1] - 1:
        return X[:, :-1], groups
    return np.delete(X, position, axis=1), groups


def _pop_from_rows(X: Sequence[Any], group_column: str | int) -> tuple[list[Any], list[Any]]:
    # Row by row: as an array, the numbers beside a label that is text would become text.
    if not X or not all(isinstance(row, (list, tuple, np.ndarray)) for row in X):
        raise ValueError("X must be a table: a data frame, a 2-D array or a list of rows.")
    n_columns = len(X[0])
    for number, row in enumerate(X):
        if len(row) != n_columns:
            raise ValueError(
                f"X must have rows of one length, but row 0 has {n_columns} values "
                f"and row {number} has {len(row)}."
            )
    position = _position(None, n_columns, group_column)
    rest = [[*row[:position], *row[position + 1 :]] for row in X]
    return rest, [row[position] for row in X]


def _position(columns: list[Any] | None, n_columns: int, group_column: str | int) -> int:
    """Return the position of a column as a non-negative integer."""
    allowed = f"an integer from {-n_columns} to {n_columns - 1}"
    shown = ""
    if columns is not None:
        shown = f" ({', '.join(map(repr, columns[:10]))}{', ...' if n_columns > 10 else ''})"
    if not isinstance(group_column, str):
        if -n_columns <= group_column < n_columns:
            return int(group_column) % n_columns
        raise ValueError(
            f"group_column={group_column} is not a position in X, which has {n_columns} "
            f"columns{shown}; pass {allowed}."
        )
    if columns is None:
        raise ValueError(
            f"group_column={group_column!r} is a name, but X has no column names; "
            f"pass X as a data frame, or the position of the column, {allowed}. Transformers keep "
            "names after set_output(transform='pandas')."
        )
    if group_column not in columns:
        raise ValueError(
            f"group_column={group_column!r} is not one of the {n_columns} columns of X{shown}; "
            "pass the name or the position of one of them."
        )
    if columns.count(group_column) > 1:
        raise ValueError(
            f"group_column={group_column!r} names {columns.count(group_column)} columns of "
            f"X{shown}; pass the position of one of them, {allowed}."
        )
    return columns.index(group_column)
