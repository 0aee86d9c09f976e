r"""Likelihoods of classes and counts, as functions of a linear predictor.

The linear predictor :math:`\eta` has the shape (..., n_logits, n_tasks, n_rows). A likelihood says
what a row costs, :math:`\ell(y, \eta)`, and the first two derivatives, as
:math:`\partial_\eta \ell = \mu(\eta) - y` with mean :math:`\mu` and curvature
:math:`\partial_\eta \mu`: all of them have a canonical link.

Each does the same under a Gaussian doubt about :math:`\eta`, :math:`E[\ell(y, \eta)]` with
:math:`\eta \sim N(m, v)`, whose derivatives in m are the expected derivatives.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from scipy import stats
from scipy.special import gammaln

from skcml.arrays import Array, namespace, to_numpy

# Beyond this a rate, or odds, are as good as infinite; it keeps exponentials finite.
MAX_LOG_RATE = 100.0
# Quadrature for one predictor: exact for polynomials of degree 41.
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
# Points for several predictors together.
N_POINTS = 128


class Likelihood(Protocol):
    """What a row costs, given its linear predictor.

    Attributes
    ----------
    is_coupled : bool
        Whether the logits of a row are one variable: then doubt and curvature are matrices, of
        shape (..., n_tasks, n_rows, n_logits, n_logits), else of the shape of eta.
    """

    is_coupled: ClassVar[bool]

    def nll(self, y: Array, eta: Array) -> Array:
        """Return the negative log likelihood, summed over logits: (..., n_tasks, n_rows)."""

    def mean(self, eta: Array) -> Array:
        """Return the mean of y, of the shape of eta."""

    def expected(self, y: Array, eta: np.ndarray, doubt: Any) -> tuple[Any, Any, Any]:
        """Return expected cost, mean and curvature under a Gaussian doubt about eta.

        Parameters
        ----------
        y, eta : ndarray of shape (..., n_logits, n_tasks, n_rows)
        doubt : ndarray or None
            Variance, or covariance, of eta; None for none.
        """


class Bernoulli:
    """Two classes: y is 0 or 1, eta the log odds of 1."""

    is_coupled: ClassVar[bool] = False

    def nll(self, y: Array, eta: Array) -> Array:
        """Return log(1 + exp(eta)) - y eta, summed over logits."""
        xp = namespace(eta)
        softplus = xp.clip(eta, 0.0, None) + xp.log1p(xp.exp(-abs(eta)))
        return (softplus - y * eta).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return the probability of 1."""
        return 0.5 * (1 + namespace(eta).tanh(0.5 * eta))

    def expected(self, y: Array, eta: np.ndarray, doubt: Any) -> tuple[Any, Any, Any]:
        """See `Likelihood`; by Gauss-Hermite quadrature."""
        if doubt is None:
            p = self.mean(eta)
            return self.nll(y, eta), p, p * (1 - p)
        cost, mean, curvature = 0.0, 0.0, 0.0
        width = np.sqrt(doubt)
        for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
            at = eta + node * width
            p = self.mean(at)
            cost = cost + weight * self.nll(y, at)
            mean = mean + weight * p
            curvature = curvature + weight * p * (1 - p)
        return cost, mean, curvature


class Poisson:
    """Counts: y is 0 or more, eta the logarithm of the rate."""

    is_coupled: ClassVar[bool] = False

    def nll(self, y: Array, eta: Array) -> Array:
        """Return exp(eta) - y eta + log y!, summed over outputs."""
        return (self.mean(eta) - y * eta + _log_factorial(y)).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return the rate."""
        xp = namespace(eta)
        return xp.exp(xp.clip(eta, None, MAX_LOG_RATE))

    def expected(self, y: Array, eta: np.ndarray, doubt: Any) -> tuple[Any, Any, Any]:
        """See `Likelihood`; the expected rate is known: exp(m + v / 2)."""
        rate = self.mean(eta if doubt is None else eta + 0.5 * doubt)
        return (rate - y * eta + _log_factorial(y)).sum(-3), rate, rate


class Categorical:
    """Several classes: y is one-hot, eta holds a logit for each class."""

    is_coupled: ClassVar[bool] = True

    def nll(self, y: Array, eta: Array) -> Array:
        """Return log(sum(exp(eta))) - y'eta."""
        xp = namespace(eta)
        top = xp.amax(eta, -3)[..., None, :, :]
        total = xp.log(xp.exp(eta - top).sum(-3)) + top[..., 0, :, :]
        return total * y.sum(-3) - (y * eta).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return the probabilities."""
        xp = namespace(eta)
        odds = xp.exp(eta - xp.amax(eta, -3)[..., None, :, :])
        return odds / odds.sum(-3)[..., None, :, :]

    def expected(self, y: Array, eta: np.ndarray, doubt: Any) -> tuple[Any, Any, Any]:
        """See `Likelihood`; by quasi-random points."""
        if doubt is None:
            p = self.mean(eta)
            return self.nll(y, eta), p, _spread(p, _outer(p))
        cost: Any = 0.0
        mean: Any = 0.0
        second: Any = 0.0
        root = cholesky_of_doubt(doubt)
        points = normal_points(eta.shape[-3])
        for point in points:
            at = eta + np.moveaxis(root @ point, -1, -3)
            p = self.mean(at)
            cost = cost + self.nll(y, at) / len(points)
            mean = mean + p / len(points)
            second = second + _outer(p) / len(points)
        return cost, mean, _spread(mean, second)


def _log_factorial(y: Array) -> Array:
    return namespace(y).asarray(gammaln(to_numpy(y) + 1.0))


def cholesky_of_doubt(doubt: np.ndarray) -> np.ndarray:
    """Return a triangular root of positive semi-definite matrices."""
    size = doubt.shape[-1]
    trace = np.trace(doubt, axis1=-2, axis2=-1)[..., None, None]
    return np.linalg.cholesky(doubt + (1e-10 * trace + 1e-12) * np.eye(size))


def normal_points(dimension: int) -> np.ndarray:
    """Return quasi-random points, always the same, of a standard normal: (N_POINTS, dimension)."""
    sobol = stats.qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(0))
    points = stats.norm.ppf(np.clip(sobol.random(N_POINTS // 2), 1e-9, 1 - 1e-9))
    return np.concatenate([points, -points])


def _outer(p: np.ndarray) -> np.ndarray:
    """Return p p' of each row, of shape (..., n_tasks, n_rows, n_logits, n_logits)."""
    last = np.moveaxis(p, -3, -1)
    return last[..., :, None] * last[..., None, :]


def _spread(mean: Any, second: Any) -> np.ndarray:
    """Return diag(E p) - E p p', the covariance of a one-hot y given eta, expected."""
    last = np.moveaxis(mean, -3, -1)
    spread = -second
    index = range(last.shape[-1])
    spread[..., index, index] += last
    return spread
