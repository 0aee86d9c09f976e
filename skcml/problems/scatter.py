"""How numbers scatter about what networks predict, by the number of rows adapted to.

The energy of a network for each task does not know: a power law is fitted to errors on tasks that
were held out.
"""

from __future__ import annotations

import numpy as np

# Of numbers without noise (outputs are standardised) no density is infinite.
FLOOR = 1e-7
# Variance of the logarithm of one and the number of rows, below which errors do not say what more
# rows buy: with n_shots=3 it is rounding, or the luck of a few short tasks.
LEAST_SPREAD = 0.01


def fit_scatter(n_rows: np.ndarray, squares: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit the mean squared error as a power of one and the number of rows adapted to.

    Parameters
    ----------
    n_rows, weight : ndarray of shape (n_episodes,)
    squares : ndarray of shape (n_outputs, n_episodes)
        Mean squared errors.

    Returns
    -------
    ndarray of shape (n_outputs, 2)
        The logarithm of the mean squared error without rows, and the power.
    """
    x, level = np.log1p(n_rows), np.log(np.maximum(squares, FLOOR))
    centre = np.average(x, weights=weight)
    spread = np.average((x - centre) ** 2, weights=weight)
    found = np.empty((len(level), 2))
    for output, y in enumerate(level):
        mean = np.average(y, weights=weight)
        lean = np.average((x - centre) * (y - mean), weights=weight)
        # More rows never make a prediction worse.
        power = min(lean / spread, 0.0) if spread > LEAST_SPREAD else 0.0
        found[output] = mean - power * centre, power
    return found


def scatter_of(log_scatter: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
    """Return the variance about predictions from ``n_rows`` rows, (n_outputs, n_predictions)."""
    level, power = log_scatter[:, 0, None], log_scatter[:, 1, None]
    return np.exp(level + power * np.log1p(n_rows))
