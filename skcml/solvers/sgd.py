"""Gradient descent with momentum, for any smooth energy.

Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013,
equations 3 and 4, as `torch.optim.SGD` has it: the learner of the experiments of Zucchet et al.
(NeurIPS 2022, arXiv 2104.01677).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skcml.arrays import Array
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.compiled import Memory, StepRule, optimise_compiled
from skcml.solvers.descent import Descent
from skcml.solvers.first_order import optimise


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum on all rows of a task, on a `SmoothProblem`.

    Parameters
    ----------
    max_iter : int, default=200
        Steps at most.
    learning_rate : float, default=0.001
        Tasks diverge where it is too large for the energy's curvature, which grows with the number
        of rows; those are not usable.
    momentum : float, default=0.9
    nesterov : bool, default=True
        Whether the gradient looks ahead along the momentum.
    tol : float, default=1e-6
        Norm of the gradient at which a task is done, relative to that at the start.
    compile : bool, default=False
        Whether torch compiles the steps, of a `FlatProblem`.
    """

    max_iter: int = 200
    learning_rate: float = 0.001
    momentum: float = 0.9
    nesterov: bool = True
    tol: float = 1e-6
    compile: bool = False

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
            return optimise_compiled(descent, StepRule(_at_rest, self._step), self.max_iter)

        def make(params: list[Any]) -> Any:
            from torch import optim  # importing skcml does not import torch

            return optim.SGD(
                params,
                lr=self.learning_rate,
                momentum=self.momentum,
                nesterov=self.nesterov,
                fused=True,
            )

        return optimise(descent, make, self.max_iter)

    def _step(self, gradient: Array, memory: Memory) -> tuple[Array, Memory]:
        """Return the step of the equations, as torch turns them round."""
        (velocity,) = memory
        velocity = self.momentum * velocity + gradient
        ahead = gradient + self.momentum * velocity if self.nesterov else velocity
        return self.learning_rate * ahead, (velocity,)


def _at_rest(like: Array) -> Memory:
    """Return the velocity before the first step."""
    return (like.new_zeros(like.shape),)
