r"""Mixture weights and interval shape, from predictions of held-out groups.

The members' predictive densities are mixed with the weights that maximise the held-out log score
(stacking of predictive distributions: Yao, Vehtari, Simpson and Gelman, Bayesian Analysis 2018,
equation 5). The problem is concave; EM solves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

# A member below this weight costs time at every prediction and changes none of them.
PRUNE_BELOW = 0.02
# Samples of the Bayesian bootstrap over groups.
BOOTSTRAPS = 20
# Pseudo-groups that favour Gaussian intervals of the predicted width.
CALM_GROUPS = 20.0
_DEGREES = (3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0, np.inf)


@dataclass(frozen=True)
class Densities:
    """Gaussian predictions of held-out query rows by several members.

    Attributes
    ----------
    mean, variance : ndarray of shape (n_members, n_outputs, n_rows)
    """

    mean: np.ndarray
    variance: np.ndarray

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log density of ``y``, (n_outputs, n_rows), under each member."""
        squares = (y - self.mean) ** 2 / self.variance
        return -0.5 * (np.log(2 * np.pi * self.variance) + squares)


def stacking_weights(
    log_density: np.ndarray,
    row_weight: np.ndarray,
    row_group: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return mixture weights that maximise the log score, averaged over what groups might say.

    A handful of groups can put all the weight on one member by chance. So the weights are the mean
    over Bayesian bootstrap samples of the groups: with many groups, these agree.

    Parameters
    ----------
    log_density : ndarray of shape (n_members, n_outputs, n_rows)
    row_weight : ndarray of shape (n_rows,)
    row_group : ndarray of shape (n_rows,), int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_members, n_outputs)
        Sums to one over members; weights too small to matter are zero.
    """
    importance = rng.standard_exponential((BOOTSTRAPS, row_group.max() + 1))
    samples = [_best_weights(log_density, row_weight * part[row_group]) for part in importance]
    weights = np.mean(samples, axis=0)
    weights = np.where(weights < PRUNE_BELOW, 0.0, weights)
    return weights / weights.sum(0)


def _best_weights(log_density: np.ndarray, row_weight: np.ndarray) -> np.ndarray:
    """Maximise the weighted log score by EM."""
    n_members = len(log_density)
    density = np.exp(log_density - log_density.max(0))
    share = row_weight / row_weight.sum()
    weights = np.full(log_density.shape[:2], 1.0 / n_members)
    for _ in range(100):
        joint = weights[..., None] * density
        updated = (share * joint / joint.sum(0)).sum(-1)
        moved = abs(updated - weights).max()
        weights = updated
        if moved < 1e-3:
            break
    return weights


def moments(mean: np.ndarray, variance: Any, weights: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return mean and variance of a mixture over the first axis.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_members, n_outputs, n_rows)
    weights : ndarray of shape (n_members, n_outputs)
    """
    share = weights[..., None]
    mixed = (share * mean).sum(0)
    if variance is None:
        return mixed, None
    return mixed, (share * (variance + (mean - mixed) ** 2)).sum(0)


@dataclass(frozen=True)
class IntervalShape:
    """Student-t shape of standardised errors, per output.

    Attributes
    ----------
    degrees : ndarray of shape (n_outputs,)
        Degrees of freedom; infinite for Gaussian tails.
    scale : ndarray of shape (n_outputs,)
        Scale of the t distribution relative to the predicted standard deviation.
    """

    degrees: np.ndarray
    scale: np.ndarray

    @classmethod
    def gaussian(cls, n_outputs: int) -> IntervalShape:
        """Return the shape of a model that says nothing else."""
        return cls(np.full(n_outputs, np.inf), np.ones(n_outputs))

    @classmethod
    def fit(cls, z: np.ndarray, row_weight: np.ndarray, n_groups: int) -> IntervalShape:
        """Fit the shape to standardised held-out errors, of shape (n_outputs, n_rows).

        Errors of real groups have heavier tails than a Gaussian and a sharper peak; its quantiles
        are then too wide in the middle and too narrow far out.
        """
        pairs = [_fit_t(errors, row_weight, n_groups) for errors in z]
        return cls(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))

    def ppf(self, q: np.ndarray) -> np.ndarray:
        """Return standardised quantiles, of shape (n_outputs, n_quantiles)."""
        return np.stack(
            [
                scale * (stats.norm.ppf(q) if np.isinf(df) else stats.t.ppf(q, df))
                for df, scale in zip(self.degrees, self.scale, strict=True)
            ]
        )


def _fit_t(z: np.ndarray, row_weight: np.ndarray, n_groups: int) -> tuple[float, float]:
    """Return degrees of freedom and scale by maximum likelihood on a grid, shrunk to N(0, 1)."""
    share = row_weight / row_weight.sum()
    best = (-np.inf, np.inf, 1.0)
    for degrees in _DEGREES:
        scale2 = max(float((share * z**2).sum()), 1e-12)
        for _ in range(30 if np.isfinite(degrees) else 0):
            robust = (degrees + 1) / (degrees + z**2 / scale2)
            scale2 = max(float((share * robust * z**2).sum()), 1e-12)
        scale = np.sqrt(scale2)
        log_pdf = (
            stats.norm.logpdf(z / scale)
            if np.isinf(degrees)
            else stats.t.logpdf(z / scale, degrees)
        )
        score = float((share * (log_pdf - np.log(scale))).sum())
        if score > best[0] + 1e-4:
            best = (score, degrees, scale)
    _, degrees, scale = best
    # Few held-out groups say little about tails: keep the product of doubt with N(0, 1).
    trust = n_groups / (n_groups + CALM_GROUPS)
    return float(degrees / trust if np.isfinite(degrees) else degrees), float(scale**trust)
