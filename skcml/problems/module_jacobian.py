"""Jacobians of a user's module by automatic differentiation, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skcml.arrays import Array
from skcml.problems.jacobian import BUDGET

# What belongs to each row of a batch, all with a leading axis of tasks.
RowArrays = dict[str, Any]


def vjp(function: Callable[..., Any], *at: Any) -> Any:
    """Return a function's value, and what pulls derivatives back: torch.func.vjp."""
    import torch

    return torch.func.vjp(function, *at)


@dataclass(frozen=True)
class Tape:
    """What a pass remembers.

    Attributes
    ----------
    run : callable
        Outputs of rows as a function of phi, slow parameters and rows.
    back : callable
        Pulls derivatives of the outputs back to phi and slow parameters.
    phi : Tensor of shape (n_tasks, n_params)
    slow : mapping of str to Tensor
    rows : dict of str to Tensor
    is_coupled : bool
        Whether the outputs of a row depend on other rows of its task.
    """

    run: Callable[..., Array]
    back: Callable[[Array], tuple[Array, dict[str, Array]]]
    phi: Array
    slow: Mapping[str, Array]
    rows: RowArrays
    is_coupled: bool


@dataclass(frozen=True)
class FastJacobian:
    """A `Jacobian` by automatic differentiation, computed when it is asked for.

    Attributes
    ----------
    tape : Tape
    cotangent : Tensor of shape (n_tasks, n_rows, K, n_outputs)
    """

    tape: Tape
    cotangent: Array

    def times(self, direction: Array) -> Array:
        """See `Jacobian`; J'v is linear in v, and its derivative is J, transposed."""
        import torch

        anywhere = torch.zeros_like(self.cotangent[:, :, 0])
        _, forth = vjp(lambda pulled: self.tape.back(pulled)[0], anywhere)
        return (self.cotangent @ forth(direction)[0][..., None])[..., 0]

    def transposed(self, rows: Array | None = None) -> Array:
        """See `Jacobian`; by one pass backward."""
        pulled = self.cotangent if rows is None else rows[..., None] * self.cotangent
        return self.tape.back(pulled.sum(2))[0]

    def dense(self, tasks: slice = slice(None)) -> Array:
        """See `Jacobian`; a few functions are pulled back at a time, so that memory is bounded."""
        phi, cotangent = self.tape.phi[tasks], self.cotangent[tasks]
        rows = {name: array[tasks] for name, array in self.tape.rows.items()}
        if not cotangent.numel():
            return phi.new_zeros((len(phi), 0, phi.shape[1]))
        part = self._coupled if self.tape.is_coupled else self._row_by_row
        return part(phi, rows, cotangent)

    def gram(self, scale: Array) -> Array:
        """See `Jacobian`; a few tasks are written out at a time."""
        import torch

        n_tasks, n_rows, n_functions, _ = self.cotangent.shape
        at_once = max(BUDGET // max(n_rows * n_functions * len(scale), 1), 1)
        parts = []
        for start in range(0, n_tasks, at_once):
            scaled = self.dense(slice(start, start + at_once)) * scale
            parts.append(scaled @ scaled.mT)
        return torch.cat(parts)

    def _row_by_row(self, phi: Array, rows: RowArrays, cotangent: Array) -> Array:
        """Differentiate each row as if it were a task's only one: one pass for each function."""
        import torch

        n_tasks, n_rows, n_functions, n_outputs = cotangent.shape
        x = rows["x"].reshape(n_tasks * n_rows, 1, -1)
        alone = phi[:, None].expand(-1, n_rows, -1).reshape(n_tasks * n_rows, -1)
        cotangent = cotangent.reshape(n_tasks * n_rows, n_functions, n_outputs)
        at_once = max(BUDGET // (8 * max(phi.shape[1], x.shape[-1])), 1)
        parts = []
        for start in range(0, len(x), at_once):
            some = slice(start, start + at_once)
            _, back = vjp(
                lambda phi, x=x[some]: self.tape.run(phi, self.tape.slow, {"x": x})[:, 0],
                alone[some],
            )
            each = [back(cotangent[some, k])[0] for k in range(n_functions)]
            parts.append(torch.stack(each, 1))
        return torch.cat(parts).reshape(n_tasks, n_rows * n_functions, -1)

    def _coupled(self, phi: Array, rows: RowArrays, cotangent: Array) -> Array:
        """Differentiate one function of one row of every task at a time."""
        import torch

        n_tasks, n_rows, n_functions, _ = cotangent.shape
        _, back = vjp(lambda phi: self.tape.run(phi, self.tape.slow, rows), phi)
        each = []
        for row in range(n_rows):
            for k in range(n_functions):
                only = torch.zeros_like(cotangent[:, :, 0])
                only[:, row] = cotangent[:, row, k]
                each.append(back(only)[0])
        return torch.stack(each, 1).reshape(n_tasks, n_rows * n_functions, -1)


@dataclass(frozen=True)
class SlowJacobian:
    """A `Gathered` by one pass backward.

    Attributes
    ----------
    tape : Tape
    cotangent : Tensor of shape (n_tasks, n_rows, K, n_outputs)
    """

    tape: Tape
    cotangent: Array

    def summed(self) -> dict[str, Array]:
        """See `Gathered`."""
        return self.tape.back(self.cotangent.sum(2))[1]
