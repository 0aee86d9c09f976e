"""Held-out groups: each once per number of shots, each counting the same."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.episodes import TaskRows
from skcml.selection import held_out as module
from skcml.selection.held_out import MAX_QUERIES, HeldOut
from skcml.solvers.closed_form import closed_form
from tests.builders import counting_tasks, head_problem, random_theta

SIZES = (2, 20, 5, 70, 9, 3, 12)


def draw(tasks=None, n_shots=(1, 8), support="random", seed=0):
    tasks = counting_tasks(SIZES, 3) if tasks is None else tasks
    return HeldOut.draw(tasks, n_shots, support, np.random.default_rng(seed))


def random_tasks(n_outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    n = sum(SIZES)
    X, y, weight = rng.normal(size=(n, 3)), rng.normal(size=(n, n_outputs)), rng.uniform(0.5, 2, n)
    return TaskRows(X, y, weight, np.cumsum([0, *SIZES]))


# --- how groups are split


@pytest.mark.parametrize(
    ("n_shots", "expected"),
    [((1, 8), [1, 3, 8]), ((5, 5), [5]), ((2, 3), [2, 3]), ((1, 100), [1, 10, 100])],
)
def test_there_are_few_numbers_of_shots_from_the_lowest_to_the_highest(n_shots, expected):
    held_out = draw(n_shots=n_shots)
    assert held_out.n_levels == len(held_out.episodes) == len(expected)
    for episode, k in zip(held_out.episodes, expected, strict=True):
        counts = (episode.w_support > 0).sum(1)
        assert_array_equal(counts, np.minimum(k, np.array(SIZES) - 1))


def test_a_row_is_support_or_query_and_not_both():
    tasks = counting_tasks(SIZES, 3)
    for episode in draw(tasks).episodes:
        for t, size in enumerate(SIZES):
            support = episode.y_support[0, t][episode.w_support[t] > 0]
            query = episode.y_query[0, t][episode.w_query[t] > 0]
            both = np.concatenate([support, query])
            assert len(np.unique(both)) == len(both) == min(size, len(support) + MAX_QUERIES)
            assert (both >= tasks.starts[t]).all()
            assert (both < tasks.starts[t + 1]).all()


def test_first_rows_are_the_support_where_the_past_is_to_predict():
    tasks = counting_tasks(SIZES, 3)
    for episode, k in zip(draw(tasks, support="first").episodes, (1, 3, 8), strict=True):
        for t, size in enumerate(SIZES):
            n = min(k, size - 1)
            support = episode.y_support[0, t][episode.w_support[t] > 0]
            assert_array_equal(support, tasks.starts[t] + np.arange(n))
            query = episode.y_query[0, t][episode.w_query[t] > 0]
            assert query[0] == tasks.starts[t] + n


def test_the_same_seed_draws_the_same_rows():
    first, second, other = draw(seed=0), draw(seed=0), draw(seed=1)
    assert_array_equal(first.y, second.y)
    assert (first.y != other.y).any()


# --- what a row belongs to, and what it weighs


@pytest.mark.parametrize("max_groups", [512, 4, 3, 1])
def test_rows_know_their_group(monkeypatch, max_groups):
    monkeypatch.setattr(module, "MAX_GROUPS", max_groups)
    held_out = draw()
    assert len(held_out.episodes) == 3 * -(-len(SIZES) // max_groups)
    assert max(len(e.w_query) for e in held_out.episodes) <= max_groups
    assert held_out.n_groups == len(SIZES)
    # The first feature numbers the groups.
    assert_array_equal(held_out.group, held_out.x[:, 0])
    # y numbers the rows.
    tasks = counting_tasks(SIZES, 3)
    assert_array_equal(tasks.X[held_out.y[0].astype(int)], held_out.x)


@pytest.mark.parametrize("max_groups", [512, 3])
def test_each_group_counts_the_same(monkeypatch, max_groups):
    monkeypatch.setattr(module, "MAX_GROUPS", max_groups)
    held_out = draw(random_tasks())
    totals = np.bincount(held_out.group, held_out.weight)
    assert_allclose(totals, np.full(len(SIZES), 3.0))
    assert (held_out.weight > 0).all()


def test_within_a_group_rows_count_by_their_weight():
    tasks = random_tasks()
    tasks = dataclasses.replace(tasks, y=tasks.weight[:, None])
    held_out = draw(tasks, n_shots=(2, 2))
    for t in range(len(SIZES)):
        weight, given = held_out.weight[held_out.group == t], held_out.y[0, held_out.group == t]
        assert_allclose(weight, given / given.sum())


def test_groups_of_which_nothing_is_known_are_all_query():
    tasks = counting_tasks(SIZES, 3)
    (episode,) = draw(tasks, n_shots=(0, 0)).episodes
    assert episode.w_support.shape == (len(SIZES), 0)
    counts = (episode.w_query > 0).sum(1)
    assert_array_equal(counts, np.minimum(SIZES, MAX_QUERIES))


# --- what a model is worth


@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_densities_are_the_predictions_of_the_inner_problem(monkeypatch, meta_loss, hidden):
    monkeypatch.setattr(module, "MAX_GROUPS", 3)
    held_out = draw(random_tasks())
    problem = head_problem(hidden, 2, meta_loss)
    theta = random_theta(problem)
    densities = held_out.densities(problem, theta)
    assert densities.mean.shape == densities.variance.shape == (1, *held_out.y.shape)
    honest = dataclasses.replace(problem, meta_loss="log_predictive")
    first = 0
    for episode in held_out.episodes:
        mean, variance = honest.predict(theta, episode)
        for t, mask in enumerate(episode.w_query > 0):
            part = slice(first, first + mask.sum())
            assert_array_equal(densities.mean[0][:, part], mean[:, t, mask])
            assert_array_equal(densities.variance[0][:, part], variance[:, t, mask])
            first += mask.sum()
    assert first == held_out.y.shape[1]


def test_the_mean_loss_is_minus_the_mean_log_density():
    held_out = draw(random_tasks(1))
    problem = head_problem((7,), 1)
    theta = random_theta(problem)
    log_density = held_out.densities(problem, theta).log_density(held_out.y)[0, 0]
    loss = held_out.mean_loss(problem, closed_form, theta)
    assert loss == pytest.approx(-np.average(log_density, weights=held_out.weight), rel=1e-12)


def test_the_mean_squared_loss_counts_each_group_the_same():
    held_out = draw(random_tasks(2))
    problem = head_problem((7,), 2, "loss")
    theta = random_theta(problem)
    mean = held_out.densities(problem, theta).mean[0]
    squares = 0.5 * ((held_out.y - mean) ** 2).sum(0)
    expected = np.average(squares, weights=held_out.weight)
    assert held_out.mean_loss(problem, closed_form, theta) == pytest.approx(expected, rel=1e-12)
