"""Classes, and the few-shot tasks drawn from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.class_pool import ClassEpisodeSampler, ClassPool, _some_of
from tests.class_tasks import numbered_pool

SIZES = np.array([9, 4, 1, 12, 7, 3, 2, 8])


def sampler(pool, seed=0, **changes):
    options = {
        "n_ways": (3,),
        "n_shots": (2,),
        "n_queries": 4,
        "support": "random",
        "batch_size": 20,
    }
    return ClassEpisodeSampler(pool, rng=np.random.default_rng(seed), **options | changes)


def classes_of(episode):
    """Return the class of each row of support and query, read off numbered rows."""
    return episode.x_support[..., 0].astype(int), episode.x_query[..., 0].astype(int)


# --- the pool


def test_rows_are_sorted_by_class_and_keep_their_order():
    codes = np.array([2, 0, 2, 3, 0])
    X = np.arange(10.0).reshape(5, 2)
    pool = ClassPool.from_codes(X, np.arange(5.0), codes, 4)
    assert_array_equal(pool.starts, [0, 2, 2, 4, 5])
    assert_array_equal(pool.sizes, [2, 0, 2, 1])
    assert_array_equal(pool.weight, [1, 4, 0, 2, 3])
    assert_array_equal(pool.X, X[[1, 4, 0, 2, 3]])
    assert_array_equal(pool.codes, [0, 0, 2, 2, 3])
    assert_array_equal(pool.group, np.zeros(4))
    assert pool.n_classes == 4


def test_a_subset_has_the_rows_of_its_classes_in_the_order_asked_for():
    pool = numbered_pool(SIZES, group=np.arange(8) * 10)
    part = pool.subset(np.array([5, 0]))
    assert_array_equal(part.sizes, [3, 9])
    assert_array_equal(part.group, [50, 0])
    assert_array_equal(part.X[:, 0], [5] * 3 + [0] * 9)
    assert_array_equal(part.X[:, 1], [*range(3), *range(9)])
    assert_array_equal(part.weight, [6] * 3 + [1] * 9)


def test_usable_are_classes_of_two_rows_in_groups_of_two_such_classes():
    pool = numbered_pool(SIZES, group=np.array([4, 4, 4, 2, 2, 1, 3, 3]))
    assert [list(classes) for classes in pool.usable()] == [[3, 4], [6, 7], [0, 1]]


# --- episodes


def test_an_episode_is_one_hot_and_has_every_class_of_a_task_in_both_parts():
    episode = sampler(numbered_pool(SIZES)).draw()
    assert episode.x_support.shape == (33, 6, 2)
    assert episode.x_query.shape == (33, 12, 2)
    assert episode.y_support.shape == (3, 33, 6)
    assert episode.y_query.shape == (3, 33, 12)
    assert (episode.y_support.sum(0) == 1).all()
    for t in range(33):
        names = [set(classes_of(episode)[0][t][episode.y_support[c, t] == 1]) for c in range(3)]
        asked = [set(classes_of(episode)[1][t][episode.y_query[c, t] == 1]) for c in range(3)]
        assert names == asked
        assert all(len(name) == 1 for name in names)
        assert len(set.union(*names)) == 3


@pytest.mark.parametrize("support", ["random", "first"])
def test_no_row_is_learned_from_and_judged_by(support):
    episode = sampler(numbered_pool(SIZES), support=support).draw()
    for t in range(33):
        known = [tuple(row) for row in episode.x_support[t][episode.w_support[t] > 0]]
        asked = [tuple(row) for row in episode.x_query[t][episode.w_query[t] > 0]]
        assert len(set(known + asked)) == len(known) + len(asked)


def test_rows_have_their_weights_and_padding_has_none():
    episode = sampler(numbered_pool(SIZES), n_shots=(5,), batch_size=60).draw()
    known, asked = classes_of(episode)
    for classes, weight, most in (
        (known, episode.w_support, np.minimum(5, SIZES - 1)),
        (asked, episode.w_query, np.minimum(4, SIZES - np.minimum(5, SIZES - 1))),
    ):
        assert set(np.unique(weight - (1 + classes) * (weight > 0))) == {0}
        for t in range(len(weight)):
            for c in np.unique(classes[t]):
                assert (weight[t][classes[t] == c] > 0).sum() == most[c]


def test_classes_of_one_row_are_never_drawn_and_all_others_are():
    episode = sampler(numbered_pool(SIZES), batch_size=200).draw()
    assert set(np.unique(classes_of(episode)[0])) == set(range(8)) - {2}


def test_the_first_rows_are_support_and_the_next_ones_query():
    episode = sampler(numbered_pool([9, 9, 9]), support="first", n_shots=(3,)).draw()
    assert_array_equal(episode.x_support[:, :, 1], np.tile([0, 1, 2] * 3, (33, 1)))
    assert_array_equal(episode.x_query[:, :, 1], np.tile([3, 4, 5, 6] * 3, (33, 1)))


def test_ways_and_shots_are_drawn_from_those_given():
    drawn = sampler(numbered_pool([9] * 12), n_ways=(2, 5, 10), n_shots=(1, 4), batch_size=8)
    seen = set()
    for _ in range(60):
        episode = drawn.draw()
        n_ways, n_tasks, n_support = episode.y_support.shape
        assert n_tasks == {2: 20, 5: 8, 10: 4}[n_ways]
        seen.add((n_ways, n_support // n_ways))
    assert seen == {(ways, shots) for ways in (2, 5, 10) for shots in (1, 4)}


def test_ways_are_capped_by_the_largest_group():
    pool = numbered_pool([5] * 7, group=np.array([0, 0, 0, 0, 1, 1, 1]))
    capped = sampler(pool, n_ways=(20, 3, 50))
    assert capped.ways == [3, 4]
    assert {len(capped.draw().y_support) for _ in range(20)} == {3, 4}
    assert (capped.choose(20) < 4).all()


def test_an_episode_holds_at_least_one_task():
    assert sampler(numbered_pool([5] * 20), n_ways=(20,), batch_size=1).draw().w_query.shape[0] == 1


def test_groups_are_kept_apart_and_all_are_drawn():
    group = np.arange(40) % 3
    known, _ = classes_of(sampler(numbered_pool([5] * 40, group), n_ways=(6,)).draw())
    assert (group[known] == group[known][:, :1]).all()
    assert set(np.unique(group[known])) == {0, 1, 2}


def test_the_same_seed_gives_the_same_bits():
    episodes = [sampler(numbered_pool(SIZES), seed).draw() for seed in (3, 3, 4)]
    for name, array in vars(episodes[0]).items():
        assert_array_equal(array, getattr(episodes[1], name))
    assert (episodes[0].x_support != episodes[2].x_support).any()


@pytest.mark.parametrize("size", [4, 5])
def test_every_order_of_rows_is_equally_likely(size):
    # With four rows all are shuffled, of five a few are drawn.
    n, n_pairs = 60_000, size * (size - 1)
    drawn = _some_of(np.full(n, size), np.full(n, 2), np.random.default_rng(0))
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(pairs) == n_pairs
    assert_allclose(counts / n, 1 / n_pairs, atol=0.006)


@pytest.mark.parametrize("largest", [6, 1_000_000])
def test_rows_are_drawn_as_far_as_there_are_any(largest):
    sizes, counts = np.array([2, 5, largest]), np.array([2, 5, 3])
    drawn = _some_of(sizes, counts, np.random.default_rng(0))
    assert drawn.shape == (3, 5)
    assert ((drawn >= 0) & (drawn < sizes[:, None])).all()
    assert_array_equal(np.sort(drawn[1]), np.arange(5))
    assert_array_equal(np.sort(drawn[0, :2]), [0, 1])
    assert len(set(drawn[2, :3])) == 3


def test_all_other_rows_can_be_asked_for():
    episode = sampler(numbered_pool(SIZES), n_queries=2**31, batch_size=100).draw()
    _, asked = classes_of(episode)
    for t in range(len(asked)):
        for c in np.unique(asked[t]):
            assert (episode.w_query[t][asked[t] == c] > 0).sum() == SIZES[c] - min(2, SIZES[c] - 1)
