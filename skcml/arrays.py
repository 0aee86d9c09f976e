"""The one place that knows about array libraries: which namespace an array belongs to.

The mathematics of skcml is written once, with functions that numpy and torch share. It runs on
numpy, and on torch where a device or an automatic gradient is wanted.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

# Bytes below which a freed block stays with the process; glibc's own limit is twice as much.
KEPT_BLOCK = 2**24

# numpy arrays and torch tensors alike; the two have no common base class.
Array = Any


def namespace(array: Array) -> ModuleType:
    """Return the module, numpy or torch, whose functions apply to ``array``.

    Torch is looked up among the modules already imported: an array can only be a tensor when
    somebody has imported torch, so this never imports it.
    """
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def identity_like(array: Array, size: int) -> Array:
    """Return the ``(size, size)`` identity with the library, dtype and device of ``array``."""
    if isinstance(array, np.ndarray):
        return np.eye(size, dtype=array.dtype)
    return namespace(array).eye(size, dtype=array.dtype, device=array.device)


def to_numpy(array: Array) -> np.ndarray:
    """Return ``array`` on the host as numpy, without its graph; numpy comes back as it is."""
    if isinstance(array, np.ndarray):
        return array
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)


def to_torch(array: Array, dtype: str = "float64", device: Any = "cpu") -> Any:
    """Return ``array`` as a tensor; one that is a tensor of this dtype there comes back as it is.

    A tensor on the CPU may share the memory of a numpy array. Double precision stays on the CPU
    where the device has none.
    """
    import torch

    if dtype == "float64" and not has_float64(device):
        device = "cpu"
    if not isinstance(array, torch.Tensor):
        array = np.asarray(array, dtype=dtype)
        # Torch has no read-only tensors.
        array = torch.from_numpy(array if array.flags.writeable else array.copy())
    return placed(array, getattr(torch, dtype), device)


def cast_like(array: np.ndarray, like: Array) -> Array:
    """Return a numpy array with the library, dtype and device of another array."""
    if isinstance(like, np.ndarray):
        return array.astype(like.dtype, copy=False)
    return to_torch(array, str(like.dtype).removeprefix("torch."), like.device)


def placed(tensor: Any, dtype: Any, device: Any) -> Any:
    """Return a tensor in a precision on a device; on its way it is cast on the CPU.

    The CPU has every precision, and one of the two devices may not have both.
    """
    import torch

    if tensor.device.type == torch.device(device).type:
        return tensor.to(device=device, dtype=dtype)
    return tensor.to("cpu").to(dtype).to(device)


@cache
def has_float64(device: Any) -> bool:
    """Return whether torch has double precision on a device, as it has not on Apple's GPUs."""
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def copy_in_order(array: Array) -> Array:
    """Return a copy whose numbers lie in the order of its axes, the last one densest."""
    if isinstance(array, np.ndarray):
        return np.array(array, order="C")
    return array.clone(memory_format=namespace(array).contiguous_format)


def keep_freed_memory() -> None:
    """Make a loop that frees and allocates arrays of a few megabytes find its memory again.

    Unasked, glibc hands such blocks back to the system, which clears every page of the next one:
    half the time of a meta-step of wide layers. From a block that is freed it learns to keep blocks
    of that size, and twice as much in all. The block is never written to, so it takes no memory;
    other allocators are not changed.
    """
    np.empty(KEPT_BLOCK, dtype=np.uint8)
