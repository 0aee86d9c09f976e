r"""A softmax over classes that are pulled towards their mean rows, as a learned body sees rows.

The energy is that of `prototypes`, on outputs of unit length, :math:`z = m(x) / \|m(x)\|`. The
body is learned from many tasks, and with it the two constants s and :math:`\lambda`: at a large
:math:`\lambda` this is a prototypical network with the cosine as its metric (Snell, Swersky and
Zemel, NeurIPS 2017, arXiv 1703.05175). Classes may be any, and new.

Weights live in the whole space of z, so that :math:`\phi = u` means the same whatever the body:
:math:`w_c = s_c m_c(z) + u_c / \sqrt\lambda`. With the residual :math:`r_{ci}` of row i,

.. math:: \partial z_i = \sum_c r_{ci} w_c, \qquad \partial m_c = s_c \sum_i r_{ci} z_i ,

and the class means hand theirs on to the support rows that they are means of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.episodes import Episode
from skcml.problems.base import Term
from skcml.problems.features import Body, mean_weights, row_context
from skcml.problems.meta_params import MetaParams
from skcml.problems.prototypes import (
    PrototypeBatch,
    PrototypeProblem,
    Rows,
    class_shares,
    project_rows,
)

# Where the constants start: about a temperature of cosines, and hardly a step from the means.
START_SCALE, START_PRECISION = 10.0, 1.0


@dataclass(frozen=True)
class BodyBatch(PrototypeBatch):
    """An episode in the body's outputs, of unit length.

    Attributes
    ----------
    length : ndarray of shape (n_tasks * (S + Q), 1)
        Of the outputs as they came: those of all support rows, then those of the query.
    share : ndarray of shape (n_tasks, C, S)
        Of each support row in its class's mean.
    stretch : ndarray of shape (n_tasks, C, 1)
        By how much a class's prior mean is longer than the mean of its rows.
    tape : object
        What the body remembers for its gradient.
    """

    length: np.ndarray
    share: np.ndarray
    stretch: np.ndarray
    tape: Any


@dataclass(frozen=True)
class PrototypeBodyProblem(PrototypeProblem):
    """Energy, loss and their gradients for classes near their mean rows, in a learned space.

    ``phi`` has the shape (C, n_tasks, d), with d the number of the body's outputs.

    Parameters
    ----------
    body : Body
        Its features are ``[1, m(x)]``.
    """

    body: Body

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:  # type: ignore[override]
        """Names and shapes of the meta-parameters."""
        return {**self.body.shapes, **PrototypeProblem.shapes}

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Write a start."""
        self.body.initialize(theta, rng)
        theta["log_scale"][:] = np.log(START_SCALE)
        theta["log_precision"][:] = np.log(START_PRECISION)

    def embed(self, theta: Mapping[str, np.ndarray], episode: Episode) -> BodyBatch:
        """Pass all rows through the body once."""
        n_tasks, n_support = episode.w_support.shape
        n_query, n_inputs = episode.x_query.shape[1:]
        x = [episode.x_support.reshape(-1, n_inputs), episode.x_query.reshape(-1, n_inputs)]
        context = row_context(episode.w_support, episode.w_query, None)
        features, tape = self.body.forward(theta, np.concatenate(x), context)
        z, length = _unit(features[:, self.body.n_linear :])
        cut = n_tasks * n_support
        support = z[:cut].reshape(n_tasks, n_support, -1)
        query = z[cut:].reshape(n_tasks, n_query, -1)
        share, relative = class_shares(episode)
        mean, mean_length = _unit(share @ support)
        means = (relative[..., None] * mean).swapaxes(0, 1)
        return BodyBatch(
            project_rows(support, means, episode.y_support, episode.w_support),
            project_rows(query, means, episode.y_query, mean_weights(episode.w_query, None)),
            means,
            np.broadcast_to(np.eye(z.shape[-1]), (n_tasks, z.shape[-1], z.shape[-1])),
            length,
            share,
            relative[..., None] / mean_length,
            tape,
        )

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, np.ndarray], batch: Any
    ) -> MetaParams:
        """Return the theta-gradient of the weighted sum: residual times weights, and means."""
        grad = super().theta_grad(terms, theta, batch)
        energies = [(t.phi, t.energy) for t in terms if t.energy is not None]
        losses = [(t.phi, t.loss) for t in terms if t.loss is not None]
        support, means = self._cotangents(energies, theta, batch, batch.support)
        query, more = self._cotangents(losses, theta, batch, batch.query)
        # Of the mean of the rows that a prior mean is the direction of.
        direction = batch.means.swapaxes(0, 1)
        size = (direction**2).sum(-1, keepdims=True)
        along = (direction * (means + more)).sum(-1, keepdims=True) / np.where(size > 0, size, 1.0)
        support = support + batch.share.mT @ (batch.stretch * (means + more - along * direction))
        pulled = [
            g - (g * rows.f).sum(-1, keepdims=True) * rows.f
            for g, rows in ((support, batch.support), (query, batch.query))
        ]
        flat = np.concatenate([g.reshape(-1, g.shape[-1]) for g in pulled]) / batch.length
        ones = np.zeros((len(flat), self.body.n_linear))
        self.body.backward(theta, batch.tape, np.concatenate([ones, flat], axis=1), grad)
        return grad

    def _cotangents(
        self,
        phases: Sequence[tuple[np.ndarray, np.ndarray]],
        theta: Mapping[str, np.ndarray],
        batch: BodyBatch,
        rows: Rows,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives by rows z, (n_tasks, n_rows, d), and prior means, (n_tasks, C, d)."""
        by_rows, by_means = 0.0 * rows.f, 0.0 * batch.means.swapaxes(0, 1)
        scale = np.exp(theta["log_scale"])
        for phi, coefficient in phases:
            residual = self._residual(phi, theta, rows) * coefficient[:, None]
            by_rows = by_rows + residual.transpose(1, 2, 0) @ self.weights(phi, theta, batch)
            by_means = by_means + scale * rows.gather(residual).swapaxes(0, 1)
        return by_rows, by_means


def _unit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of unit length, and their length; a row of zeros stays one, of length one."""
    length = (x**2).sum(-1, keepdims=True) ** 0.5
    length = np.where(length > 0, length, 1.0)
    return x / length, length
