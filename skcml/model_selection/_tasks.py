"""Held-out tasks: which rows are shown, and which are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.estimators._inputs import is_whole
from skcml.grouping import rows_by_group
from skcml.model_selection._rows import Coded


@dataclass(frozen=True)
class Task:
    """Rows of a task.

    Attributes
    ----------
    label : object
        What it is called.
    parts : sequence of ndarray of int
        Rows in the order in which they are shown: of the group, or of each of its classes.
    n_most : int
        Rows of each part that are shown at most; the others are asked.
    """

    label: Any
    parts: Sequence[np.ndarray]
    n_most: int

    def shown(self, n_shots: int) -> np.ndarray:
        """Return the rows to adapt to, in the order of the table."""
        return np.sort(np.concatenate([part[:n_shots] for part in self.parts]))

    @property
    def asked(self) -> np.ndarray:
        """Rows to predict, in the order of the table."""
        return np.sort(np.concatenate([part[self.n_most :] for part in self.parts]))


def read_shots(n_shots: Any, least: int = 0) -> list[int]:
    """Return distinct numbers of shots as a list, in their order."""
    shots = np.atleast_1d(np.asarray(n_shots, dtype=object)).tolist()
    if not shots or not all(is_whole(n, least) for n in shots) or len(set(shots)) < len(shots):
        raise ValueError(
            f"n_shots={n_shots!r} must hold distinct whole numbers of {least} or more, such as "
            f"({least}, {least + 1}, 5)."
        )
    return [int(n) for n in shots]


def labels_of(tasks: Sequence[Task]) -> np.ndarray:
    """Return what tasks are called, of shape (n_tasks,)."""
    labels = [task.label for task in tasks]
    if isinstance(labels[0], np.generic | int):
        return np.array(labels)
    return np.fromiter(labels, dtype=object, count=len(labels))  # np.array makes rows of tuples


class Draw:
    """Puts the rows of groups, or of classes, in the order in which they are shown.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        Group or class of each row.
    n_codes : int
    n_most : int
        Rows that are shown at most; one more is needed to predict.
    support : {"random", "first"}
    rng : numpy.random.RandomState
    """

    def __init__(
        self,
        codes: np.ndarray,
        n_codes: int,
        n_most: int,
        support: str,
        rng: np.random.RandomState,
    ) -> None:
        self.order, self.starts = rows_by_group(codes, n_codes)
        self.n_most = n_most
        self.support = support
        self.rng = rng

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each."""
        return np.diff(self.starts)

    @property
    def usable(self) -> np.ndarray:
        """Which have a row to predict beside those that are shown."""
        return np.flatnonzero(self.sizes > self.n_most)

    def rows(self, code: int) -> np.ndarray:
        """Return the rows of one in the order in which they are shown, drawn anew."""
        rows = self.order[self.starts[code] : self.starts[code + 1]]
        return self.rng.permutation(rows) if self.support == "random" else rows


def group_tasks(groups: Coded, n_most: int, support: str, rng: np.random.RandomState) -> list[Task]:
    """Return one task for each group that has a row to predict.

    Parameters
    ----------
    groups : (ndarray of shape (n_rows,), GroupIndex)
        Codes and labels.
    n_most : int
    support : {"random", "first"}
    rng : numpy.random.RandomState
    """
    codes, index = groups
    draw = Draw(codes, len(index), n_most, support, rng)
    if len(draw.usable) == 0:
        raise ValueError(
            f"None of the {len(index)} groups to score has a row to predict beside n_shots="
            f"{n_most} rows to adapt to: the largest has {draw.sizes.max(initial=0)} row(s). "
            "Lower n_shots, or pass larger groups."
        )
    return [Task(index.labels[code], [draw.rows(code)], n_most) for code in draw.usable]


def group_class_tasks(
    groups: Coded,
    classes: Coded,
    n_most: int,
    support: str,
    rng: np.random.RandomState,
) -> list[Task]:
    """Return one task for each group that has classes of its own, of two of them or more."""
    (codes, index), (labels, label_index) = groups, classes
    pairs, of_row = np.unique(codes * len(label_index) + labels, return_inverse=True)
    draw = Draw(of_row, len(pairs), n_most, support, rng)
    tasks, group = [], pairs[draw.usable] // len(label_index)
    for code in np.unique(group):
        own = draw.usable[group == code]
        if len(own) >= 2:
            tasks.append(Task(index.labels[code], [draw.rows(c) for c in own], n_most))
    if not tasks:
        raise ValueError(_too_few_classes(draw, f"of one of the {len(index)} groups "))
    return tasks


def class_tasks(
    classes: Coded,
    n_most: int,
    support: str,
    rng: np.random.RandomState,
    n_ways: int | None,
    n_episodes: int,
) -> list[Task]:
    """Return tasks to tell some classes of a pool apart, drawn anew for each.

    Parameters
    ----------
    classes : (ndarray of shape (n_rows,), GroupIndex)
        Codes and labels.
    n_most : int
    support : {"random", "first"}
    rng : numpy.random.RandomState
    n_ways : int or None
        Classes of a task, as far as there are; None takes all.
    n_episodes : int
        Tasks; one, where all of them would be the same.
    """
    codes, index = classes
    draw = Draw(codes, len(index), n_most, support, rng)
    usable = draw.usable
    if len(usable) < 2:
        raise ValueError(_too_few_classes(draw, ""))
    n_ways = len(usable) if n_ways is None else min(n_ways, len(usable))
    if support == "first" and n_ways == len(usable):
        n_episodes = 1
    tasks = []
    for episode in range(n_episodes):
        chosen = np.sort(rng.choice(usable, n_ways, replace=False))
        tasks.append(Task(episode, [draw.rows(code) for code in chosen], n_most))
    return tasks


def _too_few_classes(draw: Draw, where: str) -> str:
    return (
        f"A task needs two classes {where}with a row to predict beside n_shots={draw.n_most} rows "
        f"to learn from; of the {len(draw.sizes)} classes to score, {len(draw.usable)} have that "
        f"many, and the largest has {draw.sizes.max(initial=0)} row(s). Lower n_shots, or pass "
        "more rows of each class."
    )
