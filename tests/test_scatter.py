"""The scatter about predictions of networks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.problems.scatter import FLOOR, fit_scatter, scatter_of


def test_a_power_law_is_found_and_read():
    n_rows = np.array([0.0, 1.0, 3.0, 8.0])
    exact = np.array([[-1.0, -0.5], [0.3, 0.0]])
    squares = scatter_of(exact, n_rows)
    assert_allclose(squares[0], np.exp(-1.0) / np.sqrt(1 + n_rows))
    assert_allclose(fit_scatter(n_rows, squares, np.array([1.0, 2.0, 1.0, 5.0])), exact, atol=1e-12)


def test_more_rows_never_make_it_worse_and_nothing_is_certain():
    n_rows, weight = np.array([1.0, 8.0]), np.ones(2)
    ((level, power),) = fit_scatter(n_rows, np.array([[0.1, 0.4]]), weight)
    assert (np.exp(level), power) == (pytest.approx(0.2), 0.0)
    assert_allclose(fit_scatter(n_rows, np.zeros((1, 2)), weight), [[np.log(FLOOR), 0.0]])


@pytest.mark.parametrize("n_rows", [np.full(10, 3.0), 3 - 0.03 * np.arange(10)])
def test_tasks_of_nearly_as_many_rows_do_not_say_what_more_would_buy(n_rows):
    errors = np.exp(np.random.default_rng(0).normal(size=(2, 10)))
    found = fit_scatter(n_rows, errors, np.full(10, 12.0))
    assert_allclose(found[:, 0], np.log(errors).mean(1))
    assert_array_equal(found[:, 1], 0.0)
