"""A user's torch.nn.Module as the body of a head: features ``[1, m(x)]``, learned from many tasks.

The head's arithmetic stays where it is, in numpy and float64 as a rule: rows go to torch here, in
the precision and on the device of the body, and features come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skcml.arrays import Array, placed, to_numpy, to_torch
from skcml.problems.context import Context
from skcml.problems.functional_module import FunctionalModule
from skcml.problems.meta_params import MetaParams


class BodyTape(NamedTuple):
    """What `ModuleBody.backward` needs.

    Attributes
    ----------
    features : Tensor of shape (n_rows, n_outputs)
        With their graph.
    params : dict of str to Tensor
    """

    features: Any
    params: dict[str, Any]


class ModuleBody:
    """Features ``[1, m(x)]`` of each row, with m(x) a module's outputs, flattened.

    Parameters
    ----------
    module : torch.nn.Module
        It takes rows of shape ``(n_rows, *input_shape)``. It is copied, and its parameters as they
        are become the start.
    input_shape : tuple of int
        Shape of a row as the module expects it; rows themselves arrive flat.
    transductive : bool, default=False
        Whether batch normalisation takes statistics of the rows that are predicted together too.
    device : str, default="cpu"
    dtype : {"float32", "float64"}, default="float32"
        Of the module's arithmetic; features come back as float64.
    """

    # Leading features that hold no learned parameter: the constant.
    n_linear = 1

    def __init__(
        self,
        module: Any,
        *,
        input_shape: tuple[int, ...],
        transductive: bool = False,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.function = FunctionalModule(module, input_shape, transductive=transductive)
        self.device, self.dtype = device, dtype

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
    def n_inputs(self) -> int:
        """Length of a row as it arrives."""
        return int(np.prod(self.function.input_shape))

    @property
    def n_features(self) -> int:
        """Length of a row's features."""
        return self.n_linear + self.function.n_outputs

    @property
    def n_statistics(self) -> int:
        """Numbers that are kept of a task's support to predict by."""
        return self.function.n_statistics

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the body's meta-parameters."""
        return {f"body.{name}": value.shape for name, value in self.function.start.items()}

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Write the module's own parameters."""
        for name, value in self.function.start.items():
            theta[f"body.{name}"][...] = value

    def forward(
        self, theta: Mapping[str, Array], x: Array, context: Context | Array | None = None
    ) -> tuple[Array, BodyTape]:
        """Return the features of rows ``x`` and what `backward` needs to remember.

        Parameters
        ----------
        theta : mapping of str to array
        x : array of shape (n_rows, n_inputs)
        context : Context, or array of shape (n_tasks, n_statistics), optional
            What batch normalisation takes statistics from. With a context, ``x`` holds the support
            rows of all tasks, then their other rows; with statistics, equally many rows of each
            task. Rows without are normalised by a mean of zero and a variance of one.

        Returns
        -------
        features : array of shape (n_rows, n_features)
        tape : BodyTape
        """
        import torch

        # A tensor has its own way; numpy gets a graph of its own here.
        is_numpy = isinstance(x, np.ndarray)
        params = {name: self._tensor(theta[f"body.{name}"]) for name in self.function.start}
        if is_numpy:
            params = {name: value.detach().requires_grad_() for name, value in params.items()}
        with torch.set_grad_enabled(is_numpy or torch.is_grad_enabled()):
            features = self._outputs(params, self._tensor(x), context)
        tape = BodyTape(features, params)
        if is_numpy:
            z = to_numpy(features).astype(np.float64, copy=False)
            return np.concatenate([np.ones_like(z[:, :1]), z], axis=-1), tape
        z = placed(features, x.dtype, x.device)
        return torch.cat([torch.ones_like(z[:, :1]), z], -1), tape

    def stacked(self, theta: Mapping[str, Array], x: np.ndarray) -> np.ndarray:
        """Return features by a stack of M bodies, (M, n_rows, n_features)."""
        names = list(self.shapes)
        bodies = zip(*(theta[name] for name in names), strict=True)
        return np.stack([self.forward(dict(zip(names, b, strict=True)), x)[0] for b in bodies])

    def backward(
        self, theta: Mapping[str, Array], tape: BodyTape, cotangent: Array, grad: MetaParams
    ) -> None:
        """Add to ``grad`` the gradient of ``sum(cotangent * features)``."""
        import torch

        names = list(tape.params)
        pulled = torch.autograd.grad(
            tape.features,
            [tape.params[name] for name in names],
            self._tensor(cotangent[:, self.n_linear :]),
            retain_graph=True,
            allow_unused=True,
        )
        for name, value in zip(names, pulled, strict=True):
            if value is not None:
                grad[f"body.{name}"][...] += to_numpy(value)

    def statistics(self, theta: Mapping[str, Array], x: Array, weight: Array) -> np.ndarray:
        """Return the statistics of each task's support rows, (n_tasks, n_statistics).

        Parameters
        ----------
        theta : mapping of str to array
        x : array of shape (n_tasks, n_support, n_inputs)
        weight : array of shape (n_tasks, n_support)
        """
        import torch

        params = {name: self._tensor(theta[f"body.{name}"]) for name in self.function.start}
        if not self.n_statistics or not x.shape[1]:
            return np.zeros((len(x), self.n_statistics))
        weight = self._tensor(weight)
        with torch.no_grad():
            _, seen = self._by_task(params, self._tensor(x), weight, weight[:, :0])
        return to_numpy(seen).astype(np.float64, copy=False)

    def _outputs(self, params: dict[str, Any], x: Any, context: Context | Array | None) -> Any:
        """Return the module's outputs for rows, (n_rows, n_outputs)."""
        import torch

        if not self.n_statistics:
            return self.function(params, x)[0]
        if not isinstance(context, Context):
            kept = x.new_zeros((1, self.n_statistics)) if context is None else self._tensor(context)
            x = x.reshape(len(kept), -1, x.shape[-1])
            query = x.new_ones(x.shape[:2])
            return self._by_task(params, x, query[:, :0], query, kept)[0].flatten(0, 1)
        weight, query = (self._tensor(a) for a in (context.weight, context.query))
        n_tasks, n_support = weight.shape
        cut = n_tasks * n_support
        x = [x[:cut].reshape(n_tasks, n_support, -1), x[cut:].reshape(*query.shape, -1)]
        out, _ = self._by_task(params, torch.cat(x, 1), weight, query)
        return torch.cat([out[:, :n_support].flatten(0, 1), out[:, n_support:].flatten(0, 1)])

    def _by_task(
        self, params: dict[str, Any], x: Any, support: Any, query: Any, stored: Any = None
    ) -> tuple[Any, Any]:
        """Return outputs, (n_tasks, n_rows, n_outputs), and statistics, (n_tasks, n_statistics)."""
        import torch

        from skcml.problems.task_norm import Roles

        def task(x: Any, support: Any, query: Any, stored: Any) -> tuple[Any, Any]:
            return self.function(params, x, Roles(support, query, stored))

        dims = (0, 0, 0, None if stored is None else 0)
        return torch.vmap(task, dims)(x, support, query, stored)

    def _tensor(self, array: Array) -> Any:
        return to_torch(array, self.dtype, self.device)
