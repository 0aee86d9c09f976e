"""The two constants of `PrototypeProblem`, learned from a pool of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from skcml.class_pool import ClassEpisodeSampler, ClassPool
from skcml.episodes import Episode
from skcml.outer_loop import History, OuterOptions, meta_train
from skcml.problems.meta_params import MetaParams
from skcml.problems.prototypes import PrototypeBatch, PrototypeProblem
from skcml.rules.base import MetaGradientRule
from skcml.selection.folds import OnStep
from skcml.solvers.newton_cg import newton_cg

# Returns task parameters.
Adapt = Callable[[MetaParams, PrototypeBatch], np.ndarray]

# Where the constants may start: s and lambda.
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
PRECISIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Tasks of five classes in an episode by which constants are compared.
KEPT_SIZE = 8
# Two logarithms may move further in a step than the weights of a network.
SPEED = 10.0
# Share of the last steps whose mean is what has been learned: Adam moves about the minimum.
AVERAGED = 0.6

PROBLEM = PrototypeProblem()


@dataclass(frozen=True)
class ClassOptions:
    """Validated settings of learning from classes.

    Attributes
    ----------
    rule : MetaGradientRule
    n_ways, n_shots : tuple of int
        What a step's number of classes and of support rows per class are drawn from.
    n_queries : int
        Query rows per class.
    support : {"random", "first"}
    meta_batch_size : int
        Tasks of five classes in a step.
    meta_max_iter : int
        Steps; zero keeps the best constants of the grid.
    meta_learning_rate : float
    early_stopping : bool
        Whether to hold classes out.
    validation_fraction : float
        Share of the classes, where they are many.
    standardize : bool
        Whether rows are transformed; held-out classes say how.
    n_iter_no_change : int
        Steps without improvement on held-out classes, after which a network's descent ends.
    tol : float
    network : ClassNetwork or None
        What is learned besides the constants of prototypes, and kept if held-out classes say so.
    input_shape : tuple of int
        Shape of a row as the network expects it; empty for a flat one.
    """

    rule: MetaGradientRule
    n_ways: tuple[int, ...] = (5, 10, 20)
    n_shots: tuple[int, ...] = (1, 2, 5)
    n_queries: int = 5
    support: str = "random"
    meta_batch_size: int = 64
    meta_max_iter: int = 120
    meta_learning_rate: float = 0.01
    early_stopping: bool = True
    validation_fraction: float = 0.2
    standardize: bool = True
    n_iter_no_change: int = 200
    tol: float = 1e-4
    network: Any = None
    input_shape: tuple[int, ...] = ()

    def sampler(
        self, pool: ClassPool, batch_size: int, rng: np.random.Generator
    ) -> ClassEpisodeSampler:
        """Return a sampler of the tasks that are learned from."""
        return ClassEpisodeSampler(
            pool,
            n_ways=self.n_ways,
            n_shots=self.n_shots,
            n_queries=self.n_queries,
            support=self.support,
            batch_size=batch_size,
            rng=rng,
        )


def kept_episodes(
    pool: ClassPool, options: ClassOptions, batch_size: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, Episode]]:
    """Draw an episode of each number of ways and shots, with the classes of its tasks."""
    sampler = options.sampler(pool, batch_size, rng)
    kept = []
    for n_ways, n_shots in product(sampler.ways, options.n_shots):
        classes = sampler.choose(n_ways)
        kept.append((classes, sampler.split(classes, n_shots)))
    return kept


def embedded(episodes: Iterable[tuple[np.ndarray, Episode]]) -> list[PrototypeBatch]:
    """Return episodes as the problem sees them, whatever the constants."""
    any_theta = PROBLEM.constants(1.0, 1.0)
    return [PROBLEM.embed(any_theta, episode) for _, episode in episodes]


def solved(theta: MetaParams, batch: PrototypeBatch) -> np.ndarray:
    """Return the task parameters that a task's rows lead to."""
    return newton_cg(PROBLEM, theta, batch).phi


def at_prior(theta: MetaParams, batch: PrototypeBatch) -> np.ndarray:
    """Return the task parameters of the prior means."""
    return np.zeros_like(batch.means)


def best_constants(
    batches: Sequence[PrototypeBatch],
    scales: Sequence[float],
    precisions: Sequence[float],
    adapt: Adapt = solved,
) -> MetaParams:
    """Return the constants of a grid with the lowest mean loss, each episode counting the same."""
    grid = [PROBLEM.constants(*pair) for pair in product(scales, precisions)]
    losses = [
        np.mean([PROBLEM.loss(adapt(theta, b), theta, b).mean() for b in batches]) for theta in grid
    ]
    return grid[int(np.argmin(losses))]


def go_on(step: int, theta: MetaParams, history: History) -> bool:
    """End no descent."""
    return False


def learn_constants(
    pool: ClassPool,
    options: ClassOptions,
    rng: np.random.Generator,
    begin: Callable[[MetaParams], OnStep] = lambda start: go_on,
) -> tuple[MetaParams, History]:
    """Descend from the best constants of the grid.

    Parameters
    ----------
    pool : ClassPool
        Transformed.
    options : ClassOptions
    rng : numpy.random.Generator
    begin : callable, optional
        Called with the start; returns what to call after each step, of which a true result ends
        the descent.

    Returns
    -------
    theta : MetaParams
        The mean over the last steps.
    history : History
    """
    batches = embedded(kept_episodes(pool, options, KEPT_SIZE, rng))
    start = best_constants(batches, SCALES, PRECISIONS)
    on_step = begin(start.copy())
    states: list[np.ndarray] = []

    def keep(step: int, theta: MetaParams, history: History) -> bool:
        states.append(theta.vector.copy())
        return on_step(step, theta, history)

    sampler: Any = options.sampler(pool, options.meta_batch_size, rng)
    descent = OuterOptions(options.meta_max_iter, SPEED * options.meta_learning_rate)
    theta, history = meta_train(
        PROBLEM, newton_cg, options.rule, sampler, start, descent, on_step=keep
    )
    last = states[-max(round(AVERAGED * len(states)), 1) :]
    if last:
        theta.vector[:] = np.mean(last, axis=0)
    return theta, history
