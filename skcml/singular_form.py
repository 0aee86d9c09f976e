r"""Posterior covariances in singular form: what they leave of the variance of a predictor.

The covariance of whitened coefficients is kept as :math:`I - V^\top V`, with few rows of V for each
task, those of all tasks one after the other. A row with whitened features a has a predictor of
variance :math:`|a|^2 - |V a|^2`.
"""

from __future__ import annotations

import math

import numpy as np

# Numbers gathered at a time: the working memory stays small.
_GATHERED = 250_000


def are_of_one_task(starts: np.ndarray, codes: np.ndarray) -> bool:
    """Tell whether all rows are of the one task there is, or all of the prior."""
    return len(starts) == 3 and bool((codes == codes[0]).all())


def variance_left(
    a: np.ndarray,
    directions: np.ndarray,
    starts: np.ndarray,
    codes: np.ndarray,
    *,
    is_coupled: bool,
) -> np.ndarray:
    """Return the variance of the predictors of rows.

    Parameters
    ----------
    a : ndarray of shape (M, m, n_rows, P)
        Whitened features; of M heads with m outputs each.
    directions : ndarray of shape (n_directions, M, m, P)
        The rows of V of all tasks.
    starts : ndarray of shape (n_tasks + 2,)
        Those of task t are ``starts[t]:starts[t + 1]``; the last task, the prior, has none.
    codes : ndarray of shape (n_rows,)
        Task of each row; -1 for the prior.
    is_coupled : bool
        Whether outputs are logits of one variable, which have a covariance.

    Returns
    -------
    ndarray of shape (M, m, n_rows) or (M, m, m, n_rows)
    """
    total = (a**2).sum(-1)
    if is_coupled:
        total = total[:, :, None] * np.eye(a.shape[1])[..., None]
    if are_of_one_task(starts, codes):
        v = directions if codes[0] == 0 else directions[:0]
        total -= _squares(a @ np.moveaxis(v, 0, -1), is_coupled).sum(-1)
    else:
        counts = np.diff(starts)[codes]
        # Runs of rows that have about as many directions as may be gathered.
        at_once = max(_GATHERED // max(math.prod(directions.shape[1:]), 1), 1)
        run = np.cumsum(counts) // at_once
        for part in np.split(np.arange(len(codes)), np.flatnonzero(np.diff(run)) + 1):
            first = starts[:-1][codes[part]]
            total[..., part] -= _known(a[..., part, :], directions, first, counts[part], is_coupled)
    # Rounding may not take a variance below zero.
    return total if is_coupled else np.maximum(total, 0.0)


def _known(
    a: np.ndarray, directions: np.ndarray, first: np.ndarray, counts: np.ndarray, is_coupled: bool
) -> np.ndarray:
    """Return |V a|^2 for rows of many tasks, whose V have ``counts`` rows from ``first`` on."""
    ends = np.cumsum(counts)
    place = np.arange(ends[-1]) + np.repeat(first - (ends - counts), counts)
    row = np.repeat(np.arange(len(counts)), counts)
    along = (np.moveaxis(directions[place], 0, 2) * a[:, :, row]).sum(-1)
    squares = _squares(along, is_coupled)
    known = np.zeros((*squares.shape[:-1], len(counts)))
    if ends[-1]:
        starts = (ends - counts)[counts > 0]
        known[..., counts > 0] = np.add.reduceat(squares, starts, axis=-1)
    return known


def _squares(along: np.ndarray, is_coupled: bool) -> np.ndarray:
    """Return squares of (M, m, ...), or products (M, m, m, ...) of coupled logits."""
    return along[:, :, None] * along[:, None] if is_coupled else along**2
