"""Group labels as integer codes.

Everything above this package works with codes ``0 .. n_groups - 1``; the labels that a user wrote
(patient numbers, shop names, dates, tuples) stop here. Neither pandas nor polars is imported.
"""

from __future__ import annotations

from skcml.grouping._columns import pop_group_column
from skcml.grouping._index import GroupIndex, encode_groups, rows_by_group

__all__ = ["GroupIndex", "encode_groups", "pop_group_column", "rows_by_group"]
