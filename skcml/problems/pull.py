r"""The pull of each task's parameters to consolidated values, with a strength of each.

.. math:: \tfrac12 \sum_k \lambda_k (\phi_k - \omega_k)^2

This is the part of the energy that a synapse knows by itself (Zucchet et al., NeurIPS 2022, arXiv
2104.01677, section 4.1). Its derivatives by :math:`\omega` and :math:`\log \lambda` are
:math:`-\lambda_k (\phi_k - \omega_k)` and :math:`\tfrac12 \lambda_k (\phi_k - \omega_k)^2`: a
contrast of them is local to the synapse, and takes no backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skcml.arrays import Array, namespace, to_numpy
from skcml.problems.meta_params import MetaParams

STRENGTHS = ("fixed", "layer", "synapse")
# Strength at the start. Outputs are standardised and a row costs half its squared error, so that
# a parameter moves by one against the wish of a row's full standard deviation.
START_STRENGTH = 1.0


@dataclass(frozen=True)
class Pull:
    """Which consolidated value and strength is whose.

    Parameters
    ----------
    fast : mapping of str to tuple of int
        Blocks of a task's parameters, in order, by their shapes.
    strength : {"fixed", "layer", "synapse"}
        Whether strengths stay as they start, are learned for each block of parameters, or for each
        parameter.
    is_tied : bool
        Whether all outputs have the same consolidated head, which is then the last block, of shape
        (width, 1); a task has as many copies of it as outputs.
    """

    fast: Mapping[str, tuple[int, ...]]
    strength: str
    is_tied: bool

    @cached_property
    def block(self) -> np.ndarray:
        """Which strength is whose, of the shape of omega."""
        sizes = [math.prod(shape) for shape in self.fast.values()]
        if self.strength == "synapse":
            return np.arange(sum(sizes))
        return np.repeat(np.arange(len(sizes)), sizes)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        return {"omega": self.block.shape, "log_strength": (int(self.block[-1]) + 1,)}

    @property
    def learned(self) -> dict[str, np.ndarray]:
        """Which entries of theta are learned, where not all are."""
        return {"log_strength": np.array(self.strength != "fixed")}

    def write(self, theta: Mapping[str, Array], name: str, values: np.ndarray) -> None:
        """Set the strengths of one block of parameters, or their geometric mean for all of it."""
        start = 0
        for block, shape in self.fast.items():
            mine = self.block[start : start + math.prod(shape)]
            start += math.prod(shape)
            if block == name:
                logs = np.log(values).ravel()
                total = np.bincount(mine - mine[0], logs) / np.bincount(mine - mine[0])
                theta["log_strength"][mine[0] : mine[-1] + 1] = total

    def n_params(self, n_outputs: int) -> int:
        """Return how many parameters a task of so many outputs has."""
        if not self.is_tied:
            return len(self.block)
        return len(self.block) + self.fast["head"][0] * (n_outputs - 1)

    def strengths(self, theta: Mapping[str, Array]) -> Array:
        """Return lambda of each entry of omega."""
        return namespace(theta["omega"]).exp(theta["log_strength"])[self.block]

    def common(self, theta: Mapping[str, Array], n_params: int) -> tuple[Array, Array]:
        """Return omega and lambda of each parameter of a task, of shape (n_params,)."""
        omega, strength = theta["omega"], self.strengths(theta)
        if not self.is_tied:
            return omega, strength
        spread = self._spread(n_params)
        return omega[spread], strength[spread]

    def energy(self, phi: Array, theta: Mapping[str, Array]) -> Array:
        """Return the pull's energy of each task; phi has the shape (1, n_tasks, n_params)."""
        omega, strength = self.common(theta, phi.shape[-1])
        return 0.5 * (strength * (phi[0] - omega) ** 2).sum(-1)

    def add_grad(
        self, grad: MetaParams, phi: Array, coefficient: Array, theta: Mapping[str, Array]
    ) -> None:
        """Add the theta-gradient of the energies, of each task times its coefficient."""
        omega, strength = (to_numpy(a) for a in self.common(theta, phi.shape[-1]))
        moved = to_numpy(phi[0]) - omega
        pulled = to_numpy(coefficient)[:, None] * strength * moved
        grad["omega"][...] -= self._gathered(pulled.sum(0))
        if self.strength != "fixed":
            local = self._gathered(0.5 * (pulled * moved).sum(0))
            grad["log_strength"][...] += np.bincount(self.block, local)

    def _gathered(self, values: np.ndarray) -> np.ndarray:
        """Sum what is of the same entry of omega."""
        return np.bincount(self._spread(len(values)), values) if self.is_tied else values

    def _spread(self, n_params: int) -> np.ndarray:
        """Return which entry of omega is whose, where heads are tied: (n_params,) indices."""
        n_shared, (width, _) = len(self.block), self.fast["head"]
        n_hidden = n_shared - width
        head = np.repeat(np.arange(n_hidden, n_shared), (n_params - n_hidden) // width)
        return np.concatenate([np.arange(n_hidden), head])
