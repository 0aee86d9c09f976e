r"""How strong a nudge may be, and how strong it is best.

A minimum that is nudged by :math:`\beta` goes to :math:`\phi_0 - \beta H^{-1} s` and, since the
loss has a curvature Q, bends off: by :math:`\beta^2 H^{-1} Q H^{-1} s`. That is the bias of a
finite difference. Along the way that it goes, the two are equal at the *reach*,

.. math:: \beta_r = \frac{d^\top H d}{d^\top Q d}, \qquad d = H^{-1} s, \quad s = \partial_\phi L,

and in the worst direction at :math:`\beta_{lim} \le \beta_r`, beyond which a nudge away from the
target has no minimum at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skcml.arrays import Array, cast_like, namespace
from skcml.problems.base import Curve, InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.along import CONTRAST_WIDTH
from skcml.solvers.base import InnerSolution

# beta_lim of a loss (almost) without curvature, so that beta="auto" stays finite.
MAX_LIMIT = 1e6
# Products with the curvature, and the residual, that are good enough to tell the reach.
MAX_PRODUCTS, ROUGH = 10, 0.1


def automatic_strength(
    order: int, problem: Any, theta: MetaParams, batch: Any, free: InnerSolution
) -> Array:
    """Return the beta at which bias and what the solver leaves are about equal, (n_tasks,).

    With s = beta / reach the error is C1 delta / s + C2 s^order, least near
    s = delta^(1/(1+order)). delta is what a phase leaves of the energy's gradient, in units of the
    force that a nudge of the size of the reach exerts: a pure number. Of a scheme of second order,
    half of that is taken: reach is a mean over directions, and to take too much costs the square of
    what it costs to take too little.

    Parameters
    ----------
    order : int
        Of the scheme's error in beta.
    problem, theta, batch : as for a solver
    free : InnerSolution
    """
    xp = namespace(free.phi)
    slope = where_usable(free.usable, problem.loss_phi_grad(free.phi, theta, batch))
    reach = nudge_reach(problem, theta, batch, free, slope)
    force = reach * (slope**2).sum((0, -1)) ** 0.5
    # Phases may end anywhere below the bound, where a weak nudge does not even begin: that the free
    # one came nearer by luck does not help.
    left = free.grad_norm if free.bound is None else xp.maximum(free.grad_norm, free.bound)
    delta = xp.clip(where_usable(free.usable, left / (force + (force == 0))), 1e-16, 1e-2)
    return reach * delta ** (1.0 / (1 + order)) / order


def nudge_reach(
    problem: Any, theta: MetaParams, batch: Any, free: InnerSolution, slope: Array
) -> Array:
    """Return the strength at which the way of the minimum bends as much as it goes, (n_tasks,).

    Where the solver has no factor of the curvature, it descends by gradients, and a few differences
    of these tell about where the minimum goes.
    """
    # Each task by itself, so that no square leaves the range of floats.
    size = largest_entry(slope)
    slope = slope / (size + (size == 0))
    if free.solve_h is None:
        move = _roughly_solved(problem, theta, batch, free, slope)
    else:
        move = free.solve_h(slope)
    pushed = problem.loss_curvature(move, free.phi, theta, batch)
    along = (move * slope).sum((0, -1))
    bend = (move * pushed).sum((0, -1)) / (along + (along == 0))
    return 1.0 / namespace(bend).clip(bend, 1 / MAX_LIMIT, None)


def _roughly_solved(
    problem: Any, theta: MetaParams, batch: Any, free: InnerSolution, target: Array
) -> Array:
    """Apply the inverse of the energy's curvature, roughly: conjugate gradients from the prior."""
    phi = where_usable(free.usable, free.phi)
    _, start = problem.augmented(phi, theta, batch, 0.0)

    def curve(direction: Array) -> Array:
        size = largest_entry(direction)
        width = CONTRAST_WIDTH / (size + (size == 0))
        return (problem.augmented(phi + width * direction, theta, batch, 0.0)[1] - start) / width

    def prior(residual: Array) -> Array:
        return problem.solve_prior(residual, theta)

    return conjugate_gradients(curve, prior, target)


def conjugate_gradients(curve: Curve, prior: Curve, target: Array) -> Array:
    """Solve a system in each task, down to `ROUGH`, or until it is not convex; on numpy or torch.

    Parameters
    ----------
    curve : callable
        Applies the matrix.
    prior : callable
        Applies the inverse of one that is like it.
    target : array of shape (n_outputs, n_tasks, n_params)
    """
    xp = namespace(target)
    found, residual, direction = 0 * target, target, prior(target)
    square = first = (residual * direction).sum((0, -1))
    is_open = first > 0
    for _ in range(MAX_PRODUCTS):
        pushed = curve(direction)
        bend = (direction * pushed).sum((0, -1))
        is_open = is_open & (bend > 0)
        if not is_open.any():
            break
        length = xp.where(is_open, square / xp.where(is_open, bend, 1.0), 0.0)[:, None]
        found, residual = found + length * direction, residual - length * pushed
        conditioned = prior(residual)
        before, square = square, (residual * conditioned).sum((0, -1))
        direction = conditioned + (square / (before + (before == 0)))[:, None] * direction
        is_open = is_open & (square > ROUGH**2 * first)
    # Not convex from the outset: as if there was the prior alone.
    return xp.where((found != 0).any(-1).any(0)[:, None], found, prior(target))


def nudge_limit(
    problem: InnerProblem,
    theta: MetaParams,
    batch: Any,
    free: InnerSolution,
    n_iter: int = 50,
) -> Array:
    """Return beta_lim of each task: E - beta L has a minimum for every smaller beta.

    It is the inverse of the largest eigenvalue of H^-1 Q, Q the curvature of the loss; found by
    power iteration with the Rayleigh quotient in the metric of Q. Where the solver has no factor
    of H, the energy's prior stands for it, so that the limit is then too low, if anything. Where
    the loss has no curvature it is ``MAX_LIMIT``.

    Returns
    -------
    array of shape (n_tasks,)
    """
    solve_h = free.solve_h or (lambda direction: problem.solve_prior(direction, theta))
    slope = where_usable(free.usable, problem.loss_phi_grad(free.phi, theta, batch))
    # A start that is not orthogonal to the leading direction by accident of the data.
    size = largest_entry(slope)
    direction = solve_h(slope + (1e-3 * size + (size == 0)) * _ramp(slope))
    largest = 0 * direction.sum((0, -1))
    for _ in range(n_iter):
        # Each task by itself: scaled by another's, a small curvature would fade to nothing.
        direction = direction / largest_entry(direction)
        pushed = problem.loss_curvature(direction, free.phi, theta, batch)
        moved = solve_h(pushed)
        energy = (direction * pushed).sum((0, -1))
        largest = (pushed * moved).sum((0, -1)) / (energy + (energy == 0))
        # A direction without curvature stays where it is.
        direction = namespace(moved).where(largest_entry(moved) > 0, moved, direction)
    return 1.0 / namespace(largest).clip(largest, 1 / MAX_LIMIT, None)


def largest_entry(array: Array) -> Array:
    """Return the largest absolute value of each task, of shape (1, n_tasks, 1)."""
    return namespace(array).amax(abs(array), (0, 2))[None, :, None]


def _ramp(like: Array) -> Array:
    """Return 1, 2, ... along the last axis, alternating in sign; of shape (n_params,)."""
    n = like.shape[-1]
    return cast_like(np.arange(1, n + 1) * (-1.0) ** np.arange(n) / n, like)


def where_usable(usable: Array, array: Array) -> Array:
    """Put zeros where a task cannot be used: its numbers need not be finite."""
    if usable.all():
        return array
    mask = usable if array.ndim == 1 else usable[:, None]
    return namespace(array).where(mask, array, 0.0)
