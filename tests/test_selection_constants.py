"""The two constants: the grid they start from, and the descent."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml.rules.contrastive import Contrastive
from skcml.selection.constants import (
    PRECISIONS,
    PROBLEM,
    SCALES,
    ClassOptions,
    at_prior,
    best_constants,
    embedded,
    kept_episodes,
    learn_constants,
    solved,
)
from skcml.selection.transform import RECIPES, Transform
from tests.class_tasks import gaussian_pool, numbered_pool


def options(**changes):
    quick = {"meta_batch_size": 8, "meta_max_iter": 5, "n_ways": (3,), "n_shots": (1, 2)}
    return ClassOptions(Contrastive(), **quick | changes)


def unit_pool(**how):
    pool = gaussian_pool(**how)
    return Transform.fit(pool, RECIPES["lift"]).of_pool(pool)


def mean_loss(theta, batches, adapt=solved):
    return np.mean([PROBLEM.loss(adapt(theta, b), theta, b).mean() for b in batches])


def test_kept_episodes_have_each_number_of_ways_and_shots_once():
    rng = np.random.default_rng(0)
    kept = kept_episodes(
        numbered_pool([9] * 7), options(n_ways=(3, 20, 50), n_shots=(1, 2, 5)), 4, rng
    )
    found = [(classes.shape[1], len(e.w_support[0]) // classes.shape[1]) for classes, e in kept]
    assert found == list(product((3, 7), (1, 2, 5)))
    for classes, episode in kept:
        rows = np.take_along_axis(classes, episode.y_query.argmax(0), axis=1)
        assert_array_equal(episode.x_query[..., 0], rows)


def test_options_reach_the_sampler():
    how = options(n_shots=(4,), n_queries=3, support="first", n_ways=(2,))
    episode = how.sampler(numbered_pool([9] * 3), 2, np.random.default_rng(0)).draw()
    assert_array_equal(episode.x_support[..., 1], np.tile([0, 1, 2, 3] * 2, (5, 1)))
    assert_array_equal(episode.x_query[..., 1], np.tile([4, 5, 6] * 2, (5, 1)))


@pytest.mark.parametrize("adapt", [solved, at_prior])
def test_the_best_constants_of_a_grid_have_its_lowest_loss(adapt):
    batches = embedded(kept_episodes(unit_pool(), options(), 4, np.random.default_rng(0)))
    grid = (1.0, 10.0, 100.0), (1e-3, 1e-1)
    found = mean_loss(best_constants(batches, *grid, adapt), batches, adapt)
    losses = [mean_loss(PROBLEM.constants(*pair), batches, adapt) for pair in product(*grid)]
    assert found == min(losses)
    assert found < max(losses)


def test_rows_without_a_solve_are_told_apart_by_the_prior_means():
    batch = embedded(kept_episodes(unit_pool(), options(), 4, np.random.default_rng(0)))[0]
    theta = PROBLEM.constants(5.0, 1.0)
    weights = PROBLEM.weights(at_prior(theta, batch), theta, batch)
    assert np.linalg.norm(weights, axis=-1) == pytest.approx(5.0)


def test_without_steps_the_constants_are_those_of_the_grid():
    theta, history = learn_constants(
        unit_pool(), options(meta_max_iter=0), np.random.default_rng(0)
    )
    scale, precision = np.exp(theta.vector)
    assert np.isclose(SCALES, scale).any()
    assert np.isclose(PRECISIONS, precision).any()
    assert history.loss == []


def test_the_result_is_the_mean_of_the_last_steps():
    states, starts = [], []

    def begin(start):
        starts.append(start)
        return on_step

    def on_step(step, theta, history):
        assert len(history.loss) == step
        states.append(theta.vector.copy())
        return False

    theta, history = learn_constants(
        unit_pool(), options(meta_max_iter=10), np.random.default_rng(0), begin
    )
    assert len(states) == len(history.loss) == 10
    assert_array_equal(theta.vector, np.mean(states[-6:], axis=0))
    start, _ = learn_constants(unit_pool(), options(meta_max_iter=0), np.random.default_rng(0))
    assert_array_equal(starts[0].vector, start.vector)
    # The first step of Adam is its learning rate, ten times that of a network.
    assert abs(states[0] - start.vector) == pytest.approx(0.1, rel=1e-3)


def test_a_descent_can_be_ended():
    _, history = learn_constants(
        unit_pool(), options(), np.random.default_rng(0), lambda start: lambda step, *_: step == 2
    )
    assert len(history.loss) == 2


def test_a_descent_lowers_the_loss_of_the_grid():
    pool = unit_pool(n_classes=30)
    judge = embedded(kept_episodes(pool, options(), 100, np.random.default_rng(5)))
    losses = [
        mean_loss(
            learn_constants(pool, options(meta_max_iter=n), np.random.default_rng(0))[0], judge
        )
        for n in (0, 40)
    ]
    assert losses[1] < losses[0]


def test_the_same_seed_gives_the_same_bits():
    first, again, other = (
        learn_constants(unit_pool(), options(), np.random.default_rng(seed))[0].vector
        for seed in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert (first != other).all()
