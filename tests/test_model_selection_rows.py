"""Reading the rows of tasks, with groups as an argument, in a column, or missing."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skcml import CMLClassifier, CMLRegressor
from skcml.model_selection._rows import known_units, read_table, warn_of_known_units

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])
WARD = ["b", "b", "a", "a", "c", "c"]


def read(x=X, y=Y, groups=None, weight=None, *, estimator=None, column=None, method="fit"):
    return read_table(
        x,
        y,
        groups,
        weight,
        estimator=CMLRegressor() if estimator is None else estimator,
        group_column=column,
        method=method,
    )


def table():
    return pd.DataFrame(X, columns=["u", "v"]).assign(ward=WARD)


def test_groups_are_encoded_and_rows_taken():
    found = read(groups=WARD, weight=[1, 2, 3, 4, 5, 6])
    codes, index = found.groups
    assert_array_equal(codes, [1, 1, 0, 0, 2, 2])
    assert_array_equal(index.labels, ["a", "b", "c"])
    part = found.subset(np.array([5, 0]))
    assert_array_equal(part.X, X[[5, 0]])
    assert_array_equal(part.groups[0], [2, 1])
    assert_array_equal(part.weight, [6, 1])
    assert_array_equal(part.units[0], [2, 1])


def test_a_column_stays_where_the_estimator_looks_for_it():
    carried = read(table(), estimator=CMLRegressor(group_column="ward"), column="ward")
    assert list(carried.X.columns) == ["u", "v", "ward"]
    taken = read(table(), column="ward")
    assert list(taken.X.columns) == ["u", "v"]
    for found in (carried, taken):
        assert_array_equal(found.groups[0], [1, 1, 0, 0, 2, 2])


@pytest.mark.parametrize(
    ("classes", "groups", "is_pool"),
    [
        ("exchangeable", None, True),
        ("exchangeable", Y + 7, True),  # each group is a class
        ("auto", Y + 7, True),
        ("shared", Y + 7, False),
        ("auto", WARD, False),
        ("exchangeable", WARD, False),
    ],
)
def test_what_is_a_pool(classes, groups, is_pool):
    found = read(groups=groups, estimator=CMLClassifier(classes=classes))
    assert (found.groups is None) == is_pool
    assert len(found.units[1]) == (2 if is_pool or groups is not WARD else 3)


def test_numbers_are_no_classes():
    assert read(groups=Y).groups is not None


def test_missing_groups():
    for classes in ("auto", "shared"):
        with pytest.raises(ValueError, match="fit got no groups") as caught:
            read(estimator=CMLClassifier(classes=classes))
        assert ("classes='exchangeable'" in str(caught.value)) == (classes == "auto")
    with pytest.raises(ValueError, match=r"TaskLearner\.score got no groups"):
        read(method="score")


def known():
    return known_units(read(groups=WARD))


def told(groups, y=Y, estimator=None):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        rows = slice(0, len(groups))
        found = read(X[rows], y[rows], groups, estimator=estimator)
        warn_of_known_units(found, known())
    return [str(w.message) for w in record]


def test_groups_that_were_cut_in_two():
    assert told(WARD) == []  # whole ones, as for training scores
    assert told(["x", "x", "y", "y", "z", "z"]) == []
    assert told([1, 1, 2, 2, 3, 3]) == []  # of another kind
    (message,) = told(["a", "x", "x", "b", "b", "b"])
    assert message.startswith("2 of the 3 groups to score have labels of groups")
    assert message.endswith("by cv=GroupKFold() and groups.")


def test_classes_that_were_cut_in_two():
    estimator = CMLClassifier(classes="exchangeable")
    before = known_units(read(estimator=estimator))
    with pytest.warns(UserWarning, match=r"^2 of the 2 classes .* and groups=y\.$"):
        warn_of_known_units(read(X[:4], Y[:4], estimator=estimator), before)
    warn_of_known_units(read(X[:4], Y[:4] + 5, estimator=estimator), before)
