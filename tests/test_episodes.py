"""Tasks and the episodes drawn from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcml.episodes import EpisodeSampler, TaskRows, padded_chunks
from tests.builders import counting_tasks

SIZES = [2, 7, 3, 5, 2, 9]


def sampler(tasks, seed=0, **options):
    options = {"n_shots": (2, 2), "n_queries": None, "support": "random", "batch_size": 4} | options
    return EpisodeSampler(tasks, rng=np.random.default_rng(seed), **options)


def rows_of(y, w, t):
    """Return the numbers of task t's rows that have weight."""
    return y[0, t][w[t] > 0].astype(int)


def task_of(episode):
    return episode.x_query[:, 0, 0].astype(int)


# --- episodes


def test_a_subset_of_an_episode_has_its_tasks_in_order():
    episode = sampler(counting_tasks(SIZES), batch_size=4).draw()
    part = episode.subset(np.array([2, 0]))
    np.testing.assert_array_equal(task_of(part), task_of(episode)[[2, 0]])
    for name in ("support", "query"):
        for i, t in enumerate([2, 0]):
            rows = [
                rows_of(getattr(e, "y_" + name), getattr(e, "w_" + name), k)
                for e, k in ((part, i), (episode, t))
            ]
            np.testing.assert_array_equal(*rows)


# --- TaskRows


def test_from_codes_sorts_by_task_and_keeps_the_order_within():
    codes = np.array([2, 0, 2, 0, 3, 2])
    X = np.arange(12.0).reshape(6, 2)
    tasks = TaskRows.from_codes(X, X[:, :1], np.arange(6.0), codes, 4)
    np.testing.assert_array_equal(tasks.weight, [1, 3, 0, 2, 5, 4])
    np.testing.assert_array_equal(tasks.X, X[[1, 3, 0, 2, 5, 4]])
    np.testing.assert_array_equal(tasks.y, tasks.X[:, :1])
    np.testing.assert_array_equal(tasks.starts, [0, 2, 2, 5, 6])
    np.testing.assert_array_equal(tasks.sizes, [2, 0, 3, 1])
    assert tasks.n_tasks == 4


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.integers(0, 10**6), max_size=8),
)
def test_subset_holds_the_given_tasks_in_the_given_order(sizes, picks):
    tasks = counting_tasks(sizes)
    chosen = np.array([pick % len(sizes) for pick in picks], dtype=int)
    part = tasks.subset(chosen)
    assert part.n_tasks == len(chosen)
    np.testing.assert_array_equal(part.sizes, tasks.sizes[chosen])
    for i, t in enumerate(chosen):
        ours = slice(*part.starts[i : i + 2])
        theirs = slice(*tasks.starts[t : t + 2])
        np.testing.assert_array_equal(part.X[ours], tasks.X[theirs])
        np.testing.assert_array_equal(part.y[ours], tasks.y[theirs])
        np.testing.assert_array_equal(part.weight[ours], tasks.weight[theirs])


# --- padded_chunks


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 6), st.integers(0, 300)), max_size=40), st.integers(1, 400)
)
def test_chunks_cover_every_task_once_within_bounds(sizes, max_rows):
    sizes = np.array(sizes, dtype=int)
    seen = []
    for tasks, offsets, mask in padded_chunks(sizes, max_rows=max_rows):
        assert offsets.shape == mask.shape
        assert len(tasks) == len(mask) >= 1
        assert mask.size <= max_rows or len(tasks) == 1
        assert (np.diff(tasks) > 0).all()
        # Padding at most doubles a chunk.
        longest = mask.shape[1]
        assert longest == max(sizes[tasks].max(), 1)
        assert 2 * sizes[tasks].min() >= longest or len(tasks) == 1
        np.testing.assert_array_equal(mask.sum(1), sizes[tasks])
        for row, t, real in zip(offsets, tasks, mask, strict=True):
            np.testing.assert_array_equal(row[real], np.arange(sizes[t]))
            assert (row[~real] == 0).all()
        seen += tasks.tolist()
    assert sorted(seen) == list(range(len(sizes)))


# --- EpisodeSampler


@pytest.mark.parametrize("support", ["random", "first"])
@pytest.mark.parametrize("n_shots", [1, 2, 4, 50])
def test_every_row_is_support_or_query_when_all_others_are_query(support, n_shots):
    tasks = counting_tasks(SIZES)
    chosen = np.array([5, 0, 3, 1])
    episode = sampler(tasks, support=support).split(chosen, n_shots)
    for i, t in enumerate(chosen):
        inside = rows_of(episode.y_support, episode.w_support, i)
        outside = rows_of(episode.y_query, episode.w_query, i)
        both = np.concatenate([inside, outside])
        np.testing.assert_array_equal(np.sort(both), np.arange(*tasks.starts[t : t + 2]))
        assert len(inside) == min(n_shots, SIZES[t] - 1)


def test_first_takes_the_first_rows_and_then_the_next():
    tasks = counting_tasks(SIZES)
    chosen = np.array([1, 4, 2])
    episode = sampler(tasks, support="first", n_queries=3).split(chosen, 2)
    for i, (t, n_support, n_query) in enumerate([(1, 2, 3), (4, 1, 1), (2, 2, 1)]):
        start = tasks.starts[t]
        np.testing.assert_array_equal(
            rows_of(episode.y_support, episode.w_support, i), start + np.arange(n_support)
        )
        np.testing.assert_array_equal(
            rows_of(episode.y_query, episode.w_query, i), start + n_support + np.arange(n_query)
        )


def test_random_support_depends_on_chance_alone():
    tasks = counting_tasks([6])
    draw = sampler(tasks, batch_size=1)
    counts = np.zeros(6)
    for _ in range(600):
        episode = draw.draw()
        counts[rows_of(episode.y_support, episode.w_support, 0)] += 1
    # 200 each are expected, with a standard deviation below 12.
    assert (abs(counts - 200) < 60).all()


@pytest.mark.parametrize("n_queries", [1, 2, 100])
def test_queries_are_as_many_as_asked_for_or_as_there_are(n_queries):
    tasks = counting_tasks(SIZES)
    episode = sampler(tasks, n_queries=n_queries).split(np.arange(len(SIZES)), 2)
    left = np.array(SIZES) - np.minimum(2, np.array(SIZES) - 1)
    np.testing.assert_array_equal((episode.w_query > 0).sum(1), np.minimum(left, n_queries))
    for t in range(len(SIZES)):
        inside = rows_of(episode.y_support, episode.w_support, t)
        outside = rows_of(episode.y_query, episode.w_query, t)
        assert not set(inside) & set(outside)


def test_shapes_and_padding():
    tasks = counting_tasks(SIZES, n_features=3)
    episode = sampler(tasks).split(np.array([0, 5]), 3)
    assert episode.x_support.shape == (2, 3, 3)
    assert episode.y_support.shape == (1, 2, 3)
    assert episode.w_support.shape == (2, 3)
    assert episode.x_query.shape == (2, 6, 3)
    assert episode.y_query.shape == (1, 2, 6)
    np.testing.assert_array_equal(episode.w_support, [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(episode.w_query, [[1, 0, 0, 0, 0, 0], [1] * 6])
    # Padding repeats a row of the same task, so that its features are as good as any.
    np.testing.assert_array_equal(episode.x_support[:, :, 0], [[0] * 3, [5] * 3])
    np.testing.assert_array_equal(episode.x_query[:, :, 0], [[0] * 6, [5] * 6])


def test_rows_keep_features_outputs_and_weights_together():
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(12, 2)), rng.normal(size=(12, 3)), rng.uniform(1, 2, 12)
    tasks = TaskRows.from_codes(X, y, weight, np.repeat([0, 1], 6), 2)
    episode = sampler(tasks, batch_size=2).draw()
    found = 0
    for side in ("support", "query"):
        x, out, w = (getattr(episode, f"{part}_{side}") for part in "xyw")
        assert out.shape == (3, *w.shape)
        for t, i in zip(*np.nonzero(w), strict=True):
            (row,) = np.flatnonzero((x[t, i] == X).all(1))
            np.testing.assert_array_equal(out[:, t, i], y[row])
            assert w[t, i] == weight[row]
            found += 1
    assert found == 12


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 60])
def test_each_task_is_seen_once_per_epoch(batch_size):
    tasks = counting_tasks(SIZES)
    draw = sampler(tasks, batch_size=batch_size)
    batches = [task_of(draw.draw()) for _ in range(12)]
    assert {len(batch) for batch in batches} == {min(batch_size, 6)}
    stream = np.concatenate(batches)
    for epoch in np.split(stream, range(6, len(stream), 6)):
        assert len(set(epoch)) == len(epoch)
    epochs = [tuple(epoch) for epoch in np.split(stream, range(6, len(stream), 6))]
    assert len(set(epochs)) > 1  # not the same order every time


def test_an_epoch_that_does_not_fill_a_batch_goes_on_in_the_next():
    tasks = counting_tasks(SIZES)
    draw = sampler(tasks, batch_size=4)
    stream = np.concatenate([task_of(draw.draw()) for _ in range(6)])
    np.testing.assert_array_equal(np.bincount(stream), np.full(6, 4))


def test_number_of_shots_varies_within_its_bounds():
    tasks = counting_tasks([20] * 5)
    draw = sampler(tasks, n_shots=(1, 4))
    seen = {draw.draw().w_support.shape[1] for _ in range(80)}
    assert seen == {1, 2, 3, 4}


def test_the_generator_decides_everything():
    tasks = counting_tasks(SIZES)

    def stream(seed):
        draw = sampler(tasks, seed, n_shots=(1, 3), n_queries=2)
        return [draw.draw() for _ in range(5)]

    def bits(seed):
        return [e.y_support.tobytes() + e.y_query.tobytes() for e in stream(seed)]

    assert bits(1) == bits(1)
    assert bits(1) != bits(2)


def test_no_shots_leave_all_rows_to_the_query():
    tasks = counting_tasks(SIZES)
    episode = sampler(tasks, n_shots=(0, 0), batch_size=6).draw()
    assert episode.x_support.shape == (6, 0, 1)
    np.testing.assert_array_equal((episode.w_query > 0).sum(1), tasks.sizes[task_of(episode)])
