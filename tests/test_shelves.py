"""A long list of which changed copies share most, against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skcml.estimators._shelves import SIZE, Shelves

LENGTHS = [0, 1, SIZE - 1, SIZE, SIZE + 1, 5 * SIZE + 3]


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_a_sequence(length):
    things = [str(i) for i in range(length)]
    shelves = Shelves(iter(things))
    assert len(shelves) == length
    assert list(shelves) == things
    assert [shelves[i] for i in range(length)] == things
    places = np.arange(length)[::-3]
    assert shelves[places] == things[::-3]
    assert shelves[places[:0]] == []


@given(st.data())
def test_changes_are_those_of_a_list(data):
    length = data.draw(st.sampled_from(LENGTHS[1:]))
    before = list(range(length))
    shelves = Shelves(before)
    places = data.draw(st.lists(st.integers(0, length - 1), max_size=9))
    after = list(before)
    for number, place in enumerate(places):
        after[place] = -number
    changed = shelves.replaced(np.array(places, dtype=int), [-n for n in range(len(places))])
    assert list(changed) == after
    assert list(shelves) == before


def test_what_is_the_same_is_shared():
    shelves = Shelves(object() for _ in range(3 * SIZE))
    changed = shelves.replaced(np.array([SIZE + 1]), ["new"])
    shared = [a is b for a, b in zip(shelves._shelves, changed._shelves, strict=True)]
    assert shared == [True, False, True]
    assert changed[SIZE] is shelves[SIZE]


def test_places_and_things_go_together():
    with pytest.raises(ValueError, match="shorter"):
        Shelves("abc").replaced(np.array([0, 1]), ["d"])
