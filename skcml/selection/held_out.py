"""Held-out groups: fixed episodes, and what a model is worth on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.episodes import Episode, EpisodeSampler, TaskRows
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.selection.mixture import Densities
from skcml.solvers.base import InnerSolver

# Query rows per held-out group and episode: enough to judge, few enough to be quick.
MAX_QUERIES = 30
# Groups per episode: bounds the memory of padding.
MAX_GROUPS = 512


@dataclass(frozen=True)
class HeldOut:
    """Episodes of held-out groups at a few numbers of shots.

    Attributes
    ----------
    episodes : list of Episode
        Those of the fewest shots first; the episodes of one number of shots hold each group once.
    n_levels : int
        Numbers of shots.
    """

    episodes: list[Episode]
    n_levels: int

    @classmethod
    def draw(
        cls, tasks: TaskRows, n_shots: tuple[int, int], support: str, rng: np.random.Generator
    ) -> HeldOut:
        """Split every task at the fewest, a middling and the largest number of shots.

        ``n_shots=(0, 0)`` gives groups of which nothing is known.
        """
        sampler = EpisodeSampler(
            tasks,
            n_shots=n_shots,
            n_queries=MAX_QUERIES,
            support=support,
            batch_size=1,
            rng=rng,
        )
        low, high = n_shots
        shots = np.unique(np.round([low, np.sqrt(low * high), high]).astype(int))
        pieces = np.array_split(np.arange(tasks.n_tasks), -(-tasks.n_tasks // MAX_GROUPS))
        episodes = [sampler.split(piece, int(k)) for k in shots for piece in pieces]
        return cls(episodes, len(shots))

    def mean_loss(self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams) -> float:
        """Return the mean loss over episodes and groups."""
        total, count = 0.0, 0
        for episode in self.episodes:
            batch = problem.embed(theta, episode)
            loss = problem.loss(solver(problem, theta, batch).phi, theta, batch)
            total += float(loss.sum())
            count += len(loss)
        return total / count

    def densities(self, problem: Any, theta: MetaParams) -> Densities:
        """Return one member's predictions of all query rows, as a stack of one."""
        parts = [
            [moment[:, e.w_query > 0] for moment in problem.predict(theta, e)]
            for e in self.episodes
        ]
        mean, variance = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return Densities(mean[None], variance[None], problem.likelihood)

    @property
    def x(self) -> np.ndarray:
        """Query features, of shape (n_rows, n_features)."""
        return np.concatenate([e.x_query[e.w_query > 0] for e in self.episodes])

    @property
    def y(self) -> np.ndarray:
        """Query outputs, of shape (n_outputs, n_rows)."""
        return np.concatenate([e.y_query[:, e.w_query > 0] for e in self.episodes], axis=1)

    @property
    def weight(self) -> np.ndarray:
        """Weight of each query row, of shape (n_rows,): every group counts the same."""
        return np.concatenate(
            [(e.w_query / e.w_query.sum(1)[:, None])[e.w_query > 0] for e in self.episodes]
        )

    @property
    def row_weight(self) -> np.ndarray:
        """Weight of each query row, of shape (n_rows,), as if all rows of a group had the same."""
        return np.concatenate(
            [
                ((e.w_query > 0) / (e.w_query > 0).sum(1)[:, None])[e.w_query > 0]
                for e in self.episodes
            ]
        )

    @property
    def exposure(self) -> np.ndarray:
        """Weight of each query row as it came, of shape (n_rows,)."""
        return np.concatenate([e.w_query[e.w_query > 0] for e in self.episodes])

    @property
    def group(self) -> np.ndarray:
        """Number of each query row's group, of shape (n_rows,), from 0 upwards."""
        parts, first = [], 0
        for e in self.episodes:
            parts.append(first + np.nonzero(e.w_query > 0)[0])
            first += len(e.w_query)
            if first == self.n_groups:
                first = 0
        return np.concatenate(parts)

    @property
    def n_groups(self) -> int:
        """How many groups are held out."""
        return sum(len(e.w_query) for e in self.episodes) // self.n_levels
