"""The Gauss-Newton method with a line search in each task, for networks near their prior.

Each step solves the quadratic problem that a linearised network poses, in the dual where a task has
few rows: a system of its support rows times outputs (Nocedal and Wright, Numerical Optimization,
2nd edition, section 10.3). A network that does not fit its rows leaves large residuals, and bends:
near the minimum that slows the steps down, and secants of the last few supply what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from skcml.arrays import Array
from skcml.problems.base import Curve
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Descent
from skcml.solvers.line_search import Point
from skcml.solvers.secants import Secants

# Secants that are kept, and the share of the first gradient below which they hold: farther from the
# minimum a network bends too much from step to step.
HISTORY, NEAR = 3, 1e-2


@dataclass(frozen=True)
class GaussNewton:
    """Gauss-Newton steps with a line search, on a `CurvedProblem`.

    Its `solve_h` applies the inverse of the Gauss-Newton curvature where the tasks end.

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

        @cache
        def inverse() -> Curve:
            return problem.curvature_inverse(found.phi, theta, batch, beta)

        def metric(here: Point) -> Curve:
            return problem.curvature_inverse(here.phi, theta, batch, beta)

        descent = Descent(problem, theta, batch, beta, init, self.tol)
        found = descent.run(metric, Secants(HISTORY), self.max_iter, NEAR)
        return replace(found, solve_h=lambda direction: inverse()(direction))
