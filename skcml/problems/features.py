r"""What all heads share: rows as features, in whitened coordinates, and the way back.

A row with features z has the linear predictor :math:`z^\top (\omega + \Lambda u)`: its prior mean
:math:`z^\top \omega` plus :math:`a^\top u`, with :math:`a = \Lambda^\top z`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from skcml.arrays import Array, namespace, to_numpy
from skcml.episodes import Episode
from skcml.likelihoods import Cost, Likelihood
from skcml.problems.context import Context
from skcml.problems.meta_params import MetaParams


class Body(Protocol):
    """What a head asks of a body: features of rows, and the way back.

    Attributes
    ----------
    n_inputs, n_features : int
    n_linear : int
        Leading features that hold no learned parameter.
    n_statistics : int
        Numbers that are kept of a task's support to pass other rows by; mostly none.
    shapes : dict of str to tuple of int
        Names and shapes of the body's meta-parameters.
    """

    @property
    def n_inputs(self) -> int:
        """Length of a row."""

    @property
    def n_features(self) -> int:
        """Length of a row's features."""

    @property
    def n_linear(self) -> int:
        """Leading features that hold no learned parameter."""

    @property
    def n_statistics(self) -> int:
        """Numbers that are kept of a task's support to pass other rows by."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the body's meta-parameters."""

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Write a start."""

    def forward(
        self, theta: Mapping[str, Array], x: Array, context: Context | Array | None = None
    ) -> tuple[Array, Any]:
        """Return features of rows, (n_rows, n_features), and what `backward` needs.

        ``context`` is what a body takes statistics from, if it takes any. Its arrays have an axis
        of tasks, and ``x`` holds the support rows of all tasks, then their query rows.
        """

    def backward(
        self, theta: Mapping[str, Array], tape: Any, cotangent: Array, grad: MetaParams
    ) -> None:
        """Add to ``grad`` the gradient of ``sum(cotangent * features)``."""


@dataclass(frozen=True)
class Features:
    """The rows of an episode. S support rows, Q query rows, K features, P columns.

    Attributes
    ----------
    z : array of shape (n_tasks * (S + Q), K)
        Features of all rows: those of the support, then those of the query.
    tape : object
        What the body remembers for its gradient.
    a_support, a_query : array of shape (n_outputs, n_tasks, S or Q, P)
        Features in whitened coordinates.
    mean_support, mean_query : array of shape (n_outputs, n_tasks, S or Q)
        Prior mean of the linear predictor.
    w_support, w_query : array of shape (n_tasks, S or Q)
        Row weights; those of the query sum to one in each task (to zero if all are zero), or are
        exposures divided by the number of rows.
    """

    z: Array
    tape: Any
    a_support: Array
    a_query: Array
    mean_support: Array
    mean_query: Array
    w_support: Array
    w_query: Array


class RowCotangents(NamedTuple):
    """Derivatives with respect to the rows of a batch.

    Attributes
    ----------
    mean : array of shape (n_outputs, n_tasks, n_rows)
        With respect to the prior mean z'omega of each row.
    whitened : array of shape (n_outputs, n_tasks, n_rows, P)
        With respect to a = Lambda'z.
    """

    mean: Array
    whitened: Array


@dataclass(frozen=True)
class LinearHead:
    """The body and the linear map of a head.

    Parameters
    ----------
    body : Body
    factor_mask : ndarray of shape (K, P), bool
        Which entries of the prior factor are learned; the others stay zero.
    n_outputs : int
    likelihood : Likelihood or None
        Of classes or counts; None for Gaussian outputs.
    """

    body: Body
    factor_mask: np.ndarray
    n_outputs: int = 1
    likelihood: Likelihood | None = field(default=None, kw_only=True)
    is_differentiable: ClassVar[bool] = True
    adapts_everything: ClassVar[bool] = False

    @property
    def learned(self) -> dict[str, np.ndarray]:
        """Which entries of theta are learned, where not all are."""
        return {"factor": self.factor_mask}

    def noise(self, theta: Mapping[str, Array]) -> Array:
        """Return the noise variance of each output; none for classes and counts."""
        return np.zeros(self.n_outputs)

    def write_noise(self, theta: Mapping[str, Array], output: int, variance: float) -> None:
        """Set the noise variance of one output, where there is one to set."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        n_features, n_columns = self.factor_mask.shape
        return {
            **self.body.shapes,
            "omega": (self.n_outputs, n_features),
            "factor": (self.n_outputs, n_features, n_columns),
        }

    def start(self, theta: Mapping[str, Array], batch: Features) -> Array:
        """Return zero: the prior mean, in whitened coordinates."""
        return 0.0 * batch.a_query.sum(-2)

    def solve_prior(self, direction: Array, theta: Mapping[str, Array]) -> Array:
        """Return the direction: the prior is whitened."""
        return direction

    def features(self, theta: Mapping[str, Array], episode: Episode) -> Features:
        """Pass all rows through the body once."""
        n_tasks, n_support = episode.w_support.shape
        n_query, n_inputs = episode.x_query.shape[1:]
        xp = namespace(episode.x_support)
        cut = n_tasks * n_support
        x = xp.concatenate(
            [
                episode.x_support.reshape(cut, n_inputs),
                episode.x_query.reshape(n_tasks * n_query, n_inputs),
            ]
        )
        context = None
        if self.body.n_statistics:
            context = row_context(episode.w_support, episode.w_query, self.likelihood)
        z, tape = self.body.forward(theta, x, context)
        whitened = z @ theta["factor"]
        mean = (z @ theta["omega"][..., None])[..., 0]
        support, query = (self.n_outputs, n_tasks, n_support), (self.n_outputs, n_tasks, n_query)
        # Every length by its name: an episode may have no support row.
        return Features(
            z=z,
            tape=tape,
            a_support=whitened[:, :cut].reshape(*support, whitened.shape[-1]),
            a_query=whitened[:, cut:].reshape(*query, whitened.shape[-1]),
            mean_support=mean[:, :cut].reshape(support),
            mean_query=mean[:, cut:].reshape(query),
            w_support=episode.w_support,
            w_query=mean_weights(episode.w_query, self.likelihood),
        )

    def backward(
        self,
        theta: Mapping[str, Array],
        features: Features,
        support: RowCotangents,
        query: RowCotangents,
        grad: MetaParams,
    ) -> None:
        """Write what the rows' derivatives mean for head and body into ``grad``."""
        n_outputs, _, n_columns = theta["factor"].shape
        z = features.z
        xp = namespace(z)
        g_mean = xp.concatenate([c.mean.reshape(n_outputs, -1) for c in (support, query)], axis=1)
        g_whitened = xp.concatenate(
            [c.whitened.reshape(n_outputs, -1, n_columns) for c in (support, query)], axis=1
        )
        grad["omega"][...] = to_numpy(g_mean @ z)
        grad["factor"][...] = to_numpy(z.mT @ g_whitened) * self.factor_mask
        if self.body.shapes:
            g_z = g_whitened @ theta["factor"].mT + g_mean[..., None] * theta["omega"][:, None]
            self.body.backward(theta, features.tape, g_z.sum(0), grad)


def mean_weights(w_query: Array, cost: Cost | None) -> Array:
    """Return weights of query rows, (n_tasks, Q), by which a sum over rows becomes a mean.

    Exposures are divided by the number of rows: a row of a long exposure says more, not the same.
    """
    is_exposure = cost is not None and cost.has_exposure
    total = (1.0 * (w_query > 0) if is_exposure else w_query).sum(-1)[:, None]
    return w_query / (total + (total == 0))


def row_context(w_support: Array, w_query: Array, cost: Cost | None) -> Context:
    """Return which rows a network takes statistics from: an exposure counts as one row."""
    is_exposure = cost is not None and cost.has_exposure
    return Context(None, _marks(w_support) if is_exposure else w_support, _marks(w_query))


def _marks(weight: Array) -> Array:
    """Return one where a row has weight, and zero elsewhere."""
    xp = namespace(weight)
    return xp.where(weight > 0, xp.ones_like(weight), 0.0)
