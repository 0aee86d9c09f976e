"""pop_group_column: the same split of every kind of table, and a sentence where there is none."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from skcml.grouping import encode_groups, pop_group_column

COLUMNS = {"age": [31.0, 44.0], "ward": ["b", "a"], "dose": [1, 2]}
ROWS = [[31.0, "b", 1], [44.0, "a", 2]]
REST = {0: [["b", 1], ["a", 2]], 1: [[31.0, 1], [44.0, 2]], 2: [[31.0, "b"], [44.0, "a"]]}
TABLES = {
    "pandas": pd.DataFrame(COLUMNS),
    "polars": pl.DataFrame(COLUMNS),
    "array": np.array(ROWS, dtype=object),
    "rows": ROWS,
    "tuples": tuple(map(tuple, ROWS)),
}
FRAMES = ["pandas", "polars"]


def as_rows(table):
    """Return any table as a list of lists."""
    if isinstance(table, pl.DataFrame):
        return [list(row) for row in table.rows()]
    return table if isinstance(table, list) else np.asarray(table).tolist()


@pytest.mark.parametrize("position", [0, 1, 2, -1, -2, -3, np.int64(1)])
@pytest.mark.parametrize("table", TABLES)
def test_a_position_splits_every_table(table, position):
    X = TABLES[table]
    rest, groups = pop_group_column(X, position)
    assert as_rows(rest) == REST[position % 3]
    assert list(groups) == [row[position] for row in ROWS]
    codes, _ = encode_groups(groups, 2)
    assert sorted(codes) == [0, 1]
    assert as_rows(X) == as_rows(TABLES[table])
    assert np.shape(X) == (2, 3)


@pytest.mark.parametrize("name", ["age", "ward", np.str_("dose")])
@pytest.mark.parametrize("table", FRAMES)
def test_a_name_splits_frames(table, name):
    X = TABLES[table]
    rest, groups = pop_group_column(X, name)
    assert type(rest) is type(X)
    assert list(rest.columns) == [column for column in COLUMNS if column != name]
    assert type(groups).__name__ == "Series"
    assert groups.name == name
    assert list(X.columns) == list(COLUMNS)


def test_columns_of_frames_keep_their_types():
    rest, _ = pop_group_column(TABLES["pandas"], "ward")
    assert list(map(str, rest.dtypes)) == ["float64", "int64"]
    rest, _ = pop_group_column(TABLES["polars"], "ward")
    assert rest.dtypes == [pl.Float64, pl.Int64]


def test_nothing_is_copied_that_can_be_shared():
    frame = pd.DataFrame(np.ones((4, 3)), columns=list("abc"))
    rest, groups = pop_group_column(frame, "b")
    assert np.shares_memory(rest["a"].to_numpy(), frame["a"].to_numpy())
    assert np.shares_memory(groups.to_numpy(), frame["b"].to_numpy())
    array = np.ones((4, 3))
    for position in (0, -1):
        rest, groups = pop_group_column(array, position)
        assert np.shares_memory(rest, array)
        assert np.shares_memory(groups, array)


def test_pandas_columns_that_are_not_text_or_not_distinct_go_by_position():
    frame = pd.DataFrame(ROWS, columns=[10, "x", "x"])
    rest, groups = pop_group_column(frame, 1)
    assert list(rest.columns) == [10, "x"]
    assert list(groups) == ["b", "a"]
    assert as_rows(rest) == REST[1]
    rest, groups = pop_group_column(frame, 0)  # a position, not the column called 10
    assert list(groups) == [31.0, 44.0]
    with pytest.raises(ValueError, match=r"group_column='x' names 2 columns of X \(10, 'x', 'x'\)"):
        pop_group_column(frame, "x")


@pytest.mark.parametrize("table", FRAMES)
def test_an_unknown_name_lists_the_columns(table):
    sentence = (
        r"group_column='shop' is not one of the 3 columns of X \('age', 'ward', 'dose'\); pass"
    )
    with pytest.raises(ValueError, match=sentence):
        pop_group_column(TABLES[table], "shop")


def test_at_most_ten_columns_are_listed():
    frame = pd.DataFrame(np.ones((1, 12)), columns=[f"c{i}" for i in range(12)])
    with pytest.raises(ValueError, match=r"of the 12 columns of X \('c0', .*'c9', \.\.\.\)"):
        pop_group_column(frame, "shop")


@pytest.mark.parametrize("position", [3, -4])
@pytest.mark.parametrize("table", TABLES)
def test_a_position_out_of_range_says_the_range(table, position):
    sentence = f"group_column={position} is not a position in X, which has 3 columns"
    with pytest.raises(ValueError, match=f"{sentence}.*; pass an integer from -3 to 2"):
        pop_group_column(TABLES[table], position)


@pytest.mark.parametrize("table", ["array", "rows", "tuples"])
def test_a_name_needs_a_frame(table):
    with pytest.raises(
        ValueError, match=r"'ward' is a name, but X has no column names; .* set_output"
    ):
        pop_group_column(TABLES[table], "ward")


@pytest.mark.parametrize("group_column", [True, np.bool_(True), 1.0, None, ["ward"], ("ward",)])
@pytest.mark.parametrize("table", TABLES)
def test_another_type_is_refused(table, group_column):
    with pytest.raises(TypeError, match=r"group_column must be the name \(str\) or .* was .* of t"):
        pop_group_column(TABLES[table], group_column)


def test_sparse_tables_are_refused_with_a_way_out():
    with pytest.raises(TypeError, match=r"X was a sparse csr_array, .* pass groups instead, or"):
        pop_group_column(sparse.csr_array(np.eye(3)), 0)


@pytest.mark.parametrize(
    "X", [np.ones(3), pd.Series([1, 2]), pl.Series([1, 2]), [1, 2], ["ab", "cd"], [], [{"a": 1}]]
)
def test_what_is_no_table_is_refused(X):
    with pytest.raises(ValueError, match="X must be a table"):
        pop_group_column(X, 0)


def test_rows_of_different_lengths_are_named():
    with pytest.raises(ValueError, match="row 0 has 2 values and row 2 has 3"):
        pop_group_column([[1, 2], [3, 4], [5, 6, 7]], 0)


def test_rows_may_be_arrays():
    rest, groups = pop_group_column([np.array([1.0, 2.0]), np.array([3.0, 4.0])], 0)
    assert rest == [[2.0], [4.0]]
    assert groups == [1.0, 3.0]
