"""Expectations over several logits together, by quasi-random points of a Gaussian."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import stats

# Points on the way to a posterior, and for what it predicts.
N_POINTS, FINAL_POINTS = 64, 256


def points_about(eta: np.ndarray, doubt: np.ndarray, n_points: int) -> np.ndarray:
    """Return eta at each of the points, of shape (..., n_tasks, n_rows, n_logits, n_points)."""
    shift = cholesky_of_doubt(doubt) @ normal_points(eta.shape[-3], n_points).T
    return np.moveaxis(eta, -3, -1)[..., None] + shift


def probabilities_about(eta: np.ndarray, doubt: np.ndarray, n_points: int) -> np.ndarray:
    """Return the probabilities at each of the points, of the shape of `points_about`."""
    at = points_about(eta, doubt, n_points)
    p = np.exp(at - at.max(-2, keepdims=True))
    return p / p.sum(-2, keepdims=True)


def cholesky_of_doubt(doubt: np.ndarray) -> np.ndarray:
    """Return a root R, with R R' the matrix, of positive semi-definite matrices."""
    size = doubt.shape[-1]
    trace = np.trace(doubt, axis1=-2, axis2=-1)[..., None, None]
    try:
        return np.linalg.cholesky(doubt + (1e-10 * abs(trace) + 1e-12) * np.eye(size))
    except np.linalg.LinAlgError:  # negative by rounding
        values, vectors = np.linalg.eigh(doubt)
        return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


@cache
def normal_points(dimension: int, n_points: int = N_POINTS) -> np.ndarray:
    """Return quasi-random points, always the same, of a standard normal: (n_points, dimension)."""
    sobol = stats.qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(0))
    points = stats.norm.ppf(np.clip(sobol.random(n_points // 2), 1e-9, 1 - 1e-9))
    points = np.concatenate([points, -points])
    # Of mean zero as they are; of unit covariance too.
    return np.linalg.solve(np.linalg.cholesky(points.T @ points / len(points)), points.T).T
