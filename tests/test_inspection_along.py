"""Rows that differ in one column alone, made of rows of a user's."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from skcml.inspection._along import N_POINTS, Along
from skcml.inspection._learned import Learned, what_learned
from tests.estimators import grouped, learned, quick
from tests.pipelines import learned_seller, sales

X, Y, GROUPS = grouped()
ROWS, _, SHOPS = sales(seed=1)
ONE = np.array(SHOPS == 0)
GRID = np.array([1.5, 2.5, 3.5])


def along(table, feature, query=None, est=None):
    found = what_learned(learned_seller() if est is None else est, "it", "is nothing")
    return Along(found, table, query, feature)


def held(values, of_task, query=None, kind="column"):
    """Return what a column of some values is held at, next to a column of numbers."""

    def table(values):
        if kind == "column":
            return pd.DataFrame({"x": np.arange(len(values)), "held": values})
        return pl.DataFrame({"x": np.arange(len(values)), "held": values}, strict=False)

    made = along(table(values), "x", None if query is None else table(query))
    of_task = np.array(of_task, dtype=bool)
    rows, others = made.rows(of_task, GRID)
    assert rows["x"].to_list() == GRID.tolist()
    column = rows["held"].to_list()
    assert len(column) == 3
    assert column[0] == column[1] == column[2] or pd.isna(column).all()
    return column[0], others[1]


@pytest.mark.parametrize("kind", ["column", "polars"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 4.0, 8.0, 9.0], 5.0),  # the mean of the task, which has the first three rows
        ([3, 4, 8, 9], 5.0),
        ([1, 0, 1, 0], 1),  # two values at most: the most frequent one
        ([True, False, False, True], False),
        (["b", "a", "b", "c"], "b"),
        (["1", "2", "2", "3"], "2"),  # text is no number
        ([3.0, None, 8.0, 9.0], 5.5),
        (["b", None, "b", "c"], "b"),
        ([None, "a", None, "c"], "a"),
        ([7, 7, 7, 1], 7),
    ],
)
def test_other_columns_are_held_at_the_mean_or_the_most_frequent_value(kind, values, expected):
    value, other = held(values, [1, 1, 1, 0], kind=kind)
    assert value == expected
    assert type(value) is type(expected)
    assert str(expected) == str(other) or float(expected) == other


def test_values_of_rows_to_compare_with_count():
    assert held([1.0, 2.0], [1, 1, 1, 0], query=[6.0, 9.0]) == (3.0, 3.0)
    assert held(["a", "b"], [1, 1, 1, 1], query=["c", "c"]) == ("c", "c")


@pytest.mark.parametrize("values", [[None, None, "a", "b"], [np.nan, np.nan, 1.0, 2.0], [None] * 4])
def test_what_a_task_lacks_stays_missing(values):
    assert pd.isna(held(values, [1, 1, 0, 0])[0])


def test_infinite_values_have_no_part_in_a_mean():
    assert held([1.0, np.inf, 3.0, 7.0], [1, 1, 1, 0])[0] == 2.0


def test_cells_that_are_lists_are_told_apart():
    assert held([[1, 2], [3, 4], [3, 4]], [1, 1, 1])[0] == [3, 4]


def test_types_of_columns_stay():
    frame = pd.DataFrame(
        {
            "x": [1, 2, 3],
            "level": pd.Categorical(["low", "high", "high"], ["low", "high"], ordered=True),
            "code": pd.Categorical([5, 7, 5]),
            "word": ["u", None, "v"],
            "day": pd.to_datetime(["2020-01-01", "2021-01-01", "2021-01-01"]),
            "count": pd.array([4, 4, 4], dtype="Int64"),
        },
        index=[9, 9, 4],
    )
    rows, _ = along(frame, "x").rows(np.ones(3, dtype=bool), GRID)
    assert rows.dtypes.drop("x").equals(frame.dtypes.drop("x"))
    assert rows.iloc[0].tolist()[1:5] == ["high", 5, "u", pd.Timestamp("2021-01-01")]
    assert rows.index.tolist() == [0, 1, 2]

    frame = pl.DataFrame(
        {"x": [1, 2, 3], "level": pl.Series(["low", "high", "high"], dtype=pl.Categorical)}
    )
    rows, _ = along(frame, "x").rows(np.ones(3, dtype=bool), GRID)
    assert rows.dtypes == [pl.Float64, pl.Categorical]
    assert rows["level"].to_list() == ["high"] * 3


def test_of_arrays_and_lists():
    numbers = np.array([[1, 2], [3, 4], [5, 9]])
    made = along(numbers, 0, est=learned())
    rows, others = made.rows(np.ones(3, dtype=bool), GRID)
    assert rows.dtype == float
    assert_allclose(rows, np.column_stack([GRID, np.full(3, 5.0)]))
    assert_allclose(others, [3, 5])
    mixed = [[1, "a"], [3, "b"], [5, "b"]]
    for table in (mixed, np.array(mixed, dtype=object)):
        rows, others = along(table, 0).rows(np.ones(3, dtype=bool), GRID)
        assert rows.tolist() == [[x, "b"] for x in GRID]
        assert others.tolist() == [3.0, "b"]


def test_the_table_is_left_alone():
    before = ROWS.copy()
    along(ROWS, "price", ROWS).rows(np.tile(ONE, 2), GRID)
    pd.testing.assert_frame_equal(ROWS, before)
    frame = pl.DataFrame(ROWS.to_dict("list"))
    before = frame.clone()
    along(frame, "price").rows(ONE, GRID)
    assert frame.equals(before)


def test_the_grid_goes_from_the_least_to_the_largest_of_what_is_shown():
    table = pd.DataFrame({"price": [1.0, np.nan, 4.0, 9.0], "drink": list("abcd")})
    made = along(table, "price")
    assert_array_equal(made.x, [1.0, np.nan, 4.0, 9.0])
    assert_allclose(made.grid(np.array([1, 1, 1, 0], dtype=bool)), np.linspace(1, 4, N_POINTS))
    with pytest.raises(ValueError, match="feature='price' holds no number in the rows of the gro"):
        made.grid(np.array([0, 1, 0, 0], dtype=bool))


def test_a_feature_is_found_by_name_or_place():
    frame = pd.DataFrame(X, columns=["age", "dose"]).assign(ward=GROUPS)[["age", "ward", "dose"]]
    est = quick(group_column="ward", early_stopping=False).meta_fit(frame, Y)
    for feature in ("dose", 1):
        made = along(frame, feature, est=est)
        assert (made.name, made.place) == ("dose", 2)
        assert_allclose(made.x, frame["dose"])
    # Before a pipeline they are the columns that go into it.
    assert along(ROWS, 2).name == "size"
    assert along(ROWS.to_numpy(), 2).name == "x2"
    assert along(ROWS.set_axis([0, 1, 2], axis=1), 2).name == "x2"


def test_without_a_group_column_that_is_known_by_its_place():
    table = np.column_stack([X[:, :1], GROUPS, X[:, 1:]])
    est = quick(group_column=1, early_stopping=False).meta_fit(table, Y)
    assert along(table, 1, est=est).place == 2
    # What a pipeline makes of the columns has places of its own.
    found = what_learned(est, "it", "is nothing")
    assert Along(Learned(found.estimator, found.state, [("a", None)]), table, None, 2).place == 2


@pytest.mark.parametrize("feature", [None, "x2", 2, -1, True, 0.0])
def test_a_feature_that_is_not_there_is_refused(feature):
    with pytest.raises(
        ValueError, match=r"feature=.* is not one of the 2 features: pass .* 'x0', 'x1'"
    ):
        along(X, feature, est=learned())


@pytest.mark.parametrize("values", [["a", "b"], ["1", "2"], pd.Categorical([1, 2]), [None, None]])
def test_a_feature_of_other_things_than_numbers_is_refused(values):
    with pytest.raises(ValueError, match=r"feature='it' is a column of values such as '.*'; name"):
        along(pd.DataFrame({"it": values, "other": [1, 2]}), "it")


def test_query_rows_have_the_same_columns():
    order = ["size", "price", "drink"]
    made = along(ROWS, "price", ROWS[order].assign(more=1))
    assert_allclose(made.x, np.tile(ROWS["price"], 2))
    made = along(pl.DataFrame(ROWS.to_dict("list")), 0, pl.DataFrame(ROWS[order].to_dict("list")))
    assert_allclose(made.x, np.tile(ROWS["price"], 2))
    with pytest.raises(ValueError, match=r"X_query lacks \['drink'\] of the columns of X_support"):
        along(ROWS, "price", ROWS.drop(columns="drink"))
    with pytest.raises(ValueError, match="X_query has 1 columns, and X_support 2: pass the same"):
        along(X, 0, X[:, :1])


def test_what_is_no_table_is_refused():
    with pytest.raises(TypeError, match=r"X_support is sparse.*: pass X_support.toarray\(\)"):
        along(csr_array(X), 0)
    with pytest.raises(ValueError, match=r"X_query has 1 dimension\(s\); AdaptationDisplay draws"):
        along(X, 0, ["one text", "another"])
