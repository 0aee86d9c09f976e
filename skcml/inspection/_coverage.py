"""How often intervals held what they say, and how surely that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from skcml.estimators._inputs import read_numbers, read_probabilities
from skcml.model_selection._scoring import CONFIDENCE

# A variance of shares below this is rounding.
SAME = 1e-18


def ends_of(levels: Any) -> np.ndarray:
    """Return the probabilities below the ends of central intervals, in ascending order."""
    ordered = np.sort(read_probabilities(levels, "levels"))
    q = np.concatenate([0.5 - ordered[::-1] / 2, 0.5 + ordered / 2])
    if (np.diff(q, prepend=0.0, append=1.0) <= 0).any():
        raise ValueError(f"levels={levels!r} must differ from each other, and from 0 and 1.")
    return q


def read_intervals(
    y_true: Any, quantiles: Any, q: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arrays, or say which is not what it should be."""
    q = read_probabilities(q)
    if len(q) < 2 or (np.diff(q) <= 0).any() or not np.allclose(q + q[::-1], 1.0):
        raise ValueError(
            f"q={q.tolist()} must ascend, and hold with each probability the one that it lacks to "
            "one, such as (0.05, 0.25, 0.75, 0.95)."
        )
    table = read_numbers(quantiles, "quantiles")
    y = read_numbers(y_true, "y_true", ensure_2d=False)
    if y.shape != (len(table),) or table.shape[1] != len(q):
        raise ValueError(
            f"y_true of shape {y.shape}, quantiles of shape {table.shape} and q of shape {q.shape} "
            "do not belong together: y_true has a number, and quantiles a row, for each sample, "
            "and quantiles a column for each of q. Of several outputs take one."
        )
    crossing = (table > table[:, ::-1])[:, : len(q) // 2].any(axis=1)
    if crossing.any():
        raise ValueError(
            f"quantiles cross in {crossing.sum()} row(s), the first of them row "
            f"{crossing.argmax()}: an interval ends below its start. Its columns must be in the "
            "order of q; np.sort(quantiles, axis=1) sorts them."
        )
    return y, table, q


def interval_of_shares(
    hit: np.ndarray, codes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return an interval of the share of hits at each level.

    It is Wilson's, for as many independent rows as would give a share the error that it has over
    groups, and with Student's t for what is not known of that error.

    Parameters
    ----------
    hit : ndarray of shape (n_rows, n_levels)
    codes : ndarray of shape (n_rows,) or None
        Group of each row.

    Returns
    -------
    low, high : ndarray of shape (n_levels,)
    n_groups : int or None
        None where rows count as independent.
    """
    share, n_rows = hit.mean(axis=0), len(hit)
    n_groups = 0 if codes is None else len(np.unique(codes))
    n, z = np.full(len(share), float(n_rows)), stats.norm.ppf(0.5 + CONFIDENCE / 2)
    if codes is not None and n_groups > 1:
        # A ratio of sums over groups: hits over rows.
        off = np.zeros((n_groups, hit.shape[1]))
        np.add.at(off, codes, hit - share)
        variance = (off**2).sum(axis=0) * n_groups / (n_groups - 1) / n_rows**2
        # Where no group differs, groups are as good as rows, and no better.
        differ = variance > SAME
        n = np.divide(share * (1 - share), variance, out=np.full_like(n, n_groups), where=differ)
        n, z = np.clip(n, 1, n_rows), stats.t.ppf(0.5 + CONFIDENCE / 2, n_groups - 1)
    shrunk = 1 + z**2 / n
    middle = (share + z**2 / (2 * n)) / shrunk
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / shrunk
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return low, high, n_groups if n_groups > 1 else None
