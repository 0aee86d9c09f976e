"""Groups in a column of X, and groups that are passed beside it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skcml.estimators._group_column import agreed_groups
from tests.estimators import grouped, quick

COLUMN = list("uvuvwu")


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        (COLUMN, None),
        (COLUMN, np.array(COLUMN)),
        (pd.Series(COLUMN, dtype="category"), COLUMN),
        (np.array([1, 2, 1]), [1.0, 2.0, 1.0]),
        (
            pd.Series(pd.date_range("2024", periods=3)),
            np.arange("2024-01-01", "2024-01-04", dtype="M8"),
        ),
    ],
)
def test_the_column_is_the_groups_and_others_may_say_the_same(column, groups):
    assert agreed_groups(groups, column, "ward", "X") is column


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        (list("uvuwwu"), "row 3 has 'w' in groups and 'v' in that column of X"),
        # The partition is the same, but predict would not find these labels.
        ([*list("abab"), "c", "a"], "row 0 has 'a' in groups and 'u' in"),
        ([1, 2, 1, 2, 3, 1], "row 0 has 1 in groups and 'u' in"),
    ],
)
def test_groups_that_are_not_those_of_the_column_are_refused(groups, sentence):
    expected = rf"^groups and group_column='ward' disagree: {sentence}.*Leave groups out, or set gr"
    with pytest.raises(ValueError, match=expected):
        agreed_groups(groups, COLUMN, "ward", "X")
    with pytest.raises(ValueError, match=r"^groups_val and group_column=2 .* column of X_val"):
        agreed_groups(groups, COLUMN, 2, "X_val")


def test_errors_say_which_of_the_two_is_bad():
    column = pd.Series([1.0, np.nan, 2.0])
    for groups in (None, [1, 2, 3]):
        with pytest.raises(
            ValueError, match=r"^column 'ward' of X has 1 missing label .* in row 1"
        ):
            agreed_groups(groups, column, "ward", "X")
    with pytest.raises(ValueError, match=r"^groups has 1 missing label"):
        agreed_groups([None, 1, 2], [1, 2, 3], "ward", "X")
    with pytest.raises(ValueError, match=r"^groups has 2 labels for 6 rows"):
        agreed_groups([1, 2], COLUMN, "ward", "X")


def test_the_estimator_asks_both_at_every_call():
    X, y, groups = grouped()
    table = pd.DataFrame(X, columns=["a", "b"]).assign(ward=groups)
    other = np.roll(groups, 1)
    estimator = quick(group_column="ward", early_stopping=False)
    with pytest.raises(ValueError, match=r"^groups and group_column='ward' disagree: row 0 has 11"):
        estimator.meta_fit(table, y, groups=other)
    estimator.meta_fit(table, y, groups=groups)
    with pytest.raises(ValueError, match=r"^groups and group_column='ward' disagree"):
        estimator.fit(table, y, groups=other)
    expected = estimator.fit(table, y).predict(table)
    assert_array_equal(
        estimator.fit(table, y, groups=groups).predict(table, groups=groups), expected
    )
    with pytest.raises(ValueError, match=r"^groups and group_column='ward' disagree"):
        estimator.predict(table, groups=other)
    with pytest.raises(ValueError, match=r"^column 'ward' of X has 6 missing labels"):
        estimator.predict(table.assign(ward=np.where(groups == 3, np.nan, groups)))
