"""Adam, for any smooth energy.

Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015 (arXiv 1412.6980), algorithm 1,
as `torch.optim.Adam` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skcml.arrays import Array
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Descent
from skcml.solvers.first_order import optimise


@dataclass(frozen=True)
class Adam:
    """Adam on all rows of a task, on a `SmoothProblem`.

    Parameters
    ----------
    max_iter : int, default=200
        Steps at most.
    learning_rate : float, default=0.01
        About what a step changes of each parameter.
    tol : float, default=1e-6
        Norm of the gradient at which a task is done, relative to that at the start.
    """

    max_iter: int = 200
    learning_rate: float = 0.01
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

        def make(params: list[Any]) -> Any:
            from torch import optim  # importing skcml does not import torch

            return optim.Adam(params, lr=self.learning_rate)

        descent = Descent(problem, theta, batch, beta, init, self.tol)
        return optimise(descent, make, self.max_iter)
