r"""Mixture weights and interval shape, from predictions of held-out groups.

The members' predictive densities are mixed with the weights that maximise the held-out log score
(stacking of predictive distributions: Yao, Vehtari, Simpson and Gelman, Bayesian Analysis 2018,
equation 5). The problem is concave; EM approaches its solution from equal shares, and is ended
early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from skcml.likelihoods import Likelihood

# What is mixed, in the order of the weights: regressions on all rows whatever their group, linear
# in the inputs or in the networks' features; the linear mixed model; the networks.
MEMBERS = ("pooled", "pooled_networks", "mixed_model", "networks")
# A member below this weight costs time at every prediction and changes none of them.
PRUNE_BELOW = 0.02
# Samples of the Bayesian bootstrap over groups.
BOOTSTRAPS = 20
# Pseudo-groups that favour Gaussian intervals of the predicted width.
CALM_GROUPS = 20.0
# Shares of errors that central intervals hold, at which their width is learned.
LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
# Their half-widths for a Gaussian.
_WIDTHS = stats.norm.ppf(0.5 + LEVELS / 2)


@dataclass(frozen=True)
class Densities:
    """Predictions of held-out query rows by several members.

    Attributes
    ----------
    mean, variance : ndarray of shape (n_members, n_outputs, n_rows)
    likelihood : Likelihood or None
        Of classes or counts; None for Gaussian outputs.
    """

    mean: np.ndarray
    variance: np.ndarray
    likelihood: Likelihood | None = None

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log density of ``y``, (n_outputs, n_rows), under each member.

        Of coupled logits there is one for all.
        """
        if self.likelihood is not None:
            return self.likelihood.log_density(y, self.mean)
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
    return pruned(np.mean(samples, axis=0))


def pruned(weights: np.ndarray) -> np.ndarray:
    """Return weights, (n_members, n_outputs), of which those too small to matter are zero."""
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


@dataclass(frozen=True)
class Mixture:
    """How members are mixed, and what the errors of the mixture look like.

    Attributes
    ----------
    weights : ndarray of shape (n_members, n_outputs)
        Shares; those of an output add up to one.
    shape : IntervalShape
        Of standardised errors.
    doubt : float
        Of counts, the share of the doubt about their mean that held-out rows bear out.
    """

    weights: np.ndarray
    shape: IntervalShape
    doubt: float = 1.0

    def share(self, member: str) -> np.ndarray:
        """Return the shares of one member, of shape (n_outputs,)."""
        return self.weights[MEMBERS.index(member)]

    @classmethod
    def of_one(cls, member: str, n_outputs: int) -> Mixture:
        """Return the mixture that holds one member only, and believes it."""
        weights = np.zeros((len(MEMBERS), n_outputs))
        weights[MEMBERS.index(member)] = 1.0
        return cls(weights, IntervalShape.gaussian(n_outputs))


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
    """How wide central intervals are, relative to those of a Gaussian, per output.

    Attributes
    ----------
    ratio : ndarray of shape (n_outputs, n_levels)
        Half-width of the central interval at each of `LEVELS`, relative to the Gaussian one.
    """

    ratio: np.ndarray

    @classmethod
    def gaussian(cls, n_outputs: int) -> IntervalShape:
        """Return the shape of a model that says nothing else."""
        return cls(np.ones((n_outputs, len(LEVELS))))

    @classmethod
    def fit(cls, z: np.ndarray, row_weight: np.ndarray, n_groups: int) -> IntervalShape:
        """Read the shape off standardised held-out errors, of shape (n_outputs, n_rows).

        Errors of real groups have heavier tails than a Gaussian and a sharper peak: its intervals
        are too wide in the middle and too narrow far out. The width at each level is the one that
        holds that share of held-out errors, shrunk to the Gaussian where groups are few.
        """
        trust = n_groups / (n_groups + CALM_GROUPS)
        ratio = np.stack([_weighted_quantiles(abs(e), row_weight, LEVELS) / _WIDTHS for e in z])
        return cls(np.clip(ratio, 0.05, 20.0) ** trust)

    def ppf(self, q: np.ndarray) -> np.ndarray:
        """Return standardised quantiles, of shape (n_outputs, n_quantiles)."""
        gaussian = stats.norm.ppf(q)
        width = abs(gaussian)
        # Linear between levels, so that quantiles never cross, and proportional beyond the last.
        at_levels = np.pad(self.ratio * _WIDTHS, ((0, 0), (1, 0)))
        inside = [np.interp(width, np.append(0.0, _WIDTHS), output) for output in at_levels]
        outside = self.ratio[:, -1:] * width
        return np.sign(gaussian) * np.where(width > _WIDTHS[-1], outside, inside)


def _weighted_quantiles(values: np.ndarray, weight: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return quantiles of weighted values."""
    order = np.argsort(values)
    cumulated = np.cumsum(weight[order])
    middle = (cumulated - 0.5 * weight[order]) / cumulated[-1]
    return np.interp(q, middle, values[order])
