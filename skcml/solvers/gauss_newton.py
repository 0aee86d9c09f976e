"""The Gauss-Newton method with a line search in each task, for networks near their prior.

Each step solves the quadratic problem that a linearised network poses, in the dual where a task has
few rows: a system of its support rows times outputs (Nocedal and Wright, Numerical Optimization,
2nd edition, section 10.3). All tasks of a batch go together, each with a step length of its own,
and rest once they are done.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from skcml.arrays import Array, namespace
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Point, evaluate, line_search


@dataclass(frozen=True)
class GaussNewton:
    """Gauss-Newton steps with a line search, on a `CurvedProblem`.

    Parameters
    ----------
    max_iter : int, default=20
        Steps at most.
    tol : float, default=1e-6
        Norm of the gradient at which a task is done, relative to that at the start.
    """

    max_iter: int = 20
    tol: float = 1e-6

    def __call__(
        self,
        problem: Any,
        theta: MetaParams,
        batch: Any,
        beta: Array | float = 0.0,
        init: Array | None = None,
    ) -> InnerSolution:
        """Minimise the augmented energy; called as an `InnerSolver`."""
        start = problem.start(theta, batch)

        def at(phi: Array) -> Point:
            return evaluate(problem, phi, theta, batch, beta)

        here = first = at(start if init is None else init)
        bound = self.tol * (first if init is None else at(start)).norm
        is_open = here.norm > bound
        n_iter = 0
        while n_iter < self.max_iter and is_open.any():
            n_iter += 1
            solve = problem.curvature_inverse(here.phi, theta, batch, beta)
            there = line_search(at, here, -solve(here.gradient), is_open)
            is_stuck = (there.value >= here.value) & (there.norm >= here.norm)
            here = there
            is_open = is_open & ~is_stuck & (here.norm > bound)
        usable = namespace(here.norm).isfinite(here.norm) & (here.value <= first.value)

        @cache
        def inverse() -> Any:
            return problem.curvature_inverse(here.phi, theta, batch, beta)

        return InnerSolution(
            here.phi,
            here.norm,
            n_iter,
            here.norm <= bound,
            usable,
            lambda direction: inverse()(direction),
        )
