"""The groups of a table that has them in a column, beside groups that are passed."""

from __future__ import annotations

from typing import Any

import numpy as np

from skcml.grouping import encode_groups
from skcml.grouping._labels import missing_rows, read_labels, refuse_missing


def agreed_groups(groups: Any, column: Any, group_column: str | int, table: str) -> Any:
    """Return the labels of the group column, from which groups that are passed may not differ.

    Parameters
    ----------
    groups : array-like of shape (n_samples,) or None
        As passed.
    column : array-like of shape (n_samples,)
        From the table.
    group_column : str or int
        Name or position of the column.
    table : {"X", "X_val", "X_support", "X_query"}
        What errors call the table.
    """
    where = f"column {group_column!r} of {table}"
    if groups is None:
        # Later, errors are about groups, which nobody has passed.
        refuse_missing(missing_rows(read_labels(column, len(column), where)), where)
        return column
    name = "groups" if table == "X_support" else table.replace("X", "groups")
    codes, index = encode_groups(groups, len(column), name=name)
    column_codes, column_index = encode_groups(column, len(column), name=where)
    try:
        place = column_index.lookup(index.labels, len(index))
    except ValueError:  # labels of another kind
        place = np.full(len(index), -1)
    # The labels must be the same, not the partition alone: predict looks them up.
    differs = place[codes] != column_codes
    if differs.any():
        row = int(differs.argmax())
        raise ValueError(
            f"{name} and group_column={group_column!r} disagree: row {row} has "
            f"{shown(index.labels[codes[row]])} in {name} and "
            f"{shown(column_index.labels[column_codes[row]])} in that column of {table}. Leave "
            f"{name} out, or set group_column=None and leave the column out of {table}."
        )
    return column


def shown(label: Any) -> str:
    """Return a label as users know it, and not too long."""
    return str(label if isinstance(label, np.generic) else repr(label))[:60]
