"""One vector, many names."""

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

from skcml.problems.meta_params import MetaParams

SHAPES = {"weight": (2, 3), "scale": (), "bias": (3,)}


def numbered():
    return MetaParams(SHAPES, np.arange(10.0))


def test_names_are_pieces_of_the_vector_in_order():
    theta = numbered()
    np.testing.assert_array_equal(theta["weight"], [[0, 1, 2], [3, 4, 5]])
    assert theta["scale"].shape == ()
    assert theta["scale"] == 6
    np.testing.assert_array_equal(theta["bias"], [7, 8, 9])


def test_zeros_unless_told():
    theta = MetaParams(SHAPES)
    assert theta.vector.dtype == np.float64
    assert (theta.vector == np.zeros(10)).all()


def test_a_change_of_either_is_a_change_of_both():
    theta = numbered()
    theta["bias"][1] = -1
    theta["scale"][...] = -2
    assert theta.vector[8] == -1
    assert theta.vector[6] == -2
    theta.vector[0] = -3
    assert theta["weight"][0, 0] == -3


def test_a_mapping():
    theta = numbered()
    assert isinstance(theta, Mapping)
    assert list(theta) == list(SHAPES)
    assert len(theta) == 3
    assert "bias" in theta
    assert "other" not in theta
    assert {name: array.shape for name, array in theta.items()} == SHAPES


@pytest.mark.parametrize(
    "copied",
    [
        MetaParams.copy,
        copy.copy,
        copy.deepcopy,
        lambda theta: pickle.loads(pickle.dumps(theta)),
    ],
    ids=["own", "shallow", "deep", "pickle"],
)
def test_copies_are_whole(copied):
    theta = numbered()
    other = copied(theta)
    assert other.shapes == theta.shapes
    np.testing.assert_array_equal(other.vector, theta.vector)
    other.vector[:] = 1.0
    assert (other["weight"] == 1.0).all()  # still one storage


@pytest.mark.parametrize(
    "copied",
    [MetaParams.copy, copy.deepcopy, lambda theta: pickle.loads(pickle.dumps(theta))],
    ids=["own", "deep", "pickle"],
)
def test_deep_copies_have_storage_of_their_own(copied):
    theta = numbered()
    copied(theta)["bias"][:] = -1
    np.testing.assert_array_equal(theta.vector, np.arange(10.0))


def test_zeros_like_keeps_the_layout():
    zeros = numbered().zeros_like()
    assert zeros.shapes == SHAPES
    assert (zeros.vector == np.zeros(10)).all()


def test_the_shapes_are_the_objects_own():
    shapes = dict(SHAPES)
    theta = MetaParams(shapes)
    shapes["other"] = (1,)
    assert "other" not in theta


def test_nothing_at_all():
    theta = MetaParams({})
    assert theta.vector.shape == (0,)
    assert list(theta) == []
    assert theta.copy().vector.shape == (0,)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"\(9,\) where \(10,\)"):
        MetaParams(SHAPES, np.zeros(9))
