"""The protocol of the grouped regression benchmark: which rows a method sees, and its score.

Groups with at most k rows are dropped. Of the others, 30 % are held out (ids, in the order of the
table, permuted by ``default_rng(seed)``). Of each held-out group k random rows are support and the
rest are query. Columns and y are standardised with the training rows. The score is the root of
the mean over held-out groups of the group's mean squared query error, in units of the standard
deviation of y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skcml.datasets import load_grouped

TABLES = (
    "Wages",
    "egsingle",
    "Exam",
    "Hsb82",
    "sleepstudy",
    "Oxboys",
    "Orthodont",
    "Dialyzer",
    "Milk",
    "Gcsemv",
    "Males",
    "InstEval",
)
HELD_OUT = 0.3
COVERAGE = 0.9


@dataclass(frozen=True)
class Rows:
    """Rows of a table: X (n_rows, n_columns), y (n_rows,), groups (n_rows,) int, 0 upwards."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Rows:
        return Rows(self.X[rows], self.y[rows], self.groups[rows])


class Split(NamedTuple):
    """Training rows, and the support and query rows of the same held-out groups."""

    train: Rows
    support: Rows
    query: Rows


@dataclass(frozen=True)
class Prediction:
    """Predicted mean of each query row, and the ends of its 90 % interval, each (n_query,)."""

    mean: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None


class Score(NamedTuple):
    """Root mean squared query error and coverage of the 90 % interval (nan without intervals)."""

    rmse: float
    coverage: float


def split_table(name: str, seed: int) -> Split:
    """Load one of `TABLES` and split it.

    Examples
    --------
    >>> from benchmarks.grouped.protocol import split_table
    >>> train, support, query = split_table("sleepstudy", seed=0)
    >>> len(train.y), len(support.y), len(query.y)
    (130, 20, 30)
    """
    table = load_grouped(name, as_frame=False)
    return split(table.data, table.target, table.groups, table.n_shots, seed)


def split(X: np.ndarray, y: np.ndarray, groups: np.ndarray, n_shots: int, seed: int) -> Split:
    """Hold out groups, draw their support rows, and standardise with the training rows.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.grouped.protocol import split
    >>> X, y = np.arange(20.0).reshape(-1, 1), np.arange(20.0)
    >>> train, support, query = split(X, y, np.repeat(list("abcde"), 4), n_shots=1, seed=0)
    >>> len(train.y), len(support.y), len(query.y)
    (12, 2, 6)
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    large = sizes[groups] > n_shots
    X, y, groups = X[large], y[large], groups[large]

    # the order of the ids and of the draws is that of the reference figures: keep it
    rng = np.random.default_rng(seed)
    ids, first = np.unique(groups, return_index=True)
    held_out = rng.permutation(ids[np.argsort(first)])[: round(HELD_OUT * len(ids))]
    train = ~np.isin(groups, held_out)
    support, query = [], []
    for group in held_out:
        rows = np.flatnonzero(groups == group)
        support.append(rng.choice(rows, n_shots, replace=False))
        query.append(np.setdiff1d(rows, support[-1]))

    table = Rows(_standardise(X, train), _standardise(y, train), groups)
    return Split(table[train], table[np.concatenate(support)], table[np.concatenate(query)])


def score(query: Rows, prediction: Prediction) -> Score:
    """Score a prediction of the query rows; every held-out group has the same weight.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.grouped.protocol import Prediction, Rows, score
    >>> query = Rows(np.zeros((3, 1)), np.array([1.0, 1.0, 3.0]), np.array([0, 0, 1]))
    >>> score(query, Prediction(mean=np.zeros(3))).rmse  # doctest: +ELLIPSIS
    2.236...
    """
    rmse = np.sqrt(mean_of_groups((query.y - prediction.mean) ** 2, query.groups))
    if prediction.lower is None or prediction.upper is None:
        return Score(float(rmse), float("nan"))
    inside = (prediction.lower <= query.y) & (query.y <= prediction.upper)
    return Score(float(rmse), float(mean_of_groups(inside, query.groups)))


def _standardise(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centre and scale by the training rows; a column constant there is only centred."""
    scale = values[train].std(axis=0)
    return (values - values[train].mean(axis=0)) / np.where(scale > 0, scale, 1.0)


def mean_of_groups(values: np.ndarray, groups: np.ndarray) -> np.floating:
    """Mean over groups of the mean over a group's rows."""
    _, groups = np.unique(groups, return_inverse=True)
    return np.mean(np.bincount(groups, weights=values) / np.bincount(groups))
