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
from scipy.special import gammaln, xlogy

from skcml.arrays import Array, identity_like, namespace
from skcml.quasi_random import FINAL_POINTS, N_POINTS, points_about, probabilities_about

# Beyond this a rate, or odds, are as good as infinite; it keeps exponentials finite.
MAX_LOG_RATE = 100.0
# Counts above this are as good as continuous.
MAX_COUNT = 1e6
# No probability is reported as lower.
TINY = 1e-15
# Quadrature for one predictor: exact for polynomials of degree 41.
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


class Cost(Protocol):
    """What a row costs given outputs eta, and no more: enough to descend.

    Attributes
    ----------
    has_exposure : bool
        Whether the weight of a row is an exposure.
    is_gaussian : bool
        Whether y scatters by a variance of its own; else its mean says how far.
    """

    has_exposure: ClassVar[bool]
    is_gaussian: ClassVar[bool]

    def nll(self, y: Array, eta: Array) -> Array:
        """Return the negative log likelihood, summed over outputs: (..., n_tasks, n_rows)."""

    def mean(self, eta: Array) -> Array:
        """Return the mean of y, of the shape of eta; y less than it is the slope of `nll`."""

    def root(self, eta: Array) -> Array:
        """Return a root R of the curvature R'R of each row, (n_tasks, n_rows, n_logits, n_logits).

        eta has the shape (n_logits, n_tasks, n_rows).
        """

    def variance(self, mean: Array) -> Array:
        """Return the variance of y, in units of its own if it has one, of mean's shape."""


class SquaredError:
    """Numbers, of which a row costs half the squared error."""

    has_exposure: ClassVar[bool] = False
    is_gaussian: ClassVar[bool] = True

    def nll(self, y: Array, eta: Array) -> Array:
        """Return half the squared error, summed over outputs."""
        return 0.5 * ((eta - y) ** 2).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return eta."""
        return eta

    def root(self, eta: Array) -> Array:
        """Return the identity."""
        return _diagonal(1.0 + 0.0 * eta)

    def variance(self, mean: Array) -> Array:
        """Return one."""
        return 1.0 + 0.0 * mean


class Likelihood(Cost, Protocol):
    """What a row costs, given its linear predictor.

    Attributes
    ----------
    is_coupled : bool
        Whether the logits of a row are one variable: then doubt and curvature are matrices, of
        shape (..., n_tasks, n_rows, n_logits, n_logits), else of the shape of eta.
    metric : str
        Name of the negative log density under a predictive mean.
    has_exposure : bool
        Whether the weight of a row is an exposure, which multiplies its log density.
    """

    is_coupled: ClassVar[bool]
    metric: ClassVar[str]

    def expected_nll(self, y: np.ndarray, eta: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """Return the expected negative log likelihood, (..., n_tasks, n_rows).

        Parameters
        ----------
        y, eta : ndarray of shape (..., n_logits, n_tasks, n_rows)
        doubt : ndarray
            Variance, or covariance, of eta.
        """

    def slopes(self, eta: np.ndarray, doubt: np.ndarray | None = None) -> tuple[Any, Any]:
        """Return mean and curvature, expected if there is a doubt about eta."""

    def moments(self, eta: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return predictive mean and variance of y, of the shape of eta."""

    def log_density(self, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the log density of y under a predictive mean.

        Parameters
        ----------
        y, mean : ndarray of shape (..., n_logits, n_rows)

        Returns
        -------
        ndarray of shape (..., n_logits or 1, n_rows)
            One for all logits if they are coupled.
        """


class Bernoulli:
    """Two classes: y is 0 or 1, eta the log odds of 1."""

    is_coupled: ClassVar[bool] = False
    is_gaussian: ClassVar[bool] = False
    has_exposure: ClassVar[bool] = False
    metric: ClassVar[str] = "log loss"

    def nll(self, y: Array, eta: Array) -> Array:
        """Return log(1 + exp(eta)) - y eta, summed over logits."""
        xp = namespace(eta)
        softplus = xp.clip(eta, 0.0, None) + xp.log1p(xp.exp(-abs(eta)))
        return (softplus - y * eta).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return the probability of 1."""
        return 0.5 * (1 + namespace(eta).tanh(0.5 * eta))

    def root(self, eta: Array) -> Array:
        """See `Cost`."""
        p = self.mean(eta)
        return _diagonal((p * (1 - p)) ** 0.5)

    def variance(self, mean: Array) -> Array:
        """See `Cost`."""
        return mean * (1 - mean)

    def expected_nll(self, y: np.ndarray, eta: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """See `Likelihood`; by Gauss-Hermite quadrature."""
        at = eta + _NODES[:, *(None,) * eta.ndim] * np.sqrt(doubt)
        return np.tensordot(_NODE_WEIGHTS, self.nll(y, at), 1)

    def slopes(self, eta: np.ndarray, doubt: np.ndarray | None = None) -> tuple[Any, Any]:
        """See `Likelihood`; by Gauss-Hermite quadrature."""
        if doubt is None:
            p = self.mean(eta)
            return p, p * (1 - p)
        p = self.mean(eta + _NODES[:, *(None,) * eta.ndim] * np.sqrt(doubt))
        # Weights add up to one but for rounding.
        mean = np.minimum(np.tensordot(_NODE_WEIGHTS, p, 1), 1.0)
        return mean, np.maximum(mean - np.tensordot(_NODE_WEIGHTS, p * p, 1), 0.0)

    def moments(self, eta: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Likelihood`."""
        p, _ = self.slopes(eta, doubt)
        return p, p * (1 - p)

    def log_density(self, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood`."""
        return np.log(np.maximum(np.where(y > 0.5, mean, 1 - mean), TINY))


class Poisson:
    """Counts: y is 0 or more, eta the logarithm of the rate."""

    is_coupled: ClassVar[bool] = False
    is_gaussian: ClassVar[bool] = False
    has_exposure: ClassVar[bool] = True
    metric: ClassVar[str] = "half deviance"

    def nll(self, y: Array, eta: Array) -> Array:
        """Return exp(eta) - y eta + log y!, summed over outputs."""
        return (self.mean(eta) - y * eta + _log_factorial(y)).sum(-3)

    def mean(self, eta: Array) -> Array:
        """Return the rate."""
        xp = namespace(eta)
        return xp.exp(xp.clip(eta, None, MAX_LOG_RATE))

    def root(self, eta: Array) -> Array:
        """See `Cost`."""
        return _diagonal(self.mean(eta) ** 0.5)

    def variance(self, mean: Array) -> Array:
        """See `Cost`."""
        return mean

    def expected_nll(self, y: np.ndarray, eta: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """See `Likelihood`; the expected rate is known: exp(m + v / 2)."""
        return (self.mean(eta + 0.5 * doubt) - y * eta + _log_factorial(y)).sum(-3)

    def slopes(self, eta: np.ndarray, doubt: np.ndarray | None = None) -> tuple[Any, Any]:
        """See `Likelihood`."""
        rate = self.mean(eta if doubt is None else eta + 0.5 * doubt)
        return rate, rate

    def moments(self, eta: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Likelihood`; the variance of a log-normal rate is known too."""
        rate, _ = self.slopes(eta, doubt)
        return rate, rate + rate**2 * np.expm1(np.minimum(doubt, MAX_LOG_RATE))

    def log_density(self, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return minus half the deviance, for an exposure of one."""
        return -(xlogy(y, y / np.maximum(mean, TINY)) - y + mean)


def count_quantiles(mean: np.ndarray, variance: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return quantiles of counts, of mean's shape with a last axis of q.

    They are those of the negative binomial distribution with this mean and variance, of the Poisson
    distribution where the variance is the mean, and for numbers with which these cannot be computed
    those of a gamma distribution, rounded down.
    """
    mean = np.maximum(mean, TINY)[..., None]
    excess = np.maximum(variance[..., None] / mean - 1, 0.0)
    shape = mean / np.maximum(excess, TINY)
    is_poisson = excess < 1e-6
    is_usable = (mean < MAX_COUNT) & (is_poisson | (shape > 1 / MAX_COUNT))
    safe_mean = np.where(is_usable, mean, 1.0)
    safe_excess = np.where(is_usable & ~is_poisson, excess, 1.0)
    counts = np.where(
        is_poisson,
        stats.poisson.ppf(q, safe_mean),
        stats.nbinom.ppf(q, safe_mean / safe_excess, 1 / (1 + safe_excess)),
    )
    with np.errstate(over="ignore", under="ignore"):
        rest = np.floor(stats.gamma.ppf(q, mean / (1 + excess), scale=1 + excess))
    return np.where(is_usable, counts, rest)


class Categorical:
    """Several classes: y is one-hot, eta holds a logit for each class."""

    is_coupled: ClassVar[bool] = True
    is_gaussian: ClassVar[bool] = False
    has_exposure: ClassVar[bool] = False
    metric: ClassVar[str] = "log loss"

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

    def root(self, eta: Array) -> Array:
        """See `Cost`: the transpose of diag(p)^1/2 - p (p^1/2)', whose square is diag(p) - p p'."""
        p = namespace(eta).moveaxis(self.mean(eta), -3, -1)
        half = p**0.5
        return identity_like(p, p.shape[-1]) * half[..., None] - half[..., None] * p[..., None, :]

    def variance(self, mean: Array) -> Array:
        """See `Cost`."""
        return mean * (1 - mean)

    def expected_nll(self, y: np.ndarray, eta: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """See `Likelihood`; by quasi-random points."""
        at = points_about(eta, doubt, N_POINTS)
        top = at.max(-2, keepdims=True)
        total = np.log(np.exp(at - top).sum(-2)) + top[..., 0, :]
        return total.mean(-1) * y.sum(-3) - (y * eta).sum(-3)

    def slopes(self, eta: np.ndarray, doubt: np.ndarray | None = None) -> tuple[Any, Any]:
        """See `Likelihood`; by quasi-random points."""
        if doubt is None:
            p = self.mean(eta)
            return p, _spread(p, _outer(p))
        p = probabilities_about(eta, doubt, N_POINTS)
        mean = np.moveaxis(p.mean(-1), -1, -3)
        return mean, _spread(mean, p @ p.mT / N_POINTS)

    def moments(self, eta: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Likelihood`; with more points, since here they are no step on the way."""
        p = np.moveaxis(probabilities_about(eta, doubt, FINAL_POINTS).mean(-1), -1, -3)
        return p, p * (1 - p)

    def log_density(self, y: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood`."""
        return np.log(np.maximum((y * mean).sum(-2, keepdims=True), TINY))


def _diagonal(values: Array) -> Array:
    """Return (n_logits, n_tasks, n_rows) as diagonal matrices of the logits of each row."""
    last = namespace(values).moveaxis(values, 0, -1)
    return last[..., None] * identity_like(last, last.shape[-1])


def _log_factorial(y: Array) -> Array:
    xp = namespace(y)
    return gammaln(y + 1.0) if xp is np else xp.lgamma(y + 1.0)


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
