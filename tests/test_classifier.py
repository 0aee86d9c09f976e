"""CMLClassifier in both settings: what it predicts, and what must not matter."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier
from tests.estimators import (
    labelled,
    learned_classifier,
    learned_pool,
    pool,
    quick_classifier,
)
from tests.fitted_classifiers import (
    EACH,
    FIRST,
    GROUPS,
    NEW_GROUPS,
    NEW_POOL_X,
    NEW_POOL_Y,
    NEW_X,
    NEW_Y,
    POOL_X,
    POOL_Y,
    TASKS,
    THREE,
    X,
    Y,
    fitted,
)


def without_held_out(**params):
    """Return a classifier that learns from `pool` in a tenth of a second."""
    return quick_classifier(**{"n_ways": 4, "n_shots": 1, "early_stopping": False} | params)


def quick_shared(**params):
    """Return one that learns from `labelled` with a network, and holds nothing out."""
    return quick_classifier(early_stopping=False, prior_covariance="diagonal", **params)


def mixed_model(**params):
    """Return one that learns the generalised linear mixed model alone."""
    fast = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}
    return quick_classifier(**fast | {"prior_covariance": "diagonal"} | params)


# --- it learns


def test_what_was_learned_from_groups_helps_from_few_rows_on():
    x, y, groups = labelled(seed=8, n_groups=60, n_rows=12)
    known = groups < 40
    few = ~known & (np.tile(np.arange(12), 60) < 3)
    later = ~known & ~few
    estimator = mixed_model()
    estimator.meta_fit(x[known], y[known], groups=groups[known])
    estimator.fit(x[few], y[few], groups=groups[few])
    alone = CMLClassifier().fit(x[few], y[few], groups=groups[few])
    ours, theirs = (e.score(x[later], y[later], groups=groups[later]) for e in (estimator, alone))
    assert ours > theirs + 0.1


def test_what_was_learned_from_classes_makes_probabilities_of_one_example_right():
    estimator = learned_pool().fit(NEW_POOL_X[FIRST], NEW_POOL_Y[FIRST])
    alone = CMLClassifier().fit(NEW_POOL_X[FIRST], NEW_POOL_Y[FIRST])
    later = ~FIRST
    costs = []
    for one in (estimator, alone):
        p = one.predict_proba(NEW_POOL_X[later])
        costs.append(
            -np.log(p[np.arange(len(p)), np.searchsorted(one.classes_, NEW_POOL_Y[later])])
        )
    assert costs[0].mean() < 0.8 * costs[1].mean()
    assert estimator.score(NEW_POOL_X[later], NEW_POOL_Y[later]) > 0.6


# --- which setting


def test_labels_that_groups_have_in_common_are_shared():
    estimator = learned_classifier()
    assert estimator.class_setting_ == "shared"
    assert_array_equal(estimator.classes_, ["a", "b"])


def test_without_groups_classes_are_exchangeable():
    estimator = learned_pool()
    assert estimator.class_setting_ == "exchangeable"
    assert not hasattr(estimator, "classes_")


def test_shared_classes_whose_groups_were_forgotten_are_said_to_be_a_pool():
    x, y, _ = labelled(n_classes=3)
    with pytest.warns(UserWarning, match="without groups, so that the 3 classes") as record:
        estimator = quick_classifier().meta_fit(x, y)
    assert estimator.class_setting_ == "exchangeable"
    assert record[0].filename == __file__


def test_shots_that_no_class_can_give_are_said_to_be_fewer():
    with pytest.warns(UserWarning, match="n_shots=8 is more than any class can give"):
        quick_classifier(n_shots=8, n_ways=4, early_stopping=False).meta_fit(*pool())


def test_labels_of_one_group_alone_are_exchangeable():
    estimator = without_held_out().meta_fit(POOL_X, POOL_Y, groups=np.arange(len(POOL_X)) // 32)
    assert estimator.class_setting_ == "exchangeable"


def test_a_label_in_two_groups_is_shared():
    groups = np.arange(len(X)) // 36
    estimator = mixed_model().meta_fit(X, Y, groups=groups)
    assert estimator.class_setting_ == "shared"


def test_the_setting_may_be_said():
    groups = np.arange(len(POOL_X)) // 32
    labels = [f"w{i % 4}" for i in np.arange(len(POOL_X)) // 8]  # the same names in each group
    estimator = without_held_out(classes="exchangeable").meta_fit(POOL_X, labels, groups=groups)
    assert estimator.class_setting_ == "exchangeable"
    assert estimator._meta.n_classes == 16
    estimator = mixed_model(classes="shared").meta_fit(X, Y, groups=GROUPS)
    assert estimator.class_setting_ == "shared"
    pair = (POOL_X[:16], POOL_Y[:16])
    estimator = without_held_out(classes="exchangeable", n_ways=2).meta_fit(*pair)
    assert estimator.class_setting_ == "exchangeable"
    with pytest.raises(ValueError, match="meta_fit was called without groups, so that the 2 class"):
        without_held_out().meta_fit(*pair)
    with pytest.raises(ValueError, match="meta_fit needs the group of each"):
        mixed_model(classes="shared").meta_fit(X, Y)


def test_the_other_setting_forgets_the_classes_of_the_first():
    estimator = learned_classifier().set_params(**without_held_out().get_params())
    estimator.meta_fit(POOL_X, POOL_Y)
    assert estimator.class_setting_ == "exchangeable"
    assert not hasattr(estimator, "classes_")
    estimator.meta_fit(X, Y, groups=GROUPS)
    assert estimator.class_setting_ == "shared"
    assert_array_equal(estimator.classes_, ["a", "b"])


# --- groups


def test_fit_with_groups_is_one_fit_after_the_other():
    for setting, (x, y, groups) in {
        "shared": (NEW_X, NEW_Y, NEW_GROUPS),
        "three shared": labelled(seed=1, n_classes=3),
    }.items():
        together = fitted(setting)[0]
        for label in (0, 3, 11):
            rows = groups == label
            alone = learned_classifier(len(together.classes_)).fit(x[rows], y[rows])
            expected = together.predict_proba(X, groups=np.full(len(X), label))
            assert_allclose(alone.predict_proba(X), expected, rtol=1e-4, atol=1e-5)


def test_groups_of_exchangeable_classes_are_tasks_of_their_own():
    together = fitted("exchangeable in groups")[0]
    assert_array_equal(together.classes_, np.unique(NEW_POOL_Y))
    for label in range(4):
        rows = label == TASKS
        alone = learned_pool().fit(NEW_POOL_X[rows], NEW_POOL_Y[rows])
        own = np.isin(together.classes_, alone.classes_)
        p = together.predict_proba(NEW_POOL_X, groups=np.full(len(NEW_POOL_X), label))
        assert_allclose(p[:, own], alone.predict_proba(NEW_POOL_X), rtol=1e-6, atol=1e-9)
        assert_array_equal(p[:, ~own], 0)


def test_the_order_of_rows_does_not_matter():
    order = np.random.default_rng(0).permutation(72)
    shuffled = learned_classifier().fit(NEW_X[order], NEW_Y[order], groups=NEW_GROUPS[order])
    expected = fitted("shared")[0].predict_proba(X, groups=GROUPS)
    assert_allclose(shuffled.predict_proba(X, groups=GROUPS), expected, rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(0).permutation(80)
    shuffled = learned_pool().fit(NEW_POOL_X[order], NEW_POOL_Y[order], groups=TASKS[order])
    found = shuffled.predict_proba(NEW_POOL_X, groups=TASKS)
    expected = fitted("exchangeable in groups")[0].predict_proba(NEW_POOL_X, groups=TASKS)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_group_column_is_groups(make):
    names = ["a", "b", "ward"]

    def table(x, groups):
        columns = [*np.transpose(x).tolist(), [f"w{g:02}" for g in groups]]
        return make(dict(zip(names, columns, strict=True)))

    inside = quick_shared(group_column="ward")
    inside.meta_fit(table(X, GROUPS), Y).fit(table(NEW_X, NEW_GROUPS), NEW_Y)
    beside = quick_shared()
    beside.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_allclose(
        inside.predict_proba(table(X, GROUPS)), beside.predict_proba(X, groups=GROUPS), rtol=1e-8
    )
    assert inside.score(table(X, GROUPS), Y) == beside.score(X, Y, groups=GROUPS)
    assert inside.n_features_in_ == 3


def test_a_group_column_of_exchangeable_classes():
    groups = np.arange(len(POOL_X)) // 32
    inside = without_held_out(group_column=-1).meta_fit(np.column_stack([POOL_X, groups]), POOL_Y)
    table = np.column_stack([NEW_POOL_X, TASKS])
    p = inside.fit(table, NEW_POOL_Y).predict_proba(table)
    beside = without_held_out().meta_fit(POOL_X, POOL_Y, groups=groups)
    beside.fit(NEW_POOL_X, NEW_POOL_Y, groups=TASKS)
    assert_allclose(p, beside.predict_proba(NEW_POOL_X, groups=TASKS), rtol=1e-8)


def test_groups_never_seen_get_the_prior_of_shared_classes():
    estimator = fitted("shared")[0]
    prior = learned_classifier().predict_proba(X)
    assert_allclose(estimator.predict_proba(X, groups=np.full(72, 99)), prior, rtol=1e-9)
    labels = np.where(np.arange(72) % 2, GROUPS, 99)
    mixed = estimator.predict_proba(X, groups=labels)
    seen = estimator.predict_proba(X, groups=GROUPS)
    assert_allclose(mixed, np.where((labels == 99)[:, None], prior, seen), rtol=1e-9)


def test_groups_never_seen_have_no_exchangeable_classes():
    estimator = fitted("exchangeable in groups")[0]
    with pytest.raises(ValueError, match="groups holds a group in row 1 that fit has not seen"):
        estimator.predict(NEW_POOL_X[:3], groups=[0, 9, 0])
    with pytest.raises(ValueError, match="predict needs the group of each row"):
        estimator.predict_proba(NEW_POOL_X)
    with pytest.raises(ValueError, match="fit was called without groups and knows a single task"):
        fitted("exchangeable")[0].predict(NEW_POOL_X, groups=TASKS)


# --- before fit


def test_meta_fit_alone_predicts_what_groups_share():
    estimator = learned_classifier()
    assert_array_equal(estimator.predict_proba(X, groups=GROUPS), estimator.predict_proba(X))
    assert estimator.score(X, Y) > max(np.mean(Y == "a"), np.mean(Y == "b"))


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_without_classes_there_is_nothing_to_predict(method):
    for estimator, sentence in (
        (learned_pool(), "CMLClassifier has learned from a pool of classes, and those to tell"),
        (CMLClassifier(), "CMLClassifier instance is not fitted yet"),
    ):
        with pytest.raises(NotFittedError, match=sentence):
            getattr(estimator, method)(POOL_X)
        with pytest.raises(NotFittedError, match=sentence):
            estimator.score(POOL_X, POOL_Y)


def test_meta_fit_again_forgets_the_task():
    estimator = without_held_out().meta_fit(POOL_X, POOL_Y).fit(NEW_POOL_X, NEW_POOL_Y)
    estimator.meta_fit(POOL_X, POOL_Y)
    assert not estimator.__sklearn_is_fitted__()


# --- labels

LABELS = {
    "strings": np.array(["no", "yes"]),
    "booleans": np.array([False, True]),
    "integers": np.array([-1, 1]),
    "small integers": np.array([0, 1], dtype=np.int8),
    "floats": np.array([2.0, 5.0]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_labels(kind):
    labels = LABELS[kind]
    y, new = labels[(Y == "b").astype(int)], labels[(NEW_Y == "b").astype(int)]
    estimator = mixed_model().meta_fit(X, y, groups=GROUPS).fit(NEW_X, new, groups=NEW_GROUPS)
    expected = mixed_model().meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(estimator.classes_, labels)
    assert estimator.classes_.dtype == labels.dtype
    predicted = estimator.predict(X, groups=GROUPS)
    assert predicted.dtype == labels.dtype
    assert_array_equal(
        estimator.predict_proba(X, groups=GROUPS), expected.predict_proba(X, groups=GROUPS)
    )
    assert estimator.score(X, y, groups=GROUPS) == expected.score(X, Y, groups=GROUPS)
    # The labels of fit are those of meta_fit, whatever holds them.
    estimator.fit(NEW_X, new.tolist(), groups=NEW_GROUPS)
    assert_array_equal(estimator.predict(X, groups=GROUPS), predicted)


@pytest.mark.parametrize(
    "make", [list, pd.Series, pl.Series, lambda y: pd.Series(y, dtype="category")]
)
def test_labels_may_come_in_any_container(make):
    y = [str(label) for label in NEW_POOL_Y]
    estimator = learned_pool().fit(NEW_POOL_X[FIRST], make([y[i] for i in np.flatnonzero(FIRST)]))
    expected, *_ = fitted("exchangeable")
    assert_array_equal(estimator.classes_, expected.classes_)
    assert_array_equal(estimator.predict(NEW_POOL_X), expected.predict(NEW_POOL_X))
    assert estimator.score(NEW_POOL_X, make(y)) == expected.score(NEW_POOL_X, NEW_POOL_Y)


def test_a_group_may_have_rows_of_one_shared_class():
    rows = NEW_Y == "a"
    estimator = learned_classifier().fit(NEW_X[rows][:4], NEW_Y[rows][:4])
    assert_array_equal(estimator.classes_, ["a", "b"])
    drawn_to_a = estimator.predict_proba(X)[:, 0] - learned_classifier().predict_proba(X)[:, 0]
    assert drawn_to_a.mean() > 0.02
    assert estimator.predict_proba(X)[:, 0].max() < 1


def test_any_number_of_new_classes_may_come():
    for n_classes in (2, 10, 40):
        x, y = pool(seed=2, n_classes=n_classes, n_rows=3)
        estimator = learned_pool().fit(x[::3], y[::3])
        assert len(estimator.classes_) == n_classes
        assert estimator.predict_proba(x).shape == (len(x), n_classes)
        assert estimator.score(x[::3], y[::3]) == 1.0
        chance = 1 / n_classes
        assert estimator.score(x, y) > 2 * chance * (n_classes > 2)


def test_more_examples_tell_classes_apart_better():
    x, y = pool(seed=3, n_classes=12, n_rows=30, spread=1.0)
    shot = np.arange(len(x)) % 30
    later = shot >= 12
    scores = [
        learned_pool().fit(x[shot < n], y[shot < n]).score(x[later], y[later]) for n in (1, 4, 12)
    ]
    assert scores[0] < scores[1] < scores[2]


# --- weights


def repeated(weight, *arrays):
    return [np.repeat(array, weight, axis=0) for array in arrays]


@pytest.mark.parametrize("class_weight", [None, {"a": 3.0}, "balanced"])
@pytest.mark.parametrize("is_learned", [True, False])
def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row_in_fit(is_learned, class_weight):
    def new():
        if not is_learned:
            return CMLClassifier(class_weight=class_weight)
        if class_weight is None:
            return learned_classifier()
        return mixed_model(class_weight=class_weight).meta_fit(X, Y, groups=GROUPS)

    weight = np.arange(72) % 3
    x, y, groups = repeated(weight, NEW_X, NEW_Y, NEW_GROUPS)
    weighted = new().fit(NEW_X, NEW_Y, sample_weight=weight).predict_proba(X)
    assert_allclose(weighted, new().fit(x, y).predict_proba(X), rtol=1e-5, atol=1e-6)
    weighted = new().fit(NEW_X, NEW_Y, groups=NEW_GROUPS, sample_weight=weight)
    expected = new().fit(x, y, groups=groups)
    found = weighted.predict_proba(X, groups=GROUPS)
    assert_allclose(found, expected.predict_proba(X, groups=GROUPS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("class_weight", [None, {"class 03": 3.0}, "balanced"])
def test_weights_are_numbers_of_rows_of_exchangeable_classes(class_weight):
    estimator = without_held_out(class_weight=class_weight).meta_fit(POOL_X, POOL_Y)
    weight = np.arange(80) % 3
    x, y = repeated(weight, NEW_POOL_X, NEW_POOL_Y)
    weighted = estimator.fit(NEW_POOL_X, NEW_POOL_Y, sample_weight=weight).predict_proba(x)
    expected = clone(estimator).fit(x, y).predict_proba(x)
    assert_allclose(weighted, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("class_weight", [None, {"a": 3.0}, "balanced"])
def test_a_weight_of_two_is_the_row_twice_for_the_mixed_model(class_weight):
    weight = np.arange(72) % 3
    x, y, groups = repeated(weight, X, Y, GROUPS)
    params = {"class_weight": class_weight}
    weighted = mixed_model(**params).meta_fit(X, Y, groups=GROUPS, sample_weight=weight)
    expected = mixed_model(**params).meta_fit(x, y, groups=groups)
    assert_allclose(weighted.predict_proba(X), expected.predict_proba(X), rtol=1e-5)


def test_rows_of_weight_zero_are_no_rows_in_meta_fit():
    weight = (np.arange(len(POOL_X)) % 3 > 0).astype(float)
    weight[:8] = 0  # the first class goes
    rows = weight > 0
    weighted = without_held_out().meta_fit(POOL_X, POOL_Y, sample_weight=weight)
    without = without_held_out().meta_fit(POOL_X[rows], POOL_Y[rows])
    assert weighted._meta.n_classes == 15
    assert_allclose(weighted._meta.learned.theta.vector, without._meta.learned.theta.vector)
    rows = (np.arange(72) % 5 > 0) & (GROUPS != 3)
    weighted = mixed_model().meta_fit(X, Y, groups=GROUPS, sample_weight=rows.astype(float))
    without = mixed_model().meta_fit(X[rows], Y[rows], groups=GROUPS[rows])
    assert_allclose(weighted.predict_proba(X), without.predict_proba(X), rtol=1e-6)


def test_a_class_whose_rows_weigh_nothing_stays_a_class_without_probability():
    weight = np.where(NEW_POOL_Y == "class 03", 0.0, 1.0)
    estimator = learned_pool().fit(NEW_POOL_X, NEW_POOL_Y, sample_weight=weight)
    assert len(estimator.classes_) == 10
    p = estimator.predict_proba(NEW_POOL_X)
    assert_array_equal(p[:, 3], 0.0)
    rows = weight > 0
    expected = learned_pool().fit(NEW_POOL_X[rows], NEW_POOL_Y[rows]).predict_proba(NEW_POOL_X)
    assert_allclose(np.delete(p, 3, axis=1), expected, rtol=1e-9)


def test_a_class_weight_is_a_factor_on_the_rows_of_a_shared_class():
    factor = np.where(NEW_Y == "a", 4.0, 1.0)
    params = {"class_weight": {"a": 4.0}}
    found = CMLClassifier(**params).fit(NEW_X, NEW_Y).predict_proba(X)
    assert_allclose(
        found, CMLClassifier().fit(NEW_X, NEW_Y, sample_weight=factor).predict_proba(X), rtol=1e-9
    )
    found = mixed_model(**params).meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    weight = np.where(Y == "a", 4.0, 1.0)
    expected = mixed_model().meta_fit(X, Y, groups=GROUPS, sample_weight=weight)
    expected.fit(NEW_X, NEW_Y, sample_weight=factor)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


def test_balanced_gives_every_shared_class_the_same_total():
    rows = np.concatenate([np.flatnonzero(Y == "a")[:30], np.flatnonzero(Y == "b")[:10]])
    balanced = CMLClassifier(class_weight="balanced").fit(X[rows], Y[rows])
    by_hand = CMLClassifier(class_weight={"a": 40 / 60, "b": 40 / 20}).fit(X[rows], Y[rows])
    assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), rtol=1e-9)
    plain = CMLClassifier().fit(X[rows], Y[rows]).predict_proba(X)
    assert balanced.predict_proba(X)[:, 1].mean() > plain[:, 1].mean() + 0.1


def test_the_balance_of_shared_classes_is_that_of_meta_fit():
    rows = np.flatnonzero((Y == "a") | (np.arange(72) % 3 == 0))
    balanced = mixed_model(class_weight="balanced").meta_fit(X[rows], Y[rows], groups=GROUPS[rows])
    n = np.array([np.sum(Y[rows] == label) for label in ("a", "b")])
    factors = dict(zip(("a", "b"), len(rows) / (2 * n), strict=True))
    by_hand = mixed_model(class_weight=factors).meta_fit(X[rows], Y[rows], groups=GROUPS[rows])
    for estimator in (balanced, by_hand):
        estimator.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_allclose(
        balanced.predict_proba(X, groups=GROUPS),
        by_hand.predict_proba(X, groups=GROUPS),
        rtol=1e-9,
    )


def test_a_class_weight_multiplies_the_odds_of_an_exchangeable_class():
    plain = without_held_out().meta_fit(POOL_X, POOL_Y).fit(NEW_POOL_X, NEW_POOL_Y)
    weights = {"class 03": 4.0, "class 05": 0.0, "unknown": 2.0}
    weighted = without_held_out(class_weight=weights).meta_fit(POOL_X, POOL_Y)
    found = weighted.fit(NEW_POOL_X, NEW_POOL_Y).predict_proba(NEW_POOL_X)
    odds = plain.predict_proba(NEW_POOL_X) * np.where(np.arange(10) == 3, 4.0, 1.0)
    odds[:, 5] = 0
    assert_allclose(found, odds / odds.sum(1, keepdims=True), rtol=1e-8, atol=1e-200)


def test_balanced_gives_exchangeable_classes_the_same_total():
    rows = np.arange(80) % 8 < np.where(np.arange(80) < 40, 8, 2)
    x, y = NEW_POOL_X[rows], NEW_POOL_Y[rows]
    balanced = without_held_out(class_weight="balanced").meta_fit(POOL_X, POOL_Y).fit(x, y)
    weight = np.where(np.arange(80) < 40, 50 / 80, 50 / 20)[rows]
    by_hand = without_held_out().meta_fit(POOL_X, POOL_Y).fit(x, y, sample_weight=weight)
    expected = by_hand.predict_proba(NEW_POOL_X)
    assert_allclose(balanced.predict_proba(NEW_POOL_X), expected, rtol=1e-8)


def test_new_classes_without_any_weight_are_refused():
    estimator = learned_pool().set_params(class_weight=dict.fromkeys(NEW_POOL_Y, 0.0))
    with pytest.raises(ValueError, match="class_weight is zero for every class of y"):
        estimator.fit(NEW_POOL_X, NEW_POOL_Y)


def test_a_learning_rate_that_is_too_high_for_a_pool_is_said_to_be():
    with pytest.raises(ValueError, match=r"meta_learning_rate=1\d+\.0 is too high"):
        quick_classifier(meta_learning_rate=1e10, n_ways=4, early_stopping=False).meta_fit(*pool())


def test_rows_without_any_weight_are_refused():
    sentence = "class_weight leaves no row with a weight above zero"
    for standardize in (True, False):
        estimator = mixed_model(class_weight={"a": 0, "b": 0}, standardize=standardize)
        with pytest.raises(ValueError, match=sentence):
            estimator.fit(X, Y)
        with pytest.raises(ValueError, match=sentence):
            estimator.meta_fit(X, Y, groups=GROUPS)
    weight = (Y == "a").astype(float)
    with pytest.raises(ValueError, match=sentence):
        CMLClassifier(class_weight={"a": 0}).fit(X, Y, sample_weight=weight)


# --- without meta_fit


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_without_meta_fit_it_is_logistic_regression(strength):
    for x, y in ((X, Y), THREE[:2]):
        scaler = StandardScaler().fit(x)
        ours = CMLClassifier(prior_strength=strength).fit(x, y)
        theirs = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=1000)
        theirs.fit(scaler.transform(x), y)
        expected = theirs.predict_proba(scaler.transform(NEW_X))
        assert_allclose(ours.predict_proba(NEW_X), expected, atol=2e-6)
        assert_array_equal(ours.classes_, theirs.classes_)
        ours = CMLClassifier(prior_strength=strength, standardize=False).fit(x, y)
        expected = theirs.fit(x, y).predict_proba(NEW_X)
        assert_allclose(ours.predict_proba(NEW_X), expected, atol=2e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_meta_fit_each_group_has_a_logistic_regression(n_classes):
    x, y, _ = labelled(n_classes=n_classes)
    groups = np.arange(72) // 18
    ours = CMLClassifier().fit(x, y, groups=groups)
    z = StandardScaler().fit(x).transform
    for group in range(4):
        rows = groups == group
        assert len(np.unique(y[rows])) == n_classes
        theirs = LogisticRegression(tol=1e-10, max_iter=1000).fit(z(x[rows]), y[rows])
        p = ours.predict_proba(NEW_X, groups=np.full(72, group))
        assert_allclose(p, theirs.predict_proba(z(NEW_X)), atol=2e-6)
    strangers = ours.predict_proba(NEW_X, groups=np.full(72, 9))
    theirs = LogisticRegression(tol=1e-10, max_iter=1000).fit(z(x), y)
    assert_allclose(strangers, theirs.predict_proba(z(NEW_X)), atol=2e-6)


@pytest.mark.parametrize("setting", ["shared", "exchangeable"])
def test_without_meta_fit_the_setting_does_not_matter(setting):
    p = CMLClassifier(classes=setting).fit(X, Y).predict_proba(NEW_X)
    assert_array_equal(p, CMLClassifier().fit(X, Y).predict_proba(NEW_X))


# --- parameters


def test_the_first_rows_of_a_class_support_the_rest():
    rows = np.arange(len(POOL_X)).reshape(16, 8)
    queries_reversed = rows[:, [0, 1, 7, 6, 5, 4, 3, 2]].ravel()
    other_support = rows[:, [7, 1, 2, 3, 4, 5, 6, 0]].ravel()
    moved = {}
    for support in ("first", "random"):
        params = {"n_ways": 4, "n_shots": 2, "n_queries": None, "early_stopping": False}
        vectors = [
            quick_classifier(support=support, **params)
            .meta_fit(POOL_X[order], POOL_Y[order])
            ._meta.learned.theta.vector
            for order in (rows.ravel(), queries_reversed, other_support)
        ]
        moved[support] = [abs(v - vectors[0]).max() for v in vectors[1:]]
    assert moved["first"][0] < 1e-8 < 1e-4 < moved["first"][1]
    assert moved["random"][0] > 1e-4


def test_the_first_rows_of_a_group_support_the_rest():
    rows = np.arange(72).reshape(12, 6)
    params = {"n_shots": 2, "n_queries": None, "meta_learning_rate": 0.1}
    orders = [rows[:, columns].ravel() for columns in (range(6), [0, 1, 5, 4, 3, 2])]
    losses = {
        support: [
            quick_shared(support=support, **params)
            .meta_fit(X[order], Y[order], groups=GROUPS)
            .meta_history_[0]["loss"]
            for order in orders
        ]
        for support in ("first", "random")
    }
    assert_allclose(losses["first"][1], losses["first"][0], rtol=1e-4)
    assert abs(np.subtract(*losses["random"])).max() > 1e-3


VALIDATION = dict(zip(("X_val", "y_val", "groups_val"), labelled(seed=2), strict=True))


def test_own_groups_judge_and_are_not_learned_from():
    estimator = mixed_model().meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    other = {"X_val": NEW_X, "y_val": NEW_Y, "groups_val": NEW_GROUPS}
    other = mixed_model().meta_fit(X, Y, groups=GROUPS, **other)
    assert set(estimator.meta_gain_) == {"pooled", "per_task", "mixed_model", "final"}
    assert estimator.meta_gain_ != other.meta_gain_
    summaries = [e.prior_summary(as_frame=False) for e in (estimator, other)]
    assert_array_equal(summaries[0].mean, summaries[1].mean)
    with pytest.raises(ValueError, match="y_val holds 'c', which meta_fit has not seen; it has s"):
        mixed_model().meta_fit(X, Y, GROUPS, X_val=X, y_val=THREE[1], groups_val=GROUPS)


def test_own_classes_judge_and_are_not_learned_from():
    params = {"n_ways": 4, "n_shots": 1}
    val = {"X_val": NEW_POOL_X, "y_val": NEW_POOL_Y}
    estimator = quick_classifier(**params).meta_fit(POOL_X, POOL_Y, **val)
    assert set(estimator.meta_gain_) == {"class_mean", "per_task", "final"}
    hard, labels = pool(seed=1, n_classes=10, spread=5.0)
    other = quick_classifier(**params).meta_fit(POOL_X, POOL_Y, X_val=hard, y_val=labels)
    assert estimator.meta_gain_["final"] < 0.7 * other.meta_gain_["final"]
    grouped = quick_classifier(**params).meta_fit(POOL_X, POOL_Y, **val, groups_val=TASKS)
    assert grouped.meta_gain_ != estimator.meta_gain_
    with pytest.raises(ValueError, match="y_val has no two classes of two rows"):
        quick_classifier(**params).meta_fit(
            POOL_X, POOL_Y, X_val=NEW_POOL_X[FIRST], y_val=NEW_POOL_Y[FIRST]
        )


@pytest.mark.parametrize("setting", ["shared", "exchangeable"])
def test_without_early_stopping_nothing_is_held_out(setting):
    if setting == "shared":
        estimator = quick_shared().meta_fit(X, Y, groups=GROUPS)
    else:
        estimator = without_held_out().meta_fit(POOL_X, POOL_Y)
    assert estimator.meta_gain_ is None
    assert len(estimator.meta_history_) == 1
    assert estimator.n_meta_iter_ == len(estimator.meta_history_[0]["loss"]) == 5


def test_without_meta_steps_there_is_the_start():
    estimator = quick_classifier(meta_max_iter=0, early_stopping=False, prior_covariance="diagonal")
    estimator.meta_fit(X, Y, groups=GROUPS)
    assert estimator.n_meta_iter_ == 0
    assert "networks" not in estimator.meta_params_
    estimator = without_held_out(meta_max_iter=0).meta_fit(POOL_X, POOL_Y)
    assert estimator.n_meta_iter_ == 0
    # The best constants of a grid.
    assert np.log2(estimator.meta_params_["prototype_scale"]) % 1 == pytest.approx(0, abs=1e-9)
    assert estimator.fit(NEW_POOL_X, NEW_POOL_Y).score(NEW_POOL_X, NEW_POOL_Y) > 0.8


def test_without_standardising_rows_are_left_as_they_are():
    estimator = without_held_out(standardize=False).meta_fit(POOL_X, POOL_Y)
    params = estimator.meta_params_
    assert_array_equal(params["center"], 0)
    assert_array_equal(params["scale"], 1)
    assert not params["unit"]
    assert without_held_out().meta_fit(POOL_X, POOL_Y).meta_params_["unit"]
    assert estimator.fit(NEW_POOL_X, NEW_POOL_Y).score(NEW_POOL_X, NEW_POOL_Y) > 0.8
    z = StandardScaler().fit_transform(X)
    inside = mixed_model().meta_fit(z, Y, groups=GROUPS)
    outside = mixed_model(standardize=False).meta_fit(z, Y, groups=GROUPS)
    assert_allclose(inside.predict_proba(z), outside.predict_proba(z), rtol=1e-8)
    outside = mixed_model(standardize=False).meta_fit(10 * z, Y, groups=GROUPS)
    assert_array_equal(outside._meta.scaling.x_scale, 1)


@pytest.mark.filterwarnings("ignore:n_shots=100 is more than any class")
@pytest.mark.parametrize(
    ("params", "support", "query"),
    [
        ({"n_ways": 3, "n_shots": 2, "n_queries": 4}, {6}, {12}),
        ({"n_ways": (2, 3), "n_shots": 1, "n_queries": 1}, {2, 3}, {2, 3}),
        ({"n_ways": 2, "n_shots": [1, 3], "n_queries": None}, {2, 4, 6}, {14, 12, 10}),
        ({"n_ways": 2, "n_shots": 100, "n_queries": 100}, {14}, {2}),
    ],
)
def test_ways_shots_and_queries_are_those_of_the_episodes(monkeypatch, params, support, query):
    from skcml.class_pool import ClassEpisodeSampler

    drawn = []
    draw = ClassEpisodeSampler.draw

    def watch(self):
        drawn.append(draw(self))
        return drawn[-1]

    monkeypatch.setattr(ClassEpisodeSampler, "draw", watch)
    options = {"meta_max_iter": 25, "meta_batch_size": 4, "early_stopping": False}
    quick_classifier(**options | params).meta_fit(POOL_X, POOL_Y)
    assert len(drawn) == 25
    assert {episode.w_support.shape[1] for episode in drawn} == support
    assert {episode.w_query.shape[1] for episode in drawn} == query


def test_the_prior_strength_says_how_near_to_the_mean_or_the_prior_tasks_stay():
    rows = NEW_GROUPS == 2
    prior = learned_classifier().predict_proba(X)
    distances = []
    for strength in (1e-3, 1.0, 1e6):
        estimator = learned_classifier().set_params(prior_strength=strength)
        p = estimator.fit(NEW_X[rows], NEW_Y[rows]).predict_proba(X)
        distances.append(abs(p - prior).max())
    assert distances[0] > distances[1] > distances[2]
    weak = learned_pool().set_params(prior_strength=1e-6).fit(NEW_POOL_X, NEW_POOL_Y)
    strong = learned_pool().set_params(prior_strength=1e6).fit(NEW_POOL_X, NEW_POOL_Y)
    # Near logistic regression, and near the class means.
    means = [e._adapted.weights[0] for e in (weak, strong)]
    assert np.linalg.norm(means[0]) > 2 * np.linalg.norm(means[1])


# --- the same bits, copies, files


def test_the_same_seed_gives_the_same_bits():
    for estimator, data, x in (
        (
            quick_shared(),
            {"X": X, "y": Y, "groups": GROUPS} | VALIDATION,
            X,
        ),
        (quick_classifier(n_ways=4, n_shots=1), {"X": POOL_X, "y": POOL_Y}, None),
    ):
        again = clone(estimator).meta_fit(**data)
        estimator.meta_fit(**data)
        assert again.meta_history_ == estimator.meta_history_
        assert again.meta_gain_ == estimator.meta_gain_
        if x is not None:
            assert_array_equal(again.predict_proba(x), estimator.predict_proba(x))
        assert again.meta_gain_ is not None
        other = clone(estimator).set_params(random_state=1).meta_fit(**data)
        assert other.meta_history_ != estimator.meta_history_


def test_a_clone_keeps_what_was_learned_and_forgets_the_task():
    estimator, x, _, groups = fitted("shared")
    copied = clone(estimator)
    assert_array_equal(copied.predict_proba(x), learned_classifier().predict_proba(x))
    assert_array_equal(copied.classes_, estimator.classes_)
    copied.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(
        copied.predict_proba(x, groups=groups), estimator.predict_proba(x, groups=groups)
    )
    estimator, x, *_ = fitted("exchangeable")
    copied = clone(estimator)
    assert copied.class_setting_ == "exchangeable"
    assert copied.meta_gain_ == estimator.meta_gain_
    assert copied.n_features_in_ == 4
    assert not hasattr(copied, "classes_")
    with pytest.raises(NotFittedError):
        copied.predict(x)
    copied.fit(NEW_POOL_X[FIRST], NEW_POOL_Y[FIRST])
    assert_array_equal(copied.predict_proba(x), estimator.predict_proba(x))


@EACH
def test_saved_estimators_come_back_bit_for_bit(setting):
    estimator, x, _, groups = fitted(setting)
    p = estimator.predict_proba(x, groups=groups)
    for loaded in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert_array_equal(loaded.predict_proba(x, groups=groups), p)
        assert_array_equal(loaded.classes_, estimator.classes_)
        assert loaded.get_params() == estimator.get_params()


def values_in(blob, arrays):
    """Count the float64 values of some arrays whose bytes are in a blob, at any place."""
    values = np.unique(np.concatenate([np.ravel(a) for a in arrays]).astype(float))
    return sum(value.tobytes() in blob for value in values)


@EACH
def test_no_row_is_in_the_file(setting):
    estimator, *_ = fitted(setting)
    blob = pickle.dumps(estimator)
    arrays = [X, NEW_X, THREE[0], labelled(seed=1, n_classes=3)[0], POOL_X, NEW_POOL_X]
    if hasattr(estimator._adapted, "scaling"):
        arrays += [estimator._adapted.scaling.features(x) for x in arrays if x.shape[1] == 2]
    else:
        transform = estimator._meta.learned.transform
        arrays += [transform(x) for x in arrays if x.shape[1] == 4]
        if transform.lift:
            arrays = [a[:, :4] for a in arrays]
    assert values_in(blob, arrays) == 0
    estimator.kept_ = NEW_POOL_X
    assert values_in(pickle.dumps(estimator), [NEW_POOL_X]) == NEW_POOL_X.size


def test_the_file_does_not_grow_with_the_rows():
    sizes = []
    for n_rows in (5, 100):
        x, y = pool(n_rows=n_rows)
        estimator = without_held_out().meta_fit(x, y).fit(x, y)
        sizes.append(len(pickle.dumps(estimator)))
    assert sizes[1] < 1.05 * sizes[0]


def test_what_users_see_may_be_changed_without_harm():
    for setting in ("shared", "exchangeable"):
        estimator, x, _, groups = fitted(setting)
        before = estimator.predict_proba(x, groups=groups)
        for value in estimator.meta_params_.values():
            for part in value.values() if isinstance(value, dict) else [value]:
                if isinstance(part, np.ndarray):
                    part[...] = np.nan
        estimator.meta_gain_.clear()
        estimator.classes_[...] = estimator.classes_[0]
        assert_array_equal(estimator.predict_proba(x, groups=groups), before)
        fresh = clone(estimator)
        assert fresh.meta_gain_
        assert np.isfinite(list(fresh.meta_gain_.values())).all()


# --- failures


@EACH
def test_nothing_is_lost_by_a_call_that_fails(setting, monkeypatch):
    estimator, x, _, groups = fitted(setting)
    before, attributes = estimator.predict_proba(x, groups=groups), dict(vars(estimator))
    wide = np.column_stack([x, x])
    y = np.arange(len(x)) % 3
    calls = [
        lambda: estimator.meta_fit(wide, np.zeros(len(x)), groups=np.arange(len(x)) // 3),
        lambda: estimator.meta_fit(wide, np.arange(len(x))),
        lambda: estimator.meta_fit(wide, y, X_val=x),
        lambda: estimator.fit(x, np.full(len(x), np.nan)),
        lambda: estimator.fit(x, np.zeros(len(x))),
        lambda: estimator.fit(x[:-1], y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="y"):
            call()
        assert vars(estimator) == attributes

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("skcml.heads.Heads.adapt", interrupt)
    monkeypatch.setattr("skcml.estimators._pool.adapt_tasks", interrupt)
    monkeypatch.setattr("skcml.estimators._pool.learn_classes", interrupt)
    y = estimator.classes_[np.arange(len(x)) % 2]
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, y)
    assert vars(estimator) == attributes
    with pytest.raises(KeyboardInterrupt):
        estimator.meta_fit(wide, np.arange(len(x)) // 4)
    assert vars(estimator) == attributes
    monkeypatch.undo()
    assert_array_equal(estimator.predict_proba(x, groups=groups), before)


# --- text and callbacks


def test_the_verdict_is_printed_if_wanted(capsys):
    quick_shared(verbose=1).meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    out = capsys.readouterr().out
    assert out.startswith("[CMLClassifier] 12 groups, 72 rows; held-out log loss: pooled ")
    quick_classifier(verbose=1, n_ways=4, n_shots=1).meta_fit(POOL_X, POOL_Y)
    out = capsys.readouterr().out
    assert out.startswith(
        "[CMLClassifier] 16 exchangeable classes, 128 rows; held-out log loss: class_mean "
    )
    assert ", final " in out
    without_held_out(verbose=1).meta_fit(POOL_X, POOL_Y)
    assert capsys.readouterr().out == ""


class Recorder:
    """A callback that writes down tasks and what it was handed; it may end the descents."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.ended, self.fitted = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.ended.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.ended.append(context.task_name)
        if context.task_name == "meta-step":
            self.fitted.append(fitted_estimator)
        return self.ended.count("meta-step") == self.stop_at


def test_callbacks_follow_the_descent_over_a_pool_and_change_nothing():
    recorder = Recorder()
    estimator = without_held_out().set_callbacks(recorder).meta_fit(POOL_X, POOL_Y)
    assert recorder.ended == [*5 * ["meta-step"], "descent", "meta_fit", "teardown"]
    assert recorder.fitted == [None] * 5  # there are no classes yet
    plain = without_held_out().meta_fit(POOL_X, POOL_Y)
    assert estimator.meta_history_ == plain.meta_history_
    short = without_held_out().set_callbacks(Recorder(stop_at=2)).meta_fit(POOL_X, POOL_Y)
    assert short.n_meta_iter_ == 2


def test_callbacks_get_estimators_that_predict_shared_classes():
    recorder = Recorder()
    estimator = quick_shared().set_callbacks(recorder)
    estimator.meta_fit(X, Y, groups=GROUPS)
    assert len(recorder.fitted) == 5
    for one in recorder.fitted:
        assert_array_equal(one.classes_, ["a", "b"])
        assert one.predict_proba(X).shape == (72, 2)


def test_scores_are_recorded_where_there_is_something_to_score():
    monitor = ScoringMonitor(scoring="accuracy")
    shared = quick_shared().set_callbacks(monitor)
    shared.meta_fit(X, Y, groups=GROUPS)
    assert len(monitor.get_logs().data) == 5
    monitor = ScoringMonitor(scoring="accuracy")
    pooled = without_held_out().set_callbacks(monitor).meta_fit(POOL_X, POOL_Y)
    with pytest.raises(ValueError, match="No logs to retrieve"):
        monitor.get_logs()
    pooled.fit(NEW_POOL_X, NEW_POOL_Y)
    (log,) = monitor.get_logs().data
    assert log["accuracy"] == pooled.score(NEW_POOL_X, NEW_POOL_Y)


def test_tags_say_what_it_is():
    tags = CMLClassifier().__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert not tags.target_tags.multi_output
    assert tags.target_tags.required


def test_weights_of_unknown_classes_are_refused_without_meta_fit_too():
    x, y, _ = labelled()
    with pytest.raises(ValueError, match="class_weight names 'zero', which y does not hold"):
        CMLClassifier(class_weight={"zero": 2.0}).fit(x, y)


def test_a_group_of_new_classes_whose_rows_weigh_nothing_is_not_known():
    x, y = pool(seed=1)
    groups, weight = np.arange(16).repeat(8) // 8, np.ones(len(x))
    weight[groups == 1] = 0.0
    estimator = learned_pool().fit(x, y, groups=groups, sample_weight=weight)
    assert estimator.predict_proba(x[:8], groups=groups[:8]).shape == (8, 16)
    with pytest.raises(ValueError, match="groups holds a group in row 0 that fit has not seen"):
        estimator.predict(x[groups == 1], groups=groups[groups == 1])
