"""What solvers from `torch.optim` share: the loop that feeds them gradients of all tasks at once.

The stacked phi is one parameter of the optimiser, and shares its memory with the array that the
problem sees. Both methods move each task by its own gradient only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skcml.arrays import Array, namespace
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Descent, may_diverge
from skcml.solvers.line_search import Point


@may_diverge
def optimise(descent: Descent, make: Callable[[list[Any]], Any], max_iter: int) -> InnerSolution:
    """Take steps of a `torch.optim` optimiser, and return the best phi of each task.

    A task rests once its gradient is small enough, or is no number any more. One that ends above
    where it began, or at no number, went too far: the learning rate does not suit it. It is not
    usable, wherever it had been in between.

    Parameters
    ----------
    descent : Descent
    make : callable
        Makes an optimiser of a list of parameters.
    max_iter : int
        Steps at most.
    """
    import torch  # importing skcml does not import torch

    here = best = descent.first
    xp = namespace(here.phi)
    phi = xp.asarray(here.phi, copy=True)
    parameter = torch.nn.Parameter(torch.as_tensor(phi))
    optimiser = make([parameter])
    is_open, is_lost = here.norm > descent.bound, here.norm < 0
    n_iter = 0
    while n_iter < max_iter and is_open.any():
        n_iter += 1
        parameter.grad = torch.as_tensor(xp.where(is_open[:, None], here.gradient, 0.0))
        optimiser.step()
        # Momentum carries on tasks that rest; they are put back.
        here = descent.at(xp.where(is_open[:, None], phi, best.phi))
        is_done = here.norm <= descent.bound
        best = _where(is_open & ((here.value < best.value) | is_done), here, best)
        is_lost = is_lost | (is_open & ~xp.isfinite(here.norm))
        is_open = is_open & ~is_done & ~is_lost
    return descent.verdict(best, n_iter, is_lost | ~descent.has_fallen(here))


def _where(chosen: Array, one: Point, other: Point) -> Point:
    """Return one where chosen, of shape (n_tasks,), and the other elsewhere."""
    xp = namespace(one.phi)
    return Point(
        *(
            xp.where(chosen if a.ndim == 1 else chosen[:, None], a, b)
            for a, b in zip(one, other, strict=True)
        )
    )
