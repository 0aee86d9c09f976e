"""Variances that a covariance in singular form leaves, against the covariance itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import skcml.singular_form
from skcml.singular_form import are_of_one_task, variance_left

KEPT = (2, 0, 3, 1)  # directions of each task


def state(kept=KEPT, n_rows=12, seed=0):
    """Return features of rows, directions of all tasks, where they start, and rows' tasks."""
    rng = np.random.default_rng(seed)
    directions = 0.4 * rng.normal(size=(sum(kept), 2, 3, 5))
    starts = np.concatenate([[0], np.cumsum([*kept, 0])])
    codes = rng.integers(-1, len(kept), size=n_rows)
    return rng.normal(size=(2, 3, n_rows, 5)), directions, starts, codes


def covariances(a, directions, starts, codes):
    """Return a'(I - V'V)b for the logits a, b of each row, of shape (M, m, m, n_rows)."""
    result = np.empty((2, 3, 3, len(codes)))
    for row, code in enumerate(codes):
        v = directions[starts[code] : starts[code + 1]] if code >= 0 else directions[:0]
        for head in range(2):
            for one in range(3):
                for other in range(3):
                    x, z = a[head, one, row], a[head, other, row]
                    prior = x @ z if one == other else 0.0
                    result[head, one, other, row] = prior - (v[:, head, one] @ x) @ (
                        v[:, head, other] @ z
                    )
    return result


def variances(*given):
    return np.diagonal(covariances(*given), axis1=1, axis2=2).transpose(0, 2, 1)


@pytest.mark.parametrize("gathered", [1, 40, 250_000])
def test_each_row_has_what_its_task_leaves(gathered, monkeypatch):
    monkeypatch.setattr(skcml.singular_form, "_GATHERED", gathered)
    given = state()
    expected = variances(*given)
    found = variance_left(*given, is_coupled=False)
    assert_allclose(found, np.maximum(expected, 0), atol=1e-12)
    assert (expected < 0).any()  # V is made up: what would be below zero is zero
    assert_allclose(variance_left(*given, is_coupled=True), covariances(*given), atol=1e-12)


@pytest.mark.parametrize("code", [0, -1])
def test_a_single_task_and_the_prior_alone(code):
    a, directions, starts, codes = state(kept=(3,))
    codes = np.full_like(codes, code)
    assert are_of_one_task(starts, codes)
    given = a, directions, starts, codes
    expected = np.maximum(variances(*given), 0)
    assert_allclose(variance_left(*given, is_coupled=False), expected, atol=1e-12)
    assert_allclose(variance_left(*given, is_coupled=True), covariances(*given), atol=1e-12)
    if code < 0:
        assert_allclose(expected, (a**2).sum(-1))


def test_rows_of_several_tasks_are_told_from_those_of_one():
    _, _, starts, codes = state()
    assert not are_of_one_task(starts, np.zeros_like(codes))
    assert not are_of_one_task(np.array([0, 3, 3]), np.array([0, -1]))


def test_tasks_without_directions_leave_the_prior():
    a, directions, starts, codes = state(kept=(0, 0))
    found = variance_left(a, directions, starts, codes, is_coupled=False)
    assert_allclose(found, (a**2).sum(-1))
