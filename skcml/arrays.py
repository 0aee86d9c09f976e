"""The one place that knows about array libraries: which namespace an array belongs to.

The mathematics of skcml is written once, with functions that numpy and torch share. It runs on
numpy, and on torch where a device or an automatic gradient is wanted.
"""

from __future__ import annotations

import sys
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


def to_torch(array: Array, dtype: str = "float64", device: str = "cpu") -> Any:
    """Return ``array`` as a tensor; one that is a tensor of this dtype there comes back as it is.

    A tensor on the CPU may share the memory of a numpy array.
    """
    import torch

    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()  # torch has no read-only tensors
    return torch.as_tensor(array, dtype=getattr(torch, dtype), device=device)


def keep_freed_memory() -> None:
    """Make a loop that frees and allocates arrays of a few megabytes find its memory again.

    Unasked, glibc hands such blocks back to the system, which clears every page of the next one:
    half the time of a meta-step of wide layers. From a block that is freed it learns to keep blocks
    of that size, and twice as much in all. The block is never written to, so it takes no memory;
    other allocators are not changed.
    """
    np.empty(KEPT_BLOCK, dtype=np.uint8)
