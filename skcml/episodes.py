"""Tasks, and the episodes drawn from them.

A *task* is the rows of one group. An *episode* is a batch of tasks, each split into support rows
(what the learner sees) and query rows (what it is judged on), padded to common lengths. A padded
row has weight zero: the weights are the masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skcml.arrays import Array
from skcml.grouping import rows_by_group


@dataclass(frozen=True)
class TaskRows:
    """The rows of many tasks, sorted by task.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    starts : ndarray of shape (n_tasks + 1,)
        The rows of task t are ``starts[t]:starts[t + 1]``, in the order in which they came.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    starts: np.ndarray

    @classmethod
    def from_codes(
        cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray, codes: np.ndarray, n_tasks: int
    ) -> TaskRows:
        """Sort rows by their task's code, keeping their order within a task."""
        order, starts = rows_by_group(codes, n_tasks)
        return cls(X[order], y[order], weight[order], starts)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each task, of shape (n_tasks,)."""
        return np.diff(self.starts)

    def subset(self, tasks: np.ndarray) -> TaskRows:
        """Return the given tasks, in the given order."""
        sizes = self.sizes[tasks]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[tasks] - starts[:-1], sizes)
        return TaskRows(self.X[rows], self.y[rows], self.weight[rows], starts)


@dataclass(frozen=True)
class Episode:
    """Support and query rows of a batch of tasks.

    Attributes
    ----------
    x_support, x_query : array of shape (n_tasks, n_support or n_query, n_features)
    y_support, y_query : array of shape (n_outputs, n_tasks, n_support or n_query)
    w_support, w_query : array of shape (n_tasks, n_support or n_query)
        Row weights; zero for padding.
    """

    x_support: Array
    y_support: Array
    w_support: Array
    x_query: Array
    y_query: Array
    w_query: Array

    def subset(self, tasks: np.ndarray) -> Episode:
        """Return the given tasks, in the given order."""
        return Episode(
            self.x_support[tasks],
            self.y_support[:, tasks],
            self.w_support[tasks],
            self.x_query[tasks],
            self.y_query[:, tasks],
            self.w_query[tasks],
        )


def padded_chunks(
    sizes: np.ndarray, *, max_rows: int = 16_384
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield tasks of similar size together, so that padding them costs little.

    Parameters
    ----------
    sizes : ndarray of shape (n_tasks,)
        Rows per task.
    max_rows : int
        Bound on the padded rows of a chunk (a single larger task is a chunk of its own).

    Yields
    ------
    tasks : ndarray of shape (n,)
        Which tasks.
    offsets : ndarray of shape (n, longest)
        Row number within the task, zero where padded.
    mask : ndarray of shape (n, longest), bool
        False where padded.
    """
    order = np.argsort(sizes, kind="stable")
    stop = len(order)
    while stop > 0:
        # From the largest down, so that the first task of a chunk decides its padded length.
        longest = max(int(sizes[order[stop - 1]]), 1)
        start = max(stop - max(max_rows // longest, 1), 0)
        # Tasks below half the length go into a chunk of their own.
        start = max(start, int(np.searchsorted(sizes[order[:stop]], longest / 2)))
        start = min(start, stop - 1)
        tasks = np.sort(order[start:stop])
        offsets = np.arange(longest)
        mask = offsets < sizes[tasks, None]
        yield tasks, np.where(mask, offsets, 0), mask
        stop = start


class EpisodeSampler:
    """Draws episodes from tasks; the only source of randomness of the outer loop.

    Parameters
    ----------
    tasks : TaskRows
        Every task must have at least two rows, one to learn from and one to be judged on.
    n_shots : (int, int)
        Lowest and highest number of support rows; drawn anew for each episode. A task gives at
        most all its rows but one.
    n_queries : int or None
        Query rows per task; None takes all that are not support.
    support : {"random", "first"}
        "first" takes a task's first rows as support and the rows right after them as query: the
        past predicts the future.
    batch_size : int
        Tasks per episode. Tasks are drawn without replacement until all have been seen.
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        tasks: TaskRows,
        *,
        n_shots: tuple[int, int],
        n_queries: int | None,
        support: str,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        self.tasks = tasks
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.support = support
        self.batch_size = min(batch_size, tasks.n_tasks)
        self.rng = rng
        self._queue = np.empty(0, dtype=np.intp)

    def draw(self) -> Episode:
        """Draw the next batch of tasks and split each."""
        if len(self._queue) < self.batch_size:
            self._queue = np.concatenate([self._queue, self.rng.permutation(self.tasks.n_tasks)])
        chosen, self._queue = self._queue[: self.batch_size], self._queue[self.batch_size :]
        n_shots = int(self.rng.integers(self.n_shots[0], self.n_shots[1] + 1))
        return self.split(chosen, n_shots)

    def split(self, chosen: np.ndarray, n_shots: int) -> Episode:
        """Split the chosen tasks into ``n_shots`` support rows and query rows."""
        starts = self.tasks.starts[chosen]
        sizes = self.tasks.starts[chosen + 1] - starts
        position = np.arange(sizes.max())
        real = position < sizes[:, None]
        if self.support == "random":
            key = np.where(real, self.rng.random(real.shape), np.inf)
            order = starts[:, None] + key.argsort(axis=1)
        else:
            order = starts[:, None] + position
        n_support = np.minimum(n_shots, sizes - 1)
        n_query = sizes - n_support
        if self.n_queries is not None:
            n_query = np.minimum(n_query, self.n_queries)
        support = self._take(order, np.zeros_like(n_support), n_support)
        query = self._take(order, n_support, n_query)
        return Episode(*support, *query)

    def _take(
        self, order: np.ndarray, first: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gather rows ``first`` to ``first + count`` of each task's order, padded."""
        position = np.arange(count.max())
        mask = position < count[:, None]
        place = np.where(mask, first[:, None] + position, 0)
        rows = order[np.arange(len(order))[:, None], place]
        # Padded places repeat a real row with weight zero, so that their features stay finite.
        weight = self.tasks.weight[rows] * mask
        return self.tasks.X[rows], self.tasks.y[rows].transpose(2, 0, 1), weight
