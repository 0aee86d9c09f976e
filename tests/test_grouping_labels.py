"""Reading labels: every container gives the same groups, and bad labels get a sentence."""

import datetime as dt
import decimal
import enum

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skcml.grouping import encode_groups
from skcml.grouping._labels import as_objects, as_typed_array, kind_of, missing_rows, read_labels

DAY = dt.date(2020, 1, 31)
NOON = dt.datetime(2020, 1, 31, 12)
PAPER = enum.Enum("PAPER", ["A4", "LETTER"])


class NumberLike(enum.IntEnum):
    ONE = 1
    TWO = 2


def containers(values):
    """Return the same labels in every container that can hold them."""
    return [
        values,
        tuple(values),
        np.array(values),
        np.array(values, dtype=object),
        pd.Series(values),
        pd.Index(values),
        pd.Series(values).astype("category"),
        pd.Categorical(values),
        pl.Series(values),
    ]


@pytest.mark.parametrize(
    "values",
    [
        [7, 3, 7],
        [0.5, 0.25, 0.5],
        ["b", "a", "b"],
        [True, False, True],
        [NOON, NOON.replace(day=1), NOON],
    ],
    ids=["int", "float", "str", "bool", "datetime"],
)
def test_every_container_gives_the_same_codes_and_labels(values):
    for container in containers(values):
        codes, index = encode_groups(container, 3)
        assert codes.dtype == np.intp
        np.testing.assert_array_equal(codes, [1, 0, 1], err_msg=repr(container))
        assert all(index.labels[code] == value for code, value in zip(codes, values, strict=True))
        for other in containers(values):
            np.testing.assert_array_equal(index.lookup(other, 3), codes, err_msg=repr(other))


@pytest.mark.parametrize(
    ("container", "labels"),
    [
        (pd.Series([2, 1, 2], dtype="Int64"), [1, 2]),
        (pd.Series(["b", "a", "b"], dtype="string"), ["a", "b"]),
        (pd.Series([True, False, True], dtype="boolean"), [False, True]),
        (pd.MultiIndex.from_tuples([(2, "x"), (1, "y"), (2, "x")]), [(1, "y"), (2, "x")]),
        (pl.Series(["b", "a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["b", "a", "b"], dtype=pl.Enum(["b", "a"])), ["a", "b"]),
        (np.array([b"b", b"a", b"b"]), [b"a", b"b"]),
        (np.array([2 + 1j, 1, 2 + 1j]), [2 + 1j, 1]),
        (np.array([(2, "x"), (1, "y"), (2, "x")], dtype="i8,U1"), [(1, "y"), (2, "x")]),
        ([(2, "x"), (1, "y"), (2, "x")], [(1, "y"), (2, "x")]),
        ([3, "a", 3], [3, "a"]),
        ([3, 2.5, 3], [2.5, 3]),
        ([2**70, 5, 2**70], [5, 2**70]),
        ([np.int64(3), np.int8(2), 3], [2, 3]),
        ([np.float32(3), np.float64(2), 3.0], [2, 3]),
        ([NumberLike.TWO, NumberLike.ONE, 2], [1, 2]),
        ([PAPER.LETTER, PAPER.A4, PAPER.LETTER], [PAPER.LETTER, PAPER.A4]),
        ([dt.timedelta(2), dt.timedelta(1), dt.timedelta(2)], [dt.timedelta(1), dt.timedelta(2)]),
        (["b\0", "b", "b\0"], ["b", "b\0"]),
        (range(3), [0, 1, 2]),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20]!r}",
)
def test_labels_of_many_kinds(container, labels):
    codes, index = encode_groups(container, 3)
    assert index.labels.shape == (len(labels),)
    assert index.labels.tolist() == labels
    assert [labels[code] for code in codes] == (
        container.tolist() if isinstance(container, np.ndarray) else list(container)
    )
    np.testing.assert_array_equal(index.lookup(container, 3), codes)


@pytest.mark.parametrize(
    "midnight",
    [
        [DAY],
        [dt.datetime(2020, 1, 31)],
        [pd.Timestamp("2020-01-31")],
        [np.datetime64("2020-01-31")],
        [np.datetime64("2020-01-31", "ns")],
        np.array(["2020-01-31"], dtype="M8[ns]"),
        pd.Series(pd.to_datetime(["2020-01-31"])),
        pl.Series([DAY]),
        pl.Series([dt.datetime(2020, 1, 31)]),
    ],
    ids=repr,
)
def test_a_date_and_its_midnight_are_one_label(midnight):
    far = np.array(["2020-01-31", "3000-01-01"], dtype="M8[D]")
    for known in (far, far.astype("M8[us]"), [DAY, dt.date(3000, 1, 1)]):
        _, index = encode_groups(known, 2)
        assert index.lookup(midnight, 1) == [0]
    _, index = encode_groups(midnight, 1)
    # In nanoseconds the year 3000 wraps around to 1830; here it must stay unknown.
    np.testing.assert_array_equal(index.lookup(far, 2), [0, -1])


def test_times_with_a_zone_are_the_same_in_any_zone():
    utc = pd.Series(pd.date_range("2020-01-31 12:00", periods=2, tz="UTC"))
    _, index = encode_groups(utc, 2)
    tokyo = utc.dt.tz_convert("Asia/Tokyo")
    np.testing.assert_array_equal(index.lookup(tokyo, 2), [0, 1])
    np.testing.assert_array_equal(index.lookup([utc[1].to_pydatetime()], 1), [1])


def test_times_finer_than_a_microsecond_are_kept_apart():
    stamps = [pd.Timestamp("2020-01-31 00:00:00.000000001"), pd.Timestamp("2020-01-31")]
    codes, index = encode_groups(stamps, 2)
    np.testing.assert_array_equal(codes, [1, 0])
    array = np.array(["2020-01-31T00:00:00.000000001", "2020-01-31"], dtype="M8[ns]")
    assert as_objects(array) == list(array)
    assert as_objects(array[1:]) == [dt.datetime(2020, 1, 31)]
    assert len(index) == len(encode_groups(array, 2)[1]) == 2


def test_durations_are_the_same_as_array_and_as_objects():
    hours = np.array([2, 1, 2], dtype="m8[h]")
    codes, index = encode_groups(hours, 3)
    objects = [dt.timedelta(hours=h) for h in (2, 1, 2)]
    np.testing.assert_array_equal(index.lookup(objects, 3), codes)
    _, index = encode_groups(objects, 3)
    np.testing.assert_array_equal(index.lookup(hours, 3), codes)
    np.testing.assert_array_equal(index.lookup(pl.Series(objects), 3), codes)


@pytest.mark.parametrize(
    "container",
    [
        ["a", None, None],
        [1.0, float("nan"), np.nan],
        [1, np.float64("nan"), None],
        [1, decimal.Decimal("nan"), complex("nan")],
        [(1, 2), None, pd.NA],
        [DAY, pd.NaT, pd.NaT],
        [np.datetime64("2020-01-31"), np.datetime64("nat"), np.datetime64("nat")],
        [np.datetime64("2020-01-31"), np.datetime64("nat", "D"), np.timedelta64("nat", "D")],
        np.array([1.0, np.nan, np.nan]),
        np.array(["2020-01-31", "nat", "nat"], dtype="M8[D]"),
        np.array([1, "nat", "nat"], dtype="m8[D]"),
        np.ma.masked_array([1, 2, 3], mask=[False, True, True]),
        pd.Series([1, None, None], dtype="Int64"),
        pd.Series(["a", None, None]),
        pd.Series(["a", None, None], dtype="string"),
        pd.Series(["a", None, None], dtype="category"),
        pd.Series([1, None, None], dtype="category"),
        pd.Series([True, None, None], dtype="boolean"),
        pd.Series(pd.to_datetime(["2020-01-31", None, None])),
        pd.Series(pd.to_datetime(["2020-01-31", None, None], utc=True)),
        pl.Series([1, None, None]),
        pl.Series(["a", None, None]),
        pl.Series([DAY, None, None]),
        pl.Series([True, None, None]),
    ],
    ids=lambda value: f"{type(value).__module__.split('.')[0]}-{value!r}"[:60],
)
def test_missing_labels_are_counted_and_located(container):
    sentence = r"^station has 2 missing labels \(.*\), the first in row 1; drop such rows"
    with pytest.raises(ValueError, match=sentence):
        encode_groups(container, 3, name="station")
    for known in ([1, 2], ["a", "b"], [DAY]):
        _, index = encode_groups(known, len(known))
        with pytest.raises(ValueError, match=sentence):
            index.lookup(container, 3, name="station")


def test_one_missing_label_is_singular():
    with pytest.raises(ValueError, match=r"groups has 1 missing label \(None"):
        encode_groups(["a", None], 2)


def test_infinity_and_text_that_says_nan_are_labels():
    assert encode_groups([np.inf, -np.inf], 2)[1].labels.tolist() == [-np.inf, np.inf]
    assert encode_groups(["nan", "None", ""], 3)[1].labels.tolist() == ["", "None", "nan"]


@pytest.mark.parametrize("container", [[1, 2], np.array([1, 2]), pd.Series([1, 2])], ids=repr)
def test_a_wrong_length_names_both_lengths(container):
    with pytest.raises(ValueError, match=r"groups has 2 labels for 3 rows; pass one label"):
        encode_groups(container, 3)
    _, index = encode_groups([1], 1)
    with pytest.raises(ValueError, match=r"shop has 2 labels for 3 rows"):
        index.lookup(container, 3, name="shop")


@pytest.mark.parametrize(
    "container",
    [np.ones((3, 2)), np.ones((3, 1)), np.array(3), pd.DataFrame({"a": [1, 2, 3]})],
    ids=["matrix", "column", "scalar", "frame"],
)
def test_more_or_less_than_one_dimension_is_refused(container):
    with pytest.raises(ValueError, match=r"groups must have one dimension, .* had shape \("):
        encode_groups(container, 3)


@pytest.mark.parametrize(
    "container", ["abc", b"abc", 3, None, {1: 2}, {1, 2, 3}, iter([1, 2, 3])], ids=repr
)
def test_what_is_not_a_column_is_refused(container):
    with pytest.raises(TypeError, match=r"groups must be a list, array or Series .* was "):
        encode_groups(container, 3)


def test_a_label_that_cannot_be_hashed_is_named_with_its_row():
    sentence = r"groups has a label that cannot be hashed in row 1: \[1, 2\] of type list; use"
    with pytest.raises(TypeError, match=sentence):
        encode_groups([(1, 2), [1, 2]], 2)
    _, index = encode_groups(["a"], 1)
    with pytest.raises(TypeError, match=sentence):
        index.lookup(["a", [1, 2]], 2)
    with pytest.raises(TypeError, match=r"in row 0: .* of type ndarray"):
        encode_groups(pl.Series([[1, 2], [3, 4]]), 2)


def test_an_error_inside_a_label_is_not_hidden():
    class Odd:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise TypeError("odd cannot be compared")

    with pytest.raises(TypeError, match="odd cannot be compared"):
        encode_groups([Odd(), Odd()], 2)
    _, index = encode_groups([Odd()], 1)
    with pytest.raises(TypeError, match="odd cannot be compared"):
        index.lookup([Odd()], 1)


def test_lists_become_arrays_only_where_nothing_is_lost():
    assert as_typed_array([]) == []
    assert as_typed_array([True, 2]).dtype.kind == "i"
    assert as_typed_array([1, 2.5]) == [1, 2.5]
    assert as_typed_array([2**63, -1]) == [2**63, -1]
    assert as_typed_array([1, "a"]) == [1, "a"]
    assert as_typed_array([DAY]).dtype == "M8[D]"
    assert as_typed_array([DAY, NOON]).dtype == "M8[us]"
    assert isinstance(as_typed_array([NOON.replace(tzinfo=dt.UTC)]), list)


def test_kind_of():
    assert kind_of(np.array([1.5])) == kind_of([1, 2.5, decimal.Decimal(1)]) == "numbers"
    assert kind_of(["a", np.str_("b")]) == "strings"
    assert kind_of([DAY, NOON]) == kind_of(np.array([DAY], dtype="M8[D]")) == "dates"
    assert kind_of([dt.timedelta(1)]) == kind_of(np.array([1], dtype="m8[s]")) == "durations"
    assert kind_of([1, "a"]) is None
    assert kind_of([(1, 2)]) is None


def test_what_is_missing_is_a_label_or_a_part_of_it():
    labels = [np.float32("nan"), "nan", 0.0, None, (None, 1), "", 0, (1, (2, np.nan)), (1, "nan")]
    assert missing_rows(labels) == [0, 3, 4, 7]
    assert missing_rows(np.array([1.0, np.nan])) == [1]
    assert missing_rows(np.array([1, 2])) == []


def test_reading_an_array_copies_nothing():
    labels = np.arange(4)
    assert np.shares_memory(read_labels(labels, 4, "groups"), labels)
    series = pd.Series(labels)
    assert np.shares_memory(read_labels(series, 4, "groups"), series.to_numpy())
