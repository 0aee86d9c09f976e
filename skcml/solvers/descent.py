"""What solvers that descend share: where tasks start and stand, the loop, and the verdict.

All tasks of a batch go together, each with a step length of its own, and rest once they are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skcml.arrays import Array, namespace
from skcml.problems.base import Curve
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution
from skcml.solvers.line_search import ROUNDING, Point, line_search, product
from skcml.solvers.secants import Secants

# Share of the gradient at the start that may be left where a task is near its minimum.
NEAR = 0.01
# Of a step that went much too far, and of a task that diverged, the numbers overflow; that is seen.
may_diverge = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True)
class Descent:
    """A batch of tasks whose augmented energy is to be descended.

    Attributes
    ----------
    problem : SmoothProblem
    theta : MetaParams
    batch : object
    beta : float or array of shape (n_tasks,)
    init : array of phi's shape, or None
        Where to begin; None is the problem's start.
    tol : float
        Norm of the gradient at which a task is done, relative to that at the problem's start.
    """

    problem: Any
    theta: MetaParams
    batch: Any
    beta: Array | float
    init: Array | None
    tol: float

    def at(self, phi: Array) -> Point:
        """Return value and gradient at phi."""
        value, gradient = self.problem.augmented(phi, self.theta, self.batch, self.beta)
        return Point(phi, value, gradient, product(gradient, gradient) ** 0.5)

    @cached_property
    def _start(self) -> Point:
        return self.at(self.problem.start(self.theta, self.batch))

    @cached_property
    def first(self) -> Point:
        """Where the tasks begin."""
        return self._start if self.init is None else self.at(self.init)

    @cached_property
    def bound(self) -> Array:
        """Norm of the gradient at which a task is done, of shape (n_tasks,)."""
        return self.tol * self._start.norm

    def has_fallen(self, here: Point) -> Array:
        """Return whether the energy is not above that at the first point, of shape (n_tasks,)."""
        value = self.first.value
        return here.value <= value + ROUNDING * (1 + abs(value))

    @may_diverge
    def run(
        self,
        metric: Callable[[Point], Curve],
        secants: Secants,
        max_iter: int,
        near: float = np.inf,
    ) -> InnerSolution:
        """Step after step, each by a metric that is mended by secants, and a line search.

        Parameters
        ----------
        metric : callable
            Returns, for a point, what applies the inverse of a curvature to a gradient.
        secants : Secants
            Without any yet.
        max_iter : int
            Steps at most.
        near : float, default=inf
            Secants of a task are used once its gradient is below this share of that at the start.
        """
        here, n_iter = self.first, 0
        is_open = here.norm > self.bound
        is_lost = here.norm < 0
        while n_iter < max_iter and is_open.any():
            n_iter += 1
            secants.forget(here.norm > near * self._start.norm)
            step = -secants.apply(metric(here), here.gradient)
            # No curvature along the gradient: a nudge away from the target has left no minimum.
            is_lost = is_lost | (is_open & ~(product(step, here.gradient) < 0))
            is_open = is_open & ~is_lost
            there = line_search(self.at, here, step, is_open)
            is_stuck = (there.value >= here.value) & (there.norm >= here.norm)
            # Secants may lead astray; without them, a task that is stuck can go no further.
            is_over = is_stuck & ~secants.holders(is_stuck)
            is_open = is_open & (there.norm > self.bound) & ~is_over
            secants.add(here, there)
            secants.forget(is_stuck)
            here = there
        return self.verdict(here, n_iter, is_lost)

    def verdict(
        self, here: Point, n_iter: int, is_lost: Array, solve_h: Curve | None = None
    ) -> InnerSolution:
        """Say what became of each task that ended here.

        Parameters
        ----------
        here : Point
        n_iter : int
        is_lost : array of shape (n_tasks,), bool
            The tasks that are known to have diverged.
        solve_h : callable, optional
        """
        first, xp = self.first, namespace(here.norm)
        is_finite = xp.isfinite(here.norm) & xp.isfinite(here.value)
        # E and L have a minimum each. Nudged away from that of L, the energy may have none: then it
        # falls for ever, ever more steeply.
        nudged_away = xp.asarray(self.beta < 0)
        nears = ~nudged_away | (here.norm <= first.norm) | (here.norm <= self.bound)
        usable = is_finite & self.has_fallen(here) & nears & ~is_lost
        converged = (here.norm <= self.bound) & usable
        near = (here.norm <= max(self.tol, NEAR) * self._start.norm) & usable
        return InnerSolution(
            here.phi, here.norm, n_iter, converged, usable, solve_h, bound=self.bound, near=near
        )
