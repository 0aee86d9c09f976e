"""What every meta-gradient rule returns, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from skcml.arrays import Array, namespace
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class MetaGradient:
    """The outcome of one episode.

    Attributes
    ----------
    theta : MetaParams
        Gradient of the mean loss over tasks.
    loss : float
        That mean loss, at the free phase; not a number where no task could be used.
    n_left_out : int
        Tasks whose inner problem did not converge; they are not in the mean.
    """

    theta: MetaParams
    loss: float
    n_left_out: int


class MetaGradientRule(Protocol):
    """Estimates the gradient of L(phi*(theta), theta) in theta."""

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""


def usable_mean(usable: Array) -> Array:
    """Return the coefficients, of shape (n_tasks,), that average over the usable tasks.

    All are zero where no task can be used.
    """
    xp = namespace(usable)
    weight = xp.asarray(usable, dtype=xp.float64)
    return weight / max(float(weight.sum()), 1.0)
