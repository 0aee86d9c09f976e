r"""Which of a module's parameters are a task's own: all of them, or gains and shifts.

*Dense*: all are. *Modulated*: weights W and biases b are slow, and a task has a gain and a shift
for each output channel of a layer, whose parameters are then

.. math:: W_t = g_t \circ W, \qquad b_t = g_t \circ b + s_t,

so that each unit's sum of inputs is multiplied by its gain and moved by its shift (the dual system
of Zucchet et al., NeurIPS 2022, arXiv 2104.01677, section 4.2). Normalisation layers have gains and
shifts already, and these are the task's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

Start = dict[str, np.ndarray]


class ModuleLayer(Protocol):
    """How the parameters of a module come from those of a task and slow ones.

    Attributes
    ----------
    fast, slow : dict of str to ndarray
        Where the task's own parameters, and those that tasks share, start.
    """

    fast: Start
    slow: Start

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the module's parameters by the module's names."""


class Dense:
    """Every parameter is the task's own.

    Parameters
    ----------
    module : torch.nn.Module
    start : dict of str to ndarray
        The module's learned parameters.
    """

    def __init__(self, module: Any, start: Start) -> None:
        self.fast = {f"body.{name}": value for name, value in start.items()}
        self.slow: Start = {}

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModuleLayer`."""
        return {name.removeprefix("body."): params[name] for name in self.fast}


class _Channels(NamedTuple):
    """Where a weight has its output channels: groups of transposed convolutions have their own."""

    weight: tuple[int, ...]
    gain: tuple[int, ...]

    @classmethod
    def of(cls, module: Any, name: str, shape: tuple[int, ...]) -> _Channels:
        """Return the shapes in which a weight is multiplied by the gains of its channels."""
        from torch.nn.modules.conv import _ConvTransposeNd

        layer = module.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, _ConvTransposeNd):
            return cls(shape, (shape[0], *[1] * (len(shape) - 1)))
        n_in, each, *places = shape
        groups = layer.groups
        return cls((groups, n_in // groups, each, *places), (groups, 1, each, *[1] * len(places)))

    @property
    def n_channels(self) -> int:
        return int(np.prod(self.gain))

    def multiplied(self, gain: Any, weight: Any) -> Any:
        """Return a weight with each output channel multiplied by its gain."""
        return (gain.reshape(self.gain) * weight.reshape(self.weight)).reshape(weight.shape)


class Modulated:
    """Weights and biases are slow; the task has gains and shifts of their output channels.

    Parameters
    ----------
    module : torch.nn.Module
    start : dict of str to ndarray
        The module's learned parameters.
    """

    def __init__(self, module: Any, start: Start) -> None:
        self._names = list(start)
        own = _of_norms(module)
        self._channels = {
            name: _Channels.of(module, name, value.shape)
            for name, value in start.items()
            if value.ndim > 1 and name not in own
        }
        self._weight_of = {
            name: weight
            for name in start
            if (weight := _weight_beside(name)) in self._channels
            and start[name].shape == (self._channels[weight].n_channels,)
        }
        self.fast, self.slow = {}, {}
        for name, value in start.items():
            if name in self._channels:
                self.slow[f"body.{name}"] = value
                self.fast[f"gain.{name}"] = np.ones(self._channels[name].n_channels)
            elif name in self._weight_of:
                self.slow[f"body.{name}"] = value
                self.fast[f"shift.{name}"] = np.zeros(value.shape)
            else:
                self.fast[f"body.{name}"] = value

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModuleLayer`."""
        found = {}
        for name in self._names:
            value = params[f"body.{name}"]
            if name in self._channels:
                value = self._channels[name].multiplied(params[f"gain.{name}"], value)
            elif name in self._weight_of:
                gain = params[f"gain.{self._weight_of[name]}"]
                value = gain * value + params[f"shift.{name}"]
            found[name] = value
        return found


LAYERS: dict[str, type[Dense] | type[Modulated]] = {"dense": Dense, "modulated": Modulated}


def _of_norms(module: Any) -> set[str]:
    """Return the names of parameters of normalisation layers."""
    from torch import nn

    from skcml.problems.task_norm import TaskNorm

    norms = (TaskNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        if isinstance(layer, norms) or type(layer).__name__ == "RMSNorm"
        for name, _ in layer.named_parameters(recurse=False)
    }


def _weight_beside(name: str) -> str:
    """Return the name that the weight has to which a bias belongs, if this is a bias."""
    prefix, dot, last = name.rpartition(".")
    return f"{prefix}{dot}{last.replace('bias', 'weight')}" if "bias" in last else ""
