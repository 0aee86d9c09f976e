r"""What past steps say of a curvature: the two-loop recursion of L-BFGS, for a batch of tasks.

A step s that changed the gradient by y is a secant of the energy: its curvature H has H s = y. The
recursion applies to a gradient the inverse of the matrix that BFGS updates make, secant by secant,
of a metric given for the inverse (Nocedal and Wright, Numerical Optimization, 2nd edition,
algorithm 7.4). Secants along which the energy is not convex are left out, so that the result stays
positive definite: a step against it descends.
"""

from __future__ import annotations

from typing import NamedTuple

from skcml.arrays import Array, namespace
from skcml.problems.base import Curve
from skcml.solvers.line_search import Point, product

# Cosine between step and change of the gradient below which the energy is not called convex.
FLAT = 1e-10


class Secant(NamedTuple):
    """A secant of each task.

    Attributes
    ----------
    step, change : array of shape (n_outputs, n_tasks, n_params)
        Of phi, and of the gradient.
    inverse : array of shape (n_tasks,)
        One over their product; zero for a task that has no secant here.
    """

    step: Array
    change: Array
    inverse: Array


class Secants:
    """The last secants of a batch of tasks.

    Parameters
    ----------
    size : int
        How many are kept.
    fitted : callable, optional
        A metric that is to be rescaled so that it fits the last secant (same book, equation 7.20).
    """

    def __init__(self, size: int, fitted: Curve | None = None):
        self.size, self.fitted = size, fitted
        self._kept: list[Secant] = []
        self._scale: Array | None = None

    def holders(self, tasks: Array) -> Array:
        """Return which of some tasks, a mask of shape (n_tasks,), have a secant."""
        found = tasks & False
        for secant in self._kept:
            found = found | (tasks & (secant.inverse > 0))
        return found

    def add(self, here: Point, there: Point) -> None:
        """Keep what the way from one point to another tells."""
        if not self.size:
            return
        xp = namespace(here.phi)
        step, change = there.phi - here.phi, there.gradient - here.gradient
        bend = product(step, change)
        sizes = (product(step, step) * product(change, change)) ** 0.5
        is_convex = bend > FLAT * sizes
        inverse = xp.where(is_convex, 1.0 / xp.where(is_convex, bend, 1.0), 0.0)
        # What is not finite is not used; times zero it would still be.
        step, change = (xp.where(is_convex[:, None], a, 0.0) for a in (step, change))
        self._kept = [*self._kept, Secant(step, change, inverse)][-self.size :]
        if self.fitted is not None:
            before = xp.ones_like(bend) if self._scale is None else self._scale
            length = product(change, self.fitted(change))
            fits = bend / xp.where(is_convex, length, 1.0)
            self._scale = xp.where(is_convex, fits, before)

    def forget(self, tasks: Array) -> None:
        """Drop the secants of some tasks, a mask of shape (n_tasks,)."""
        if self._kept and tasks.any():
            xp = namespace(tasks)
            kept = [s._replace(inverse=xp.where(tasks, 0.0, s.inverse)) for s in self._kept]
            self._kept = [s for s in kept if s.inverse.any()]
            if self._scale is not None:
                self._scale = xp.where(tasks, 1.0, self._scale)

    def apply(self, metric: Curve, gradient: Array) -> Array:
        """Return the gradient times the inverse of the mended curvature."""
        left, shares = gradient, []
        for step, change, inverse in reversed(self._kept):
            share = inverse * product(step, left)
            left = left - share[:, None] * change
            shares.append(share)
        found = metric(left)
        if self._scale is not None:
            found = self._scale[:, None] * found
        for (step, change, inverse), share in zip(self._kept, reversed(shares), strict=True):
            found = found + (share - inverse * product(change, found))[:, None] * step
        return found
