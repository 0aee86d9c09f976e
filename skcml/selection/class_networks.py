"""Networks that tell new classes apart: learned from a pool, and judged beside plain prototypes.

There are two. `BodyOfPrototypes` learns a body, in whose outputs classes are near the mean of their
rows; `NetworkOfClasses` has a network for each task, whose head all classes start with alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from skcml.class_pool import ClassPool
from skcml.episodes import Episode
from skcml.outer_loop import History, OuterOptions, meta_train
from skcml.problems.meta_params import MetaParams
from skcml.problems.prototypes import unit_rows
from skcml.selection.constants import ClassOptions, kept_episodes
from skcml.selection.folds import OnStep
from skcml.solvers.base import InnerSolver

# Tasks of five classes in an episode that says when to stop, and steps between looks.
LOOKED_SIZE, LOOK_EVERY = 16, 20


class TaskWeights(NamedTuple):
    """What was learned of one task.

    Attributes
    ----------
    weights : ndarray
        One row for each class, or the parameters of a network.
    statistics : ndarray of shape (1, n_statistics)
        What batch normalisation keeps of the task's rows; mostly empty.
    solved : bool
        Whether the solver came near a minimum.
    """

    weights: np.ndarray
    statistics: np.ndarray
    solved: bool


class ClassNetwork(Protocol):
    """A kind of network for classes that are new in every task."""

    @property
    def problem(self) -> Any:
        """An `InnerProblem` with ``initialize`` and ``probabilities``."""

    @property
    def solver(self) -> InnerSolver:
        """What solves tasks while learning."""

    @property
    def fit_solver(self) -> InnerSolver:
        """What solves them at `fit`."""

    def adapt(self, theta: MetaParams, support: Episode) -> TaskWeights:
        """Learn one task."""

    def logits(self, theta: MetaParams, task: TaskWeights, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows, (n_rows, n_classes)."""

    def with_precision(self, theta: MetaParams, factor: float) -> MetaParams:
        """Return meta-parameters that pull harder by a factor."""


@dataclass(frozen=True)
class BodyOfPrototypes:
    """See `ClassNetwork`; on a `PrototypeBodyProblem`."""

    problem: Any
    solver: InnerSolver
    fit_solver: InnerSolver

    def adapt(self, theta: MetaParams, support: Episode) -> TaskWeights:
        """See `ClassNetwork`."""
        batch = self.problem.embed(theta, support)
        found = self.fit_solver(self.problem, theta, batch)
        kept = self.problem.body.statistics(theta, support.x_support, support.w_support)
        weights = self.problem.weights(found.phi, theta, batch)[0]
        return TaskWeights(weights, kept, bool(found.settled[0]))

    def logits(self, theta: MetaParams, task: TaskWeights, X: np.ndarray) -> np.ndarray:
        """See `ClassNetwork`."""
        body = self.problem.body
        features, _ = body.forward(theta, X, task.statistics)
        return unit_rows(features[:, body.n_linear :]) @ task.weights.T

    def with_precision(self, theta: MetaParams, factor: float) -> MetaParams:
        """See `ClassNetwork`."""
        theta = theta.copy()
        theta["log_precision"][:] += np.log(factor)
        return theta


@dataclass(frozen=True)
class NetworkOfClasses:
    """See `ClassNetwork`; on a `ProximalProblem` whose head is tied."""

    problem: Any
    solver: InnerSolver
    fit_solver: InnerSolver

    def adapt(self, theta: MetaParams, support: Episode) -> TaskWeights:
        """See `ClassNetwork`."""
        batch = self.problem.embed(theta, support)
        found = self.fit_solver(self.problem, theta, batch)
        kept = self.problem.statistics(found.phi, theta, batch)
        return TaskWeights(np.asarray(found.phi)[:, 0], kept, bool(found.settled[0]))

    def logits(self, theta: MetaParams, task: TaskWeights, X: np.ndarray) -> np.ndarray:
        """See `ClassNetwork`."""
        eta = self.problem.outputs(task.weights[:, None], theta, X[None], task.statistics)
        return eta[:, 0].T

    def with_precision(self, theta: MetaParams, factor: float) -> MetaParams:
        """See `ClassNetwork`."""
        theta = theta.copy()
        theta["log_strength"][:] += np.log(factor)
        return theta


@dataclass(frozen=True)
class LearnedNetwork:
    """A network and what was learned.

    Attributes
    ----------
    network : ClassNetwork
    theta : MetaParams
    """

    network: ClassNetwork
    theta: MetaParams

    def adapt(
        self, z: np.ndarray, codes: np.ndarray, weight: np.ndarray, n_classes: int, factor: float
    ) -> TaskWeights:
        """Learn one task from its rows, with a factor on the strength of the pull."""
        y = np.eye(n_classes)[:, codes][:, None]
        support = Episode(z[None], y, weight[None], z[None, :1], y[..., :1], 0 * weight[None, :1])
        return self.network.adapt(self.network.with_precision(self.theta, factor), support)

    def logits(self, task: TaskWeights, z: np.ndarray) -> np.ndarray:
        """Return the logits of rows, (n_rows, n_classes)."""
        return self.network.logits(self.theta, task, z)


def learn_network(
    network: ClassNetwork,
    pool: ClassPool,
    judges: ClassPool | None,
    options: ClassOptions,
    rng: np.random.Generator,
    begin: Callable[[LearnedNetwork], OnStep],
) -> tuple[LearnedNetwork, History]:
    """Learn from a pool, stopped early by tasks of held-out classes, if there are any.

    Parameters
    ----------
    network : ClassNetwork
    pool : ClassPool
        Transformed.
    judges : ClassPool or None
    options : ClassOptions
    rng : numpy.random.Generator
    begin : callable
        Called with the start; returns what to call after each step.
    """
    problem = network.problem
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, rng)
    validate = None
    if judges is not None:
        kept = [e for _, e in kept_episodes(judges, options, LOOKED_SIZE, rng)]

        def validate(theta: MetaParams) -> float:
            return float(np.mean([_loss(network, theta, episode) for episode in kept]))

    sampler: Any = options.sampler(pool, options.meta_batch_size, rng)
    theta, history = meta_train(
        problem,
        network.solver,
        options.rule,
        sampler,
        theta,
        OuterOptions(
            options.meta_max_iter,
            options.meta_learning_rate,
            validate_every=LOOK_EVERY,
            n_iter_no_change=options.n_iter_no_change,
            tol=options.tol,
        ),
        validate=validate,
        on_step=begin(LearnedNetwork(network, theta)),
    )
    return LearnedNetwork(network, theta), history


def _loss(network: ClassNetwork, theta: MetaParams, episode: Episode) -> float:
    """Return the mean loss of an episode's tasks."""
    problem = network.problem
    batch = problem.embed(theta, episode)
    phi = network.solver(problem, theta, batch).phi
    return float(problem.loss(phi, theta, batch).mean())
