"""What every inner solver is: a function of problem and batch that owns nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from skcml.arrays import Array
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams


@dataclass(frozen=True)
class InnerSolution:
    """The minimum of E + beta L over phi, for a batch of tasks.

    Attributes
    ----------
    phi : array
        Task parameters, of the problem's shape.
    grad_norm : array of shape (n_tasks,)
        Norm of the energy's gradient that is left: the solver's tolerance as reached.
    n_iter : int
        Iterations spent; zero for a closed form.
    converged : array of shape (n_tasks,), bool
        Whether a task's gradient fell to the solver's tolerance.
    usable : array of shape (n_tasks,), bool
        Whether a task can be learned from: solved, or at least come nearer to its minimum. One
        that diverged cannot.
    solve_h : callable or None
        Applies the inverse of the energy's curvature to an array of phi's shape; None where the
        solver has no factor of it.
    bound : array of shape (n_tasks,), or None
        Norm of the gradient at which a task is done; None where solvers go as far as they can.
    near : array of shape (n_tasks,), bool, or None
        Whether a task came near enough to a minimum to be used without a word, if not as near as
        was asked for; None where that is ``converged``.
    """

    phi: Array
    grad_norm: Array
    n_iter: int
    converged: Array
    usable: Array
    solve_h: Callable[[Array], Array] | None
    bound: Array | None = None
    near: Array | None = None

    @property
    def settled(self) -> Array:
        """Whether each task came near enough to a minimum, of shape (n_tasks,)."""
        return self.converged if self.near is None else self.near


class InnerSolver(Protocol):
    """A function that minimises the augmented energy over phi."""

    def __call__(
        self,
        problem: InnerProblem,
        theta: MetaParams,
        batch: Any,
        beta: Array | float = 0.0,
        init: Array | None = None,
    ) -> InnerSolution:
        """Return argmin over phi of E + beta L.

        Parameters
        ----------
        problem : InnerProblem
            Each solver says what else it asks of it.
        theta : MetaParams
        batch : object
            As `problem.embed` gave it.
        beta : float or array of shape (n_tasks,), default=0.0
            Nudging strength; a negative one as long as E + beta L has a minimum.
        init : array, optional
            Where to start, if the solver starts somewhere: the free phase, for a nudged one.
        """
