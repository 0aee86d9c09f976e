"""A problem that runs on torch tensors, while its meta-parameters stay numpy.

Solvers and rules see a problem as any other: theta goes in as `MetaParams` and its gradient comes
out as `MetaParams`; phi and everything between are tensors. With `skcml.arrays` this is the place
that knows of devices and of precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skcml.arrays import Array, to_numpy, to_torch
from skcml.episodes import Episode
from skcml.problems.base import Curve, Term
from skcml.problems.meta_params import MetaParams


class TorchBatch(NamedTuple):
    """What a problem's batch is on torch.

    Attributes
    ----------
    theta : dict of str to Tensor
    rows : object
        The batch of the problem inside, of tensors.
    """

    theta: dict[str, Any]
    rows: Any


@dataclass(frozen=True)
class OnTorch:
    """A problem on torch tensors: an `InnerProblem` and a `CurvedProblem`, if that inside is.

    A method that is given a batch takes theta from the batch.

    Parameters
    ----------
    problem : InnerProblem
        Written against the array API.
    device : str, default="cpu"
    dtype : {"float64", "float32"}, default="float64"
        Of theta, phi and rows. Meta-gradients are differences of two phases: float32 costs them
        half of their digits, and more where priors are weak.
    """

    problem: Any
    device: str = "cpu"
    dtype: str = "float64"

    @property
    def is_quadratic(self) -> bool:
        """See `InnerProblem`."""
        return bool(self.problem.is_quadratic)

    @property
    def is_differentiable(self) -> bool:
        """See `InnerProblem`: rules by automatic gradients bring tensors of their own."""
        return False

    @property
    def adapts_everything(self) -> bool:
        """See `InnerProblem`."""
        return bool(self.problem.adapts_everything)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        shapes: dict[str, tuple[int, ...]] = self.problem.shapes
        return shapes

    @property
    def network(self) -> Any:
        """That of a `ProximalProblem`."""
        return self.problem.network

    @property
    def cost(self) -> Any:
        """That of a `ProximalProblem`."""
        return self.problem.cost

    @property
    def pull(self) -> Any:
        """That of a `ProximalProblem`."""
        return self.problem.pull

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Draw a start."""
        self.problem.initialize(theta, rng)

    def embed(self, theta: Mapping[str, Array], episode: Episode) -> TorchBatch:
        """Return theta and the episode as tensors."""
        tensors = self._tensors(theta)
        rows = Episode(**{name: self._tensor(array) for name, array in vars(episode).items()})
        return TorchBatch(tensors, self.problem.embed(tensors, rows))

    def energy(self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch) -> Array:
        """See `InnerProblem`."""
        return self.problem.energy(phi, *batch)

    def loss(self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch) -> Array:
        """See `InnerProblem`."""
        return self.problem.loss(phi, *batch)

    def loss_phi_grad(self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch) -> Array:
        """See `InnerProblem`."""
        return self.problem.loss_phi_grad(phi, *batch)

    def loss_curvature(
        self, direction: Array, phi: Array, theta: Mapping[str, Array], batch: TorchBatch
    ) -> Array:
        """See `InnerProblem`."""
        return self.problem.loss_curvature(direction, phi, *batch)

    def solve_prior(self, direction: Array, theta: Mapping[str, Array]) -> Array:
        """See `InnerProblem`."""
        return self.problem.solve_prior(direction, self._tensors(theta))

    def theta_grad(
        self, terms: Sequence[Term], theta: Mapping[str, Array], batch: TorchBatch
    ) -> MetaParams:
        """See `InnerProblem`."""
        # Coefficients may have come in another precision.
        terms = [Term(*(None if a is None else self._tensor(a) for a in term)) for term in terms]
        return self.problem.theta_grad(terms, *batch)

    def start(self, theta: Mapping[str, Array], batch: TorchBatch) -> Array:
        """See `SmoothProblem`."""
        return self.problem.start(*batch)

    def augmented(
        self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch, beta: Array | float
    ) -> tuple[Array, Array]:
        """See `SmoothProblem`."""
        value, gradient = self.problem.augmented(phi, *batch, beta)
        return value, gradient

    def constants(
        self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch, beta: Array | float
    ) -> tuple[Any, Any]:
        """See `FlatProblem`."""
        model, rows = self.problem.constants(phi, *batch, beta)
        return model, rows

    def augmented_at(self, phi: Array, model: Any, rows: Any) -> tuple[Array, Array]:
        """See `FlatProblem`."""
        value, gradient = self.problem.augmented_at(phi, model, rows)
        return value, gradient

    def curvature_inverse(
        self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch, beta: Array | float
    ) -> Curve:
        """See `CurvedProblem`."""
        curve: Curve = self.problem.curvature_inverse(phi, *batch, beta)
        return curve

    def probabilities(
        self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch
    ) -> np.ndarray:
        """Return the predictive mean of query rows, (n_outputs, n_tasks, n_query), in numpy."""
        return to_numpy(self.problem.probabilities(phi, *batch)).astype(np.float64, copy=False)

    def statistics(self, phi: Array, theta: Mapping[str, Array], batch: TorchBatch) -> np.ndarray:
        """Return what a task's network must know of the support rows, (n_tasks, n_statistics)."""
        return to_numpy(self.problem.statistics(phi, *batch))

    def outputs(
        self,
        phi: np.ndarray,
        theta: Mapping[str, Array],
        x: np.ndarray,
        statistics: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the linear predictor of rows, numpy in and numpy out.

        Parameters
        ----------
        phi : ndarray of shape (1, n_tasks, n_params)
        theta : mapping of str to array
        x : ndarray of shape (n_tasks, n_rows, n_inputs)
        statistics : ndarray of shape (n_tasks, n_statistics), optional
            As `statistics` gave them; without, tasks have no support rows.

        Returns
        -------
        ndarray of shape (n_outputs, n_tasks, n_rows), float64
        """
        kept = None if statistics is None else self._tensor(statistics)
        out = self.problem.outputs(self._tensor(phi), self._tensors(theta), self._tensor(x), kept)
        return to_numpy(out).astype(np.float64, copy=False)

    def _tensor(self, array: Array) -> Any:
        return to_torch(array, self.dtype, self.device)

    def _tensors(self, theta: Mapping[str, Array]) -> dict[str, Any]:
        return {name: self._tensor(theta[name]) for name in theta}
