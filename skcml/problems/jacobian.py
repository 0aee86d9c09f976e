"""What derivatives of a network's rows can be asked for, however they are come by.

J holds the derivatives of K functions of each row with respect to a task's own parameters.
"""

from __future__ import annotations

from typing import Protocol

from skcml.arrays import Array

# Numbers that a Jacobian may be written out in at a time.
BUDGET = 2**24


class Jacobian(Protocol):
    """The derivatives J with respect to parameters of which each task has its own."""

    def times(self, direction: Array) -> Array:
        """Return J d of each row and function, (n_tasks, n_rows, K); d is (n_tasks, n_params)."""

    def transposed(self, rows: Array | None = None) -> Array:
        """Return J'r, (n_tasks, n_params); r is (n_tasks, n_rows, K), or all ones."""

    def dense(self, tasks: slice = slice(None)) -> Array:
        """Return J of some tasks, (n_tasks, n_rows * K, n_params)."""

    def gram(self, scale: Array) -> Array:
        """Return J diag(scale)^2 J' of each task, (n_tasks, n_rows * K, n_rows * K)."""


class Gathered(Protocol):
    """The derivatives with respect to parameters that tasks share."""

    def summed(self) -> dict[str, Array]:
        """Return the sum over tasks, rows and functions of each block, in the block's shape."""
