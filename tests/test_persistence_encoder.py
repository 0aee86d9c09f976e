"""A tree as JSON and arrays: what it looks like, what is shared, what is refused."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from skcml.persistence import Encoder
from tests.tree import ARRAYS, EQUAL, LEAF, PARTS, VALUES, Branch, Empty, Leaf, Outside, Stack, step


def encode(value, given=None):
    encoder = Encoder(PARTS, given)
    return encoder.encode(value, "here"), encoder.arrays


@pytest.mark.parametrize("value", [*VALUES.values(), *EQUAL.values(), *ARRAYS.values()])
def test_it_is_json_and_dense_arrays_of_the_machines_own_order(value):
    node, arrays = encode(value)
    json.dumps(node, allow_nan=False)
    for array in arrays.values():
        assert array.flags.c_contiguous
        assert array.dtype.isnative


def test_what_it_looks_like():
    tree = Branch("b", [LEAF], Leaf(np.ones(2)))
    first, twin = "here.tree.leaves.0.values", "here.tree.twin.values"
    content = {
        "name": "b",
        "leaves": [{"Leaf": {"values": {"array": first}, "size": 0.5}}],
        "twin": {"Leaf": {"values": {"array": twin}, "size": 1.0}},
    }
    stack = {"Stack": {"top": {"array": "here.pair.1.top"}, "depth": 2}}
    node, arrays = encode({"tree": tree, "pair": (1, Stack(np.zeros(1), 2)), "do": step})
    assert node == {
        "dict": [
            ["tree", {"Branch": content}],
            ["pair", {"tuple": [1, stack]}],
            ["do", {"step": {}}],
        ]
    }
    assert set(arrays) == {first, twin, "here.pair.1.top"}
    assert encode(Empty())[0] == {"Empty": {}}
    assert encode(np.array(["a"]))[0] == {"labels": ["str", ["a"]]}
    assert encode(np.nan)[0] == {"float": "nan"}


def test_an_object_and_an_array_that_come_twice_are_kept_once():
    node, arrays = encode(Branch("b", [LEAF, Leaf(LEAF.values)], LEAF))
    content = node["Branch"]
    assert content["twin"] == {"same": "here.leaves.0"}
    assert content["leaves"][1]["Leaf"]["values"] == {"array": "here.leaves.0.values"}
    assert list(arrays) == ["here.leaves.0.values"]


def test_arrays_at_paths_that_look_alike_have_names_of_their_own():
    node, arrays = encode({"a.b": np.zeros(1), "a": {"b": np.ones(1)}})
    (_, one), (_, inner) = node["dict"]
    ((_, other),) = inner["dict"]
    assert arrays[one["array"]] == 0
    assert arrays[other["array"]] == 1


def test_what_will_be_given_again_is_named():
    outside = Outside()
    encoder = Encoder(PARTS, {Outside: "body"})
    assert encoder.given("body") is None
    assert encoder.encode([outside, (outside,)], "here") == [
        {"given": "body"},
        {"tuple": [{"given": "body"}]},
    ]
    assert encoder.given("body") is outside
    with pytest.raises(ValueError, match=r"two of what is kept once, as body, at there"):
        encoder.encode(Outside(), "there")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Decimal(3), r"here\.x\.1 holds Decimal\('3'\), of type Decimal"),
        (b"a", r"here\.x\.1 holds b'a', of type bytes"),
        (frozenset([1]), "of type frozenset"),
        (Outside(), "of type Outside"),
        (Outside, "of type type"),
        (len, "of type builtin_function_or_method"),
        (lambda x: x, "of type function"),
        (1j, "of type complex"),
        (np.longdouble(0.1), "of type longdouble"),
        (pd.Timestamp(1), "of type Timestamp"),  # a nanosecond
        (pd.Timedelta(1), "of type Timedelta"),
        (np.array([1j]), "an array of complex128"),
        (np.array([[object()]]), "an array of object"),
        (np.array([b"a"]), r"an array of \|S1"),
        (np.array([1], dtype="datetime64[25s]"), r"an array of datetime64\[25s\]"),
        (np.array([object()]), r"here\.x\.1\.0 holds <object"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_place_and_type(value, message):
    with pytest.raises(TypeError, match=message) as caught:
        encode({"x": [1, value]})
    assert "which cannot be saved. What can are numbers, strings" in str(caught.value)
