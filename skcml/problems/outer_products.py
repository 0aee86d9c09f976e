"""Jacobians of networks, whose every row is an outer product in each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from skcml.arrays import Array, namespace

# Numbers that a Jacobian may be written out in at a time: a megabyte, which a cache still holds.
BUDGET = 2**17


@dataclass(frozen=True)
class OuterProducts:
    """The derivatives J of K functions of each row: a `Jacobian`, and a `Gathered` one.

    A layer's part is ``left * right'`` of each row and function, flattened; it is written out only
    where weights for each parameter make that necessary.

    Attributes
    ----------
    blocks : dict of str to (array, array)
        For each of the parameters' blocks, in their order, left of shape
        (n_tasks, n_rows, 1 or K, n_in) and right of shape (n_tasks, n_rows, K, n_out).
    """

    blocks: Mapping[str, tuple[Array, Array]]

    def times(self, direction: Array) -> Array:
        """Return J d of each row and function, (n_tasks, n_rows, K); d is (n_tasks, n_params)."""
        total = 0.0
        for (left, right), part in self._with_parts(direction):
            total = total + ((left @ part[:, None]) * right).sum(-1)
        return total

    def transposed(self, rows: Array | None = None) -> Array:
        """Return J'r, (n_tasks, n_params); r is (n_tasks, n_rows, K), or all ones."""
        parts = []
        for left, right in self.blocks.values():
            pulled = right if rows is None else rows[..., None] * right
            left, pulled = _by_task(left, pulled)
            parts.append((left.mT @ pulled).reshape(len(left), -1))
        return namespace(parts[0]).concatenate(parts, axis=-1)

    def summed(self) -> dict[str, Array]:
        """Return the sum over tasks, rows and functions of each block, (n_in, n_out)."""
        total = {}
        for name, (left, right) in self.blocks.items():
            left, right = _by_task(left, right)
            flat = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
            total[name] = flat[0].mT @ flat[1]
        return total

    def dense(self, tasks: slice = slice(None)) -> Array:
        """Return J of some tasks, (n_tasks, n_rows * K, n_params)."""
        parts = []
        for left, right in self.blocks.values():
            part = left[tasks][..., None] * right[tasks][..., None, :]
            n_tasks, n_rows, n_functions = part.shape[:3]
            parts.append(part.reshape(n_tasks, n_rows * n_functions, -1))
        return namespace(parts[0]).concatenate(parts, axis=-1)

    def gram(self, scale: Array) -> Array:
        """Return J diag(scale)^2 J' of each task, (n_tasks, n_rows * K, n_rows * K).

        A few tasks are written out at a time: that bounds memory, and is fast.
        """
        n_tasks, n_rows, n_functions = next(iter(self.blocks.values()))[1].shape[:3]
        at_once = max(BUDGET // max(n_rows * n_functions * len(scale), 1), 1)
        parts = []
        for start in range(0, n_tasks, at_once):
            scaled = self.dense(slice(start, start + at_once)) * scale
            parts.append(scaled @ scaled.mT)
        return namespace(scale).concatenate(parts)

    def _with_parts(self, direction: Array) -> Iterator[tuple[tuple[Array, Array], Array]]:
        start = 0
        for left, right in self.blocks.values():
            n_in, n_out = left.shape[-1], right.shape[-1]
            part = direction[:, start : start + n_in * n_out]
            yield (left, right), part.reshape(-1, n_in, n_out)
            start += n_in * n_out


def _by_task(left: Array, right: Array) -> tuple[Array, Array]:
    """Return both with rows and functions as one axis."""
    n_tasks, n_rows, n_functions = right.shape[:3]
    if left.shape[2] != n_functions:
        xp = namespace(left)
        left = xp.broadcast_to(left, (n_tasks, n_rows, n_functions, left.shape[-1]))
    flat = n_tasks, n_rows * n_functions
    return left.reshape(*flat, left.shape[-1]), right.reshape(*flat, right.shape[-1])
