"""Reading labels of classes, and their weights."""

import datetime
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import DataConversionWarning

from skcml.estimators._inputs import Targets
from skcml.estimators._labels import check_class_weight, class_factors, read_labels

NAMES = ["dog", "cat", "dog", "emu"]
CODES = [1, 0, 1, 2]


# --- read_labels


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        lambda y: np.array(y, dtype=object),
        pd.Series,
        pl.Series,
        lambda y: pd.Series(y, index=[3, 3, 0, 0]),
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="string"),
        lambda y: pl.Series(y, dtype=pl.Categorical),
    ],
)
def test_labels_may_come_in_any_container(make):
    codes, labels = read_labels(make(NAMES), 4, None)
    assert_array_equal(codes, CODES)
    assert codes.dtype == np.intp
    assert labels.tolist() == ["cat", "dog", "emu"]


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([3, -1, 3, 7], [-1, 3, 7]),
        ([True, False, True, True], [False, True]),
        ([2.0, 1.0, 2.0, 9.0], [1.0, 2.0, 9.0]),
        (np.array([3, 1, 3, 5], dtype=np.uint8), [1, 3, 5]),
        (pd.Series([3, 1, 3, 5], dtype="Int64"), [1, 3, 5]),
        (pd.Series([True, False, True, True], dtype="boolean"), [False, True]),
        (["", "a", "", "ä"], ["", "a", "ä"]),
        ([4, 4, 4, 4], [4]),
    ],
)
def test_labels_are_sorted_and_keep_their_kind(y, expected):
    codes, labels = read_labels(y, 4, None)
    assert labels.tolist() == expected
    assert {type(label) for label in labels.tolist()} == {type(label) for label in expected}
    assert_array_equal(labels[codes], np.asarray(y))


def test_one_row_of_each_class_is_no_cause_for_a_warning():
    codes, labels = read_labels(np.arange(50), 50, None)
    assert_array_equal(codes, labels)


@pytest.mark.parametrize("y", [[2.0, 1.0, 1.0, 2.0], [2, 1, 1, 2], np.array([2, 1, 1, 2], np.int8)])
def test_known_classes_are_found_by_value(y):
    known = np.array([0, 1, 2, 3])
    codes, labels = read_labels(y, 4, known)
    assert labels is known
    assert_array_equal(codes, [2, 1, 1, 2])
    codes, _ = read_labels([True, False, False, True], 4, np.array([False, True]))
    assert_array_equal(codes, [1, 0, 0, 1])


def test_labels_that_are_not_known_are_listed():
    known = np.array(["cat", "dog"])
    with pytest.raises(
        ValueError, match=r"^y_val holds 'emu', which meta_fit has not seen; it has"
    ):
        read_labels(NAMES, 4, known, suffix="_val")
    with pytest.raises(
        ValueError, match=r"y holds 1, 2, which .* it has seen 'cat', 'dog'\. Leave"
    ):
        read_labels([1, 2], 2, known)
    with pytest.raises(
        ValueError, match=r"y holds '10', '11', .*, '19' and 3 more, which meta_fit"
    ):
        read_labels([str(n) for n in range(10, 23)], 13, known)


BAD = {
    "None": (None, "y requires y to be passed, but the target y is None"),
    "None within": ([None, "a", "b", "a"], r"Input y contains NaN: 1 missing label.*in row 0"),
    "NaN": ([1.0, 2.0, np.nan, np.nan], r"Input y contains NaN: 2 missing label.*in row 2"),
    "NaN among strings": (np.array(["a", np.nan, "b", "a"], dtype=object), "y contains NaN.*row 1"),
    "NA": (pd.Series(["a", pd.NA, "b", "a"], dtype="string"), "y contains NaN.*row 1"),
    "NA among integers": (pd.Series([1, pd.NA, 2, 1], dtype="Int64"), "y contains NaN.*row 1"),
    "null": (pl.Series(["a", None, "b", "a"]), "y contains NaN.*row 1"),
    "infinity": ([1.0, np.inf, 2.0, 1.0], "Input y contains infinity: 1 missing label"),
    "minus infinity": ([1.0, 2.0, 2.0, -np.inf], "Input y contains infinity.*row 3"),
    "infinity among objects": (
        np.array(["a", -np.inf, "b", "a"], dtype=object),
        "Input y contains infinity",
    ),
    "fractions": ([0.5, 1.5, 0.25, 1.0], "y: Unknown label type: continuous.*CMLRegressor"),
    "complex": ([1j, 2j, 1j, 2j], "y: Complex data not supported"),
    "two columns": (np.ones((4, 2)), r"y must have one dimension.*it has the shape \(4, 2\)"),
    "three dimensions": (np.ones((4, 1, 1)), r"y must have one dimension"),
    "no dimension": ("dog", r"y must have one dimension.*it has the shape \(\)"),
    "ragged": ([[1], [1, 2], [1], [1]], "y: .*inhomogeneous"),
    "too short": ([1, 2, 1], "y has 3 rows, but X has 4"),
    "dates": (np.array(["2024-01-01"] * 4, dtype="datetime64[D]"), "y holds dates or durations"),
    "a list of dates": ([np.datetime64("2024-01-01")] * 4, "y holds dates or durations"),
    "durations": (pd.Series(pd.to_timedelta([1, 2, 1, 2], "D")), "y holds dates or durations"),
    "timestamps": (pl.Series([datetime.datetime(2024, 1, 1)] * 4), "y holds dates or durations"),
    "other objects": ([datetime.date(2024, 1, 1)] * 4, "y holds labels of type date: all must be"),
    "mixed": (np.array(["a", 1, "a", 1], dtype=object), "y mixes labels that cannot be compared"),
    "lazy": (pl.DataFrame({"y": NAMES}).lazy(), r"y is a LazyFrame: call its collect\(\) first"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_label_is_refused_by_name(case):
    y, sentence = BAD[case]
    with pytest.raises((ValueError, TypeError), match=sentence):
        read_labels(y, 4, None)
    if y is not None:
        named = re.sub(r"\by\b(?=[ :])", "y_val", sentence, count=1)
        with pytest.raises((ValueError, TypeError), match=named.replace("but X ", "but X_val ")):
            read_labels(y, 4, None, suffix="_val")


@pytest.mark.parametrize("y", [np.array(NAMES)[:, None], pd.DataFrame({"y": NAMES})])
def test_a_column_is_taken_and_warned_of(y):
    with pytest.warns(DataConversionWarning, match=r"A column-vector y was passed.*y\.ravel\(\)"):
        codes, _ = read_labels(y, 4, None)
    assert_array_equal(codes, CODES)


@pytest.mark.parametrize("y", [np.array([b"a", b"b"]), [b"a", b"b"], np.array([b"a", 1], object)])
def test_bytes_are_refused_with_what_to_do(y):
    with pytest.raises(TypeError, match=r"y_val holds labels that are bytes: decode them to str"):
        read_labels(y, 2, None, suffix="_val")


@pytest.mark.parametrize(
    ("y", "types"),
    [
        ([datetime.date(2024, 1, day) for day in (1, 2)], "date"),
        (np.array([True, 1, 0], dtype=object), "bool, int"),
        ([Decimal(1), Decimal(2)], "Decimal"),
    ],
)
def test_labels_of_other_types_are_refused_by_their_names(y, types):
    with pytest.raises(
        TypeError, match=rf"^y holds labels of type {types}: all must be .* \[str\(l"
    ):
        read_labels(y, len(y), None)


# --- class_factors

CLASSES = np.array(["cat", "dog", "emu"])


def test_no_class_weights_are_none():
    assert class_factors(None, CLASSES, np.array(CODES)) is None


def test_classes_that_are_not_named_have_a_factor_of_one():
    factors = class_factors({"dog": 2, "gnu": 7.0, "emu": 0}, CLASSES, np.array(CODES))
    assert_array_equal(factors, [1.0, 2.0, 0.0])
    assert factors.dtype == float
    assert_array_equal(class_factors({}, CLASSES, np.array(CODES)), [1.0, 1.0, 1.0])


def test_classes_are_named_by_value():
    codes = np.array([0, 1])
    for name in (3, 3.0, np.int64(3)):
        assert_array_equal(class_factors({name: 5.0}, np.array([1, 3]), codes), [1.0, 5.0])
    for name in (True, np.True_, 1):
        found = class_factors({name: 5.0}, np.array([False, True]), codes)
        assert_array_equal(found, [1.0, 5.0])


def test_balanced_gives_every_class_the_same_total():
    codes = np.array([0, 1, 1, 1, 2, 2])
    factors = class_factors("balanced", CLASSES, codes)
    assert_allclose(factors * np.bincount(codes), 2.0)
    weight = np.array([0.5, 1.0, 1.0, 0.0, 3.0, 1.0])
    factors = class_factors("balanced", CLASSES, codes, weight)
    assert_allclose(factors * np.bincount(codes, weights=weight), weight.sum() / 3)


def test_a_weight_is_a_number_of_rows_to_the_balance():
    codes, weight = np.array([0, 1, 1, 2]), np.array([2, 1, 0, 0])
    expected = class_factors("balanced", CLASSES[:2], np.array([0, 0, 1]))
    found = class_factors("balanced", CLASSES, codes, weight.astype(float))
    assert_allclose(found, [*expected, 1.0])


@pytest.mark.parametrize("factor", [-1, np.nan, np.inf, 1e61, "2", None, [1.0]])
def test_bad_factors_are_named(factor):
    with pytest.raises(ValueError, match="class_weight of 'dog' must be a number between 0 and 1e"):
        class_factors({"cat": 1.0, "dog": factor}, CLASSES, np.array(CODES))


def test_weights_of_classes_that_there_are_not_are_refused():
    targets = Targets(1, True, np.array(["a", "b"]))
    with pytest.raises(ValueError, match="class_weight names 'c', which y does not hold"):
        check_class_weight({"a": 2.0, "c": 1.0}, targets)
    check_class_weight({"a": 2.0}, targets)
    check_class_weight("balanced", targets)
    check_class_weight(None, targets)
