"""A user's torch.nn.Module as the network of which each task has its own.

The outputs are a linear head on ``[1, m(x)]``, with m(x) the module's outputs for a row, flattened.
The head is always the task's own; `module_layers` says what else is. Torch differentiates, for all
tasks of a batch at once; runs on tensors only (see `on_torch`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skcml.arrays import Array
from skcml.problems.context import Context
from skcml.problems.functional_module import FunctionalModule
from skcml.problems.module_jacobian import FastJacobian, RowArrays, SlowJacobian, Tape, vjp
from skcml.problems.module_layers import LAYERS, ModuleLayer

Params = Mapping[str, Array]


class ModuleNetwork:
    """A network for each task, by a module.

    Parameters
    ----------
    module : torch.nn.Module
        It takes rows of shape ``(n_rows, *input_shape)``. It is copied, and its parameters as they
        are become the start.
    n_outputs : int
    layer : {"dense", "modulated"}, default="dense"
        Whether every parameter of the module is the task's own, or gains and shifts.
    input_shape : tuple of int
        Shape of a row as the module expects it; rows themselves arrive flat.
    transductive : bool, default=False
        Whether batch normalisation takes statistics of the rows that are predicted together too.

    Attributes
    ----------
    fast, slow : dict of str to tuple of int
        Names and shapes of a task's own parameters, in the order in which phi holds them, and of
        those that tasks share.
    """

    def __init__(
        self,
        module: Any,
        n_outputs: int,
        layer: str = "dense",
        *,
        input_shape: tuple[int, ...],
        transductive: bool = False,
    ) -> None:
        if layer not in LAYERS:
            raise ValueError(f"layer={layer!r} is none of {', '.join(map(repr, LAYERS))}.")
        self.n_outputs = n_outputs
        self.function = FunctionalModule(module, input_shape, transductive=transductive)
        self.layer = layer
        self.shares: ModuleLayer = LAYERS[layer](self.function.module, self.function.start)
        fast = {name: value.shape for name, value in self.shares.fast.items()}
        self.fast = {**fast, "head": (1 + self.function.n_outputs, n_outputs)}
        self.slow = {name: value.shape for name, value in self.shares.slow.items()}
        _check_batched(self)

    @property
    def module(self) -> FunctionalModule:
        """The module, as a function of its parameters."""
        return self.function

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a row as the module expects it."""
        return self.function.input_shape

    @property
    def transductive(self) -> bool:
        """Whether batch normalisation takes statistics of rows that are predicted too."""
        return self.function.transductive

    @property
    def n_statistics(self) -> int:
        """Numbers that are kept of a task's support to predict by."""
        return self.function.n_statistics

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the module's own parameters, gains of one, shifts of zero and a head of zero."""
        return {**self.shares.fast, **self.shares.slow, "head": np.zeros(self.fast["head"])}

    def forward(
        self, phi: Array, slow: Params, x: Array, context: Context | Array | None = None
    ) -> tuple[Array, Tape]:
        """Return the outputs of rows, (n_tasks, n_rows, n_outputs), and what `pull` needs.

        Parameters
        ----------
        phi : Tensor of shape (n_tasks, n_params)
        slow : mapping of str to Tensor
        x : Tensor of shape (n_tasks, n_rows, n_inputs)
        context : Context, or Tensor of shape (n_tasks, n_statistics), optional
            What batch normalisation takes statistics from: support rows, or what `statistics` kept
            of them. A task without is normalised by a mean of zero and a variance of one.
        """
        import torch

        rows, skip = self._rows(x, context)
        slow = {name: slow[name] for name in self.slow}

        def run(phi: Array, slow: Params, rows: RowArrays) -> Array:
            return torch.vmap(self._task, (0, None, 0))(phi, slow, rows)[0][:, skip:]

        out, back = vjp(lambda phi, slow: run(phi, slow, rows), phi, slow)
        return out, Tape(run, back, phi, slow, rows, self.n_statistics > 0)

    def pull(self, tape: Tape, cotangent: Array) -> tuple[FastJacobian, SlowJacobian]:
        """Return the derivatives of K functions of each row by a task's own and by slow parameters.

        Parameters
        ----------
        tape : Tape
        cotangent : Tensor of shape (n_tasks, n_rows, K, n_outputs)
            Derivatives of the functions with respect to the outputs.
        """
        return FastJacobian(tape, cotangent), SlowJacobian(tape, cotangent)

    def statistics(self, phi: Array, slow: Params, context: Context) -> Array:
        """Return the statistics of each task's support rows, (n_tasks, n_statistics).

        The support rows are those of ``context.x``.
        """
        import torch

        if not self.n_statistics or not context.weight.shape[1]:
            return phi.new_zeros((len(phi), self.n_statistics))
        nothing = context.weight[:, :0]
        rows, _ = self._rows(context.x, context._replace(x=None, query=nothing))
        with torch.no_grad():
            return torch.vmap(self._task, (0, None, 0))(phi, slow, rows)[1]

    def _task(self, phi: Array, slow: Params, rows: RowArrays) -> tuple[Array, Array]:
        """Return the outputs and the statistics of one task."""
        params, start = dict(slow), 0
        for name, shape in self.fast.items():
            # The head has what is left, for as many outputs as that is.
            stop = len(phi) if name == "head" else start + math.prod(shape)
            shape = (shape[0], -1) if name == "head" else shape
            params[name] = phi[start:stop].reshape(shape)
            start = stop
        roles = None
        if self.n_statistics:
            from skcml.problems.task_norm import Roles

            roles = Roles(rows["support"], rows["query"], rows.get("stored"))
        z, seen = self.function(self.shares.parameters(params), rows["x"], roles)
        return params["head"][0] + z @ params["head"][1:], seen

    def _rows(self, x: Array, context: Context | Array | None) -> tuple[RowArrays, int]:
        """Return what passes through the module, and how many leading rows are not asked for."""
        import torch

        if not self.n_statistics:
            return {"x": x}, 0
        if not isinstance(context, Context):
            if context is None:
                context = x.new_zeros((len(x), self.n_statistics))
            query = x.new_ones(x.shape[:2])
            return {"x": x, "support": query[:, :0], "query": query, "stored": context}, 0
        skip = 0
        if context.x is not None:
            skip = context.x.shape[1]
            x = torch.cat([context.x, x], 1)
        return {"x": x, "support": context.weight, "query": context.query}, skip


def _check_batched(network: ModuleNetwork) -> None:
    """Try the derivatives of two tasks at once."""
    import torch

    n_params = sum(math.prod(shape) for shape in network.fast.values())
    phi = torch.zeros(2, n_params)
    slow = {name: torch.zeros(shape) for name, shape in network.slow.items()}
    x = torch.zeros(2, 2, int(np.prod(network.function.input_shape)))
    try:
        out, tape = network.forward(phi, slow, x)
        tape.back(torch.ones_like(out))
    except Exception as error:
        raise ValueError(
            "body cannot be run for several tasks at once by torch.vmap, which wants operations "
            f"that change nothing in place and do not branch on values: {error}"
        ) from error
