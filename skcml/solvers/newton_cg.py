"""Newton's method by conjugate gradients: for convex energies with too many parameters to factor.

Truncated Newton steps (Nocedal and Wright, Numerical Optimization, 2nd edition, algorithm 7.1):
each is solved as well as the distance from the minimum deserves. All tasks of a batch go together,
each with a step length of its own, and rest once they are done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skcml.arrays import Array
from skcml.problems.base import Curve, Expansion
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolution

# Norm of the energy's gradient that is to be reached, and that will do; relative to the norm at
# the start if that is above one.
TOL, USABLE = 1e-10, 1e-6
MAX_STEPS, MAX_HALVINGS = 50, 40
# Residual of a Newton step, and that of `solve_h`, relative to the right-hand side.
LOOSEST, TIGHT = 0.1, 1e-10
# Products with the curvature that a Newton step, or `solve_h`, may cost.
MAX_PRODUCTS, MAX_PRODUCTS_OF_SOLVE = 250, 2000
# A fall that Armijo accepts, as a share of what the slope promises.
ARMIJO = 1e-4


def newton_cg(
    problem: Any,
    theta: MetaParams,
    batch: Any,
    beta: Array | float = 0.0,
    init: Array | None = None,
) -> InnerSolution:
    """Minimise a convex augmented energy by truncated Newton steps, in numpy.

    Called as an `InnerSolver`, on a `ConvexProblem`.
    """

    def expand(phi: Array) -> Expansion:
        return problem.expand(phi, theta, batch, beta)

    phi = problem.start(theta, batch) if init is None else init
    here = expand(phi)
    left = _norm(here.gradient)
    at_start = np.maximum(left, 1.0)
    is_open = left > TOL * at_start
    n_iter = 0
    while is_open.any() and n_iter < MAX_STEPS:
        n_iter += 1
        step = _newton_step(here, is_open, left / at_start)
        phi, there, left_there = _line_search(expand, phi, here, step, left, is_open)
        # What does not come nearer in value or in gradient never will.
        is_stuck = (there.value >= here.value) & (left_there >= left)
        here, left = there, left_there
        is_open = is_open & ~is_stuck & (left > TOL * at_start)
    usable = left <= USABLE * at_start

    def solve_h(direction: Array) -> Array:
        return conjugate_gradients(here.curvature, direction, TIGHT, MAX_PRODUCTS_OF_SOLVE)

    return InnerSolution(phi, left, n_iter, usable, usable, solve_h)


def conjugate_gradients(
    apply: Curve, target: Array, tol: Array | float, max_products: int
) -> Array:
    """Solve H x = target in each task.

    A task rests once its residual is below ``tol`` times the target, or where H has no positive
    curvature.

    Parameters
    ----------
    apply : callable
        Applies H.
    target : array of shape (n_outputs, n_tasks, n_params)
    tol : float or array of shape (n_tasks,)
    max_products : int

    Returns
    -------
    array of target's shape
    """
    # Each task by itself has a target of size one, so that no square leaves the range of floats.
    size = _largest_entry(target)
    residual = target / size
    x = np.zeros_like(target)
    direction = residual.copy()
    square = _dot(residual, residual)
    bound = np.asarray(tol) ** 2 * square
    is_open = square > bound
    for _ in range(max_products):
        if not is_open.any():
            break
        pushed = apply(direction)
        bend = _dot(direction, pushed)
        is_open &= bend > 0
        length = np.divide(square, bend, out=np.zeros_like(bend), where=is_open)[:, None]
        x += length * direction
        residual -= length * pushed
        before, square = square, _dot(residual, residual)
        direction *= np.divide(square, before, out=np.zeros_like(bend), where=is_open)[:, None]
        direction += residual
        is_open &= square > bound
    return size * x


def _newton_step(here: Expansion, is_open: Array, left: Array) -> Array:
    """Return the step of each task that is open, zero for the others.

    It descends, or is zero where a nudge away from the target has left no curvature.

    ``left`` is the norm of the gradient, relative to that at the start.
    """
    target = np.where(is_open[:, None], -here.gradient, 0.0)
    tol = np.minimum(LOOSEST, np.sqrt(left))
    return conjugate_gradients(here.curvature, target, tol, MAX_PRODUCTS)


def _line_search(
    expand: Callable[[Array], Expansion],
    phi: Array,
    here: Expansion,
    step: Array,
    left: Array,
    is_open: Array,
) -> tuple[Array, Expansion, Array]:
    """Halve the step of each task until its objective falls as it should.

    Returns
    -------
    phi : array
        Where no length will do, as it was.
    there : Expansion
    left : array of shape (n_tasks,)
        Norm of the gradient there.
    """
    slope = _dot(step, here.gradient)
    # Near the minimum rounding hides the fall. The objective is convex: where the gradient shrinks,
    # the minimum is nearer.
    length = is_open.astype(float)
    for _ in range(MAX_HALVINGS):
        moved = phi + length[:, None] * step
        there = expand(moved)
        left_there = _norm(there.gradient)
        falls = there.value <= here.value + ARMIJO * length * slope
        too_far = ~(falls | (left_there <= 0.5 * left)) & is_open
        if not too_far.any():
            return moved, there, left_there
        length = np.where(too_far, 0.5 * length, length)
    moved = phi + np.where(too_far, 0.0, length)[:, None] * step
    there = expand(moved)
    return moved, there, _norm(there.gradient)


def _dot(a: Array, b: Array) -> Array:
    """Return the product of each task, of shape (n_tasks,)."""
    return np.einsum("ctr,ctr->t", a, b)


def _largest_entry(array: Array) -> Array:
    """Return the largest absolute value of each task, (n_tasks, 1); one where all are zero."""
    top = abs(array).max((0, 2), initial=0.0)[:, None]
    return np.where(top > 0, top, 1.0)


def _norm(gradient: Array) -> Array:
    """Return the norm of each task's gradient, of shape (n_tasks,)."""
    size = _largest_entry(gradient)
    return size[:, 0] * np.sqrt(_dot(gradient / size, gradient / size))
