"""Encoding labels, looking them up, and sorting rows by group.

Two labels are the same group if Python says that they are equal: 1, 1.0 and numpy's 1 are one
label, and so are a date and its midnight. Numbers and dates are kept as sorted arrays, so that
encoding is a sort and looking up is a binary search; all else goes through a dict.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from skcml.grouping._labels import (
    Labels,
    as_objects,
    as_typed_array,
    kind_of,
    missing_rows,
    read_labels,
    refuse_missing,
)

__all__ = ["GroupIndex", "encode_groups", "rows_by_group"]

Codes = npt.NDArray[np.intp]


def encode_groups(groups: Any, n_samples: int, *, name: str = "groups") -> tuple[Codes, GroupIndex]:
    """Turn one label per row into one integer code per row.

    Parameters
    ----------
    groups : array-like of shape (n_samples,)
        Labels of any hashable kind, mixed if need be: a list, a numpy array, or a pandas or polars
        Series. A list of tuples is a list of labels.
    n_samples : int
        Number of rows that `groups` must have.
    name : str, default="groups"
        What error messages call `groups`.

    Returns
    -------
    codes : ndarray of shape (n_samples,), dtype intp
        ``index.labels[codes[i]]`` is the label of row ``i``.
    index : GroupIndex
        The labels in the order of their codes: sorted where they can be compared, so that codes do
        not depend on the order of the rows, and in order of first appearance otherwise.

    Raises
    ------
    ValueError
        If `groups` has another length, more than one dimension, or missing labels.
    TypeError
        If `groups` is not array-like, or a label is not hashable.

    Examples
    --------
    >>> from skcml.grouping import encode_groups
    >>> codes, index = encode_groups(["ward b", "ward a", "ward b"], n_samples=3)
    >>> codes
    array([1, 0, 1])
    >>> index.labels
    array(['ward a', 'ward b'], dtype=object)
    """
    values = read_labels(groups, n_samples, name)
    if isinstance(values, list):
        values = as_typed_array(values)
    if isinstance(values, list):
        return _encode_objects(values, name)
    refuse_missing(missing_rows(values), name)
    labels, codes = np.unique(values, return_inverse=True)
    return codes, GroupIndex(labels)


class GroupIndex:
    """The known group labels, in the order of their codes.

    Nothing changes after construction, so one index may serve several threads.

    Parameters
    ----------
    labels : ndarray of shape (n_groups,)
        Distinct labels; in ascending order, unless of dtype object.

    Attributes
    ----------
    labels : ndarray of shape (n_groups,)
        As given. From `encode_groups`, numbers and dates have a dtype of their own, all else has
        dtype object.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml.grouping import GroupIndex
    >>> index = GroupIndex(np.array([3, 5, 8]))
    >>> len(index)
    3
    >>> index.lookup([5.0, 4, 3], n_samples=3)
    array([ 1, -1,  0])
    """

    __slots__ = ("_code_of", "labels")

    def __init__(self, labels: npt.NDArray[Any]) -> None:
        self.labels = labels
        self._code_of = _code_of(labels) if labels.dtype == object else None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"GroupIndex(n_groups={len(self)})"

    def __getstate__(self) -> dict[str, Any]:
        # Without the dict: it can be rebuilt, and hashes of strings differ between processes.
        return {"labels": self.labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.labels = state["labels"]
        self._code_of = _code_of(self.labels) if self.labels.dtype == object else None

    def lookup(self, groups: Any, n_samples: int, *, name: str = "groups") -> Codes:
        """Return the code of each row's label, and -1 for labels never seen.

        Parameters
        ----------
        groups : array-like of shape (n_samples,)
            Labels, in any container that `encode_groups` takes.
        n_samples : int
            Number of rows that `groups` must have.
        name : str, default="groups"
            What error messages call `groups`.

        Returns
        -------
        codes : ndarray of shape (n_samples,), dtype intp
            Codes in ``range(len(self))``, or -1.

        Raises
        ------
        ValueError
            If `groups` has another length, more than one dimension or missing labels, or if its
            labels are of another kind than the known ones (all numbers against all strings, say).
        TypeError
            If `groups` is not array-like, or a label is not hashable.

        Examples
        --------
        >>> from skcml.grouping import encode_groups
        >>> _, index = encode_groups(["b", "a"], n_samples=2)
        >>> index.lookup(["b", "c"], n_samples=2)
        array([ 1, -1])
        """
        values = read_labels(groups, n_samples, name)
        if isinstance(values, list) and self._code_of is None:
            values = as_typed_array(values)
        codes = None
        if isinstance(values, np.ndarray):
            refuse_missing(missing_rows(values), name)
            codes = _search(self.labels, values)
        if codes is None:
            codes = self._look_up_objects(as_objects(values), name)
        if codes.size and codes.max() < 0:
            self._refuse_other_kind(values, name)
        return codes

    def joined_by(self, labels: npt.NDArray[Any]) -> tuple[GroupIndex, Codes]:
        """Return the index of these labels and of more, and the new codes of these.

        Parameters
        ----------
        labels : ndarray of shape (n_more,)
            From another index.

        Returns
        -------
        index : GroupIndex
            As if all had been encoded at once.
        codes : ndarray of shape (n_groups,), dtype intp
            The code of label ``i`` of this index in the other.

        Examples
        --------
        >>> import numpy as np
        >>> from skcml.grouping import GroupIndex
        >>> index, codes = GroupIndex(np.array([3, 8])).joined_by(np.array([5]))
        >>> index.labels, codes
        (array([3, 5, 8]), array([0, 2]))
        """
        both: Labels
        if self.labels.dtype == labels.dtype:
            both = np.concatenate([self.labels, labels])
        else:  # numpy would turn large integers into floats
            both = [*as_objects(self.labels), *as_objects(labels)]
        codes, index = encode_groups(both, len(both))
        return index, codes[: len(self)]

    def _look_up_objects(self, values: list[Any], name: str) -> Codes:
        code_of = _code_of(self.labels) if self._code_of is None else self._code_of
        try:
            codes = np.fromiter(map(code_of.get, values, repeat(-1)), np.intp, len(values))
        except TypeError:
            _refuse_unhashable(values, name)
            raise
        if codes.size and codes.min() < 0:  # a missing label is never a known one
            refuse_missing(missing_rows(values), name)
        return codes

    def _refuse_other_kind(self, values: Labels, name: str) -> None:
        # Not one label is known: groups may all be new, but not if they cannot be equal to any.
        given, known = kind_of(values), kind_of(self.labels)
        if given and known and given != known:
            raise ValueError(
                f"{name} are {given} here, while the labels known from fit are {known}; "
                "convert one of them."
            )


def rows_by_group(codes: Codes, n_groups: int) -> tuple[Codes, Codes]:
    """Sort rows by group, keeping the order of the rows within a group.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Group of each row, in ``range(n_groups)``.
    n_groups : int
        Number of groups, empty ones included.

    Returns
    -------
    order : ndarray of shape (n_samples,), dtype intp
        Row numbers, group after group.
    starts : ndarray of shape (n_groups + 1,), dtype intp
        The rows of group ``g`` are ``order[starts[g]:starts[g + 1]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml.grouping import rows_by_group
    >>> order, starts = rows_by_group(np.array([1, 0, 1, 1]), n_groups=2)
    >>> order[starts[1]:starts[2]]
    array([0, 2, 3])
    """
    starts = np.zeros(n_groups + 1, dtype=np.intp)
    np.cumsum(np.bincount(codes, minlength=n_groups), out=starts[1:])
    # numpy sorts 16-bit integers by radix, several times faster than it merges wider ones; two
    # such passes, low digits first, sort 32 bits.
    order = np.argsort((codes & 0xFFFF).astype(np.uint16), kind="stable")
    if n_groups > 1 << 16:
        high = (codes >> 16).astype(np.uint16)
        order = order[np.argsort(high[order], kind="stable")]
    return order, starts


def _encode_objects(values: list[Any], name: str) -> tuple[Codes, GroupIndex]:
    """Encode by hashing; in ascending order if the labels can be compared."""
    try:
        known = list(dict.fromkeys(values))
    except TypeError:
        _refuse_unhashable(values, name)
        raise
    if missing_rows(known):
        refuse_missing(missing_rows(values), name)
    with suppress(TypeError):  # what cannot be compared stays in the order of first appearance
        known = sorted(known)
    # fromiter, since np.array would make a matrix of tuples.
    index = GroupIndex(np.fromiter(known, dtype=object, count=len(known)))
    return index.lookup(values, len(values), name=name), index


def _code_of(labels: npt.NDArray[Any]) -> dict[Any, int]:
    return dict(zip(as_objects(labels), range(len(labels)), strict=True))


def _refuse_unhashable(values: list[Any], name: str) -> None:
    for row, value in enumerate(values):
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{name} has a label that cannot be hashed in row {row}: "
                f"{value!r:.60} of type {type(value).__name__}; "
                "use numbers, strings, dates or tuples."
            ) from None


def _search(labels: npt.NDArray[Any], values: npt.NDArray[Any]) -> Codes | None:
    """Look up by binary search; return None where only Python's own equality is exact."""
    exact: npt.NDArray[np.bool_] | bool = True
    kinds = values.dtype.kind + labels.dtype.kind
    if kinds in ("MM", "mm"):
        # Not by promotion to the finer unit: far dates would wrap around in nanoseconds.
        recast = values.astype(labels.dtype)
        exact, values = recast.astype(values.dtype) == values, recast
    elif "O" in kinds or "M" in kinds or "m" in kinds:
        return None
    else:
        common = np.result_type(values, labels)
        if common.kind == "f" and not (_fits_float64(values) and _fits_float64(labels)):
            return None
        values, labels = values.astype(common, copy=False), labels.astype(common, copy=False)
    if not len(labels):
        return np.full(len(values), -1, dtype=np.intp)
    codes = np.minimum(np.searchsorted(labels, values), len(labels) - 1)
    return np.where((labels[codes] == values) & exact, codes, -1)


def _fits_float64(values: npt.NDArray[Any]) -> bool:
    """Whether float64 holds these numbers exactly."""
    if values.dtype.kind not in "iu" or not len(values):
        return True
    return bool(values.max() <= 2**53 and values.min() >= -(2**53))
