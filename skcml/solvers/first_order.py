"""What solvers from `torch.optim` share: the loop that feeds them gradients of all tasks at once.

The stacked phi is one parameter of the optimiser, and shares its memory with the array that the
problem sees. Both methods move each task by its own gradient only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skcml.arrays import Array, copy_in_order, keep_freed_memory, namespace
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

    keep_freed_memory()
    here = first = descent.first
    phi = copy_in_order(first.phi)
    parameter = torch.nn.Parameter(torch.as_tensor(phi))
    optimiser = make([parameter])
    best = _Best(copy_in_order(phi), first.value, first.norm)
    is_open, is_lost = here.norm > descent.bound, here.norm < 0
    n_iter = 0
    while n_iter < max_iter and is_open.any():
        n_iter += 1
        # Fused optimisers go by memory, whatever the order of the axes.
        parameter.grad = torch.as_tensor(here.gradient).contiguous()
        optimiser.step()
        if not is_open.all():  # momentum carries on tasks that rest; they are put back
            phi[:, ~is_open] = best.phi[:, ~is_open]
        here = descent.at(phi)
        is_done = here.norm <= descent.bound
        best.take(here, is_open & ((here.value < best.value) | is_done))
        is_lost = is_lost | (is_open & ~namespace(here.norm).isfinite(here.norm))
        is_open = is_open & ~is_done & ~is_lost
    end = here._replace(phi=best.phi, value=best.value, norm=best.norm)
    return descent.verdict(end, n_iter, is_lost | ~descent.has_fallen(here))


class _Best:
    """The best that each task has seen: phi, the energy there and the norm of its gradient."""

    def __init__(self, phi: Array, value: Array, norm: Array) -> None:
        self.phi, self.value, self.norm = phi, value, norm

    def take(self, here: Point, better: Array) -> None:
        """Take over the tasks that are better, given by (n_tasks,) truth values."""
        xp = namespace(better)
        if better.all():  # without a mask it is faster, and mostly so
            self.phi[...] = here.phi
        else:
            self.phi[:, better] = here.phi[:, better]
        self.value = xp.where(better, here.value, self.value)
        self.norm = xp.where(better, here.norm, self.norm)
