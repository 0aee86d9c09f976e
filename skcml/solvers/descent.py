"""What solvers that descend share: where a batch of tasks stands, and how far each steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from skcml.arrays import Array, namespace
from skcml.problems.meta_params import MetaParams

# A step is shortened so often at most, and to this share each time.
MAX_CUTS, CUT = 20, 0.4
# A fall that Armijo accepts, as a share of what the slope promises.
ARMIJO = 1e-4


class Point(NamedTuple):
    """Where a batch of tasks stands.

    Attributes
    ----------
    phi : array of shape (n_outputs, n_tasks, n_params)
    value : array of shape (n_tasks,)
        The augmented energy.
    gradient : array of phi's shape
    norm : array of shape (n_tasks,)
        Of the gradient.
    """

    phi: Array
    value: Array
    gradient: Array
    norm: Array


def evaluate(problem: Any, phi: Array, theta: MetaParams, batch: Any, beta: Array | float) -> Point:
    """Return value and gradient of the augmented energy of a `SmoothProblem`."""
    value, gradient = problem.augmented(phi, theta, batch, beta)
    return Point(phi, value, gradient, (gradient**2).sum((0, -1)) ** 0.5)


def line_search(at: Callable[[Array], Point], here: Point, step: Array, is_open: Array) -> Point:
    """Shorten the step of each task until its energy falls as it should.

    Parameters
    ----------
    at : callable
        Evaluates a phi.
    here : Point
    step : array of phi's shape
        It descends.
    is_open : array of shape (n_tasks,), bool
        The tasks that move.

    Returns
    -------
    Point
        Where no length will do, as it was.
    """
    xp = namespace(step)
    slope = (step * here.gradient).sum((0, -1))
    length = xp.where(is_open, xp.ones_like(slope), 0.0)
    step = xp.where(is_open[:, None], step, 0.0)
    for _ in range(MAX_CUTS):
        there = at(here.phi + length[:, None] * step)
        # Near the minimum rounding hides the fall; a gradient that shrinks will do.
        falls = there.value <= here.value + ARMIJO * length * slope
        falls = falls | ((there.norm <= 0.5 * here.norm) & (there.value <= here.value + abs(slope)))
        too_far = ~falls & is_open
        if not too_far.any():
            return there
        length = xp.where(too_far, CUT * length, length)
    return at(here.phi + xp.where(too_far, 0.0, length)[:, None] * step)
