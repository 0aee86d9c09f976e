"""Adam, for any smooth energy.

Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015 (arXiv 1412.6980), algorithm 1,
as `torch.optim.Adam` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from skcml.arrays import Array
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.compiled import Memory, StepRule, optimise_compiled
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
    compile : bool, default=False
        Whether torch compiles the steps, of a `FlatProblem`.
    """

    max_iter: int = 200
    learning_rate: float = 0.01
    tol: float = 1e-6
    compile: bool = False
    decay: ClassVar[float] = 0.9
    square_decay: ClassVar[float] = 0.999
    tiny: ClassVar[float] = 1e-8

    def __call__(
        self,
        problem: Any,
        theta: MetaParams,
        batch: Any,
        beta: Array | float = 0.0,
        init: Array | None = None,
    ) -> InnerSolution:
        """Minimise the augmented energy; called as an `InnerSolver`."""
        descent = Descent(problem, theta, batch, beta, init, self.tol)
        if self.compile:
            return optimise_compiled(descent, StepRule(_nothing_yet, self._step), self.max_iter)

        def make(params: list[Any]) -> Any:
            from torch import optim  # importing skcml does not import torch

            return optim.Adam(params, lr=self.learning_rate, fused=True)

        return optimise(descent, make, self.max_iter)

    def _step(self, gradient: Array, memory: Memory) -> tuple[Array, Memory]:
        """Return the step of algorithm 1, with the constants of torch."""
        mean, square, n_steps = memory
        n_steps = n_steps + 1
        mean = mean + (1 - self.decay) * (gradient - mean)
        square = square + (1 - self.square_decay) * (gradient * gradient - square)
        # Both averages start at zero, and are divided by what of their weights is used up.
        rate = self.learning_rate / (1 - self.decay**n_steps)
        root = square**0.5 * (1 - self.square_decay**n_steps) ** -0.5
        return rate * mean / (root + self.tiny), (mean, square, n_steps)


def _nothing_yet(like: Array) -> Memory:
    """Return the two averages, and the number of steps."""
    return like.new_zeros(like.shape), like.new_zeros(like.shape), like.new_zeros(())
