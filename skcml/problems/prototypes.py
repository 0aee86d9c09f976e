r"""A softmax over classes that are pulled towards their mean rows.

A task tells C classes apart from a few rows :math:`x_i` of each, of weights :math:`a_i`:

.. math:: E = \sum_i a_i \, \mathrm{CE}(\mathrm{softmax}(W x_i), y_i)
          + \tfrac{\lambda}{2} \sum_c \|w_c - s_c m_c\|^2,
          \qquad s_c = s \, (k_c / \bar k)^{-0.3}.

:math:`m_c` is the mean of the rows of class c, of unit length, and :math:`k_c` their total weight;
:math:`\bar k` is its geometric mean over the classes of the task. With a large :math:`\lambda` a
row belongs to the class whose mean is nearest in angle (prototypes: Snell, Swersky and Zemel,
NeurIPS 2017), with :math:`s = 0` this is logistic regression; the two constants are what is
learned from many tasks. Nothing in it belongs to a class, so that any class may come.

The arithmetic is done in the space of the support rows, in an orthonormal basis Q of it: outside
of it, weights are zero. There :math:`w_c = s_c m_c + u_c / \sqrt\lambda`, and :math:`\phi = u`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from skcml.episodes import Episode
from skcml.likelihoods import Categorical
from skcml.problems.base import Expansion, Term
from skcml.problems.meta_params import MetaParams

# The mean of many rows is longer in proportion to what there is to say of its class than that of
# one row, which is mostly noise; but all have been made one long. The power was found best on
# tasks of unequal shots.
COUNT_POWER = -0.3
# A mean that is shorter than this share of its rows is what rounding left of zero.
ROUNDING = 1e-12

_softmax = Categorical()


class Rows(NamedTuple):
    """The support rows, or the query rows, of a batch of tasks.

    Attributes
    ----------
    f : ndarray of shape (n_tasks, n_rows, r)
        In the basis of the support.
    pull : ndarray of shape (C, n_tasks, n_rows)
        Products with the prior means of the classes, for a scale of one.
    y : ndarray of shape (C, n_tasks, n_rows)
        One-hot.
    weight : ndarray of shape (n_tasks, n_rows)
    """

    f: np.ndarray
    pull: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def times(self, phi: np.ndarray) -> np.ndarray:
        """Return the products of task parameters with rows, of shape (C, n_tasks, n_rows)."""
        return (phi.swapaxes(0, 1) @ self.f.mT).swapaxes(0, 1)

    def gather(self, per_row: np.ndarray) -> np.ndarray:
        """Return the sums of rows with a weight for each class, of phi's shape."""
        return (per_row.swapaxes(0, 1) @ self.f).swapaxes(0, 1)


@dataclass(frozen=True)
class PrototypeBatch:
    """An episode in the space of the support rows of each task.

    Attributes
    ----------
    support, query : Rows
        The weights of the query sum to one in each task (to zero if all are zero).
    means : ndarray of shape (C, n_tasks, r)
        Prior means of the classes, for a scale of one.
    basis : ndarray of shape (n_tasks, d, r)
    """

    support: Rows
    query: Rows
    means: np.ndarray
    basis: np.ndarray


@dataclass(frozen=True)
class PrototypeProblem:
    """Energy, loss and their gradients for classes pulled towards their mean rows.

    The meta-parameters are the logarithms of s and of lambda. Only numpy.
    """

    is_quadratic: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = False
    adapts_everything: ClassVar[bool] = False
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {"log_scale": (1,), "log_precision": (1,)}

    @classmethod
    def constants(cls, scale: float, precision: float) -> MetaParams:
        """Return the meta-parameters that stand for s and lambda."""
        with np.errstate(divide="ignore"):
            return MetaParams(cls.shapes, np.log([scale, precision], dtype=float))

    def embed(self, theta: Mapping[str, np.ndarray], episode: Episode) -> PrototypeBatch:
        """Return the episode in the space of its support rows; theta does not matter."""
        basis = _basis(episode.x_support)
        means = (_prior_means(episode) @ basis).swapaxes(0, 1)
        total = episode.w_query.sum(-1, keepdims=True)
        w_query = episode.w_query / np.where(total > 0, total, 1.0)
        return PrototypeBatch(
            project_rows(episode.x_support @ basis, means, episode.y_support, episode.w_support),
            project_rows(episode.x_query @ basis, means, episode.y_query, w_query),
            means,
            basis,
        )

    def energy(
        self, phi: np.ndarray, theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> np.ndarray:
        """Return E of each task; phi has the shape (C, n_tasks, r)."""
        return self._cost(phi, theta, batch.support) + 0.5 * (phi**2).sum((0, 2))

    def loss(
        self, phi: np.ndarray, theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> np.ndarray:
        """Return L of each task."""
        return self._cost(phi, theta, batch.query)

    def loss_phi_grad(
        self, phi: np.ndarray, theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> np.ndarray:
        """Return dL/du."""
        return self._expand(phi, theta, batch.query).gradient

    def loss_curvature(
        self,
        direction: np.ndarray,
        phi: np.ndarray,
        theta: Mapping[str, np.ndarray],
        batch: PrototypeBatch,
    ) -> np.ndarray:
        """Apply d2L/du2 at phi to a direction."""
        return self._expand(phi, theta, batch.query).curvature(direction)

    def start(self, theta: Mapping[str, np.ndarray], batch: PrototypeBatch) -> np.ndarray:
        """Return zero, where every class is its prior, or weights of zero if they cost less."""
        zero = np.zeros_like(batch.means)
        flat = -_scale(theta) / _root(theta) * batch.means
        is_less = self.energy(flat, theta, batch) < self.energy(zero, theta, batch)
        return np.where(is_less[:, None], flat, zero)

    def solve_prior(self, direction: np.ndarray, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the direction: the prior is whitened."""
        return direction

    def augmented(
        self,
        phi: np.ndarray,
        theta: Mapping[str, np.ndarray],
        batch: PrototypeBatch,
        beta: np.ndarray | float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return value and gradient of E + beta L at phi."""
        expansion = self.expand(phi, theta, batch, beta)
        return expansion.value, expansion.gradient

    def expand(
        self,
        phi: np.ndarray,
        theta: Mapping[str, np.ndarray],
        batch: PrototypeBatch,
        beta: np.ndarray | float,
    ) -> Expansion:
        """Return value, gradient and curvature of E + beta L at phi."""
        cost, slope, curve = self._expand(phi, theta, batch.support)
        value, gradient = cost + 0.5 * (phi**2).sum((0, 2)), slope + phi
        if np.ndim(beta) == 0 and beta == 0:
            return Expansion(value, gradient, lambda direction: direction + curve(direction))
        beta = np.broadcast_to(beta, value.shape)
        loss, push, bend = self._expand(phi, theta, batch.query)
        return Expansion(
            value + beta * loss,
            gradient + beta[:, None] * push,
            lambda direction: direction + curve(direction) + beta[:, None] * bend(direction),
        )

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> MetaParams:
        """Return the theta-gradient of the weighted sum: residual times change of the logits."""
        grad = MetaParams(self.shapes)
        for phi, energy, loss in terms:
            for rows, coefficient in ((batch.support, energy), (batch.query, loss)):
                if coefficient is not None:
                    residual = self._residual(phi, theta, rows) * coefficient[:, None]
                    grad["log_scale"][:] += (residual * _scale(theta) * rows.pull).sum()
                    # The root of lambda is in the logits only: its prior is phi's own.
                    moved = _root(theta) * rows.times(phi)
                    grad["log_precision"][:] -= 0.5 * (residual * moved).sum()
        return grad

    def weights(
        self, phi: np.ndarray, theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> np.ndarray:
        """Return W for rows as they came, of shape (n_tasks, C, d)."""
        inside = _scale(theta) * batch.means + _root(theta) * phi
        return inside.swapaxes(0, 1) @ batch.basis.mT

    def probabilities(
        self, phi: np.ndarray, theta: Mapping[str, np.ndarray], batch: PrototypeBatch
    ) -> np.ndarray:
        """Return the probabilities of the classes for the query rows, (C, n_tasks, Q)."""
        return _softmax.mean(self._logits(phi, theta, batch.query))

    def _logits(self, phi: np.ndarray, theta: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Return the logits of rows, of shape (C, n_tasks, n_rows)."""
        return _scale(theta) * rows.pull + _root(theta) * rows.times(phi)

    def _cost(self, phi: np.ndarray, theta: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Return the weighted cross-entropy of each task."""
        return (rows.weight * _softmax.nll(rows.y, self._logits(phi, theta, rows))).sum(-1)

    def _residual(self, phi: np.ndarray, theta: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Return the derivative of the weighted cross-entropy in the logits."""
        return rows.weight * (_softmax.mean(self._logits(phi, theta, rows)) - rows.y)

    def _expand(self, phi: np.ndarray, theta: Mapping[str, np.ndarray], rows: Rows) -> Expansion:
        """Return the weighted cross-entropy of rows to second order about phi."""
        logits, root = self._logits(phi, theta, rows), _root(theta)
        p = _softmax.mean(logits)
        weighted = root**2 * rows.weight * p

        def curve(direction: np.ndarray) -> np.ndarray:
            moved = rows.times(direction)
            return rows.gather(weighted * (moved - (p * moved).sum(0)))

        cost = (rows.weight * _softmax.nll(rows.y, logits)).sum(-1)
        return Expansion(cost, rows.gather(root * rows.weight * (p - rows.y)), curve)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Return rows of unit length; a row of zeros stays one.

    Each row is scaled by its largest entry first, so that no square leaves the range of floats.
    """
    top = abs(x).max(-1, keepdims=True, initial=0.0)
    x = x / np.where(top > 0, top, 1.0)
    length = np.sqrt((x**2).sum(-1, keepdims=True))
    return x / np.where(length > 0, length, 1.0)


def _scale(theta: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.exp(theta["log_scale"])


def _root(theta: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.exp(-0.5 * theta["log_precision"])


def project_rows(f: np.ndarray, means: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Rows:
    """Return rows with their products with the prior means, (C, n_tasks, r)."""
    rows = Rows(f, np.empty(0), y, weight)
    return rows._replace(pull=rows.times(means))


def _basis(x: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of each task's rows, of shape (n_tasks, d, min(n, d)).

    Rows that repeat others, or depend on them, do no harm: the basis is then larger than needed.
    """
    n_tasks, n_rows, d = x.shape
    if n_rows >= d:
        return np.broadcast_to(np.eye(d), (n_tasks, d, d))
    return np.linalg.qr(x.mT).Q


def _prior_means(episode: Episode) -> np.ndarray:
    """Return the prior means for a scale of one, of shape (n_tasks, C, d)."""
    share, relative = class_shares(episode)
    means = share @ episode.x_support
    # Of rows that cancel, rounding leaves something that has no direction.
    size = (share @ abs(episode.x_support)).max(-1, keepdims=True, initial=0.0)
    means = np.where(abs(means).max(-1, keepdims=True, initial=0.0) > ROUNDING * size, means, 0.0)
    return relative[..., None] * unit_rows(means)


def class_shares(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Return what support rows and their number mean for the classes.

    Returns
    -------
    share : ndarray of shape (n_tasks, C, n_support)
        Of each row in its class's mean.
    relative : ndarray of shape (n_tasks, C)
        What the number of a class's rows makes of its scale.
    """
    share = (episode.y_support * episode.w_support).swapaxes(0, 1)
    count = share.sum(-1)
    present = count > 0
    share = share / np.where(present, count, 1.0)[..., None]
    log_count = np.log(np.where(present, count, 1.0))
    middle = log_count.sum(-1, keepdims=True) / np.maximum(present.sum(-1, keepdims=True), 1)
    return share, np.where(present, np.exp(COUNT_POWER * (log_count - middle)), 1.0)
