"""Warnings point at the line that users wrote."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from skcml import CMLRegressor
from skcml.estimators._warnings import warn, warn_of_unsolved
from tests.estimators import grouped, linear

X, Y, GROUPS = grouped(n_groups=3, n_rows=2, n_features=8)


class Warns(CMLRegressor):
    def fit(self, X, y):
        exec("warn('Hm.')", {"warn": warn, "__name__": "skcml.estimators.deep"})
        return super().fit(X, y)


def test_a_warning_is_of_the_category_and_of_the_line_that_asked():
    with pytest.warns(DeprecationWarning, match="Hm") as record:
        warn("Hm.", DeprecationWarning)
    assert record[0].filename == __file__


def test_lines_of_ours_and_of_scikit_learn_are_passed_over():
    with pytest.warns(UserWarning, match="A REML fit of 9 coefficients") as record:
        linear(early_stopping=False).meta_fit(X, Y, groups=GROUPS)
    assert record[0].filename == __file__
    with pytest.warns(UserWarning, match="Hm") as record:
        cross_val_score(Warns(), X, Y, cv=2)
    assert {w.filename for w in record} == {__file__}


def test_tasks_that_are_not_near_their_minimum_are_counted():
    warn_of_unsolved([True, True])
    warn_of_unsolved([])
    with pytest.warns(ConvergenceWarning, match=r"^In 2 of 3 task\(s\).*raise inner_max_iter"):
        warn_of_unsolved(np.array([False, True, False]))
