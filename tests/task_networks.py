"""Networks for each task, and rows for them, for the tests of what uses them."""

import numpy as np

from skcml.episodes import TaskRows
from skcml.estimators._meta_options import LAYERS
from skcml.likelihoods import SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import TaskMLP
from skcml.solvers.gauss_newton import GaussNewton
from skcml.task_networks import TaskNetworks

TO_THE_END = GaussNewton(100, 1e-8)


def task_problem(kind, hidden=(4,), n_outputs=1, cost=None, strength="synapse", n_inputs=2):
    """Return the inner problem of `model="synaptic"` or `model="modulatory"`."""
    network = TaskMLP(n_inputs, n_outputs, hidden, "tanh", LAYERS[kind])
    return ProximalProblem(network, cost or SquaredError(), strength)


def task_theta(problem, seed=0):
    """Draw meta-parameters near a start, with a head, strengths and a scatter."""
    rng = np.random.default_rng(seed)
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, rng)
    theta["omega"][...] += 0.3 * rng.normal(size=theta["omega"].shape)
    theta["log_strength"][...] = 1 + 0.5 * rng.normal(size=theta["log_strength"].shape)
    theta["log_scatter"][...] = [-1.0, -0.4]
    return theta


def stack_of(problem, n_members=2):
    """Return a stack of networks that are solved to the end."""
    thetas = [task_theta(problem, seed) for seed in range(n_members)]
    return TaskNetworks(problem, TO_THE_END, thetas)


def rows_of(sizes, seed=0, n_inputs=2, n_outputs=1):
    """Draw rows of tasks, with weights."""
    rng = np.random.default_rng([seed, 3])
    n, starts = sum(sizes), np.concatenate([[0], np.cumsum(sizes)])
    x, y = rng.normal(size=(n, n_inputs)), rng.normal(size=(n, n_outputs))
    return TaskRows(x, y, rng.uniform(0.5, 2.0, n), starts.astype(int))
