"""Learning from many classes, and adapting to new ones."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skcml.class_pool import ClassEpisodeSampler, ClassPool
from skcml.problems.prototypes import PrototypeProblem
from skcml.rules.contrastive import Contrastive
from skcml.selection.classes import (
    LearnedClasses,
    adapt_classes,
    adapt_tasks,
    class_probabilities,
    learn_classes,
)
from skcml.selection.constants import SCALES, ClassOptions
from skcml.selection.transform import RECIPES, Transform
from tests.builders import Recorder
from tests.class_tasks import gaussian_pool


def learn(pool, validation=None, progress=None, seed=0, **changes):
    quick = {"meta_batch_size": 16, "meta_max_iter": 5, "n_ways": (5,), "n_shots": (2,)}
    options = ClassOptions(Contrastive(), **quick | changes)
    return learn_classes(pool, validation, options, np.random.default_rng(seed), progress)


def learned(name="lift", scale=4.0, precision=0.1):
    transform = Transform.fit(gaussian_pool(), RECIPES[name])
    return LearnedClasses(transform, PrototypeProblem.constants(scale, precision), None, [])


def rows(n_classes=4, seed=0):
    pool = gaussian_pool(n_classes, rows=(2, 5), seed=seed)
    return pool.X, pool.codes, np.random.default_rng(seed).uniform(1, 2, len(pool.X))


def scores(pool, n_shots, predict, n_tasks=100):
    """Return accuracy and log-loss of five-way tasks; ``predict`` gives probabilities."""
    sampler = ClassEpisodeSampler(
        pool,
        n_ways=(5,),
        n_shots=(n_shots,),
        n_queries=10,
        support="random",
        batch_size=n_tasks,
        rng=np.random.default_rng(1),
    )
    e, right, cost = sampler.draw(), [], []
    for t in range(n_tasks):
        known, asked = (y[:, t].argmax(0) for y in (e.y_support, e.y_query))
        p = predict(e.x_support[t], known, e.x_query[t])
        right.append(p.argmax(1) == asked)
        cost.append(-np.log(p[np.arange(len(asked)), asked] + 1e-15))
    return np.mean(right), np.mean(cost)


def predicted_by(found):
    def predict(x, codes, query):
        return class_probabilities(found, adapt_classes(found, x, codes, np.ones(len(x)), 5), query)

    return predict


# --- learning


def test_clouds_in_few_dimensions_are_lifted_and_told_apart_as_well_as_by_their_means():
    found = learn(gaussian_pool(30, rows=(40, 40)), n_shots=(1, 5))
    assert found.transform.lift
    assert set(found.gain) == {"class_mean", "per_task", "final"}
    assert found.gain["final"] < 0.95 * found.gain["per_task"]
    # Of round clouds the means say all.
    assert found.gain["final"] < 1.02 * found.gain["class_mean"]

    def nearest_mean(x, codes, query):
        means = np.stack([x[codes == c].mean(0) for c in range(5)])
        return np.eye(5)[((query[:, None] - means) ** 2).sum(-1).argmin(1)]

    test = gaussian_pool(30, rows=(40, 40), seed=1)
    for n_shots in (1, 5):
        accuracy, _ = scores(test, n_shots, predicted_by(found))
        assert accuracy > scores(test, n_shots, nearest_mean)[0] - 0.015


def test_digits_help_to_learn_other_digits():
    X, y = load_digits(return_X_y=True)
    pool = ClassPool.from_codes(X, np.ones(len(y)), y, 10)
    found = learn(pool.subset(np.arange(5)), n_shots=(1, 5))

    def by_itself(x, codes, query):
        return LogisticRegression(max_iter=500).fit(x / 16, codes).predict_proba(query / 16)

    for n_shots in (1, 5):
        ours, alone = (
            scores(pool.subset(np.arange(5, 10)), n_shots, predict, 30)
            for predict in (predicted_by(found), by_itself)
        )
        assert ours[0] > alone[0] - 0.005
        assert ours[1] < 0.8 * alone[1]


def test_without_held_out_classes_there_is_no_gain_and_the_default():
    for how in ({"early_stopping": False}, {"n_classes": 3}):
        found = learn(gaussian_pool(how.pop("n_classes", 12)), **how)
        assert found.gain is None
        assert not found.transform.lift
        assert (found.transform.scale == 1).all()


def test_the_constants_and_the_transform_are_of_all_classes():
    pool, other = gaussian_pool(), gaussian_pool(seed=9)
    judged, unjudged = learn(pool, other, meta_max_iter=0), learn(pool, early_stopping=False)
    assert judged.gain is not None
    assert_array_equal(judged.transform.center, unjudged.transform.center)
    assert_array_equal(judged.transform.center, Transform.fit(pool, RECIPES["center"]).center)


def test_only_the_last_descent_is_followed_and_may_be_ended():
    recorder = Recorder(stop_at=3)
    found = learn(gaussian_pool(6), progress=recorder)
    (((first, _), *others),) = recorder.steps
    assert [first, *(step for step, _ in others)] == [1, 2, 3]
    assert [len(history["loss"]) for history in found.histories] == [3]
    (start,) = recorder.mixed
    assert start.transform is found.transform
    assert start.gain == found.gain
    assert np.isclose(SCALES, np.exp(start.theta["log_scale"])).any()


def test_rows_can_be_left_as_they_are():
    pool = gaussian_pool(8)
    found = learn(pool, standardize=False)
    assert_array_equal(found.transform(pool.X), pool.X)
    assert found.gain["final"] < np.log(5)


def test_the_same_seed_gives_the_same_bits():
    first, again, other = (learn(gaussian_pool(6), seed=seed) for seed in (0, 0, 1))
    assert_array_equal(first.theta.vector, again.theta.vector)
    assert first.gain == again.gain
    assert first.gain != other.gain


# --- adapting


@pytest.mark.parametrize("name", RECIPES)
def test_probabilities_are_those_of_the_weights(name):
    known = learned(name)
    W = adapt_classes(known, *rows(), 4)
    assert W.shape == (4, 3 + RECIPES[name].lift)
    query = gaussian_pool(seed=3).X
    odds = np.exp(known.transform(query) @ W.T)
    assert_allclose(class_probabilities(known, W, query), odds / odds.sum(1)[:, None])


def test_a_large_precision_factor_leaves_only_the_means():
    known = learned()
    X, codes, weight = rows()
    W = adapt_classes(known, X, codes, weight, 4, precision_factor=1e9)
    z = known.transform(X) * weight[:, None]
    means = np.stack([z[codes == c].sum(0) for c in range(4)])
    cosine = (W * means).sum(1) / np.linalg.norm(W, axis=1) / np.linalg.norm(means, axis=1)
    assert_allclose(cosine, 1)
    again = learned(precision=0.1 * 20)
    found = adapt_classes(known, X, codes, weight, 4, precision_factor=20)
    assert_allclose(found, adapt_classes(again, X, codes, weight, 4), atol=1e-9)


def test_learned_constants_are_not_changed_by_a_factor():
    known = learned()
    before = known.theta.vector.copy()
    adapt_classes(known, *rows(), 4, precision_factor=7.0)
    assert_array_equal(known.theta.vector, before)


def test_the_numbering_of_classes_does_not_matter():
    X, codes, weight = rows()
    order = np.array([2, 0, 3, 1])
    expected = adapt_classes(learned(), X, codes, weight, 4)
    found = adapt_classes(learned(), X, order[codes], weight, 4)
    assert_allclose(found[order], expected, atol=1e-7)


def test_a_row_without_weight_is_none():
    X, codes, weight = rows()
    weight[:2] = 0
    expected = adapt_classes(learned(), X[2:], codes[2:], weight[2:], 4)
    assert_allclose(adapt_classes(learned(), X, codes, weight, 4), expected, atol=1e-7)


def test_a_class_without_rows_is_unlikely_where_others_have_theirs():
    X, codes, weight = rows()
    W = adapt_classes(learned(), X, codes, weight, 5)
    assert W.shape == (5, 4)
    assert (class_probabilities(learned(), W, X)[:, 4] < 0.2).all()


def test_tasks_are_adapted_to_one_by_one():
    group = np.array([3, 1, 1, 3, 3])
    X, codes, weight = rows(5)
    pool = ClassPool.from_codes(X, weight, codes, 5, group)
    found = adapt_tasks(learned(), pool, 4, precision_factor=2.0)
    assert [len(W) for W in found] == [0, 2, 0, 3]  # tasks without a class have no weights
    for W, classes in zip(found[1::2], ([1, 2], [0, 3, 4]), strict=True):
        taken = np.isin(codes, classes)
        own = np.searchsorted(classes, codes[taken])
        args = X[taken], own, weight[taken], len(classes)
        assert_allclose(W, adapt_classes(learned(), *args, precision_factor=2.0), atol=1e-8)


def test_what_was_learned_is_a_record():
    with pytest.raises(dataclasses.FrozenInstanceError):
        learned().gain = {}
