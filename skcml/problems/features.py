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

    def statistics(self, theta: Mapping[str, Array], x: Array, weight: Array) -> np.ndarray:
        """Return what to keep of support rows, (n_tasks, n_statistics).

        x has the shape (n_tasks, n_support, n_inputs), weight (n_tasks, n_support).
        """

    def stacked(self, theta: Mapping[str, Array], x: np.ndarray) -> np.ndarray:
        """Return features by a stack of M bodies, (M, n_rows, n_features), or by all alike."""

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
    pulls : array of shape (n_outputs, n_tasks, n_rows, n_phases)
        With respect to a row's linear predictor z'(omega + Lambda u), at each of some u.
    whitened : array of shape (n_outputs, n_tasks, n_rows, P), or None
        With respect to a = Lambda'z, beyond what the predictors say.
    """

    pulls: Array
    whitened: Array | None = None


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
        mean = theta["omega"] @ z.mT
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
        phases: Array,
        support: RowCotangents,
        query: RowCotangents,
        grad: MetaParams,
    ) -> None:
        """Write what the rows' derivatives mean for head and body into ``grad``.

        A derivative in the predictor is a residual, and that in theta a residual times a feature:
        rows meet the few phases of their task, never the square matrix Lambda.

        Parameters
        ----------
        theta : mapping of str to array
        features : Features
        phases : array of shape (n_outputs, n_tasks, n_phases, P)
            The u of the predictors.
        support, query : RowCotangents
        grad : MetaParams
        """
        factor, omega = theta["factor"], theta["omega"]
        parts = tuple(zip(_split_rows(features), (support, query), strict=True))
        pulled = sum(cotangents.pulls.mT @ z for z, cotangents in parts)
        flat = phases.reshape(len(omega), -1, factor.shape[-1])
        g_factor = pulled.reshape(len(omega), -1, omega.shape[-1]).mT @ flat
        for z, cotangents in parts:
            if cotangents.whitened is not None:
                g_factor = g_factor + _flat_rows(z).mT @ _flat_rows(cotangents.whitened)
        grad["omega"][...] = to_numpy(pulled.sum((1, 2)))
        grad["factor"][...] = to_numpy(g_factor) * self.factor_mask
        if self.body.shapes:
            coefficients = (flat @ factor.mT + omega[:, None]).reshape(pulled.shape)
            g_z = [_row_features(coefficients, factor, cotangents) for _, cotangents in parts]
            self.body.backward(theta, features.tape, namespace(g_z[0]).concatenate(g_z), grad)


def _split_rows(features: Features) -> tuple[Array, Array]:
    """Return the features of support and query, (n_tasks, S or Q, K)."""
    n_tasks, n_support = features.w_support.shape
    n_query, n_features = features.w_query.shape[1], features.z.shape[-1]
    cut = n_tasks * n_support
    return (
        features.z[:cut].reshape(n_tasks, n_support, n_features),
        features.z[cut:].reshape(n_tasks, n_query, n_features),
    )


def _flat_rows(array: Array) -> Array:
    """Return rows of all tasks side by side."""
    n_tasks, n_rows, n_columns = array.shape[-3:]
    return array.reshape(*array.shape[:-3], n_tasks * n_rows, n_columns)


def _row_features(coefficients: Array, factor: Array, cotangents: RowCotangents) -> Array:
    """Return the derivative in the features of each row, (n_rows of all tasks, K).

    ``coefficients``, of shape (n_outputs, n_tasks, n_phases, K), are those of the predictors.
    """
    n_outputs, n_tasks, n_phases, n_features = coefficients.shape
    n_rows = cotangents.pulls.shape[2]
    # Outputs lie beside phases, so that the product sums over both.
    beside = cotangents.pulls.swapaxes(0, 1).swapaxes(1, 2)
    beside = beside.reshape(n_tasks, n_rows, n_outputs * n_phases)
    below = coefficients.swapaxes(0, 1).reshape(n_tasks, n_outputs * n_phases, n_features)
    g_z = _flat_rows(beside @ below)
    if cotangents.whitened is not None:
        g_z = g_z + (_flat_rows(cotangents.whitened) @ factor.mT).sum(0)
    return g_z


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
