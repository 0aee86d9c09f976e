"""JSON and arrays as the tree that they were; everything else is refused."""

import copy
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml.persistence import Decoder, Encoder
from tests.tree import (
    ARRAYS,
    EQUAL,
    LEAF,
    PARTS,
    VALUES,
    Branch,
    Empty,
    Leaf,
    Named,
    Outside,
    Stack,
    step,
)


def back(value, given=None, names=None):
    """Return a value after a way through JSON."""
    encoder = Encoder(PARTS, names)
    node = json.loads(json.dumps(encoder.encode(value, "here")))
    return Decoder(PARTS, encoder.arrays, given).decode(node, "here")


def decode(node, hint=None, **options):
    arrays = {"a": np.arange(3.0), "flat": np.zeros((1, 1))}
    decoder = Decoder(PARTS, arrays, **options)
    return decoder.decode(node, "here") if hint is None else decoder.decode(node, "here", hint)


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(name):
    value, found = VALUES[name], back(VALUES[name])
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize("name", EQUAL)
def test_values_of_numpy_and_pandas_come_back_as_equal_ones_of_python(name):
    value, found = EQUAL[name], back(EQUAL[name])
    assert found == value
    assert hash(found) == hash(value)
    assert type(found).__module__ in ("builtins", "datetime")


def test_what_is_no_number_comes_back():
    assert np.isnan(back(np.nan))


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_with_shape_and_type(name):
    array, found = ARRAYS[name], back(ARRAYS[name])
    assert_array_equal(found, array)
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")


def test_objects_come_back_and_those_that_were_one_are_one():
    tree = Branch("b", [LEAF, Leaf(LEAF.values)], LEAF)
    found, others = back((tree, [Empty(), Named({"a": (1, 2)}), Stack(np.ones(2), 3), step]))
    assert found.name == "b"
    assert found.twin is found.leaves[0]
    assert found.leaves[1].values is found.twin.values
    assert_array_equal(found.twin.values, LEAF.values)
    empty, named, stack, function = others
    assert type(empty) is Empty
    assert named.shapes == {"a": (1, 2)}
    assert stack.depth == 3
    assert function is step


def test_what_was_not_kept_is_what_is_given():
    assert back([Outside()], given={"body": 7}, names={Outside: "body"}) == [7]


def test_arguments_may_be_other_now():
    node = {"Leaf": {"values": {"array": "a"}, "size": 2.0}}
    assert decode(node, instead={"size": 3.0}).size == 3.0
    assert decode({"Named": {"shapes": {"dict": []}}}, instead={"size": 3.0}).shapes == {}


def test_an_argument_that_an_older_version_did_not_have_takes_its_default():
    assert decode({"Leaf": {"values": {"array": "a"}}}).size == 1.0


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "here must have one key"),
        ({"array": "a", "tuple": []}, "here must have one key"),
        ({"Outside": {}}, "here is a 'Outside', which is nothing that is kept"),
        ({"part": {}}, "here is a 'part', which is nothing"),
        ({"__init__": {}}, "nothing that is kept"),
        ({"eval": "1"}, "nothing that is kept"),
        ([1, {"array": "b"}], r"here\.1 is the array 'b', which there is not"),
        ({"array": ["a"]}, "where there must be a str"),
        ({"array": {}}, "where there must be a str"),
        ({"tuple": 3}, "here is 3, where there must be a list"),
        ({"dict": {"a": 1}}, "where there must be a list"),
        ({"dict": [["a"]]}, "here has 1 items where there must be two"),
        ({"dict": [["a", 1, 2]]}, "here has 3 items"),
        ({"float": "1e999"}, "here is no number: '1e999'"),
        ({"float": []}, "here is no number"),
        ({"date": "2024-13-01"}, "month must be"),
        ({"date": 3}, "where there must be a str"),
        ({"datetime": "yesterday"}, "isoformat"),
        ({"labels": ["str", [1]]}, "here does not hold labels of the type 'str'"),
        ({"labels": ["datetime64[D]", [1.5]]}, "does not hold labels"),
        ({"labels": ["datetime64[D]", [True]]}, "does not hold labels"),
        ({"labels": ["float64", [1.5]]}, "does not hold labels"),
        ({"labels": [["str"], ["a"]]}, "where there must be a str"),
        ({"labels": ["str"]}, "here has 1 items"),
        ({"labels": "str"}, "where there must be a list"),
        ({"same": "here"}, "here is the same as here, which does not come before it"),
        ({"same": 3}, "where there must be a str"),
        ({"given": "body"}, "here is body, which was not given"),
        ({"Leaf": []}, "where there must be a dict"),
        ({"Leaf": {}}, "here is a Leaf without values"),
        ({"Leaf": {"values": {"array": "a"}, "later": 1}}, "which has no 'later'; a later version"),
        ({"Leaf": {"values": [1.0]}}, r"here\.values is of type list, \[1\.0\], where there must"),
        ({"Leaf": {"values": {"array": "a"}, "size": "1"}}, r"here\.size is of type str"),
        ({"Leaf": {"values": {"array": "a"}, "size": True}}, r"here\.size is of type bool"),
        ({"Leaf": {"values": {"array": "a"}, "size": {"float": "nan"}}}, "size is of type float"),
        ({"Leaf": {"values": {"array": "flat"}}}, "here is a Leaf whose arrays do not go together"),
        ({"Branch": {"name": "b", "leaves": [3]}}, "leaves is of type list"),
        ({"Named": {"shapes": {"dict": [["a", [1]]]}}}, "shapes is of type dict"),
        ({"Stack": {"top": {"array": "a"}, "depth": 1.5}}, "depth is of type float"),
    ],
)
def test_what_no_encoder_makes_is_refused_by_its_place(node, message):
    before = copy.deepcopy(node)
    with pytest.raises(ValueError, match=message):
        decode(node)
    assert node == before


def test_a_value_must_be_what_is_asked_for():
    assert decode(None, Leaf | None) is None
    with pytest.raises(ValueError, match="here is of type int, 3, where there must be"):
        decode(3, Leaf | None)
    with pytest.raises(ValueError, match="where there must be float"):
        decode({"float": "inf"}, float)


def test_keys_that_cannot_be_keys_are_refused():
    with pytest.raises((ValueError, TypeError)):
        decode({"dict": [[[1], 2]]})
