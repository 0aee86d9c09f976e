"""Which library an array belongs to."""

import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skcml import arrays
from skcml.arrays import (
    cast_like,
    copy_in_order,
    identity_like,
    namespace,
    placed,
    to_numpy,
    to_torch,
)


def test_namespace_is_the_library_of_the_array():
    assert namespace(np.ones(2)) is np
    assert namespace(torch.ones(2)) is torch
    assert namespace(np.float64(1.0)) is np


def test_namespace_does_without_torch_and_does_not_import_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert namespace(np.ones(2)) is np
    assert "torch" not in sys.modules


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_identity_keeps_library_and_dtype(dtype):
    for xp in (np, torch):
        eye = identity_like(xp.ones((2, 5), dtype=getattr(xp, dtype)), 3)
        assert namespace(eye) is xp
        assert eye.dtype == getattr(xp, dtype)
        np.testing.assert_array_equal(np.asarray(eye), np.eye(3))


def test_identity_keeps_the_device():
    assert identity_like(torch.ones(2, device="meta"), 3).device.type == "meta"


def test_to_numpy_leaves_numpy_alone_and_takes_tensors_off_their_graph():
    array = np.arange(3.0)
    assert to_numpy(array) is array
    tensor = torch.arange(3.0, dtype=torch.float64, requires_grad=True)
    found = to_numpy(2 * tensor)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, [0, 2, 4])
    assert isinstance(to_numpy(np.float64(1.0)), np.ndarray)


def test_to_torch_changes_precision_and_copies_what_may_not_be_written():
    array = np.arange(3.0)
    assert to_torch(array).data_ptr() == array.ctypes.data
    assert to_torch(array, "float32").dtype == torch.float32
    assert to_torch(array, device="meta").device.type == "meta"
    array.setflags(write=False)
    assert to_torch(array).data_ptr() != array.ctypes.data
    tensor = torch.arange(3.0, dtype=torch.float64, requires_grad=True)
    assert to_torch(tensor) is tensor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cast_like_takes_library_precision_and_device_of_another(dtype):
    array = np.arange(3.0)
    for xp in (np, torch):
        found = cast_like(array, xp.ones(1, dtype=getattr(xp, dtype)))
        assert namespace(found) is xp
        assert found.dtype == getattr(xp, dtype)
        np.testing.assert_array_equal(found, array)
    assert cast_like(array, torch.ones(2, device="meta")).device.type == "meta"


def test_double_precision_stays_on_the_cpu_where_a_device_has_none(monkeypatch):
    for device in ("cpu", "meta"):
        assert arrays.has_float64(device)
    monkeypatch.setattr(arrays, "has_float64", lambda device: device != "meta")
    array = np.arange(3.0)
    assert to_torch(array, "float32", "meta").device.type == "meta"
    for source in (array, torch.arange(3.0)):
        found = to_torch(source, "float64", "meta")
        assert (found.device.type, found.dtype) == ("cpu", torch.float64)
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_a_device_has_no_double_precision_if_torch_cannot_make_a_number_of_it(error, monkeypatch):
    def zeros(*shape, dtype, device):
        raise error("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch, "zeros", zeros)
    arrays.has_float64.cache_clear()
    try:
        assert not arrays.has_float64("cpu")
    finally:
        arrays.has_float64.cache_clear()


class Moves(TorchDispatchMode):
    """Notes in which precision tensors arrive at a device other than the CPU."""

    def __init__(self):
        super().__init__()
        self.arrived = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.device.type != "cpu":
            self.arrived += [(func.overloadpacket.__name__, a.dtype, out.dtype) for a in args]
        return out


@pytest.mark.parametrize("source", [np.arange(3.0), torch.arange(3, dtype=torch.float64)])
def test_what_goes_to_a_device_is_cast_before(source):
    with Moves() as moves:
        assert to_torch(source, "float32", "meta").dtype == torch.float32
    assert moves.arrived == [("_to_copy", torch.float32, torch.float32)]


def test_placed_changes_nothing_that_is_right_and_keeps_the_graph():
    tensor = torch.ones(2, requires_grad=True)
    assert placed(tensor, torch.float32, "cpu") is tensor
    placed(2 * tensor, torch.float64, torch.device("cpu")).sum().backward()
    np.testing.assert_array_equal(tensor.grad, [2, 2])


def test_a_copy_in_order_has_numbers_of_its_own_row_by_row():
    turned = np.arange(6.0).reshape(2, 3).T
    found = copy_in_order(turned)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, turned)
    assert not np.shares_memory(found, turned)
    tensor = torch.as_tensor(turned)
    copy = copy_in_order(tensor)
    assert copy.is_contiguous()
    np.testing.assert_array_equal(copy, turned)
    assert copy.data_ptr() != tensor.data_ptr()
    # An axis of length one may have any stride.
    alone = np.lib.stride_tricks.as_strided(np.arange(3.0), (1, 3), (0, 8))
    assert copy_in_order(torch.as_tensor(alone)).stride() == (3, 1)
