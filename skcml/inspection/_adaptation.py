"""What is predicted along one feature, before and after a task's rows are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch, _safe_indexing

from skcml.estimators._inputs import Rows
from skcml.grouping import encode_groups
from skcml.inspection._along import Along
from skcml.inspection._learned import Learned, output_of, working_copy


def adapt_and_predict(
    learned: Learned,
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
    estimator = learned.estimator
    column, name = output_of(estimator, output, support.targets.n_outputs)
    codes, labels, chosen = _choose(support, tasks, n_tasks)
    at_query = np.full(0 if query is None else len(query.X), -1)
    if query is not None:
        at_query = _query_codes(query, codes, labels, support)
    of_row = np.concatenate([codes, at_query])
    x_support, x_query = np.split(along.x, [len(codes)])
    grid = along.grid(np.isin(of_row, chosen))
    adapted, prior = working_copy(estimator), working_copy(estimator)
    kept = np.flatnonzero(np.isin(codes, chosen))
    adapted.fit(**{key: _safe_indexing(part, kept) for key, part in user.items()})
    found = []
    for code in chosen:
        rows, others = along.rows(of_row == code, grid)
        rows = learned.rows(rows, "X_support")
        label = None if labels is None else labels[code]
        group = {"groups": _repeated(label, len(grid))} if "groups" in user else {}
        mean, low, high = _curve(adapted, rows, column, level, group)
        prior_mean, prior_low, prior_high = _curve(prior, rows, column, level, {})
        here, there = codes == code, at_query == code
        found.append(
            Bunch(
                label=label,
                grid=grid,
                others=others,
                prior=prior_mean,
                prior_low=prior_low,
                prior_high=prior_high,
                mean=mean,
                low=low,
                high=high,
                x_support=x_support[here],
                y_support=_drawn(support, column, here),
                x_query=x_query[there],
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
