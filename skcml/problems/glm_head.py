r"""A linear head on learned features for classes and counts.

As for a Gaussian head, but a row costs what its likelihood says of the linear predictor
:math:`\eta = z^\top (\omega + \Lambda u)`, with one :math:`\omega, \Lambda, u` for each logit:

.. math:: E(u, \theta) = \sum_i w_i \ell(y_i, \eta_i) + \tfrac12 \|u\|^2, \qquad
          L(u, \theta) = \text{mean}_q \; \ell(y_q, \eta_q).

The energy is convex in :math:`\phi = u`, and not quadratic. Without a hidden layer this is the
generalised linear mixed model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from skcml.arrays import Array
from skcml.episodes import Episode
from skcml.glm import GLM
from skcml.likelihoods import Likelihood
from skcml.nearest_gaussian import gaussian_posterior
from skcml.problems.base import Term
from skcml.problems.features import Features, LinearHead, RowCotangents
from skcml.problems.meta_params import MetaParams


@dataclass(frozen=True)
class GLMBatch(Features):
    """An episode in the body's features.

    Attributes
    ----------
    y_support, y_query : array of shape (n_outputs, n_tasks, S or Q)
        0 or 1, one-hot, or counts, as the likelihood has it.
    """

    y_support: Array
    y_query: Array


@dataclass(frozen=True)
class GLMHeadProblem(LinearHead):
    """Energy, loss and their gradients for a head with a likelihood of classes or counts.

    Parameters
    ----------
    body : Body
    factor_mask : ndarray of shape (K, P), bool
        Which entries of the prior factor are learned; the others stay zero.
    n_outputs : int
        Logits of a row.
    likelihood : Likelihood
    """

    likelihood: Likelihood = field(kw_only=True)
    is_quadratic: ClassVar[bool] = False

    def embed(self, theta: Mapping[str, Array], episode: Episode) -> GLMBatch:
        """Pass all rows through the body once."""
        features = self.features(theta, episode)
        return GLMBatch(**vars(features), y_support=episode.y_support, y_query=episode.y_query)

    def energy(self, phi: Array, theta: Mapping[str, Array], batch: GLMBatch) -> Array:
        """Return E of each task; ``phi`` is u, of shape (n_outputs, n_tasks, P)."""
        eta = _eta(phi, batch.a_support, batch.mean_support)
        cost = batch.w_support * self.likelihood.nll(batch.y_support, eta)
        return cost.sum(-1) + 0.5 * (phi**2).sum((0, 2))

    def loss(self, phi: Array, theta: Mapping[str, Array], batch: GLMBatch) -> Array:
        """Return L of each task."""
        eta = _eta(phi, batch.a_query, batch.mean_query)
        return (batch.w_query * self.likelihood.nll(batch.y_query, eta)).sum(-1)

    def predict(self, theta: Mapping[str, Array], episode: Episode) -> tuple[Array, Array]:
        """Return predictive mean and variance of the query rows, (n_outputs, n_tasks, Q) each.

        The head is integrated out, by the Gaussian nearest to its posterior.
        """
        batch = self.embed(theta, episode)
        found, _ = gaussian_posterior(self.glm(theta, batch, 0.0))
        doubt = found.curvature.doubt(batch.a_query)
        return self.likelihood.moments(_eta(found.u, batch.a_query, batch.mean_query), doubt)

    def augmented(
        self, phi: Array, theta: Mapping[str, Array], batch: GLMBatch, beta: Array | float
    ) -> tuple[Array, Array]:
        """Return E + beta L and its derivative in u."""
        glm = self.glm(theta, batch, beta)
        return glm.objective(phi), glm.gradient(phi)[0]

    def loss_phi_grad(self, phi: Array, theta: Mapping[str, Array], batch: GLMBatch) -> Array:
        """Return dL/du."""
        eta = _eta(phi, batch.a_query, batch.mean_query)
        pull = batch.w_query * (self.likelihood.mean(eta) - batch.y_query)
        return (pull[..., None, :] @ batch.a_query)[..., 0, :]

    def loss_curvature(
        self, direction: Array, phi: Array, theta: Mapping[str, Array], batch: GLMBatch
    ) -> Array:
        """Apply d2L/du2 at phi to a direction."""
        eta = _eta(phi, batch.a_query, batch.mean_query)
        moved = (batch.a_query @ direction[..., None])[..., 0]
        _, curvature = self.likelihood.slopes(eta)
        if self.likelihood.is_coupled:
            pushed = np.moveaxis((curvature @ np.moveaxis(moved, 0, -1)[..., None])[..., 0], -1, 0)
        else:
            pushed = curvature * moved
        return ((batch.w_query * pushed)[..., None, :] @ batch.a_query)[..., 0, :]

    def glm(self, theta: Mapping[str, Array], batch: GLMBatch, beta: Array | float) -> GLM:
        """Return E + beta L: the query rows join the support rows, weighted by beta."""
        if np.ndim(beta) == 0 and beta == 0:
            rows = (batch.a_support, batch.mean_support, batch.y_support, batch.w_support)
            return GLM(self.likelihood, *rows)
        nudge = np.asarray(beta, dtype=float).reshape(-1, 1) * batch.w_query
        return GLM(
            self.likelihood,
            np.concatenate([batch.a_support, batch.a_query], axis=-2),
            np.concatenate([batch.mean_support, batch.mean_query], axis=-1),
            np.concatenate([batch.y_support, batch.y_query], axis=-1),
            np.concatenate([batch.w_support, nudge], axis=-1),
        )

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, Array], batch: GLMBatch
    ) -> MetaParams:
        """Return the theta-gradient of the weighted sum: residual times feature, summed."""
        grad = MetaParams(self.shapes)
        phases = np.stack([term.phi for term in terms], -2)
        support = self._pulls(
            [(t.phi, t.energy) for t in terms],
            (batch.a_support, batch.mean_support, batch.y_support, batch.w_support),
        )
        query = self._pulls(
            [(t.phi, t.loss) for t in terms],
            (batch.a_query, batch.mean_query, batch.y_query, batch.w_query),
        )
        self.backward(theta, batch, phases, support, query, grad)
        return grad

    def _pulls(
        self,
        phases: Sequence[tuple[Array, Array | None]],
        rows: tuple[Array, Array, Array, Array],
    ) -> RowCotangents:
        """Differentiate the sum over phases of ``c * weight * nll``; ``rows`` are a, m, y, w."""
        a, prior, y, weight = rows
        pulls = np.zeros((*prior.shape, len(phases)))
        for i, (phi, coefficient) in enumerate(phases):
            if coefficient is not None:
                residual = self.likelihood.mean(_eta(phi, a, prior)) - y
                pulls[..., i] = coefficient[:, None] * weight * residual
        return RowCotangents(pulls)


def _eta(phi: Array, a: Array, prior: Array) -> Array:
    """Return the linear predictor of rows, of shape (n_outputs, n_tasks, n_rows)."""
    return prior + (a @ phi[..., None])[..., 0]
