"""How far each task of a batch goes along a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skcml.arrays import Array, namespace

# A step is shortened so often at most, each time to a share between these.
MAX_CUTS, SHORTEST, LONGEST = 20, 0.1, 0.6
# A fall that Armijo accepts, as a share of what the slope promises.
ARMIJO = 1e-4
# What rounding may add to an energy, relative to its size.
ROUNDING = 1e-12


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


def product(a: Array, b: Array) -> Array:
    """Return the scalar product of each task, of shape (n_tasks,)."""
    return namespace(a).linalg.vecdot(a, b).sum(0)


def line_search(at: Callable[[Array], Point], here: Point, step: Array, is_open: Array) -> Point:
    """Shorten the step of each task until its energy falls as it should.

    The next length is where the cubic through values and slopes at both ends is least (Nocedal and
    Wright, Numerical Optimization, 2nd edition, equation 3.59). Near the minimum the fall is judged
    by slopes (Hager and Zhang, A new conjugate gradient method with guaranteed descent and an
    efficient line search, SIAM Journal on Optimization 16 (2005), equation 4.1).

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
    # Another task's step need not be finite.
    step = xp.where(is_open[:, None], step, 0.0)
    slope = product(step, here.gradient)
    length = xp.where(is_open, xp.ones_like(slope), 0.0)
    for _ in range(MAX_CUTS):
        there = at(here.phi + length[:, None] * step)
        slope_there = product(step, there.gradient)
        falls = there.value <= here.value + ARMIJO * length * slope
        # Near the minimum rounding hides the fall, but not what slopes say of it.
        is_level = there.value <= here.value + ROUNDING * (1 + abs(here.value))
        falls = falls | (is_level & (slope_there <= (2 * ARMIJO - 1) * slope))
        too_far = ~falls & is_open
        if not too_far.any():
            return there
        shorter = _shorten(length, here.value, slope, there.value, slope_there)
        length = xp.where(too_far, shorter, length)
    return at(here.phi + xp.where(too_far, 0.0, length)[:, None] * step)


def _shorten(
    length: Array, value: Array, slope: Array, value_there: Array, slope_there: Array
) -> Array:
    """Return a share of the length, by the cubic; the shortest where that says nothing."""
    xp = namespace(length)
    with np.errstate(all="ignore"):
        mean = 3 * (value - value_there) / length + slope + slope_there
        root = xp.clip(mean**2 - slope * slope_there, 0.0, None) ** 0.5
        share = 1 - (slope_there + root - mean) / (slope_there - slope + 2 * root)
    share = xp.where(xp.isfinite(share), share, SHORTEST)
    return length * xp.clip(share, SHORTEST, LONGEST)
