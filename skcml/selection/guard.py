"""A mixture whose mean is not surely worse than that of one of its members.

Weights that maximise a log score may give up the mean. Where errors are large in a few groups, a
member that is right about most has the better score, since the density of another covers those
few; but the mean of the mixture is mostly its own, and the mean is what `predict` returns.
"""

from __future__ import annotations

import numpy as np

# What the mean may lose, of the least squared error of a member: 1 % of its root.
ALLOWED = 0.02


def guarded(
    weights: np.ndarray,
    mean: np.ndarray,
    y: np.ndarray,
    row_weight: np.ndarray,
    row_group: np.ndarray,
) -> np.ndarray:
    """Move weights towards the member with the least squared error, where theirs is above it.

    It must be above by more than a standard error over groups, as structures are chosen: a handful
    of groups says little. Weights move along a line, and no further than they must.

    Parameters
    ----------
    weights : ndarray of shape (n_members, n_outputs)
        Each output's add up to one.
    mean : ndarray of shape (n_members, n_outputs, n_rows)
        Predictions of held-out rows.
    y : ndarray of shape (n_outputs, n_rows)
    row_weight : ndarray of shape (n_rows,)
    row_group : ndarray of shape (n_rows,), int

    Returns
    -------
    ndarray of shape (n_members, n_outputs)
    """
    moved = [
        _moved(share, predicted, target, row_weight, row_group)
        for share, predicted, target in zip(weights.T, np.moveaxis(mean, 1, 0), y, strict=True)
    ]
    return np.stack(moved, axis=1)


def _moved(
    share: np.ndarray,
    mean: np.ndarray,
    y: np.ndarray,
    row_weight: np.ndarray,
    row_group: np.ndarray,
) -> np.ndarray:
    """Move the weights of one output."""
    n_groups = int(row_group.max()) + 1
    error = y - mean
    largest = abs(error).max()
    if not 0 < largest < np.inf:
        return share
    error = error / largest  # whose squares, and their squares, stay floats
    squares = (row_weight * error**2).sum(axis=1)
    best = int(squares.argmin())
    mixed, alone = share @ error, error[best]
    behind = np.bincount(row_group, row_weight * (mixed**2 - alone**2), n_groups)
    doubt = behind.std() * n_groups / np.sqrt(n_groups - 1) if n_groups > 1 else np.inf
    allowed = (1 + ALLOWED) * squares[best]
    # If one group makes all the difference, the two are equal but for rounding.
    if behind.sum() <= (1 + 1e-9) * doubt or (row_weight * mixed**2).sum() <= allowed:
        return share
    # From the member to the mixture, the squared error is a parabola that starts below what is
    # allowed and ends above it. Its root is between zero and one, in either form.
    way = mixed - alone
    a, b = (row_weight * way**2).sum(), (row_weight * way * alone).sum()
    c = ALLOWED * squares[best]
    root = np.sqrt(b**2 + a * c)
    kept = c / (b + root) if b > 0 else (root - b) / a
    return kept * share + (1 - kept) * np.eye(len(share))[best]
