r"""A network for each task, pulled to what all tasks share.

.. math:: E(\phi, \theta) = \sum_i w_i \ell(y_i, f_\phi(x_i))
                            + \tfrac12 \sum_k \lambda_k (\phi_k - \omega_k)^2, \qquad
          L(\phi, \theta) = \text{mean}_q \; \ell(y_q, f_\phi(x_q)).

This is the complex synapse of Zucchet et al. (NeurIPS 2022, arXiv 2104.01677, section 4.1) where
:math:`\phi` holds every weight, and the dual system (section 4.2) where it holds gains and shifts,
and weights are slow. :math:`\theta` holds the consolidated values :math:`\omega`, the logarithms of
the strengths :math:`\lambda`, and the slow weights.

The pull to :math:`\omega` is in `pull`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from skcml.arrays import Array, identity_like, namespace, to_numpy
from skcml.episodes import Episode
from skcml.likelihoods import Cost
from skcml.problems.base import Curve, Term
from skcml.problems.context import Context
from skcml.problems.features import mean_weights, row_context
from skcml.problems.jacobian import Jacobian
from skcml.problems.meta_params import MetaParams
from skcml.problems.pull import START_STRENGTH, Pull
from skcml.problems.task_network import Rows, TaskNetwork


class PulledNetwork(NamedTuple):
    """What the tasks of a batch share along a descent.

    Attributes
    ----------
    slow : dict of str to array
        Slow weights.
    omega, strength : array of shape (n_params,)
        Where each parameter is pulled to, and how strongly.
    """

    slow: Mapping[str, Array]
    omega: Array
    strength: Array


@dataclass(frozen=True)
class ProximalProblem:
    """Energy and loss of networks that are pulled to a common point.

    ``phi`` has the shape (1, n_tasks, n_params), in the order of ``network.fast``.

    Parameters
    ----------
    network : TaskNetwork
    cost : Cost
        What a row costs, given the outputs.
    strength : {"fixed", "layer", "synapse"}
        Whether strengths stay as they start, are learned for each block of parameters, or for each
        parameter.
    is_tied : bool, default=False
        Whether all outputs have the same consolidated head, as classes do that are new in every
        task: then a network of one output stands for any number, and that of a task's outputs is
        read off y, or off phi.
    """

    network: TaskNetwork
    cost: Cost
    strength: str = "synapse"
    is_tied: bool = False
    is_quadratic: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = True

    @property
    def adapts_everything(self) -> bool:
        """Whether no weight is slow."""
        return not self.network.slow

    @cached_property
    def pull(self) -> Pull:
        """What tasks share of their parameters."""
        return Pull(self.network.fast, self.strength, self.is_tied)

    @property
    def learned(self) -> dict[str, np.ndarray]:
        """Which entries of theta are learned, where not all are."""
        return self.pull.learned

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        return {
            **self.network.slow,
            **self.pull.shapes,
            "log_scatter": (self.network.n_outputs, 2),
        }

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Draw a start."""
        drawn = self.network.draw(rng)
        for name in self.network.slow:
            theta[name][...] = drawn[name]
        theta["omega"][...] = np.concatenate([drawn[name].ravel() for name in self.network.fast])
        theta["log_strength"][...] = np.log(START_STRENGTH)

    def embed(self, theta: Mapping[str, Array], episode: Episode) -> Episode:
        """Return the episode with weights of query rows that make their sum a mean."""
        return replace(episode, w_query=mean_weights(episode.w_query, self.cost))

    def energy(self, phi: Array, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return E of each task."""
        return self._misfit(phi, theta, self._support(batch)) + self.pull.energy(phi, theta)

    def loss(self, phi: Array, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return L of each task."""
        return self._misfit(phi, theta, self._query(batch))

    def start(self, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return omega for every task."""
        omega, _ = self.pull.common(theta, self.pull.n_params(len(batch.y_query)))
        return namespace(omega).tile(omega, (1, len(batch.w_query), 1))

    def augmented(
        self, phi: Array, theta: Mapping[str, Array], batch: Episode, beta: Array | float
    ) -> tuple[Array, Array]:
        """Return E + beta L and its derivative in phi."""
        return self.augmented_at(phi, *self.constants(phi, theta, batch, beta))

    def constants(
        self, phi: Array, theta: Mapping[str, Array], batch: Episode, beta: Array | float
    ) -> tuple[PulledNetwork, Rows]:
        """See `FlatProblem`."""
        slow = {name: theta[name] for name in self.network.slow}
        model = PulledNetwork(slow, *self.pull.common(theta, phi.shape[-1]))
        return model, self._augmented(batch, beta)

    def augmented_at(self, phi: Array, model: PulledNetwork, rows: Rows) -> tuple[Array, Array]:
        """See `FlatProblem`."""
        eta, tape = self._eta(phi, model.slow, rows)
        fast, _ = self.network.pull(tape, self._slope(rows, eta))
        gradient = fast.transposed()
        moved = phi[0] - model.omega
        pulled = model.strength * moved
        gradient += pulled
        prior = 0.5 * namespace(phi).linalg.vecdot(pulled, moved)
        value = (rows.weight * self.cost.nll(rows.y, eta)).sum(-1) + prior
        return value, gradient[None]

    def loss_phi_grad(self, phi: Array, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return dL/dphi."""
        rows = self._query(batch)
        eta, tape = self._eta(phi, theta, rows)
        fast, _ = self.network.pull(tape, self._slope(rows, eta))
        return fast.transposed()[None]

    def loss_curvature(
        self, direction: Array, phi: Array, theta: Mapping[str, Array], batch: Episode
    ) -> Array:
        """Apply the Gauss-Newton curvature of L at phi to a direction."""
        roots = self._roots(phi, theta, self._query(batch))[0]
        return roots.transposed(roots.times(direction[0]))[None]

    def curvature_inverse(
        self, phi: Array, theta: Mapping[str, Array], batch: Episode, beta: Array | float
    ) -> Curve:
        r"""Return what applies the inverse of the Gauss-Newton curvature of E + beta L at phi.

        With rows B such that it is :math:`\Lambda + B^\top S B`, S the signs of the rows' weights,
        by the smaller side: in the dual it is
        :math:`\Lambda^{-1} - \Lambda^{-1} B^\top (S + B \Lambda^{-1} B^\top)^{-1} B \Lambda^{-1}`.
        """
        roots, signs = self._roots(phi, theta, self._augmented(batch, beta))
        _, strength = self.pull.common(theta, phi.shape[-1])
        if signs.shape[1] <= strength.shape[0]:
            gram = roots.gram(strength**-0.5)
            eye = identity_like(gram, gram.shape[-1])
            inner = namespace(gram).linalg.inv(gram + eye * signs[:, None])

            def dual(direction: Array) -> Array:
                plain = direction[0] / strength
                along = roots.times(plain)
                pushed = (inner @ along.reshape(*inner.shape[:2], 1)).reshape(along.shape)
                return (plain - roots.transposed(pushed) / strength)[None]

            return dual
        rows = roots.dense()
        eye = identity_like(rows, rows.shape[-1])
        inverse = namespace(rows).linalg.inv(rows.mT @ (signs[..., None] * rows) + eye * strength)
        return lambda direction: (inverse @ direction[0][..., None])[None, ..., 0]

    def solve_prior(self, direction: Array, theta: Mapping[str, Array]) -> Array:
        """Divide by the strengths."""
        return direction / self.pull.common(theta, direction.shape[-1])[1]

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, Array], batch: Episode
    ) -> MetaParams:
        """Return the theta-gradient of the weighted sum of energies and losses."""
        grad = MetaParams(self.shapes)
        for phi, coefficient, _ in terms:
            if coefficient is not None:
                self.pull.add_grad(grad, phi, coefficient, theta)
        if self.network.slow:
            self._add_slow([(t.phi, t.energy) for t in terms], theta, self._support(batch), grad)
            self._add_slow([(t.phi, t.loss) for t in terms], theta, self._query(batch), grad)
        return grad

    def outputs(
        self, phi: Array, theta: Mapping[str, Array], x: Array, statistics: Array | None = None
    ) -> Array:
        """Return the linear predictor of rows, of shape (n_outputs, n_tasks, n_rows).

        Parameters
        ----------
        phi : array of shape (1, n_tasks, n_params)
        theta : mapping of str to array
        x : array of shape (n_tasks, n_rows, n_inputs)
        statistics : array of shape (n_tasks, n_statistics), optional
            As `statistics` gave them; without, tasks have no support rows.
        """
        out, _ = self.network.forward(phi[0], theta, x, statistics)
        return namespace(out).moveaxis(out, -1, 0)

    def probabilities(self, phi: Array, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return the predictive mean of query rows, of shape (n_outputs, n_tasks, n_query)."""
        return self.cost.mean(self._eta(phi, theta, self._query(batch))[0])

    def statistics(self, phi: Array, theta: Mapping[str, Array], batch: Episode) -> Array:
        """Return what `outputs` must know of the support rows, (n_tasks, n_statistics)."""
        return self.network.statistics(phi[0], theta, self._query(batch).context)

    def _add_slow(
        self,
        phases: Sequence[tuple[Array, Array | None]],
        theta: Mapping[str, Array],
        rows: Rows,
        grad: MetaParams,
    ) -> None:
        """Add the derivatives of the rows' costs with respect to slow parameters.

        All phases go through the network as tasks of one batch.
        """
        used = [(phi, c) for phi, c in phases if c is not None]
        if not used:
            return
        xp, n = namespace(used[0][0]), len(used)
        phi = xp.concatenate([phi for phi, _ in used], axis=1)
        rows = Rows(
            xp.concatenate([rows.x] * n),
            xp.concatenate([rows.y] * n, axis=1),
            xp.concatenate([c[:, None] * rows.weight for _, c in used]),
            rows.context.repeated(n),
        )
        eta, tape = self._eta(phi, theta, rows)
        _, slow = self.network.pull(tape, self._slope(rows, eta))
        for name, total in slow.summed().items():
            grad[name][...] += to_numpy(total)

    def _eta(self, phi: Array, theta: Mapping[str, Array], rows: Rows) -> tuple[Array, Any]:
        out, tape = self.network.forward(phi[0], theta, rows.x, rows.context)
        return namespace(out).moveaxis(out, -1, 0), tape

    def _misfit(self, phi: Array, theta: Mapping[str, Array], rows: Rows) -> Array:
        return (rows.weight * self.cost.nll(rows.y, self._eta(phi, theta, rows)[0])).sum(-1)

    def _slope(self, rows: Rows, eta: Array) -> Array:
        """Return the derivative of the rows' costs by the outputs, (n_tasks, n_rows, 1, O)."""
        pull = rows.weight * (self.cost.mean(eta) - rows.y)
        return namespace(pull).moveaxis(pull, 0, -1)[:, :, None]

    def _roots(self, phi: Array, theta: Mapping[str, Array], rows: Rows) -> tuple[Jacobian, Array]:
        """Return rows B whose squares are the curvature, and their signs, (n_tasks, n_rows * K)."""
        xp, weight = namespace(rows.weight), rows.weight
        eta, tape = self._eta(phi, theta, rows)
        root = abs(weight)[..., None, None] ** 0.5 * self.cost.root(eta)
        signs = xp.where(weight < 0, -1.0, xp.ones_like(weight))
        signs = xp.broadcast_to(signs[..., None], (*signs.shape, root.shape[-2]))
        n_functions = root.shape[1] * root.shape[2]  # by name: a task may have no row
        return self.network.pull(tape, root)[0], signs.reshape(len(signs), n_functions)

    def _support(self, batch: Episode) -> Rows:
        context = self._context(batch)._replace(query=batch.w_query[:, :0])
        return Rows(batch.x_support, batch.y_support, batch.w_support, context)

    def _query(self, batch: Episode) -> Rows:
        context = self._context(batch)._replace(x=batch.x_support)
        return Rows(batch.x_query, batch.y_query, batch.w_query, context)

    def _augmented(self, batch: Episode, beta: Array | float) -> Rows:
        """Return rows whose weighted costs add up to those of E + beta L."""
        if np.ndim(beta) == 0 and beta == 0:
            return self._support(batch)
        xp, w_query = namespace(batch.w_query), batch.w_query
        nudge = xp.asarray(beta, dtype=w_query.dtype, device=w_query.device).reshape(-1, 1)
        return Rows(
            xp.concatenate([batch.x_support, batch.x_query], axis=1),
            xp.concatenate([batch.y_support, batch.y_query], axis=2),
            xp.concatenate([batch.w_support, nudge * w_query], axis=1),
            self._context(batch),
        )

    def _context(self, batch: Episode) -> Context:
        return row_context(batch.w_support, batch.w_query, self.cost)
