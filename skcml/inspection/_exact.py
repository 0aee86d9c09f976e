"""The exact meta-gradient of a few tasks: by the implicit function theorem, solved tightly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skcml.arrays import to_numpy
from skcml.episodes import Episode
from skcml.problems.meta_params import MetaParams
from skcml.rules.autograd import Graph, tensor
from skcml.rules.implicit import Implicit
from skcml.solvers.base import InnerSolution
from skcml.solvers.choice import resolve_solver
from skcml.solvers.newton_cg import conjugate_gradients

# Of the inner problem, and of the system with its curvature.
MAX_ITER, TOL, MAX_PRODUCTS, RESIDUAL = 1000, 1e-10, 2000, 1e-12
# Conjugate gradients that met no negative curvature end below this.
SOLVED = 1e-6


class Exact(NamedTuple):
    """What there is to compare with.

    Attributes
    ----------
    episode : Episode
        The tasks that have an exact gradient.
    gradient : ndarray of shape (n_meta_params,)
        Averaged over them.
    free : InnerSolution
        Their minima.
    n_left_out : int
        The other tasks.
    """

    episode: Episode
    gradient: np.ndarray
    free: InnerSolution
    n_left_out: int


def exact_gradient(problem: Any, theta: MetaParams, episode: Episode) -> Exact:
    """Return the exact gradient, of the tasks whose energy has a strict minimum where they end."""
    solver = resolve_solver("auto", problem, MAX_ITER, TOL)
    free = solver(problem, theta, problem.embed(theta, episode))
    kept = np.flatnonzero(_has_strict_minimum(problem, theta, episode, free))
    if not len(kept):
        raise ValueError(
            f"At none of the {len(free.usable)} tasks is the energy positive definite where its "
            "descent ends, so that no exact gradient exists to compare with. This happens where "
            "every weight of a network is adapted and hardly held: try model='head' or "
            "model='modulatory', or fewer hidden units."
        )
    n_left_out = len(free.usable) - len(kept)
    episode = episode.subset(kept)
    gradient = Implicit(MAX_PRODUCTS, RESIDUAL)(problem, solver, theta, episode).theta.vector
    free = solver(problem, theta, problem.embed(theta, episode))
    return Exact(episode, gradient, free, n_left_out)


def _has_strict_minimum(
    problem: Any, theta: MetaParams, episode: Episode, free: InnerSolution
) -> np.ndarray:
    """Tell for each task whether the system with its curvature could be solved."""
    graph = Graph.of(problem, theta, episode)
    phi = np.where(free.usable[:, None], free.phi, 0.0)
    curve = graph.curvature(tensor(phi))
    target = problem.loss_phi_grad(phi, theta, problem.embed(theta, episode))

    def apply(direction: np.ndarray) -> np.ndarray:
        return to_numpy(curve(tensor(direction)))

    found = conjugate_gradients(apply, target, RESIDUAL, MAX_PRODUCTS)
    left, size = (np.sqrt((part**2).sum((0, 2))) for part in (apply(found) - target, target))
    return free.usable & (left <= SOLVED * size)
