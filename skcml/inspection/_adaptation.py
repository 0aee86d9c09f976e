"""What is predicted along one feature, before and after a task's rows are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch, _safe_indexing

from skcml.estimators._inputs import Rows, is_whole
from skcml.grouping import encode_groups
from skcml.inspection._learned import output_of, working_copy

# Points of a curve.
N_POINTS = 101
# A column that holds no more values than this is a category; its mean would be none of them.
FEW_VALUES = 2


class Along:
    """Rows that differ in one feature alone, in the form in which the user's rows came.

    Parameters
    ----------
    estimator : estimator
        After `meta_fit`.
    X : array-like or frame of shape (n_samples, n_columns)
        The user's rows.
    feature : str, int or None
        Name or place among the features; None is the only one.
    """

    def __init__(self, estimator: Any, X: Any, feature: Any) -> None:
        self.names = estimator._feature_names()
        self.feature = _place_of_feature(feature, self.names)
        self.columns = list(X.columns) if hasattr(X, "columns") else None
        self.make = type(X) if self.columns is not None else None
        self.n_columns = estimator.n_features_in_
        self.group_place = self._place(estimator.group_column)

    def _place(self, group_column: Any) -> int | None:
        if isinstance(group_column, str):
            assert self.columns is not None
            return self.columns.index(group_column)
        return None if group_column is None else int(group_column) % self.n_columns

    def rows(self, others: np.ndarray, grid: np.ndarray, label: Any) -> Any:
        """Return a row for each point of the grid.

        Parameters
        ----------
        others : ndarray of shape (n_features,)
            Values of the other features.
        grid : ndarray of shape (n_points,)
        label : object
            The group, where X has a column of groups.
        """
        values = np.tile(others, (len(grid), 1))
        values[:, self.feature] = grid
        columns = list(values.T)
        if self.group_place is not None:
            columns.insert(self.group_place, [label] * len(grid))
        if self.make is not None and self.columns is not None:
            return self.make(dict(zip(self.columns, columns, strict=True)))
        if self.group_place is None:
            return values
        table = np.empty((len(grid), self.n_columns), dtype=object)
        for place, column in enumerate(columns):
            table[:, place] = column
        return table


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


def usual_values(X: np.ndarray, of_task: np.ndarray) -> np.ndarray:
    """Return the value of each feature at which the others are held.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Rows of all tasks.
    of_task : ndarray of shape (n_rows,), bool
        Those of one.

    Returns
    -------
    ndarray of shape (n_features,)
        The task's mean, or its most frequent value where a column holds two values at most.
    """
    usual = X[of_task].mean(axis=0)
    for place, column in enumerate(X.T):
        if len(np.unique(column)) <= FEW_VALUES:
            values, counts = np.unique(column[of_task], return_counts=True)
            usual[place] = values[counts.argmax()]
    return usual


def adapt_and_predict(
    estimator: Any,
    along: Along,
    support: Rows,
    query: Rows | None,
    user: dict[str, Any],
    tasks: Sequence[Any] | None,
    n_tasks: int,
    output: Any,
    level: float,
) -> list[Bunch]:
    """Return what is drawn of each task; see `AdaptationDisplay`."""
    column, name = output_of(estimator, output, support.targets.n_outputs)
    codes, labels, chosen = _choose(support, tasks, n_tasks)
    at_query = np.full(0 if query is None else len(query.X), -1)
    if query is not None:
        at_query = _query_codes(query, codes, labels, support)
    everything = support.X if query is None else np.concatenate([support.X, query.X])
    of_row = np.concatenate([codes, at_query])
    shown = np.isin(of_row, chosen)
    values = everything[shown, along.feature]
    grid = np.linspace(values.min(), values.max(), N_POINTS)
    adapted, prior = working_copy(estimator), working_copy(estimator)
    kept = np.flatnonzero(np.isin(codes, chosen))
    adapted.fit(**{key: _safe_indexing(part, kept) for key, part in user.items()})
    found = []
    for code in chosen:
        usual = usual_values(everything, of_row == code)
        label = None if labels is None else labels[code]
        rows = along.rows(usual, grid, label)
        group = {"groups": _repeated(label, len(grid))} if "groups" in user else {}
        mean, low, high = _curve(adapted, rows, column, level, group)
        prior_mean, prior_low, prior_high = _curve(prior, rows, column, level, {})
        here, there = codes == code, at_query == code
        found.append(
            Bunch(
                label=label,
                grid=grid,
                others=usual,
                prior=prior_mean,
                prior_low=prior_low,
                prior_high=prior_high,
                mean=mean,
                low=low,
                high=high,
                x_support=support.X[here, along.feature],
                y_support=_drawn(support, column, here),
                x_query=np.empty(0) if query is None else query.X[there, along.feature],
                y_query=np.empty(0) if query is None else _drawn(query, column, there),
                output=name,
            )
        )
    return found


def _choose(
    support: Rows, tasks: Sequence[Any] | None, n_tasks: int
) -> tuple[np.ndarray, Any, np.ndarray]:
    """Return the task of each row, the labels, and the tasks to show."""
    if support.groups is None:
        if tasks is not None:
            raise ValueError(
                "tasks were named, but no groups were passed: pass groups=, or leave tasks out."
            )
        return np.zeros(len(support.X), dtype=int), None, np.array([0])
    codes, index = encode_groups(support.groups, len(support.X))
    if tasks is None:
        _, first = np.unique(codes, return_index=True)
        return codes, index.labels, codes[np.sort(first)][:n_tasks]
    wanted = [tasks] if isinstance(tasks, str) or not hasattr(tasks, "__len__") else list(tasks)
    chosen = index.lookup(wanted, len(wanted), name="tasks")
    if not len(chosen) or (chosen < 0).any():
        unknown = wanted[int((chosen < 0).argmax())] if len(chosen) else wanted
        raise ValueError(
            f"tasks holds {unknown!r}, which is no group of the support rows: pass labels that "
            "groups holds."
        )
    return codes, index.labels, chosen


def _query_codes(query: Rows, codes: np.ndarray, labels: Any, support: Rows) -> np.ndarray:
    """Return the task of each query row; -1 for groups without a support row."""
    if labels is None:
        return np.zeros(len(query.X), dtype=int)
    if query.groups is None:
        raise ValueError(
            "X_query was passed without groups_query: pass the group of each query row."
        )
    _, index = encode_groups(support.groups, len(codes))
    return index.lookup(query.groups, len(query.X), name="groups_query")


def _repeated(label: Any, n: int) -> Any:
    """Return one label many times; a tuple stays a label."""
    repeated = np.empty(n, dtype=object)
    repeated[:] = [label] * n
    return list(repeated)


def _curve(
    estimator: Any, rows: Any, column: int, level: float, group: dict[str, Any]
) -> tuple[np.ndarray, Any, Any]:
    """Return the prediction of rows and, of numbers and counts, an interval."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(rows, **group)[:, column], None, None
    mean = estimator.predict(rows, **group)
    q = [0.5 - level / 2, 0.5 + level / 2]
    quantiles = estimator.predict_quantiles(rows, q, **group)
    if mean.ndim == 2:
        mean, quantiles = mean[:, column], quantiles[:, column]
    return mean, quantiles[:, 0], quantiles[:, 1]


def _drawn(rows: Rows, column: int, which: np.ndarray) -> np.ndarray:
    """Return y of some rows: numbers, or whether it is the class."""
    if rows.targets.classes is not None:
        return (rows.y[which, 0] == column).astype(float)
    return rows.y[which, column]
