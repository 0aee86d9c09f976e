"""A long list of which changed copies share most, against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skcml.estimators._shelves import SIZE, Shelves

LENGTHS = [0, 1, SIZE - 1, SIZE, SIZE + 1, 5 * SIZE + 3]


def arrays_of(numbers):
    """Return an array for each number, of other numbers of rows, that has it."""
    return [np.full((abs(n) % 3, 2), float(n)) for n in numbers]


def assert_same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_a_sequence(length):
    arrays = arrays_of(range(length))
    shelves = Shelves.of(iter(arrays))
    assert len(shelves) == length
    assert_same(shelves, arrays)
    assert all(shelves[i] is arrays[i] for i in range(length))
    places = np.arange(length)[::-3]
    assert_same(shelves[places], arrays[::-3])
    assert shelves[places[:0]] == []


@pytest.mark.parametrize("length", LENGTHS)
def test_rows_and_where_they_start_make_it_again(length):
    arrays = arrays_of(range(length))
    shelves = Shelves.of(arrays)
    again = Shelves(shelves.rows, shelves.starts)
    assert_same(again, arrays)
    assert all(array.base is None for array in again)  # none keeps the rows of others


@pytest.mark.parametrize(
    "starts", [[0], [0, 2], [1, 3], [0, 3, 2, 3], [0, -1, 3], [], [0.0, 3.0], [[0, 3]]]
)
def test_places_that_do_not_make_up_the_rows_are_refused(starts):
    with pytest.raises(ValueError, match="do not make up its rows"):
        Shelves(np.zeros((3, 2)), np.array(starts))


@given(st.data())
def test_changes_are_those_of_a_list(data):
    length = data.draw(st.sampled_from(LENGTHS[1:]))
    before = arrays_of(range(length))
    shelves = Shelves.of(before)
    places = data.draw(st.lists(st.integers(0, length - 1), max_size=9))
    after, new = list(before), arrays_of(range(-len(places), 0))
    for place, array in zip(places, new, strict=True):
        after[place] = array
    changed = shelves.replaced(np.array(places, dtype=int), new)
    assert_same(changed, after)
    assert_same(shelves, before)


def test_what_is_the_same_is_shared():
    shelves = Shelves.of(arrays_of(range(3 * SIZE)))
    changed = shelves.replaced(np.array([SIZE + 1]), arrays_of([7]))
    shared = [a is b for a, b in zip(shelves._shelves, changed._shelves, strict=True)]
    assert shared == [True, False, True]
    assert changed[SIZE] is shelves[SIZE]


def test_places_and_arrays_go_together():
    with pytest.raises(ValueError, match="shorter"):
        Shelves.of(arrays_of(range(3))).replaced(np.array([0, 1]), arrays_of([4]))
