"""L-BFGS with a line search in each task, for any smooth energy.

Liu and Nocedal, On the limited memory BFGS method for large scale optimization, Mathematical
Programming 45 (1989); Nocedal and Wright, Numerical Optimization, 2nd edition, algorithm 7.5. What
is known of the curvature at the outset is that of the prior, and takes the place of the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skcml.arrays import Array
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Descent
from skcml.solvers.secants import Secants


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS steps with a line search, on a `SmoothProblem`.

    Parameters
    ----------
    max_iter : int, default=200
        Steps at most.
    tol : float, default=1e-6
        Norm of the gradient at which a task is done, relative to that at the start.
    history_size : int, default=10
        Past steps that are remembered.
    """

    max_iter: int = 200
    tol: float = 1e-6
    history_size: int = 10

    def __call__(
        self,
        problem: Any,
        theta: MetaParams,
        batch: Any,
        beta: Array | float = 0.0,
        init: Array | None = None,
    ) -> InnerSolution:
        """Minimise the augmented energy; called as an `InnerSolver`."""

        def prior(direction: Array) -> Array:
            return problem.solve_prior(direction, theta)

        descent = Descent(problem, theta, batch, beta, init, self.tol)
        secants = Secants(self.history_size, fitted=prior)
        return descent.run(lambda here: prior, secants, self.max_iter)
