"""Tasks on which all numbers of shots are compared: the same tasks, and the same query rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skcml.estimators._inputs import Rows
from skcml.grouping import encode_groups, rows_by_group
from skcml.model_selection._rows import Coded
from skcml.model_selection._tasks import Task, read_shots

# Those of them that leave most groups, or classes, a row to predict are the default.
SHOTS = (0, 1, 2, 3, 5, 10)
# Exchangeable classes in a task, if there are so many.
WAYS = 5
# Query rows of each exchangeable class at most.
MAX_QUERIES = 15


def shots_for(n_shots: Any, sizes: np.ndarray, least: int) -> np.ndarray:
    """Return the numbers of shots: those that were asked for, or those that most tasks can give.

    Parameters
    ----------
    n_shots : array-like of int, or None
    sizes : ndarray of shape (n_groups or n_classes,)
        Rows of each.
    least : {0, 1}
    """
    if n_shots is not None:
        return np.sort(read_shots(n_shots, least))
    affordable = [k for k in SHOTS if k >= least and 2 * (sizes > k).sum() >= len(sizes)]
    return np.array(affordable or [least])


def group_tasks(groups: Coded, kept: np.ndarray, n_shots: Any) -> tuple[list[Task], np.ndarray]:
    """Return the groups that have a row more than the most shots, and the numbers of shots."""
    codes, index = groups
    order, starts = rows_by_group(codes[kept], len(index))
    members = [kept[part] for part in np.split(order, starts[1:-1])]
    sizes = np.array([len(part) for part in members])
    shots = shots_for(n_shots, sizes, 0)
    usable = np.flatnonzero(sizes > shots[-1])
    if len(usable) < 2:
        raise ValueError(
            f"Of the {len(index)} groups, {len(usable)} have more than {shots[-1]} rows, the "
            "largest of n_shots; two are needed, since all points are on the same groups. The "
            f"largest group has {sizes.max()} rows: pass smaller n_shots, or more groups."
        )
    return [Task(index.labels[group], [members[group]], shots[-1]) for group in usable], shots


def class_tasks(
    rows: Rows,
    kept: np.ndarray,
    n_shots: Any,
    n_ways: int | None,
    n_tasks: int,
    rng: np.random.RandomState,
) -> tuple[list[Task], np.ndarray]:
    """Draw tasks of a few exchangeable classes, those of a task of one group."""
    n_rows = len(rows.X)
    codes = np.zeros(n_rows, dtype=np.intp)
    if rows.groups is not None:
        codes, _ = encode_groups(rows.groups, n_rows)
    labels = rows.targets.classes
    assert labels is not None
    pairs, of_row = np.unique((codes * len(labels) + rows.y[:, 0])[kept], return_inverse=True)
    order, starts = rows_by_group(of_row, len(pairs))
    members = [kept[part] for part in np.split(order, starts[1:-1])]
    sizes = np.array([len(part) for part in members])
    shots = shots_for(n_shots, sizes, 1)
    usable = np.flatnonzero(sizes > shots[-1])
    of_group = pairs[usable] // len(labels)
    pools = [usable[of_group == group] for group in np.unique(of_group)]
    most = max(map(len, pools), default=0)
    ways = min(WAYS, most) if n_ways is None else n_ways
    if most < max(ways, 2):
        raise ValueError(
            f"A task of n_ways={max(ways, 2)} classes needs as many"
            f"{' in one group' * (rows.groups is not None)} with more than {shots[-1]} rows, the "
            f"largest of n_shots; there are {most}. Pass fewer n_shots or n_ways, or more rows."
        )
    pools = [pool for pool in pools if len(pool) >= ways]
    tasks = []
    for _ in range(n_tasks):
        pool = pools[rng.randint(len(pools))]
        chosen = rng.choice(pool, ways, replace=False)
        names = tuple(labels[pairs[chosen] % len(labels)].tolist())
        tasks.append(Task(names, [members[place] for place in chosen], shots[-1]))
    return tasks, shots


def draws(
    task: Task, n_repeats: int, support: str, max_queries: int | None, rng: np.random.RandomState
) -> list[Task]:
    """Return a task several times, its rows in the order in which they are shown.

    Rows of few shots are among those of more; rows to predict are none of them, of each part
    ``max_queries`` at most.
    """

    def ordered(rows: np.ndarray) -> np.ndarray:
        return rows if support == "first" else rng.permutation(rows)

    end = None if max_queries is None else task.n_most + max_queries
    return [
        replace(task, parts=[ordered(part)[:end] for part in task.parts]) for _ in range(n_repeats)
    ]


def at_most(tasks: Sequence[Task], n_tasks: int, rng: np.random.RandomState) -> list[Task]:
    """Return all tasks, or as many of them as are wanted, in their order."""
    if len(tasks) <= n_tasks:
        return list(tasks)
    return [tasks[place] for place in np.sort(rng.choice(len(tasks), n_tasks, replace=False))]
