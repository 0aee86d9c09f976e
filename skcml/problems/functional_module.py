"""A torch.nn.Module as a function of its parameters and of rows that arrive flat."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from skcml.arrays import cast_like, placed, to_numpy

# A module is called by lending it parameters, so that one thread at a time may.
_LOCK = threading.RLock()
# Outputs of the same row may differ by this much, relative to the largest.
SAME = 1e-3


class FunctionalModule:
    """A copy of the user's module, without a state of its own.

    Arithmetic is in the precision of the rows and parameters that it is called with. Batch
    normalisation is by the statistics of a task's support (see `task_norm`), dropout is switched
    off, and parameters that do not require a gradient stay as they are.

    Parameters
    ----------
    module : torch.nn.Module
        It is not changed.
    input_shape : tuple of int
        Shape of a row as the module expects it, such as (channels, height, width).
    transductive : bool, default=False
        Whether rows that are predicted together are normalised together.

    Attributes
    ----------
    start : dict of str to ndarray
        The learned parameters as they are in the module, float64.
    n_outputs : int
        Length of the outputs of a row, flattened.
    n_statistics : int
        Numbers that are kept of a task's support; zero without batch normalisation.
    """

    def __init__(
        self, module: Any, input_shape: tuple[int, ...], *, transductive: bool = False
    ) -> None:
        _check_module(module)
        self.input_shape = tuple(int(n) for n in input_shape)
        self.transductive = transductive
        self.module = _in_single_precision(copy.deepcopy(module).eval())
        self.module, self.norms = _with_task_norms(self.module, transductive)
        self.n_statistics = self.norms[-1].place.stop if self.norms else 0
        _warn_of_dropout(self.module)
        self.start = {
            name: to_numpy(p).astype(np.float64)
            for name, p in self.module.named_parameters()
            if p.requires_grad
        }
        self.learned = frozenset(self.start)  # arrays are more than a compiler can look into
        self.n_outputs = 0
        self.n_outputs = _check_outputs(self)

    def __call__(self, params: Mapping[str, Any], x: Any, roles: Any = None) -> tuple[Any, Any]:
        """Return the outputs of a task's rows, flattened, and the statistics of its support.

        Parameters
        ----------
        params : mapping of str to Tensor
            The learned parameters.
        x : Tensor of shape (n_rows, n_inputs)
        roles : Roles, optional
            What the rows are for; needed with batch normalisation.

        Returns
        -------
        outputs : Tensor of shape (n_rows, n_outputs)
        statistics : Tensor of shape (n_statistics,)
        """
        import torch

        # A compiler only looks on.
        with nullcontext() if torch.compiler.is_compiling() else _LOCK:
            for norm in self.norms:
                norm.roles = roles
            try:
                out = torch.func.functional_call(
                    self.module,
                    {**self._constants(x), **params},
                    (x.reshape(len(x), *self.input_shape),),
                )
                seen = [norm.statistics(x) for norm in self.norms]
            finally:
                for norm in self.norms:
                    norm.roles = norm.seen = None
        if isinstance(out, torch.Tensor) and out.ndim:
            out = out.flatten(1) if out.ndim > 1 else out[:, None]
        return out, torch.cat(seen) if seen else x.new_zeros(0)

    def trial(self, n_rows: int = 4) -> Any:
        """Return the outputs of up to four rows that are always the same, of two of support."""
        import torch

        from skcml.problems.task_norm import Roles

        like = next(self.module.parameters())
        n_inputs = int(np.prod(self.input_shape))
        x = np.random.default_rng(0).normal(size=(4, n_inputs))[:n_rows]
        rows = cast_like(x, like)
        params = {name: cast_like(value, like) for name, value in self.start.items()}
        roles = Roles(rows.new_ones(2), rows.new_zeros(n_rows - 2))
        with torch.no_grad():
            return self(params, rows, roles)[0]

    def _constants(self, x: Any) -> dict[str, Any]:
        """Return buffers and parameters that are not learned, where and as precise as the rows."""
        named = self.module.named_parameters()
        fixed = [(name, p.detach()) for name, p in named if name not in self.learned]
        return {
            name: placed(value, x.dtype if value.is_floating_point() else value.dtype, x.device)
            for name, value in [*fixed, *self.module.named_buffers()]
        }


def _check_module(module: Any) -> None:
    """Refuse what is no module with parameters."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"body must be a torch.nn.Module, and is a {type(module).__name__}; "
            "put a function into the forward method of a module."
        )
    parameters = list(module.parameters())
    if not parameters:
        raise ValueError("body has no parameters: there is nothing in it to learn.")
    if any(torch.nn.parameter.is_lazy(p) for p in parameters):
        raise ValueError(
            "body has parameters without a shape; pass one batch of rows through it first."
        )
    if any(p.is_complex() for p in parameters):
        raise ValueError(
            "body has complex parameters, and only real ones are learned: keep their real and "
            "imaginary parts as two, and put them together in forward."
        )


def _in_single_precision(module: Any) -> Any:
    """Widen a module in bfloat16 or the like, which numpy may not know, and the CPU not compute."""
    is_narrow = [p.is_floating_point() and p.dtype.itemsize < 4 for p in module.parameters()]
    return module.float() if any(is_narrow) else module


def _with_task_norms(module: Any, transductive: bool) -> tuple[Any, list[Any]]:
    """Replace every batch normalisation; return the module and its replacements, in order."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from skcml.problems.task_norm import TaskNorm

    norms: list[Any] = []
    replaced: dict[int, Any] = {}
    for name, norm in list(module.named_modules(remove_duplicate=False)):
        if not isinstance(norm, _BatchNorm):
            continue
        if id(norm) not in replaced:
            start = norms[-1].place.stop if norms else 0
            replaced[id(norm)] = TaskNorm(norm, start, transductive)
            norms.append(replaced[id(norm)])
        if not name:
            return replaced[id(norm)], norms
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, replaced[id(norm)])
    return module, norms


def _warn_of_dropout(module: Any) -> None:
    from torch.nn.modules.dropout import _DropoutNd

    if any(isinstance(m, _DropoutNd) and m.p > 0 for m in module.modules()):
        warnings.warn(
            "Dropout in body is switched off: what a task learns must not depend on chance.",
            stacklevel=4,
        )


def _check_outputs(function: FunctionalModule) -> int:
    """Try the module on a few rows; return the number of its outputs.

    It must take rows of the given shape, return a row for each, the same each time, and let no row
    depend on another.
    """
    import torch

    where = f"body cannot take rows of shape {function.input_shape}"
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            out, again, fewer = function.trial(), function.trial(), function.trial(3)
    except Exception as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(out, torch.Tensor) or not out.ndim or len(out) != 4:
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(f"body must return a row of outputs for each row; for 4 it gave {shape}.")
    if not out.shape[1] or not out.is_floating_point():
        raise ValueError(
            "body must return at least one number for each row, as floats; "
            f"it gave an array of shape {tuple(out.shape)} and type {out.dtype}."
        )
    if not out.isfinite().all():
        raise ValueError(
            "body gave NaN or infinity for rows of standard normal numbers, as those of meta_fit "
            "are about; it must be defined for all."
        )
    size = SAME * float(out.abs().max())
    if not torch.allclose(out, again, rtol=0, atol=size):
        raise ValueError("body gives other outputs for the same rows; it must not draw numbers.")
    if not torch.allclose(out[:3], fewer, rtol=0, atol=size):
        raise ValueError(
            "The outputs of body for a row depend on the other rows, other than by BatchNorm."
        )
    return out.shape[1]
