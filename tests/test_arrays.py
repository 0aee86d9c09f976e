"""Which library an array belongs to."""

import sys

import numpy as np
import pytest
import torch

from skcml.arrays import identity_like, namespace, to_numpy, to_torch


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
