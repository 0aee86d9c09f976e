"""The rules, problems on which they are tested, and the exact gradient to compare with."""

import dataclasses

import numpy as np

from skcml.likelihoods import SquaredError
from skcml.problems.base import Term
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, Modulated, TaskMLP
from skcml.rules.contrastive import Contrastive
from skcml.rules.first_order import FirstOrder
from skcml.rules.implicit import Implicit
from skcml.rules.neumann import Neumann
from skcml.rules.reptile import Reptile
from skcml.rules.t1t2 import T1T2
from skcml.rules.unrolled import Unrolled
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.newton import newton
from tests.builders import (
    autograd_meta_gradient,
    glm_episode,
    glm_problem,
    head_problem,
    implicit_meta_gradient,
    random_episode,
    random_theta,
)

# Those of `FOR_HEADS` work on every problem that torch can differentiate.
FOR_HEADS = [
    Contrastive(),
    Implicit(),
    Neumann(),
    T1T2(),
    Unrolled(),
    Unrolled(truncate=3),
    FirstOrder(),
]
RULES = [*FOR_HEADS, Reptile()]

tight = GaussNewton(max_iter=100, tol=1e-12)


def head_case(hidden=(7,), n_outputs=2, meta_loss="log_predictive", seed=0, **options):
    """Return problem, solver, theta and episode of a ridge head."""
    problem = head_problem(hidden, n_outputs, meta_loss)
    theta, episode = random_theta(problem, seed), random_episode(problem, seed, **options)
    return problem, closed_form, theta, episode


def glm_case(kind, hidden=(4,), seed=0):
    """Return the same of a head of classes or counts."""
    problem = glm_problem(kind, hidden)
    return problem, newton, random_theta(problem, seed), glm_episode(problem, seed)


def network_case(layer="dense", hidden=(4,), strength="synapse", seed=0, log_strength=3.0):
    """Return the same of networks for each task, held so tightly that E is convex about omega."""
    layer = {"dense": Dense(), "modulated": Modulated()}[layer]
    problem = ProximalProblem(TaskMLP(3, 2, hidden, "tanh", layer), SquaredError(), strength)
    rng = np.random.default_rng([seed, 7])
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, rng)
    theta["omega"][...] += 0.3 * rng.normal(size=theta["omega"].shape)
    theta["log_strength"][...] = log_strength + 0.5 * rng.normal(size=theta["log_strength"].shape)
    return problem, tight, theta, random_episode(head_problem((), 2), seed)


CASES = {
    "ridge": head_case,
    "ridge, loss": lambda: head_case((), 1, "loss"),
    "bernoulli": lambda: glm_case("bernoulli"),
    "categorical": lambda: glm_case("categorical"),
    "poisson": lambda: glm_case("poisson"),
    "synapses": network_case,
    "synapses, fixed": lambda: network_case(strength="fixed"),
    "linear synapses": lambda: network_case(hidden=()),
    "gains": lambda: network_case("modulated", strength="layer"),
}


def exact_gradient(problem, solver, theta, episode):
    """Return the derivative of the solved loss by torch, with factors and dense curvatures."""
    if problem.is_quadratic:
        return autograd_meta_gradient(problem, theta, episode)[0]
    return implicit_meta_gradient(problem, theta, episode, solver)[0]


def solved_loss(problem, solver, theta, episode):
    """Return the mean query loss of what a solver makes of theta."""
    batch = problem.embed(theta, episode)
    return problem.loss(solver(problem, theta, batch).phi, theta, batch).mean()


def slope_along(function, theta, direction, width=1e-3):
    """Return the derivative along a direction, by differences of an error of width^4."""
    total = 0.0
    for step, weight in ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12)):
        moved = theta.copy()
        moved.vector += step * width * direction
        total += weight / width * function(moved)
    return total


def learned_direction(problem, seed=0):
    """Draw a direction of theta that leaves alone what is not learned."""
    direction = MetaParams(problem.shapes)
    direction.vector[:] = np.random.default_rng([seed, 8]).normal(size=direction.vector.shape)
    for name, learned in problem.learned.items():
        direction[name][...] *= learned
    return direction.vector


class Doubled:
    """A problem with twice the loss."""

    def __init__(self, problem):
        self.problem = problem

    def __getattr__(self, name):
        return getattr(self.problem, name)

    def loss(self, *args):
        return 2 * self.problem.loss(*args)

    def loss_phi_grad(self, *args):
        return 2 * self.problem.loss_phi_grad(*args)

    def loss_curvature(self, *args):
        return 2 * self.problem.loss_curvature(*args)

    def least_squares(self, theta, batch, beta):
        return self.problem.least_squares(theta, batch, 2 * np.asarray(beta))

    def theta_grad(self, terms, theta, batch):
        terms = [Term(t.phi, t.energy, None if t.loss is None else 2 * t.loss) for t in terms]
        return self.problem.theta_grad(terms, theta, batch)


def spoiled(solver, task):
    """Return a solver that cannot do one of the tasks."""

    def solve(*args, **options):
        solution = solver(*args, **options)
        phi, usable = solution.phi.copy(), solution.usable.copy()
        phi[:, task], usable[task] = np.nan, False
        return dataclasses.replace(solution, phi=phi, usable=usable)

    return solve
