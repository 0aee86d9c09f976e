"""encode_groups, GroupIndex and rows_by_group: exact, independent of row order, and fast."""

import copy
import datetime as dt
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skcml.grouping import GroupIndex, encode_groups, rows_by_group
from skcml.grouping._labels import as_objects

patient = settings(deadline=None)  # the machine may be busy

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
ONE_KIND = st.one_of(
    st.lists(INT64),
    st.lists(st.integers()),
    st.lists(FLOATS),
    st.lists(st.text(max_size=3)),
    st.lists(st.booleans()),
    st.lists(st.dates()),
    st.lists(st.datetimes()),
    st.lists(st.tuples(st.integers(0, 2), st.text(max_size=1))),
)
MIXED = st.lists(
    st.one_of(st.integers(0, 3), FLOATS, st.text(max_size=1), st.booleans(), st.binary(max_size=1))
)
ARRAYS = st.one_of(
    *(
        hnp.arrays(dtype, st.integers(0, 20), elements=elements, fill=st.nothing())
        for dtype, elements in [
            ("i8", st.integers(-3, 3)),
            ("u1", st.integers(0, 3)),
            ("f4", st.floats(width=32, allow_nan=False)),
            ("f8", FLOATS),
            ("U2", st.text(alphabet="ab", max_size=2)),
            ("?", st.booleans()),
        ]
    )
)


@patient
@given(st.one_of(ONE_KIND, MIXED, ARRAYS))
def test_labels_and_codes_round_trip(groups):
    codes, index = encode_groups(groups, len(groups))
    assert codes.shape == (len(groups),)
    assert index.labels.shape == (len(index),)
    assert all(index.labels[code] == label for code, label in zip(codes, groups, strict=True))
    # Every code is used, and no label has two.
    np.testing.assert_array_equal(np.unique(codes), np.arange(len(index)))
    assert len(index) == len(set(groups))


@patient
@given(st.one_of(ONE_KIND, MIXED, ARRAYS))
def test_looking_up_what_was_encoded_gives_the_codes(groups):
    codes, index = encode_groups(groups, len(groups))
    np.testing.assert_array_equal(index.lookup(groups, len(groups)), codes)
    np.testing.assert_array_equal(index.lookup(list(groups), len(groups)), codes)
    np.testing.assert_array_equal(index.lookup(index.labels, len(index)), np.arange(len(index)))


@patient
@given(st.one_of(ONE_KIND, MIXED), st.randoms(use_true_random=False))
def test_permuting_rows_permutes_the_labels_that_codes_stand_for(groups, random):
    permutation = list(range(len(groups)))
    random.shuffle(permutation)
    codes, index = encode_groups(groups, len(groups))
    permuted, permuted_index = encode_groups([groups[i] for i in permutation], len(groups))
    assert all(
        permuted_index.labels[code] == index.labels[codes[i]]
        for code, i in zip(permuted, permutation, strict=True)
    )


@patient
@given(ONE_KIND, st.randoms(use_true_random=False))
def test_codes_of_comparable_labels_do_not_depend_on_the_order_of_rows(groups, random):
    codes, index = encode_groups(groups, len(groups))
    permutation = list(range(len(groups)))
    random.shuffle(permutation)
    permuted, permuted_index = encode_groups([groups[i] for i in permutation], len(groups))
    np.testing.assert_array_equal(permuted, codes[permutation])
    np.testing.assert_array_equal(permuted_index.labels, index.labels)


@patient
@given(st.lists(st.one_of(INT64, FLOATS), min_size=1), st.lists(st.one_of(INT64, FLOATS)))
def test_numbers_are_looked_up_as_python_compares_them(known, given_numbers):
    """In particular beyond 2**53, where int64 and float64 do not hold the same numbers."""
    unique = list(dict.fromkeys(known))
    for kind, dtype in ((int, "i8"), (float, "f8")):
        of_kind = [label for label in unique if isinstance(label, kind)]
        _, index = encode_groups(np.array(of_kind, dtype=dtype), len(of_kind))
        position = {label: code for code, label in enumerate(index.labels.tolist())}
        for other, other_dtype in ((int, "i8"), (float, "f8")):
            values = [value for value in given_numbers + known if isinstance(value, other)]
            expected = [position.get(value, -1) for value in values]
            found = index.lookup(np.array(values, dtype=other_dtype), len(values))
            np.testing.assert_array_equal(found, expected)


def test_one_is_one_in_every_type():
    ones = [1, 1.0, True, np.int64(1), np.uint8(1), np.float32(1), np.bool_(True)]
    for known in ones:
        _, index = encode_groups([known], 1)
        for value in ones:
            assert index.lookup([value], 1) == [0], (known, value)
            assert index.lookup(np.array([value]), 1) == [0], (known, value)
    assert len(encode_groups(ones, len(ones))[1]) == 1


@pytest.mark.parametrize(
    ("known", "value"),
    [
        (np.array([2**53 + 1]), np.array([2.0**53])),
        (np.array([2.0**53]), np.array([2**53 + 1])),
        (np.array([2**64 - 1], dtype="u8"), np.array([-1])),
        (np.array([-1]), np.array([2**64 - 1], dtype="u8")),
        (np.array([0.1], dtype="f4"), np.array([0.1])),
        (np.array([1]), np.array([1.5, np.inf, -np.inf])),
    ],
    ids=repr,
)
def test_nearly_equal_numbers_are_different_labels(known, value):
    _, index = encode_groups(known, len(known))
    assert (index.lookup(value, len(value)) == -1).all()


def test_text_is_one_label_in_every_type():
    for known in ("a", np.str_("a")):
        _, index = encode_groups([known, "b"], 2)
        for value in (["a"], [np.str_("a")], np.array(["a"]), np.array(["a"], dtype=object)):
            assert index.lookup(value, 1) == [0]


def test_labels_never_seen_get_minus_one():
    for known, values in (
        ([3, 5], [5, 4, 3, 9]),
        (["3", "5"], ["5", "4", "3", "9"]),
        ([3, "5"], ["5", 4, 3, dt.date(2020, 1, 1)]),
    ):
        _, index = encode_groups(known, 2)
        codes = index.lookup(values, 4)
        assert codes.dtype == np.intp
        np.testing.assert_array_equal(codes, [1, -1, 0, -1])
        assert (index.lookup(values[1::2], 2) == -1).all()


KINDS = {
    "numbers": [4, 5],
    "strings": ["4", "5"],
    "dates": [dt.date(2020, 1, 4), dt.date(2020, 1, 5)],
    "durations": [dt.timedelta(4), dt.timedelta(5)],
}


@pytest.mark.parametrize("given_kind", KINDS)
@pytest.mark.parametrize("known_kind", KINDS)
def test_labels_of_another_kind_are_refused_and_of_the_same_kind_are_not(known_kind, given_kind):
    _, index = encode_groups(KINDS[known_kind], 2)
    values = KINDS[given_kind]
    if known_kind == given_kind:
        np.testing.assert_array_equal(index.lookup(values, 2), [0, 1])
        return
    sentence = (
        f"^groups are {given_kind} here, while the labels known from fit are {known_kind}; "
        "convert one of them"
    )
    for container in (values, np.array(values), np.array(values, dtype=object)):
        with pytest.raises(ValueError, match=sentence):
            index.lookup(container, 2)


def test_mixed_labels_are_never_of_another_kind():
    _, index = encode_groups([4, "a"], 2)
    np.testing.assert_array_equal(index.lookup(["x", "y"], 2), [-1, -1])
    _, index = encode_groups(["a", "b"], 2)
    np.testing.assert_array_equal(index.lookup([4, "x"], 2), [-1, -1])
    np.testing.assert_array_equal(index.lookup([4, "a"], 2), [-1, 0])
    _, index = encode_groups([4, 5], 2)
    np.testing.assert_array_equal(index.lookup([4, "x"], 2), [0, -1])


def test_dates_among_mixed_labels_are_found_from_a_column_of_dates():
    _, index = encode_groups([dt.datetime(2020, 1, 4), "a"], 2)
    for unit in ("s", "us", "ns"):
        column = np.array(["2020-01-04", "2020-01-05"], dtype=f"M8[{unit}]")
        np.testing.assert_array_equal(index.lookup(column, 2), [0, -1])


@pytest.mark.parametrize("labels", [np.empty(0), np.empty(0, dtype=object), np.empty(0, "M8[D]")])
def test_nothing_known_and_nothing_asked(labels):
    index = GroupIndex(labels)
    assert len(index) == 0
    assert index.lookup([], 0).shape == (0,)
    assert index.lookup(labels, 0).shape == (0,)
    if labels.dtype == float:
        assert index.lookup([1], 1) == [-1]


@pytest.mark.parametrize(
    "groups", [[3, 5], ["b", "a"], [(1, "x"), (2, "y")], [dt.date(2020, 1, 4)]]
)
def test_copies_and_pickles_find_the_same(groups):
    codes, index = encode_groups(groups, len(groups))
    for twin in (copy.copy(index), copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        np.testing.assert_array_equal(twin.labels, index.labels)
        assert twin.labels.dtype == index.labels.dtype
        np.testing.assert_array_equal(twin.lookup(groups, len(groups)), codes)
        assert repr(twin) == f"GroupIndex(n_groups={len(groups)})"


@patient
@given(st.lists(st.integers(0, 6)), st.integers(7, 9))
def test_rows_by_group_lists_each_groups_rows_in_order(codes, n_groups):
    order, starts = rows_by_group(np.array(codes, dtype=np.intp), n_groups)
    assert order.shape == (len(codes),)
    assert starts.shape == (n_groups + 1,)
    for group in range(n_groups):
        rows = order[starts[group] : starts[group + 1]]
        np.testing.assert_array_equal(rows, np.flatnonzero(np.array(codes) == group))


@pytest.mark.parametrize("n_groups", [1 << 16, (1 << 16) + 1, 1 << 20])
def test_rows_by_group_is_a_stable_sort_for_many_groups(n_groups):
    codes = np.random.default_rng(0).integers(n_groups, size=5000)
    codes[:2] = n_groups - 1, 0
    order, starts = rows_by_group(codes, n_groups)
    np.testing.assert_array_equal(order, np.argsort(codes, kind="stable"))
    np.testing.assert_array_equal(np.diff(starts), np.bincount(codes, minlength=n_groups))


def best_seconds(function, repeats=5):
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def test_half_a_million_rows_of_100_000_groups_take_a_fifth_of_a_second():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(100_000) * 7919, 5))
    codes, index = encode_groups(groups, len(groups))
    assert len(index) == 100_000
    assert best_seconds(lambda: encode_groups(groups, len(groups))) < 0.2
    assert best_seconds(lambda: index.lookup(groups, len(groups))) < 0.2
    assert best_seconds(lambda: rows_by_group(codes, len(index))) < 0.2


def test_looking_up_one_row_among_many_texts_does_not_go_through_all_of_them():
    groups = [f"patient {i}" for i in range(100_000)]
    _, index = encode_groups(groups, len(groups))
    assert best_seconds(lambda: index.lookup(groups[:1], 1)) < 0.001


@pytest.mark.parametrize(
    ("known", "more"),
    [
        ([3, 8], [5, 1]),
        (["b", "d"], ["a", "c"]),
        ([1, 2], [1.5]),
        (np.array([1, 2], dtype=np.uint8), [2**62, -(2**62)]),
        ([2**60, 2**60 + 1], [0.5]),
        ([dt.date(2020, 1, 2)], [np.datetime64("2020-01-01T12:00")]),
        ([("a", 2)], [("a", 1), "b"]),
        (["one"], [1]),
    ],
)
def test_an_index_that_is_joined_is_that_of_all_labels(known, more):
    _, index = encode_groups(known, len(known))
    labels = index.labels.copy()
    _, others = encode_groups(more, len(more))
    joined, codes = index.joined_by(others.labels)
    expected = encode_groups(
        [*as_objects(labels), *as_objects(others.labels)], len(labels) + len(more)
    )[1]
    assert as_objects(joined.labels) == as_objects(expected.labels)
    np.testing.assert_array_equal(codes, joined.lookup(labels, len(labels)))
    np.testing.assert_array_equal(index.labels, labels)
    np.testing.assert_array_equal(joined.lookup(more, len(more)) >= 0, True)
