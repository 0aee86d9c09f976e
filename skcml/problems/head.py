r"""A linear head on learned features, with a learned Gaussian prior: a mixed-effects model.

For one task and one output, with features :math:`z = [1, x, h(x)]` of a row,

.. math::

    y = z^\top (\omega + \Lambda u) + \varepsilon, \qquad
    u \sim N(0, I), \quad \varepsilon \sim N(0, \sigma^2),

    E(u, \theta) = \sum_i \frac{w_i (y_i - z_i^\top (\omega + \Lambda u))^2}{2 \sigma^2}
                   + \tfrac12 \|u\|^2 .

The task parameter :math:`\phi = u` is whitened: the prior covariance of the coefficients is
:math:`\Lambda \Lambda^\top`, a zero variance is an ordinary value, and every system to solve is
well conditioned. :math:`\theta` holds :math:`\omega`, :math:`\Lambda`, :math:`\log \sigma` and the
body's weights. Without a hidden layer this is the linear mixed model.

The loss is the negative log predictive density of each query row by itself,

.. math:: L = \text{mean}_q \; \tfrac12 \log 2 \pi v_q + \frac{(y_q - m_q)^2}{2 v_q}, \qquad
          v_q = \sigma^2 + a_q^\top H^{-1} a_q, \quad a_q = \Lambda^\top z_q ,

whose mean :math:`m_q` depends on :math:`\phi` and whose variance depends on :math:`\theta` alone,
through the features of the query *and* of the support rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skcml.arrays import Array, namespace, to_numpy
from skcml.episodes import Episode
from skcml.least_squares import LeastSquares
from skcml.problems.base import Term
from skcml.problems.features import Features, LinearHead, RowCotangents
from skcml.problems.meta_params import MetaParams

# The noise variance cannot fall below this (outputs are standardised): noise-free data would
# otherwise drive the log density, and the conditioning of every solve, to infinity.
NOISE_FLOOR = 1e-6
# A squared error has no such pull, and sees the noise relative to the prior only.
LOSS_NOISE_FLOOR = 1e-7


@dataclass(frozen=True)
class HeadBatch(Features):
    """An episode in the body's features, and its free phase.

    Attributes
    ----------
    r_support, r_query : array of shape (n_outputs, n_tasks, S or Q)
        What the prior mean leaves of y.
    noise : array of shape (n_outputs, 1, 1)
        Noise variance.
    system : LeastSquares
        The free phase, factorised.
    b_query : array of shape (n_outputs, n_tasks, Q, P)
        H^-1 a_q.
    v_query : array of shape (n_outputs, n_tasks, Q)
        Predictive variance; one where the loss does not know of it.
    """

    r_support: Array
    r_query: Array
    noise: Array
    system: LeastSquares
    b_query: Array
    v_query: Array


@dataclass(frozen=True)
class HeadProblem(LinearHead):
    """Energy, loss and their gradients for a Gaussian head on a body's features.

    Parameters
    ----------
    body : Body
    factor_mask : ndarray of shape (K, P), bool
        Which entries of the prior factor are learned; the others stay zero.
    n_outputs : int
    meta_loss : {"log_predictive", "loss"}
        "loss" is half the squared error.
    noise_floor : float
        What no noise variance falls below.
    """

    meta_loss: str = "log_predictive"
    noise_floor: float = NOISE_FLOOR
    is_quadratic: ClassVar[bool] = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        return {**super().shapes, "log_noise": (self.n_outputs,)}

    def noise(self, theta: Mapping[str, Array]) -> Array:
        """Return the noise variance of each output."""
        log_noise = theta["log_noise"]
        return self.noise_floor + namespace(log_noise).exp(2 * log_noise)

    def write_noise(self, theta: Mapping[str, Array], output: int, variance: float) -> None:
        """Set the noise variance of one output, which the floor may raise."""
        above = max(variance - self.noise_floor, 1e-6 * self.noise_floor)
        theta["log_noise"][output] = 0.5 * np.log(above)

    def embed(self, theta: Mapping[str, Array], episode: Episode) -> HeadBatch:
        """Pass all rows through the body once and factorise the free phase."""
        features = self.features(theta, episode)
        xp = namespace(features.z)
        noise = self.noise(theta)[:, None, None]
        r_support = episode.y_support - features.mean_support
        system = LeastSquares.factorize(features.a_support, r_support, episode.w_support / noise)
        b_query = v_query = xp.ones_like(episode.y_query)
        if self.meta_loss == "log_predictive":
            b_query = system.solve_h(features.a_query)
            # Rounding may not take the variance below the noise.
            v_query = noise + xp.clip((features.a_query * b_query).sum(-1), 0.0, None)
        return HeadBatch(
            **vars(features),
            r_support=r_support,
            r_query=episode.y_query - features.mean_query,
            noise=noise,
            system=system,
            b_query=b_query,
            v_query=v_query,
        )

    def energy(self, phi: Array, theta: Mapping[str, Array], batch: HeadBatch) -> Array:
        """Return E of each task; ``phi`` is u, of shape (n_outputs, n_tasks, P)."""
        residual = batch.r_support - (batch.a_support @ phi[..., None])[..., 0]
        misfit = (batch.w_support / batch.noise * residual**2).sum(-1)
        return 0.5 * (misfit + (phi**2).sum(-1)).sum(0)

    def loss(self, phi: Array, theta: Mapping[str, Array], batch: HeadBatch) -> Array:
        """Return L of each task, summed over outputs."""
        residual = batch.r_query - (batch.a_query @ phi[..., None])[..., 0]
        if self.meta_loss == "loss":
            return 0.5 * (batch.w_query * residual**2).sum(-1).sum(0)
        log = namespace(phi).log(2 * np.pi * batch.v_query)
        return 0.5 * (batch.w_query * (log + residual**2 / batch.v_query)).sum(-1).sum(0)

    def predict(self, theta: Mapping[str, Array], episode: Episode) -> tuple[Array, Array]:
        """Return predictive mean and variance of the query rows, (n_outputs, n_tasks, Q) each."""
        batch = replace(self, meta_loss="log_predictive").embed(theta, episode)
        residual = batch.r_query - (batch.a_query @ batch.system.u[..., None])[..., 0]
        return episode.y_query - residual, batch.v_query

    def augmented(
        self, phi: Array, theta: Mapping[str, Array], batch: HeadBatch, beta: Array | float
    ) -> tuple[Array, Array]:
        """Return E + beta L and its derivative in u."""
        nudge = namespace(phi).asarray(beta, dtype=phi.dtype).reshape(-1, 1)
        value = self.energy(phi, theta, batch) + nudge[:, 0] * self.loss(phi, theta, batch)
        residual = batch.r_support - (batch.a_support @ phi[..., None])[..., 0]
        pull = batch.w_support / batch.noise * residual
        slope = phi - (pull[..., None, :] @ batch.a_support)[..., 0, :]
        return value, slope + nudge * self.loss_phi_grad(phi, theta, batch)

    def loss_phi_grad(self, phi: Array, theta: Mapping[str, Array], batch: HeadBatch) -> Array:
        """Return dL/du."""
        residual = batch.r_query - (batch.a_query @ phi[..., None])[..., 0]
        pull = batch.w_query * residual / batch.v_query
        return -(pull[..., None, :] @ batch.a_query)[..., 0, :]

    def loss_curvature(
        self, direction: Array, phi: Array, theta: Mapping[str, Array], batch: HeadBatch
    ) -> Array:
        """Apply d2L/du2, which is constant, to a direction."""
        moved = (batch.a_query @ direction[..., None])[..., 0]
        return ((batch.w_query / batch.v_query * moved)[..., None, :] @ batch.a_query)[..., 0, :]

    def least_squares(
        self, theta: Mapping[str, Array], batch: HeadBatch, beta: Array | float
    ) -> LeastSquares:
        """Return E + beta L: the query rows join the support rows, weighted by beta."""
        if np.ndim(beta) == 0 and beta == 0:
            return batch.system
        xp = namespace(batch.z)
        nudge = xp.asarray(beta, dtype=batch.w_query.dtype).reshape(-1, 1)
        return LeastSquares.factorize(
            xp.concatenate([batch.a_support, batch.a_query], axis=-2),
            xp.concatenate([batch.r_support, batch.r_query], axis=-1),
            xp.concatenate(
                [batch.w_support / batch.noise, nudge * batch.w_query / batch.v_query], axis=-1
            ),
        )

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, Array], batch: HeadBatch
    ) -> MetaParams:
        """Return the theta-gradient of the weighted sum: residual times feature, summed."""
        grad = MetaParams(self.shapes)
        phases = namespace(batch.z).stack([term.phi for term in terms], -2)
        support, query, noise = self._cotangents(terms, phases, batch)
        grad["log_noise"][...] = to_numpy(2 * (batch.noise[:, 0, 0] - self.noise_floor) * noise)
        self.backward(theta, batch, phases, support, query, grad)
        return grad

    def _cotangents(
        self, terms: Sequence[Term], phases: Array, batch: HeadBatch
    ) -> tuple[RowCotangents, RowCotangents, Array]:
        """Return the derivatives with respect to support rows, query rows and noise variance."""
        energies = _coefficients([term.energy for term in terms], phases)
        losses = _coefficients([term.loss for term in terms], phases)
        precision = batch.w_support / batch.noise
        pulls, products = _misfit_pulls(
            phases, energies, batch.a_support, batch.r_support, precision
        )
        noise = 0.5 * products.sum((1, 2, 3)) / batch.noise[:, 0, 0]
        support = RowCotangents(pulls)
        precision = batch.w_query / batch.v_query
        pulls, products = _misfit_pulls(phases, losses, batch.a_query, batch.r_query, precision)
        query = RowCotangents(pulls)
        if self.meta_loss == "loss" or all(term.loss is None for term in terms):
            return support, query, noise
        # The direct term: dv = dsigma2 + 2 b.da - b.dH b, with b = H^-1 a and H = I + A'DA.
        kappa = 0.5 * (precision * losses.sum(-1)[:, None] + products.sum(-1) / batch.v_query)
        moved = batch.a_support @ batch.b_query.mT
        weighted = (batch.w_support / batch.noise)[..., None] * moved * kappa[..., None, :]
        noise = noise + kappa.sum((1, 2)) + (weighted * moved).sum((1, 2, 3)) / batch.noise[:, 0, 0]
        query = RowCotangents(query.pulls, 2 * kappa[..., None] * batch.b_query)
        support = RowCotangents(support.pulls, -2 * weighted @ batch.b_query)
        return support, query, noise


def _coefficients(parts: Sequence[Array | None], phases: Array) -> Array:
    """Return the coefficients of the terms, zero where left out, of shape (n_tasks, n_phases)."""
    nothing = 0.0 * phases[0, :, 0, 0]
    return namespace(phases).stack([nothing if c is None else c for c in parts], -1)


def _misfit_pulls(
    phases: Array, coefficients: Array, a: Array, r: Array, precision: Array
) -> tuple[Array, Array]:
    """Differentiate the sum over phases of ``c * precision * (r - a.phi)^2 / 2``.

    Returns
    -------
    pulls : array of shape (n_outputs, n_tasks, n_rows, n_phases)
        The derivative with respect to the predictors.
    products : array of the same shape
        Pulls times residuals: -2 times the summands.
    """
    residual = r[..., None] - a @ phases.mT
    pulls = -precision[..., None] * coefficients[:, None] * residual
    return pulls, pulls * residual
