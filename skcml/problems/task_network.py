"""What a network for each task offers, and the rows that pass through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from skcml.arrays import Array
from skcml.problems.context import Context
from skcml.problems.jacobian import Gathered, Jacobian


class TaskNetwork(Protocol):
    """A network for each task: outputs, and derivatives of functions of them.

    Attributes
    ----------
    fast, slow : dict of str to tuple of int
        Names and shapes of a task's own parameters, in the order in which phi holds them, and of
        those that tasks share.
    n_outputs : int
    """

    @property
    def n_statistics(self) -> int:
        """Numbers that are kept of a task's support to predict by; mostly none."""

    @property
    def fast(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of a task's own parameters."""

    @property
    def slow(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the parameters that tasks share."""

    @property
    def n_outputs(self) -> int:
        """Outputs of a row."""

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw a start for all parameters."""

    def forward(
        self,
        phi: Array,
        slow: Mapping[str, Array],
        x: Array,
        context: Context | Array | None = None,
    ) -> tuple[Array, Any]:
        """Return outputs of shape (n_tasks, n_rows, n_outputs), and what `pull` needs.

        ``context`` is what a network takes statistics from, if it takes any: the support rows, or
        what `statistics` kept of them, or None for a task without any.
        """

    def pull(self, tape: Any, cotangent: Array) -> tuple[Jacobian, Gathered]:
        """Return derivatives with respect to a task's own parameters, and to slow ones."""

    def statistics(self, phi: Array, slow: Mapping[str, Array], context: Context) -> Array:
        """Return what must be kept of the support rows to predict, (n_tasks, n_statistics)."""


class Rows(NamedTuple):
    """Rows that pass through the networks of a batch.

    Attributes
    ----------
    x : array of shape (n_tasks, n_rows, n_inputs)
    y : array of shape (n_outputs, n_tasks, n_rows)
    weight : array of shape (n_tasks, n_rows)
        Of their costs.
    context : Context
    """

    x: Array
    y: Array
    weight: Array
    context: Context
