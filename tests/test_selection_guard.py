"""The mean of a mixture is not surely worse than that of its best member."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.selection.guard import ALLOWED, guarded

GROUPS = np.repeat(np.arange(40), 3)
ONES = np.ones(len(GROUPS))


def draw(seed=0, scales=(1.0, 2.0), n_outputs=1):
    """Return y, and predictions whose errors have the given scales."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n_outputs, len(GROUPS)))
    error = rng.normal(size=(len(scales), n_outputs, len(GROUPS)))
    return y, y + np.reshape(scales, (-1, 1, 1)) * error


def squares(weights, mean, y, row_weight=ONES):
    return (row_weight * (y - np.einsum("mo,mor->or", weights, mean)) ** 2).sum(-1)


def test_weights_move_until_the_mean_is_about_as_good_as_the_best_members():
    y, mean = draw()
    weights = np.array([[0.1], [0.9]])
    moved = guarded(weights, mean, y, ONES, GROUPS)
    best = squares(np.array([[1.0], [0.0]]), mean, y)
    assert squares(weights, mean, y) > 2 * best
    assert_allclose(squares(moved, mean, y), (1 + ALLOWED) * best)
    assert_allclose(moved.sum(0), 1.0)
    assert 0.1 < moved[0, 0] < 1.0
    # What it gives is as it should be.
    assert_array_equal(guarded(moved, mean, y, ONES, GROUPS), moved)


def test_where_a_mixture_is_as_good_as_its_members_it_stays():
    y, mean = draw(scales=(1.0, 1.0))
    weights = np.array([[0.5], [0.5]])  # errors cancel
    assert_array_equal(guarded(weights, mean, y, ONES, GROUPS), weights)
    y, mean = draw(scales=(1.0, 2.0))
    weights = np.array([[0.95], [0.05]])
    assert_array_equal(guarded(weights, mean, y, ONES, GROUPS), weights)


def test_a_few_groups_do_not_decide():
    y, mean = draw(scales=(1.0, 1.0))
    odd = GROUPS < 1
    mean[1] = np.where(odd, y + 20.0, y + 0.5 * (mean[1] - y))  # better, but in one group
    weights = np.array([[0.2], [0.8]])
    best = squares(np.array([[1.0], [0.0]]), mean, y)
    assert squares(weights, mean, y) > 2 * best
    assert_array_equal(guarded(weights, mean, y, ONES, GROUPS), weights)


def test_rows_count_by_their_weight_and_a_single_group_decides_nothing():
    y, mean = draw()
    weights = np.array([[0.1], [0.9]])
    heavy = np.random.default_rng(1).uniform(0.5, 2.0, len(GROUPS))
    moved = guarded(weights, mean, y, heavy, GROUPS)
    best = squares(np.array([[1.0], [0.0]]), mean, y, heavy)
    assert_allclose(squares(moved, mean, y, heavy), (1 + ALLOWED) * best)
    assert_allclose(guarded(weights, mean, y, 7 * heavy, GROUPS), moved)
    one = np.zeros(len(GROUPS), dtype=int)
    assert_array_equal(guarded(weights, mean, y, heavy, one), weights)


@pytest.mark.parametrize("n_members", [2, 3, 4])
def test_outputs_are_guarded_one_by_one(n_members):
    y, mean = draw(scales=(1.0, 2.0, 3.0, 4.0)[:n_members], n_outputs=2)
    weights = np.full((n_members, 2), 1 / n_members)
    weights[:, 1] = np.eye(n_members)[0]
    moved = guarded(weights, mean, y, ONES, GROUPS)
    assert_array_equal(moved[:, 1], weights[:, 1])
    alone = guarded(weights[:, :1], mean[:, :1], y[:1], ONES, GROUPS)
    assert_array_equal(moved[:, :1], alone)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_errors_may_be_too_large_or_small_to_square(scale):
    y, mean = draw()
    weights = np.array([[0.1], [0.9]])
    moved = guarded(weights, mean, y, ONES, GROUPS)
    assert_allclose(guarded(weights, scale * mean, scale * y, ONES, GROUPS), moved)
    mean[1, 0, 0] = 1e250
    assert_allclose(guarded(weights, mean, y, ONES, GROUPS), weights)  # a single group


@pytest.mark.parametrize("mean", [0.0, np.inf])
def test_without_an_error_or_with_an_infinite_one_nothing_moves(mean):
    weights = np.array([[0.1], [0.9]])
    predicted = np.full((2, 1, len(GROUPS)), mean)
    found = guarded(weights, predicted, np.zeros((1, len(GROUPS))), ONES, GROUPS)
    assert_array_equal(found, weights)


@pytest.mark.parametrize("far", [1e3, 1e8, 1e12])
def test_of_a_member_that_is_far_off_hardly_anything_is_left_and_never_less_than_nothing(far):
    y, mean = draw(scales=(1.0, far))
    moved = guarded(np.array([[0.5], [0.5]]), mean, y, ONES, GROUPS)
    assert 0 <= moved[1, 0] < 1 / far
    assert_allclose(moved.sum(), 1.0)
    best = squares(np.array([[1.0], [0.0]]), mean, y)
    assert_allclose(squares(moved, mean, y), (1 + ALLOWED) * best, rtol=1e-3)


def test_a_member_without_an_error_gets_it_all():
    y, mean = draw(scales=(0.0, 1.0))
    moved = guarded(np.array([[0.5], [0.5]]), mean, y, ONES, GROUPS)
    assert_array_equal(moved, [[1.0], [0.0]])
