"""Rows that differ in one column alone, in the form in which a user's rows came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from skcml.estimators._inputs import is_whole
from skcml.grouping._labels import kind_of, missing_rows, read_labels
from skcml.inspection._learned import Learned

# Points of a curve.
N_POINTS = 101
# A column that holds no more values than this is a category; its mean would be none of them.
FEW_VALUES = 2


class Column(NamedTuple):
    """A column of a user's rows.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
        Numbers in float64; of all else the text, by which values are told apart.
    is_known : ndarray of shape (n_rows,), bool
        Which are neither missing nor infinite.
    """

    values: np.ndarray
    is_known: np.ndarray

    @property
    def is_of_numbers(self) -> bool:
        """Whether there is a mean."""
        return self.values.dtype.kind == "f"

    def usual(self, of_task: np.ndarray) -> float | int:
        """Return what stands for a task: the mean, or a row that holds the most frequent value.

        Parameters
        ----------
        of_task : ndarray of shape (n_rows,), bool

        Returns
        -------
        float or int
            The mean of numbers, unless the column holds few values or the task a single one.
        """
        here = np.flatnonzero(of_task & self.is_known)
        if not len(here):
            return int(of_task.argmax())
        known, shown = self.values[self.is_known], self.values[here]
        values, first, counts = np.unique(shown, return_index=True, return_counts=True)
        if self.is_of_numbers and len(values) > 1 and len(np.unique(known)) > FEW_VALUES:
            return float(shown.mean())
        return int(here[first[counts.argmax()]])


class Along:
    """A user's rows, and rows made of them that differ in one feature alone.

    Parameters
    ----------
    learned : Learned
    X_support : array-like or frame of shape (n_samples, n_columns)
        Rows to adapt to, as a user passed them.
    X_query : array-like or frame of shape (n_queries, n_columns) or None
        Rows to compare with.
    feature : str, int or None
        Name or place among the features, which are all columns but that of the groups; None is the
        only one.

    Attributes
    ----------
    name : str
        Of the feature.
    x : ndarray of shape (n_samples + n_queries,)
        Its values, nan where they are missing.
    """

    def __init__(self, learned: Learned, X_support: Any, X_query: Any, feature: Any) -> None:
        self.tables = [_as_table(X_support, "X_support")]
        if X_query is not None:
            self.tables.append(_in_order(_as_table(X_query, "X_query"), self.tables[0]))
        self.features, names = _features(learned, self.tables[0])
        chosen = _place_of_feature(feature, names)
        self.name, self.place = names[chosen], self.features[chosen]
        self.columns = [
            _read([_safe_indexing(table, place, axis=1) for table in self.tables])
            for place in range(self.tables[0].shape[1])
        ]
        column = self.columns[self.place]
        if not column.is_of_numbers:
            value = column.values[column.is_known.argmax()].item()
            raise ValueError(
                f"feature={self.name!r} is a column of values such as {value!r:.60}; name one of "
                "numbers, to draw along."
            )
        self.x = np.where(column.is_known, column.values, np.nan)

    def grid(self, shown: np.ndarray) -> np.ndarray:
        """Return values of the feature from the least to the largest of the rows that are shown."""
        x = self.x[shown & ~np.isnan(self.x)]
        if not len(x):
            raise ValueError(
                f"feature={self.name!r} holds no number in the rows of the groups to draw: name "
                "another feature, or other groups as tasks."
            )
        return np.linspace(x.min(), x.max(), N_POINTS)

    def rows(self, of_task: np.ndarray, grid: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return a row for each point of the grid, and where the features are held.

        Parameters
        ----------
        of_task : ndarray of shape (n_samples + n_queries,), bool
            Rows of a task, one of X_support among them.
        grid : ndarray of shape (n_points,)
        """
        usual = [column.usual(of_task) for column in self.columns]
        columns = [self._repeated(place, value, len(grid)) for place, value in enumerate(usual)]
        columns[self.place] = grid
        held = [
            value if isinstance(value, float) else self.columns[place].values[value].item()
            for place, value in enumerate(usual)
        ]
        others = np.array([held[place] for place in self.features], dtype=object)
        if all(self.columns[place].is_of_numbers for place in self.features):
            others = others.astype(float)
        return _like(self.tables[0], columns), others

    def _repeated(self, place: int, value: float | int, n: int) -> Any:
        """Return a number, or what a row holds in the type of its column, many times."""
        if isinstance(value, float):
            return np.full(n, value)
        in_query = value - len(self.tables[0])
        table, row = (self.tables[0], value) if in_query < 0 else (self.tables[1], in_query)
        return _safe_indexing(_safe_indexing(table, place, axis=1), np.full(n, row))


def _as_table(X: Any, name: str) -> Any:
    """Return a frame of pandas or polars, or an array."""
    if hasattr(X, "tocsr"):
        raise TypeError(
            f"{name} is sparse, and AdaptationDisplay draws along a column of a table: pass "
            f"{name}.toarray()."
        )
    if hasattr(X, "isetitem") or hasattr(X, "replace_column"):
        return X
    table = np.asarray(X)
    if table.dtype.kind not in "biuf":
        table = np.asarray(X, dtype=object)  # else the numbers of a list become text
    if table.ndim != 2:
        raise ValueError(
            f"{name} has {table.ndim} dimension(s); AdaptationDisplay draws along one column of a "
            "table, which has two."
        )
    return table


def _in_order(query: Any, support: Any) -> Any:
    """Return the query rows with the columns that the support rows have, in their order."""
    if hasattr(query, "columns") and hasattr(support, "columns"):
        wanted = list(support.columns)
        if lacking := [name for name in wanted if name not in query.columns]:
            raise ValueError(
                f"X_query lacks {lacking} of the columns of X_support: pass the same columns."
            )
        return query if wanted == list(query.columns) else query[wanted]
    if query.shape[1] != support.shape[1]:
        raise ValueError(
            f"X_query has {query.shape[1]} columns, and X_support {support.shape[1]}: pass the "
            "same columns."
        )
    return query


def _features(learned: Learned, table: Any) -> tuple[list[int], list[str]]:
    """Return places and names of all columns but that of the groups.

    Where transformers have made the columns, one that is known by its place is not known here; it
    is the same in all rows of a group, and stays as it is.
    """
    names, groups = list(getattr(table, "columns", [])), learned.estimator.group_column
    places = list(range(table.shape[1]))
    if isinstance(groups, str) and groups in names:
        places.remove(names.index(groups))
    elif groups is not None and not learned.steps:
        places.pop(int(groups))
    names = [names[place] for place in places] if names else []
    if not names or not all(isinstance(name, str) for name in names):
        names = [f"x{place}" for place in range(len(places))]
    return places, names


def _place_of_feature(feature: Any, names: Sequence[str]) -> int:
    shown = ", ".join(map(repr, names[:10])) + ", ..." * (len(names) > 10)
    if feature is None and len(names) == 1:
        return 0
    if isinstance(feature, str) and feature in names:
        return list(names).index(feature)
    if is_whole(feature) and feature < len(names):
        return int(feature)
    raise ValueError(
        f"feature={feature!r} is not one of the {len(names)} features: pass the name or the place "
        f"of one of {shown}."
    )


def _read(parts: Sequence[Any]) -> Column:
    """Return a column of one table or two."""
    is_category = any(hasattr(getattr(part, "dtype", None), "categories") for part in parts)
    labels = [read_labels(part, len(part), "X") for part in parts]
    is_plain = all(isinstance(part, np.ndarray) and part.dtype.kind in "biuf" for part in labels)
    if is_plain and not is_category:
        return _of_numbers(np.concatenate(labels))
    cells = [cell for part in labels for cell in list(part)]
    values = np.fromiter(cells, dtype=object, count=len(cells))
    is_known = np.ones(len(cells), dtype=bool)
    is_known[missing_rows(cells)] = False
    if is_category or kind_of(values[is_known].tolist()) != "numbers":
        return Column(np.array([*map(str, cells)]), is_known)
    values[~is_known] = np.nan
    return _of_numbers(values)


def _of_numbers(values: np.ndarray) -> Column:
    numbers = values.astype(float)
    return Column(numbers, np.isfinite(numbers))


def _like(table: Any, columns: Sequence[Any]) -> Any:
    """Return a table of columns, of the form of another."""
    n = len(columns[0])
    if isinstance(table, np.ndarray):
        rows = np.empty((n, len(columns)), dtype=object if table.dtype == object else float)
        for place, column in enumerate(columns):
            rows[:, place] = column
        return rows
    rows = _safe_indexing(table, np.zeros(n, dtype=int))
    if hasattr(rows, "isetitem"):
        rows = rows.reset_index(drop=True)
        for place, column in enumerate(columns):
            rows.isetitem(place, getattr(column, "array", column))
        return rows
    for place, column in enumerate(columns):
        series = rows.to_series(place)
        rows.replace_column(place, type(series)(series.name, column))
    return rows
