"""Held-out classes: which they are, what they say, and what follows from it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.rules.contrastive import Contrastive
from skcml.selection.constants import (
    KEPT_SIZE,
    PROBLEM,
    ClassOptions,
    best_constants,
    embedded,
    kept_episodes,
    solved,
)
from skcml.selection.held_out_classes import (
    JUDGED_SIZE,
    MODELS,
    choose,
    joined,
    look,
    split_classes,
)
from skcml.selection.transform import RECIPES, Transform
from tests.class_tasks import gaussian_pool, numbered_pool

OPTIONS = ClassOptions(Contrastive(), n_ways=(3,), n_shots=(2,))


def split(pool, validation=None, **changes):
    """Return the numbers of the classes to learn from and to judge by, of each fold."""
    how = ClassOptions(Contrastive(), **changes)
    pairs = split_classes(pool, validation, how, np.random.default_rng(0))
    return [tuple(set(p.X[:, 0].astype(int)) for p in pair) for pair in pairs]


# --- which


@pytest.mark.parametrize(("n_classes", "n_held"), [(30, 6), (100, 20)])
def test_of_many_classes_a_share_is_held_out_once(n_classes, n_held):
    ((train, held),) = split(numbered_pool([3] * n_classes))
    assert len(held) == n_held
    assert train == set(range(n_classes)) - held
    ((_, half),) = split(numbered_pool([3] * n_classes), validation_fraction=0.5)
    assert len(half) == n_classes // 2


@pytest.mark.parametrize(("n_classes", "n_folds"), [(4, 2), (5, 2), (6, 3), (29, 3)])
def test_of_few_classes_each_is_held_out_in_one_fold(n_classes, n_folds):
    folds = split(numbered_pool([2] * n_classes))
    assert len(folds) == n_folds
    assert sorted(c for _, held in folds for c in held) == list(range(n_classes))
    for train, held in folds:
        assert train == set(range(n_classes)) - held
        assert min(len(train), len(held)) >= 2


def test_of_too_few_classes_none_is_held_out():
    assert split(numbered_pool([9] * 3)) == []
    # Nor of three that can be judged by.
    assert split(numbered_pool([9, 1, 9, 1, 9])) == []


def test_without_early_stopping_only_the_users_classes_judge():
    pool, other = numbered_pool([9] * 40), numbered_pool([3] * 2)
    assert split(pool, early_stopping=False) == []
    assert split(pool, other, early_stopping=False) == [(set(range(40)), {0, 1})]
    assert split(pool, other) == [(set(range(40)), {0, 1})]
    assert split(pool, numbered_pool([3, 1])) == []


def test_classes_of_one_row_are_learned_from():
    for train, held in split(numbered_pool([3] * 8 + [1] * 4)):
        assert {8, 9, 10, 11} <= train
        assert not held & {8, 9, 10, 11}


@pytest.mark.parametrize(("n_groups", "n_folds"), [(5, 3), (20, 1)])
def test_of_many_groups_whole_ones_are_held_out(n_groups, n_folds):
    group = np.repeat(np.arange(n_groups), 3)
    folds = split(numbered_pool([3] * len(group), group))
    assert len(folds) == n_folds
    for train, held in folds:
        assert not set(group[list(train)]) & set(group[list(held)])
        assert train | held == set(range(len(group)))
    if n_folds == 1:
        assert len(folds[0][1]) == 3 * 4


@pytest.mark.parametrize("sizes", [(20, 20, 20), (4, 4), (9, 5), (26, 4), (28, 2), (3, 7)])
def test_of_a_few_groups_classes_are_held_out_that_make_a_task(sizes):
    group = np.repeat(np.arange(len(sizes)), sizes)
    folds = split(numbered_pool([3] * len(group), group))
    assert folds
    for part in (part for fold in folds for part in fold):
        counts = np.bincount(group[list(part)], minlength=len(sizes))
        assert ((counts == 0) | (counts >= 2)).all()
        assert counts.any()


def test_groups_of_three_classes_have_none_to_spare():
    assert split(numbered_pool([3] * 6, np.array([0, 0, 0, 1, 1, 1]))) == []


# --- what they say


def pair(seed=0):
    return gaussian_pool(8, seed=seed), gaussian_pool(6, seed=seed + 50)


def test_a_look_is_the_mean_cost_of_the_rows_of_each_class():
    train, held = pair()
    losses = look(["final"], RECIPES["lift"], (train, held), OPTIONS, 3)["final"]
    transform, rng = Transform.fit(train, RECIPES["lift"]), np.random.default_rng(3)
    model = MODELS["final"]
    batches = embedded(kept_episodes(transform.of_pool(train), OPTIONS, KEPT_SIZE, rng))
    theta = best_constants(batches, model.scales, model.precisions)
    ((classes, episode),) = kept_episodes(transform.of_pool(held), OPTIONS, JUDGED_SIZE, rng)
    batch = PROBLEM.embed(theta, episode)
    p = PROBLEM.probabilities(solved(theta, batch), theta, batch)
    costs = [[] for _ in range(6)]
    for t, task in enumerate(classes):
        for q, c in enumerate(episode.y_query[:, t].argmax(0)):
            costs[task[c]].append(-np.log(p[c, t, q]))
    assert_allclose(losses, [np.mean(cost) for cost in costs])


def test_a_class_that_no_task_held_is_left_out():
    train, held = pair()
    sizes = np.array([5, 5, 5, 1])
    alone = held.subset(np.arange(4))
    alone = type(held).from_codes(
        alone.X[: sizes.sum()], np.ones(16), np.repeat(np.arange(4), sizes), 4
    )
    losses = look(["class_mean"], RECIPES["center"], (train, alone), OPTIONS, 0)
    assert_array_equal(np.isnan(losses["class_mean"]), [False, False, False, True])
    both = joined([losses, {"class_mean": np.array([np.nan, 7.0])}])["class_mean"]
    assert_array_equal(both, np.append(losses["class_mean"][:3], 7.0))


def test_rivals_are_the_angle_to_the_mean_and_logistic_regression():
    train, held = gaussian_pool(20), gaussian_pool(20, seed=1)
    losses = look(list(MODELS), RECIPES["lift"], (train, held), OPTIONS, 0)
    assert set(losses) == {"class_mean", "per_task", "final"}
    means = {name: loss.mean() for name, loss in losses.items()}
    assert means["final"] < means["per_task"] < np.log(3)
    # Round clouds are told apart by their means, and nothing can be added.
    assert means["final"] < 1.02 * means["class_mean"] < np.log(3)
    only = look(["per_task"], RECIPES["lift"], (train, held), OPTIONS, 0)
    assert_array_equal(only["per_task"], losses["per_task"])


# --- what follows


def test_a_rival_must_be_better_by_more_than_chance():
    default = np.full(10, 1.0)
    noise = np.tile([0.5, -0.5], 5)
    error = noise.std(ddof=1) / np.sqrt(10)
    for errors, best in ((1.9, "center"), (2.1, "lift")):
        rivals = {"center": default, "lift": default - noise - errors * error}
        assert choose(rivals) == best


def test_a_rival_must_be_better_by_more_than_a_trifle():
    default = np.full(10, 1.0)
    assert choose({"center": default, "lift": default - 0.019}) == "center"
    assert choose({"center": default, "lift": default - 0.021}) == "lift"


def test_the_best_of_several_rivals_is_chosen():
    default = np.full(10, 1.0)
    rivals = {"center": default, "standardize": default - 0.3, "lift": default - 0.2}
    assert choose(rivals) == "standardize"
    assert choose(rivals | {"lift": default - 0.4}) == "lift"


def test_one_class_says_nothing():
    assert choose({"center": np.ones(1), "lift": np.zeros(1)}) == "center"
