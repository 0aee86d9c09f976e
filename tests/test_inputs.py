"""Reading tables, outputs and weights, and giving back the earlier state."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skcml import CMLRegressor
from skcml.estimators._inputs import (
    all_or_nothing,
    check_whole,
    read_features,
    read_numbers,
    read_outputs,
    read_probabilities,
    read_weights,
)

X = np.arange(12.0).reshape(6, 2)
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(ward=list("uvuvwu"))


# --- all_or_nothing


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_restores_what_was_set_changed_or_deleted(error):
    estimator = CMLRegressor(tol=0.5)
    estimator.kept_, estimator.gone_ = "kept", "gone"
    before = dict(vars(estimator))

    def change_and_fail():
        with all_or_nothing(estimator):
            estimator.new_, estimator.kept_, estimator.tol = 1, "changed", 0.1
            del estimator.gone_
            raise error

    with pytest.raises(error):
        change_and_fail()
    assert vars(estimator) == before


def test_a_success_keeps_the_changes():
    estimator = CMLRegressor()
    with all_or_nothing(estimator):
        estimator.new_ = 1
    assert estimator.new_ == 1


# --- read_features


@pytest.mark.parametrize("column", ["ward", 2, -1])
def test_the_group_column_is_no_feature_but_counts_as_a_column(column):
    estimator = CMLRegressor(group_column=column)
    features, groups = read_features(estimator, FRAME, None, reset=True)
    assert_array_equal(features, X)
    assert list(groups) == list("uvuvwu")
    assert estimator.n_features_in_ == 3
    assert list(estimator.feature_names_in_) == ["a", "b", "ward"]


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        (list("uvuvwu"), np.array(list("uvuvwu"))),
        ([1, 2, 1, 2, 3, 1], [1.0, 2.0, 1.0, 2.0, 3.0, 1.0]),
        (pd.Categorical(list("uvuvwu")), FRAME["ward"]),
    ],
)
def test_groups_may_be_passed_beside_a_group_column_that_says_the_same(column, groups):
    estimator = CMLRegressor(group_column="ward")
    features, found = read_features(estimator, FRAME.assign(ward=column), groups, reset=True)
    assert_array_equal(features, X)
    assert list(found) == list(column)


def test_without_group_column_everything_is_a_feature():
    estimator = CMLRegressor()
    features, groups = read_features(estimator, FRAME[["a", "b"]], None, reset=True)
    assert_array_equal(features, X)
    assert features.dtype == np.float64
    assert groups is None


@pytest.mark.parametrize("values", [X.tolist(), X.astype(np.float32), np.asfortranarray(X), X])
def test_arrays_of_any_kind_are_read_alike(values):
    estimator = CMLRegressor()
    for reset in (True, False):
        features, _ = read_features(estimator, values, None, reset=reset)
        assert_array_equal(features, X)
        assert features.dtype == np.float64


def test_known_names_are_asked_for_again():
    estimator = CMLRegressor()
    read_features(estimator, FRAME[["a", "b"]], None, reset=True)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        read_features(estimator, X, None, reset=False)
    with pytest.raises(ValueError, match="X: The feature names should match"):
        read_features(estimator, FRAME[["b", "a"]], None, reset=False)


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [1.0, np.inf], [-np.inf, 1.0]])
def test_values_that_are_not_finite_are_refused(bad):
    estimator = CMLRegressor()
    read_features(estimator, X, None, reset=True)
    with pytest.raises(ValueError, match="Input X contains"):
        read_features(estimator, np.array([bad]), None, reset=False)
    with pytest.raises(ValueError, match="Input y contains"):
        read_outputs(np.array(bad), 2, estimator)


def test_finite_values_with_an_infinite_sum_are_called_large_and_not_infinite():
    estimator = CMLRegressor()
    read_features(estimator, X, None, reset=True)
    with pytest.raises(ValueError, match="X holds a value of size"):
        read_features(estimator, np.full((2, 2), 1e308), None, reset=False)
    large = np.full((2, 2), 1e60)
    assert_array_equal(read_features(estimator, large, None, reset=False)[0], large)


# --- read_outputs


@pytest.mark.parametrize("y", [np.arange(6.0), np.arange(6), list(range(6)), pd.Series(range(6))])
def test_one_dimension_is_one_output(y):
    values, is_flat = read_outputs(y, 6, CMLRegressor())
    assert_array_equal(values, np.arange(6.0)[:, None])
    assert values.dtype == np.float64
    assert is_flat


def test_two_dimensions_stay():
    values, is_flat = read_outputs(X, 6, CMLRegressor())
    assert_array_equal(values, X)
    assert not is_flat


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (None, "CMLRegressor requires y_val to be passed"),
        (np.zeros(4), "y_val has 4 rows, but X_val has 6"),
        (np.zeros((6, 0)), "y_val"),
        (np.zeros((6, 1, 1)), "y_val: Found array with dim 3"),
        (["a"] * 6, "y_val: could not convert string"),
        ([0, 0, 0, 0, 0, np.nan], "Input y_val contains NaN"),
    ],
)
def test_bad_outputs_are_refused_by_name(y, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_outputs(y, 6, CMLRegressor(), suffix="_val")


@pytest.mark.parametrize(
    "dates",
    [
        [np.datetime64("2024-01-01")] * 6,
        (np.timedelta64(1, "D"),) * 6,
        np.full(6, np.datetime64("2024-01-01")),
        pd.Series(pd.date_range("2024", periods=6)),
    ],
)
def test_dates_are_no_numbers_whatever_holds_them(dates):
    with pytest.raises(TypeError, match=r"^y_val holds dates or durations, which are no numbers"):
        read_outputs(dates, 6, CMLRegressor(), suffix="_val")
    with pytest.raises(TypeError, match=r"^sample_weight holds dates or durations"):
        read_weights(dates, X)


def test_what_is_under_a_mask_is_no_number():
    masked = np.ma.array(X, mask=X > 9)
    sentence = r"is a masked array with 2 masked value\(s\): fill them in, or leave these rows out"
    with pytest.raises(ValueError, match=f"^X_val {sentence}"):
        read_features(CMLRegressor(), masked, None, reset=True, name="X_val")
    with pytest.raises(ValueError, match=f"^y {sentence}"):
        read_outputs(masked, 6, CMLRegressor())
    with pytest.raises(ValueError, match=r"^sample_weight is a masked array with 1 masked"):
        read_weights(masked[:, 0], X)
    features, _ = read_features(CMLRegressor(), np.ma.array(X), None, reset=True)
    assert_array_equal(features, X)
    named = pd.DataFrame(X, columns=["a", "_mask"])
    assert_array_equal(read_features(CMLRegressor(), named, None, reset=True)[0], X)


def test_outputs_that_are_no_table_yet_are_refused():
    with pytest.raises(TypeError, match=r"^y is a LazyFrame: call its collect\(\) first"):
        read_outputs(pl.DataFrame({"y": X[:, 0]}).lazy(), 6, CMLRegressor())


# --- read_weights and read_probabilities


def test_weights_are_floats_or_none():
    assert read_weights(None, X) is None
    assert_array_equal(read_weights([0, 1, 2, 0, 1, 2], X), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "weight", [np.ones(5), -np.ones(6), np.zeros(6), np.ones((6, 2)), [1, 1, 1, 1, 1, np.nan]]
)
def test_bad_weights_are_refused_by_name(weight):
    with pytest.raises(ValueError, match="sample_weight"):
        read_weights(weight, X)


def test_weights_of_absurd_size_are_refused():
    with pytest.raises(ValueError, match=r"sample_weight holds 1\.0e-70; a weight is zero, or at"):
        read_weights([1, 1, 0, 1, 1, 1e-70], X)
    with pytest.raises(ValueError, match="sample_weight holds a value of size"):
        read_weights([1, 1, 0, 1, 1, 1e70], X)
    with pytest.raises(ValueError, match="Negative values in sample_weight, the least of them -2:"):
        read_weights([1, 1, 0, 1, 1, -2], X)
    with pytest.raises(TypeError, match="sample_weight holds dates"):
        read_weights(np.full(6, np.datetime64("2024")), X)


def test_probabilities_are_one_or_many():
    assert_array_equal(read_probabilities(0.5), [0.5])
    assert_array_equal(read_probabilities((0.9, 0.1)), [0.9, 0.1])


@pytest.mark.parametrize("q", [0, 1, -0.1, [0.5, 1.1], np.nan, 10**400, None, "half", [], [[0.5]]])
def test_what_is_no_probability_is_refused(q):
    with pytest.raises(ValueError, match="q must be probabilities between 0 and 1, both excluded"):
        read_probabilities(q)


def test_counts_are_whole_numbers():
    check_whole(n_tasks=np.int64(3), n_repeats=1)
    check_whole(0, n_shots=0)
    for value in (0, True, 1.0, "1", None, np.array([1])):
        with pytest.raises(ValueError, match=r"^n=.* must be a whole number of 1 or more\.$"):
            check_whole(n=value)


def test_numbers_are_read_by_name():
    assert_array_equal(read_numbers([[1, 2]], "q"), [[1.0, 2.0]])
    for values, message in (
        ([[np.nan]], "Input q contains NaN"),
        ([1.0], "q: Expected 2D array"),
        (np.ma.masked_array([[1.0]], [[True]]), "q is a masked array"),
    ):
        with pytest.raises(ValueError, match=message):
            read_numbers(values, "q")
