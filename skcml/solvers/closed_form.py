"""Closed form, for energies that are quadratic in phi."""

from __future__ import annotations

from typing import Any

from skcml.arrays import Array, namespace
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution


def closed_form(
    problem: Any,
    theta: MetaParams,
    batch: Any,
    beta: Array | float = 0.0,
    init: Array | None = None,
) -> InnerSolution:
    """Minimise a quadratic augmented energy exactly, in the primal or dual by the smaller side.

    Called as an `InnerSolver`, on a `QuadraticProblem`.
    """
    system = problem.least_squares(theta, batch, beta)
    phi = system.u
    grad_norm = ((system.gradient(phi) ** 2).sum(-1)).sum(0) ** 0.5

    def solve_h(direction: Array) -> Array:
        return system.solve_h(direction[..., None, :])[..., 0, :]

    usable = namespace(phi).isfinite(grad_norm)
    return InnerSolution(phi, grad_norm, 0, usable, usable, solve_h)
