"""What of a user's module is kept, and how a module like it gets it back.

Kept are all parameters and buffers, those that are not learned too, and the outputs for a few rows:
a module of the same layers with these weights must give them again.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from skcml.arrays import to_numpy
from skcml.problems.functional_module import SAME, FunctionalModule


def weights_of(function: FunctionalModule) -> dict[str, np.ndarray]:
    """Return parameters and buffers by the module's names."""
    return {name: _as_array(tensor) for name, tensor in _tensors(function.module).items()}


def outputs_of(function: FunctionalModule) -> np.ndarray:
    """Return the outputs for rows that are always the same, of shape (n_rows, n_outputs)."""
    return np.nan_to_num(to_numpy(function.trial()).astype(np.float64))


def with_weights(
    module: Any,
    weights: Mapping[str, np.ndarray],
    outputs: np.ndarray,
    input_shape: tuple[int, ...],
    *,
    transductive: bool,
) -> Any:
    """Return a copy of a module with the weights that were kept.

    Parameters
    ----------
    module : torch.nn.Module
        It is not changed.
    weights : dict of str to ndarray
        As `weights_of` gave them.
    outputs : ndarray of shape (n_rows, n_outputs)
        As `outputs_of` gave them.
    input_shape : tuple of int
    transductive : bool

    Raises
    ------
    ValueError
        If its layers are not those whose weights these are.
    """
    import torch

    with warnings.catch_warnings():
        # Of dropout, meta_fit has warned.
        warnings.simplefilter("ignore")
        function = FunctionalModule(module, input_shape, transductive=transductive)
        _check_layers(_tensors(function.module), weights)
        module = copy.deepcopy(module)
        own = _tensors(module)
        with torch.no_grad():
            for name in weights:
                own[name].copy_(torch.as_tensor(weights[name].copy()))
        found = outputs_of(FunctionalModule(module, input_shape, transductive=transductive))
    size = SAME * abs(outputs).max(initial=0.0)
    if found.shape != outputs.shape or not np.allclose(found, outputs, rtol=0, atol=size):
        raise ValueError(
            "body has the layers of the network that was saved, but does something else with them: "
            "with the same weights it gives other outputs for the same rows. Pass the same network."
        )
    return module


def _check_layers(own: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
    """Refuse layers of other names or shapes."""
    if set(own) != set(weights):
        lacking, more = sorted(set(weights) - set(own)), sorted(set(own) - set(weights))
        parts = [f"lacks {name}" for name in lacking[:1]] + [f"has {name}" for name in more[:1]]
        raise ValueError(
            f"body is not the network that was saved: it {' and '.join(parts)}. Pass one with the "
            "same layers."
        )
    for name, tensor in own.items():
        if tuple(tensor.shape) != weights[name].shape:
            raise ValueError(
                f"body is not the network that was saved: {name} has the shape "
                f"{tuple(tensor.shape)}, and had {weights[name].shape}. Pass one with the same "
                "layers."
            )


def _tensors(module: Any) -> dict[str, Any]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _as_array(tensor: Any) -> np.ndarray:
    """Return a tensor as numpy, which has no bfloat16: its numbers are float32 numbers too."""
    tensor = tensor.detach().cpu()
    return to_numpy(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
