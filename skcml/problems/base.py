r"""What every inner problem offers: an energy, a loss, and their first derivatives.

The energy :math:`E(\phi, \theta)` is what a task minimises on its support rows; the loss
:math:`L(\phi, \theta)` judges the result on its query rows. The contrastive rule needs nothing
else of a model: Zucchet et al., NeurIPS 2022 (arXiv 2104.01677), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from skcml.arrays import Array
from skcml.episodes import Episode
from skcml.glm import GLM
from skcml.least_squares import LeastSquares
from skcml.problems.meta_params import MetaParams


class Term(NamedTuple):
    """One summand of a meta-gradient: energy and loss at the same task parameters.

    Attributes
    ----------
    phi : array of shape (n_outputs, n_tasks, n_params)
        Task parameters.
    energy, loss : array of shape (n_tasks,), or None
        Their coefficients; None leaves the summand out.
    """

    phi: Array
    energy: Array | None
    loss: Array | None


# Applies a curvature to a direction of phi's shape.
Curve = Callable[[Array], Array]


class Expansion(NamedTuple):
    """An augmented energy to second order, at some task parameters.

    Attributes
    ----------
    value : array of shape (n_tasks,)
    gradient : array of shape (n_outputs, n_tasks, n_params)
    curvature : callable
        Applies the second derivative to a direction.
    """

    value: Array
    gradient: Array
    curvature: Curve


class InnerProblem(Protocol):
    """Energy and loss of a batch of tasks, as functions of phi and theta.

    A *batch* is an episode as the model sees it; only the problem looks inside. ``phi`` has the
    shape (n_outputs, n_tasks, n_params). Every derivative is a first derivative; a rule that needs
    a second one has torch take it, of a `DifferentiableProblem`.

    Attributes
    ----------
    is_quadratic : bool
        Whether E is quadratic in phi: then a contrast is exact however far its phases are apart.
    is_differentiable : bool
        Whether it is a `DifferentiableProblem`.
    adapts_everything : bool
        Whether phi is all that predicts, and starts as a copy of ``theta["omega"]``.
    """

    is_quadratic: ClassVar[bool]
    is_differentiable: ClassVar[bool]

    @property
    def adapts_everything(self) -> bool:
        """See above."""

    def embed(self, theta: MetaParams, episode: Episode) -> Any:
        """Return the batch: the episode with everything that does not depend on phi."""

    def energy(self, phi: Array, theta: MetaParams, batch: Any) -> Array:
        """Return E, summed over support rows, of shape (n_tasks,)."""

    def loss(self, phi: Array, theta: MetaParams, batch: Any) -> Array:
        """Return L, the mean over query rows, of shape (n_tasks,)."""

    def loss_phi_grad(self, phi: Array, theta: MetaParams, batch: Any) -> Array:
        """Return the derivative of L with respect to phi, of phi's shape."""

    def loss_curvature(self, direction: Array, phi: Array, theta: MetaParams, batch: Any) -> Array:
        """Apply a positive semi-definite curvature of L in phi to a direction of phi's shape."""

    def solve_prior(self, direction: Array, theta: MetaParams) -> Array:
        """Apply the inverse of the curvature of the energy's prior, which is a part of E's own."""

    def theta_grad(self, terms: Sequence[Term], theta: MetaParams, batch: Any) -> MetaParams:
        """Return the theta-gradient of the weighted sum of energies and losses.

        All phases of a rule come as terms of one call, so that a network is passed through once.
        """


@runtime_checkable
class GLMProblem(Protocol):
    """A problem whose augmented energy is that of penalised generalised linear models."""

    def glm(self, theta: MetaParams, batch: Any, beta: Array | float) -> GLM:
        """Return the augmented energy as a batch of models in phi."""


@runtime_checkable
class QuadraticProblem(Protocol):
    """A problem whose augmented energy E + beta L is quadratic in phi."""

    def least_squares(self, theta: MetaParams, batch: Any, beta: Array | float) -> LeastSquares:
        """Return the augmented energy as a batch of least-squares systems in phi."""


@runtime_checkable
class SmoothProblem(Protocol):
    """A problem that can be descended: all that a solver by gradients asks."""

    def start(self, theta: MetaParams, batch: Any) -> Array:
        """Return the phi from which to descend: what is known of a task without rows."""

    def augmented(
        self, phi: Array, theta: MetaParams, batch: Any, beta: Array | float
    ) -> tuple[Array, Array]:
        """Return E + beta L, of shape (n_tasks,), and its gradient, of phi's shape."""


@runtime_checkable
class FlatProblem(SmoothProblem, Protocol):
    """A smooth problem whose augmented energy is a function of arrays, and of nothing else.

    Torch can compile it: of a descent, all but phi stays as it is.
    """

    def constants(
        self, phi: Array, theta: MetaParams, batch: Any, beta: Array | float
    ) -> tuple[Any, Any]:
        """Return what `augmented` reads beside phi: of the model, and of the rows of all tasks.

        Each is an array, None, or a tuple or dictionary of such; of phi only the shape matters.
        """

    def augmented_at(self, phi: Array, model: Any, rows: Any) -> tuple[Array, Array]:
        """Return what `augmented` returns, given both."""


class DifferentiableProblem(SmoothProblem, Protocol):
    """A problem whose `embed`, `energy`, `loss` and `start` torch can differentiate.

    It has `InnerProblem.is_differentiable`.
    """

    @property
    def learned(self) -> Mapping[str, np.ndarray]:
        """Which entries of an array of theta are learned, for arrays of which not all are."""


@runtime_checkable
class CurvedProblem(SmoothProblem, Protocol):
    """A smooth problem with a positive semi-definite curvature, that of Gauss and Newton."""

    def curvature_inverse(
        self, phi: Array, theta: MetaParams, batch: Any, beta: Array | float
    ) -> Curve:
        """Return what applies the inverse of the curvature of E + beta L at phi."""


@runtime_checkable
class ConvexProblem(Protocol):
    """A problem whose augmented energy is convex in phi, with a curvature that can be applied."""

    def start(self, theta: MetaParams, batch: Any) -> Array:
        """Return the phi from which to descend."""

    def expand(self, phi: Array, theta: MetaParams, batch: Any, beta: Array | float) -> Expansion:
        """Return E + beta L to second order about phi."""
