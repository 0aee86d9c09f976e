r"""The rows of a task as a triangular factor: all that a posterior in closed form needs of them.

A row z with target y and weight w enters the posterior of a head as the whitened row
:math:`b = \sqrt{w} \, [\Lambda^\top z, \; y - z^\top \omega] / \sigma`, and the rows B of a task
through :math:`B^\top B` alone. So the triangular factor R of B, at most as many rows as the head
has directions, says all. New rows are put below it and it is triangulated anew, by reflections
that do not lose what a sum of squares would (Bierman, Factorization Methods for Discrete Sequential
Estimation, 1977, chapter 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from skcml.episodes import TaskRows
from skcml.grouping import rows_by_group
from skcml.heads import Heads, Posterior
from skcml.least_squares import whiten

# Rows worked on at a time: of all tasks together, and of one.
_ROWS = 16_384
_LONGEST = 1_024


def no_rows(heads: Heads) -> np.ndarray:
    """Return the factor of a task without rows."""
    n_heads, n_outputs, _, n_columns = heads.factor.shape
    return np.empty((0, n_heads, n_outputs, n_columns + 1))


def add_rows(heads: Heads, tasks: TaskRows, before: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the factors of tasks to which rows have been added.

    Parameters
    ----------
    heads : Heads
        Of numbers, with the prior as it was learned.
    tasks : TaskRows
        The rows that are new, standardised.
    before : sequence of ndarray of shape (n_kept, M, m, P + 1)
        The factors of these tasks; left as they are.

    Returns
    -------
    list of ndarray of shape (n_kept, M, m, P + 1)
        Of each task, with as many rows as it has had, or P if that is less. The last column is that
        of the targets.
    """
    found = list(before)
    n_columns = heads.factor.shape[-1]
    for first in range(0, int(tasks.sizes.max(initial=0)), _LONGEST):
        n_new = np.clip(tasks.sizes - first, 0, _LONGEST)
        for chosen in _alike(n_new, np.array([len(factor) for factor in found])):
            if not n_new[chosen[0]]:
                continue
            place = tasks.starts[chosen][:, None] + (first + np.arange(n_new[chosen[0]]))
            joint = np.concatenate(
                [_stacked(found, chosen), _whitened(heads, tasks, place)], axis=-2
            )
            # What is below the last direction is the part of y that no coefficient explains.
            factor = np.asarray(np.linalg.qr(joint, mode="r"))[..., :n_columns, :]
            for task, part in zip(chosen, np.moveaxis(factor, (2, 3), (0, 1)), strict=True):
                found[task] = np.array(part)
    return found


def factors_of(posterior: Posterior, strength: float) -> list[np.ndarray]:
    r"""Return factors of the rows that a posterior was adapted to, in whatever rotation.

    With H the precision of u, the principal directions V give :math:`B^\top B = H - I`, and the
    coordinates of u along them the targets. What a direction has left of its variance,
    :math:`1 - |v|^2`, has lost as many digits as its precision has.

    Parameters
    ----------
    posterior : Posterior
        From `Heads.adapt`, of numbers.
    strength : float
        Its prior precision over the learned one.
    """
    v = posterior.directions
    if posterior.along is None:
        raise ValueError("A posterior that does not say where its mean is along V has no factors.")
    left = np.maximum(1 - (v**2).sum(-1), np.finfo(float).eps)
    rows = np.concatenate([np.sqrt(strength) * v, posterior.along[..., None]], axis=-1)
    rows /= np.sqrt(left)[..., None]
    # Copies, so that a task that is forgotten is gone.
    return [rows[start:stop].copy() for start, stop in pairwise(posterior.starts[:-1])]


def condition(heads: Heads, factors: Sequence[np.ndarray], strength: float) -> Posterior:
    """Return the posterior of tasks of which the factors are known.

    Parameters
    ----------
    heads : Heads
        As in `add_rows`.
    factors : sequence of ndarray of shape (n_kept, M, m, P + 1)
    strength : float
        Factor on the learned prior precision.
    """
    heads_now = heads.with_precision(strength)
    kept = np.array([len(factor) for factor in factors], dtype=np.intp)
    starts = np.concatenate([[0], np.cumsum(np.append(kept, 0))])
    shape = heads.factor.shape
    shift = np.zeros((len(factors) + 1, *shape[:2], shape[-1]))
    directions = np.empty((starts[-1], *shape[:2], shape[-1]))
    for chosen in _alike(kept):
        rows = _stacked(factors, chosen)
        rows[..., :-1] /= np.sqrt(strength)
        design = rows[..., :-1]
        # The dual of `LeastSquares`. V needs no rotation here: a factor has no order of rows.
        rows = whiten(np.eye(design.shape[-2]) + design @ design.mT, rows)
        v, along = rows[..., :-1], rows[..., -1:]
        shift[chosen] = np.moveaxis((v.mT @ along)[..., 0], 2, 0)
        place = starts[chosen][:, None] + np.arange(design.shape[-2])
        directions[place] = np.moveaxis(v, (2, 3), (0, 1))
    coefficients = heads_now.omega + (heads_now.factor @ shift[..., None])[..., 0]
    return Posterior(heads_now, coefficients, directions, starts)


def _whitened(heads: Heads, tasks: TaskRows, place: np.ndarray) -> np.ndarray:
    """Return whitened rows, (M, m, t, n, P + 1), of the rows at ``place``, (t, n)."""
    rows = place.ravel()
    z = heads.features(tasks.X[rows])
    target = tasks.y[rows].T - (z @ heads.omega[..., None])[..., 0]
    root = np.sqrt(tasks.weight[rows] / heads.noise[..., None])
    whitened = root[..., None] * np.concatenate([z @ heads.factor, target[..., None]], axis=-1)
    return whitened.reshape(*whitened.shape[:2], *place.shape, -1)


def _stacked(factors: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Return factors of one size as a copy of shape (M, m, t, n_kept, P + 1)."""
    stacked = np.stack([factors[task] for task in chosen])
    return np.ascontiguousarray(np.moveaxis(stacked, (0, 1), (2, 3)))


def _alike(*sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield tasks of which all sizes, each of shape (n_tasks,), are the same."""
    if len(sizes[0]) == 1:  # the common case
        yield np.zeros(1, dtype=np.intp)
        return
    total = np.sum(sizes, axis=0)
    kind = total
    for size in sizes[1:]:
        kind = kind * (int(size.max(initial=0)) + 1) + size
    kinds, kind = np.unique(kind, return_inverse=True)
    order, starts = rows_by_group(kind, len(kinds))
    for start, stop in pairwise(starts):
        at_once = max(_ROWS // max(int(total[order[start]]), 1), 1)
        for first in range(start, stop, at_once):
            yield order[first : min(first + at_once, stop)]
