"""MAML, put together from parts of skcml: the standing peer of models that adapt every weight.

Model-agnostic meta-learning (Finn, Abbeel and Levine, ICML 2017): the start of a perceptron is
learned by the exact gradient through a few steps of gradient descent. Three things differ from
the paper. The rate of each step is one over the largest curvature of the task's energy, found by
power iteration, where the paper tunes one rate by hand. The energy has a pull to the start, of
strength 1e-3 against rows that cost half their squared error: too weak to matter. And the outputs
are linear in the inputs too, as in all networks here. It is adapted to held-out tasks by as many
steps as it learned with, not to the minimum of its energy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.sinusoid.run import BATCH, N_QUERIES, N_SHOTS
from skcml.episodes import Episode, EpisodeSampler, TaskRows
from skcml.likelihoods import SquaredError
from skcml.outer_loop import OuterOptions, meta_train
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, TaskMLP
from skcml.rules.unrolled import Unrolled
from skcml.solvers.gauss_newton import GaussNewton

N_STEPS, STRENGTH = 5, 1e-3
RULE, SOLVER = Unrolled(n_steps=N_STEPS), GaussNewton()  # the rule brings its own learner


def learn_maml(
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    n_steps: int,
    seed: int,
    held_out: Sequence[np.ndarray],
) -> tuple[float, Callable[[], float]]:
    """Return seconds of the descent and, to be called, the error on held-out tasks."""
    problem = ProximalProblem(TaskMLP(1, 1, (40, 40), "tanh", Dense()), SquaredError(), "fixed")
    theta, rng = MetaParams(problem.shapes), np.random.default_rng(seed)
    problem.initialize(theta, rng)
    theta["log_strength"][...] = np.log(STRENGTH)
    start = time.process_time()
    scale = X.std(), y.std()
    tasks = TaskRows.from_codes(
        X / scale[0], y[:, None] / scale[1], np.ones(len(X)), groups, groups[-1] + 1
    )
    sampler = EpisodeSampler(
        tasks,
        n_shots=(N_SHOTS, N_SHOTS),
        n_queries=N_QUERIES,
        support="random",
        batch_size=BATCH,
        rng=rng,
    )
    theta, _ = meta_train(
        problem, SOLVER, RULE, sampler, theta, OuterOptions(n_steps, log_objective=True)
    )
    seconds = time.process_time() - start
    episode = as_episode(*held_out, scale=scale)
    # The loss is half the squared error after the last step.
    return seconds, lambda: 2 * scale[1] ** 2 * RULE(problem, SOLVER, theta, episode).loss


def as_episode(
    X: np.ndarray,
    y: np.ndarray,
    curve: np.ndarray,
    groups: np.ndarray,
    support: np.ndarray,
    scale: tuple[float, float],
) -> Episode:
    """Return held-out tasks as one batch, scaled."""
    n_tasks = groups[-1] + 1
    x, xq = (X[rows].reshape(n_tasks, -1, 1) / scale[0] for rows in (support, ~support))
    y_support = y[support].reshape(1, n_tasks, -1) / scale[1]
    y_query = curve[~support].reshape(1, n_tasks, -1) / scale[1]
    ones = np.ones_like(x[..., 0]), np.ones_like(xq[..., 0])
    return Episode(x, y_support, ones[0], xq, y_query, ones[1])
