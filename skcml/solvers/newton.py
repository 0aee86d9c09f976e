"""Newton's method, for heads of classes and counts: energies that are convex in phi."""

from __future__ import annotations

from typing import Any

from skcml.arrays import Array
from skcml.glm import solve
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution

# Norm of the energy's gradient that Newton's method is to reach, and that will do.
TOL, USABLE = 1e-9, 1e-5


def newton(
    problem: Any,
    theta: MetaParams,
    batch: Any,
    beta: Array | float = 0.0,
    init: Array | None = None,
) -> InnerSolution:
    """Minimise a convex augmented energy by Newton's method, in numpy.

    Called as an `InnerSolver`, on a `GLMProblem`.
    """
    found = solve(problem.glm(theta, batch, beta), init=init, tol=TOL)
    usable = found.grad_norm < USABLE
    return InnerSolution(
        found.u, found.grad_norm, found.n_iter, usable, usable, found.curvature.solve
    )
