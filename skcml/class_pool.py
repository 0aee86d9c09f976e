"""Classes, and the few-shot tasks drawn from them.

Where classes are exchangeable, a *task* is to tell a few classes apart from a few rows of each
("n ways, k shots"). A pool holds the rows of many classes, and an episode draws tasks from it: the
classes of a task, then rows of each class to learn from and others to be judged on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcml.episodes import Episode
from skcml.grouping import rows_by_group

# An episode's size is given in tasks of so many classes.
USUAL_WAYS = 5


@dataclass(frozen=True)
class ClassPool:
    """The rows of many classes, sorted by class.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
    starts : ndarray of shape (n_classes + 1,)
        The rows of class c are ``starts[c]:starts[c + 1]``, in the order in which they came.
    group : ndarray of shape (n_classes,), int
        Only classes of one group meet in a task.
    """

    X: np.ndarray
    weight: np.ndarray
    starts: np.ndarray
    group: np.ndarray

    @classmethod
    def from_codes(
        cls,
        X: np.ndarray,
        weight: np.ndarray,
        codes: np.ndarray,
        n_classes: int,
        group: np.ndarray | None = None,
    ) -> ClassPool:
        """Sort rows by the code of their class, keeping their order within a class."""
        order, starts = rows_by_group(codes, n_classes)
        group = np.zeros(n_classes, dtype=np.intp) if group is None else np.asarray(group)
        return cls(X[order], weight[order], starts, group)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each class, of shape (n_classes,)."""
        return np.diff(self.starts)

    @property
    def codes(self) -> np.ndarray:
        """Class of each row, of shape (n_rows,)."""
        return np.repeat(np.arange(self.n_classes), self.sizes)

    def subset(self, classes: np.ndarray) -> ClassPool:
        """Return the given classes, in the given order."""
        sizes = self.sizes[classes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[classes] - starts[:-1], sizes)
        return ClassPool(self.X[rows], self.weight[rows], starts, self.group[classes])

    def usable(self) -> list[np.ndarray]:
        """Return the classes of each group that can be learned from, where there are two or more.

        A class needs a row to learn from and one to be judged on.
        """
        many = np.flatnonzero(self.sizes >= 2)
        by_group = [many[self.group[many] == g] for g in np.unique(self.group[many])]
        return [classes for classes in by_group if len(classes) >= 2]


class ClassEpisodeSampler:
    """Draws episodes of few-shot tasks from a pool of classes.

    All tasks of an episode have the same number of classes and of shots. A class gives at most all
    its rows but one as support.

    Parameters
    ----------
    pool : ClassPool
        At least one group with two classes of two rows or more; other classes are never drawn.
    n_ways : tuple of int
        Numbers of classes to draw from. Where no group has as many, the largest group decides.
    n_shots : tuple of int
        Numbers of support rows per class to draw from.
    n_queries : int
        Query rows per class.
    support : {"random", "first"}
        "first" takes a class's first rows as support and the rows right after them as query.
    batch_size : int
        Tasks of five classes in an episode; of larger tasks there are fewer.
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        pool: ClassPool,
        *,
        n_ways: tuple[int, ...],
        n_shots: tuple[int, ...],
        n_queries: int,
        support: str,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        self.pool = pool
        self.n_ways = n_ways
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.support = support
        self.batch_size = batch_size
        self.rng = rng
        self._groups = pool.usable()
        self._largest = max(len(classes) for classes in self._groups)

    @property
    def ways(self) -> list[int]:
        """The numbers of classes that tasks come in, each once."""
        return sorted({min(n, self._largest) for n in self.n_ways})

    def draw(self) -> Episode:
        """Draw the next episode, of one of the numbers of ways and of shots."""
        n_ways = self.n_ways[self.rng.integers(len(self.n_ways))]
        n_shots = self.n_shots[self.rng.integers(len(self.n_shots))]
        return self.draw_of(n_ways, n_shots)

    def draw_of(self, n_ways: int, n_shots: int) -> Episode:
        """Draw an episode of given ways, capped by the pool, and shots."""
        return self.split(self.choose(n_ways), n_shots)

    def choose(self, n_ways: int) -> np.ndarray:
        """Draw the classes of each task, (n_tasks, n_ways); the ways are capped by the pool."""
        n_ways = min(n_ways, self._largest)
        n_tasks = max(1, round(self.batch_size * USUAL_WAYS / n_ways))
        groups = [classes for classes in self._groups if len(classes) >= n_ways]
        of_task = self.rng.integers(len(groups), size=n_tasks)
        return np.stack([self.rng.choice(groups[g], n_ways, replace=False) for g in of_task])

    def split(self, classes: np.ndarray, n_shots: int) -> Episode:
        """Split the classes of each task, (n_tasks, n_ways), into support and query rows."""
        flat = classes.reshape(-1)
        sizes = self.pool.sizes[flat]
        n_support = np.minimum(n_shots, sizes - 1)
        n_query = np.minimum(self.n_queries, sizes - n_support)
        if self.support == "random":
            order = _some_of(sizes, n_support + n_query, self.rng)
        else:
            longest = int((n_support + n_query).max())
            order = np.broadcast_to(np.arange(longest), (len(flat), longest))
        rows = self.pool.starts[flat][:, None] + order
        support = self._take(rows, np.zeros_like(n_support), n_support, classes.shape)
        query = self._take(rows, n_support, n_query, classes.shape)
        return Episode(*support, *query)

    def _take(
        self, rows: np.ndarray, first: np.ndarray, count: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gather rows ``first`` to ``first + count`` of each class, padded, and label them."""
        n_tasks, n_ways = shape
        position = np.arange(count.max())
        mask = position < count[:, None]
        # Padded places repeat a real row with weight zero, so that their features stay finite.
        taken = np.take_along_axis(rows, np.where(mask, first[:, None] + position, 0), axis=1)
        weight = (self.pool.weight[taken] * mask).reshape(n_tasks, -1)
        one_hot = np.repeat(np.eye(n_ways), len(position), axis=1)[:, None]
        y = np.broadcast_to(one_hot, (n_ways, *weight.shape))
        return self.pool.X[taken.reshape(n_tasks, -1)], y, weight


def _some_of(sizes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw ``counts`` different numbers below ``sizes`` in random order, for each class.

    Returns
    -------
    ndarray of shape (n_classes, counts.max()), int
        What is beyond a class's count is arbitrary, and below its size.
    """
    n = int(counts.max())
    if n**2 < sizes.max():
        drawn = _few_of(sizes, counts, rng)
    else:
        drawn = np.arange(sizes.max()) + np.zeros_like(sizes)[:, None]
        drawn[drawn >= sizes[:, None]] = -1
    # Floyd's sets are uniform, their order is not.
    key = np.where(drawn >= 0, rng.random(drawn.shape), np.inf)
    return np.maximum(np.take_along_axis(drawn, np.argsort(key, axis=1)[:, :n], axis=1), 0)


def _few_of(sizes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw ``counts`` different numbers below ``sizes``; what is beyond a count is -1.

    Robert Floyd's algorithm (Bentley, Communications of the ACM 30, 1987), for all classes at a
    time: its cost is the square of the count, and does not depend on the sizes.
    """
    drawn = np.full((len(sizes), counts.max()), -1)
    for i in range(drawn.shape[1]):
        last = sizes - counts + i
        # Classes that have all they need go on drawing from what they have; it is not kept.
        number = rng.integers(np.where(i < counts, last, 0) + 1)
        is_taken = (drawn[:, :i] == number[:, None]).any(1)
        drawn[:, i] = np.where(i < counts, np.where(is_taken, last, number), -1)
    return drawn
