"""Scores of held-out tasks, against plain loops."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import get_scorer, log_loss, mean_absolute_error
from sklearn.model_selection import KFold, cross_val_score

from tests.estimators import grouped, labelled, pool, quick
from tests.task_learners import (
    GROUPS,
    LOUD,
    NEW,
    OLD,
    X,
    Y,
    by_hand,
    classes_learner,
    digits_learner,
    fitted,
    learner,
    own_score,
    pool_learner,
    reml,
    table,
)

# --- what a score is


@pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_squared_error", "neg_max_error"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_score_is_the_mean_of_a_plain_loop(scoring, k):
    estimator = reml().meta_fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    score = own_score if scoring is None else get_scorer(scoring)
    expected = by_hand(estimator, X[NEW], Y[NEW], GROUPS[NEW], k, score)
    found = fitted(n_shots=k, scoring=scoring)
    assert found.score(X[NEW], Y[NEW], groups=GROUPS[NEW]) == pytest.approx(
        expected.mean(), rel=1e-12
    )
    result = found.evaluate(X[NEW], Y[NEW], GROUPS[NEW])
    assert_allclose(result.task_scores[:, 0], expected, rtol=1e-11)
    assert_array_equal(result.tasks, np.arange(10, 15))


def test_networks_and_the_mixture_are_scored_as_in_a_loop():
    estimator = quick().meta_fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    expected = by_hand(estimator, X[NEW], Y[NEW], GROUPS[NEW], 3, own_score)
    found = learner(quick()).fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    assert_allclose(found.evaluate(X[NEW], Y[NEW], GROUPS[NEW]).task_scores[:, 0], expected)


def test_networks_of_each_task_are_scored_as_in_a_loop():
    params = {"model": "synaptic", "meta_max_iter": 3, "early_stopping": False}
    found = learner(quick(**params)).fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    expected = by_hand(found.estimator_, X[NEW], Y[NEW], GROUPS[NEW], 3, own_score)
    scores = found.evaluate(X[NEW], Y[NEW], GROUPS[NEW]).task_scores[:, 0]
    assert_allclose(scores, expected, rtol=1e-6)


def test_several_outputs_are_scored():
    x, y, groups = grouped(n_outputs=2)
    found = learner().fit(x, y, groups=groups)
    expected = by_hand(found.estimator_, x, y, groups, 3, own_score)
    assert_allclose(found.evaluate(x, y, groups).task_scores[:, 0], expected)


@pytest.mark.parametrize("scoring", [None, "accuracy", "neg_log_loss"])
def test_shared_classes_are_scored_as_in_a_loop(scoring):
    x, y, groups = labelled(n_groups=20, n_rows=8)
    found = classes_learner(scoring=scoring)

    def score(adapted, x, y):
        if scoring == "neg_log_loss":
            return -log_loss(y, adapted.predict_proba(x), labels=["a", "b"])
        return adapted.score(x, y)

    expected = by_hand(found.estimator_, x, y, groups, 3, score)
    # Posteriors of classes are found to a tolerance.
    assert_allclose(found.evaluate(x, y, groups).task_scores[:, 0], expected, rtol=1e-5)
    # Rows to predict of some groups hold one class only.
    assert any(len(set(y[groups == g][3:])) == 1 for g in range(20))


def test_rows_that_are_shown_are_not_asked_and_all_others_are():
    asked = []

    def scoring(estimator, x, y):
        asked.append(y)
        return 0.0

    ids = np.arange(len(Y), dtype=float)
    found = fitted(n_shots=3, support="random", scoring=scoring)
    shown_by_seed = []
    for seed in (0, 0, 1):
        asked.clear()
        found.set_params(random_state=seed).score(X[NEW], ids[NEW], groups=GROUPS[NEW])
        assert [len(y) for y in asked] == [5] * 5
        shown_by_seed.append(tuple(sorted(set(ids[NEW]) - set(np.concatenate(asked)))))
    assert shown_by_seed[0] == shown_by_seed[1] != shown_by_seed[2]
    assert len(shown_by_seed[0]) == 15
    asked.clear()
    found.set_params(support="first").score(X[NEW], ids[NEW], groups=GROUPS[NEW])
    assert_array_equal(np.concatenate(asked), [i for i in ids[NEW] if i % 8 >= 3])


def test_the_support_is_that_of_the_estimator_unless_said():
    first = fitted(estimator=reml(support="first"), support=None)
    first.fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    said = fitted(support="first")
    data = X[NEW], Y[NEW], GROUPS[NEW]
    assert first.score(*data) == pytest.approx(said.score(*data), rel=1e-12)
    assert fitted(support=None).score(*data) == fitted(support="random").score(*data)
    assert fitted(support=None).score(*data) != pytest.approx(said.score(*data), rel=1e-6)


def test_scoring_changes_nothing():
    found = fitted()
    before = pickle.dumps(found.estimator_)
    found.evaluate(X[NEW], Y[NEW], GROUPS[NEW], n_shots=[0, 2], scoring="neg_max_error")
    assert pickle.dumps(found.estimator_) == before
    assert found.score(X[NEW], Y[NEW], GROUPS[NEW]) == found.score(X[NEW], Y[NEW], GROUPS[NEW])


def test_rows_in_any_order_are_of_their_groups():
    order = np.random.default_rng(0).permutation(np.flatnonzero(NEW))
    order = order[np.argsort(order % 8, kind="stable")]  # as they came, within a group
    found = fitted()
    expected = found.score(X[NEW], Y[NEW], groups=GROUPS[NEW])
    assert found.score(X[order], Y[order], groups=GROUPS[order]) == pytest.approx(expected)


def test_weights_are_used_for_both_and_zero_ones_leave_rows_out():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    found = fitted()
    scores = found.evaluate(X[NEW], Y[NEW], GROUPS[NEW], weight[NEW]).task_scores[:, 0]
    for score, group in zip(scores, range(10, 15), strict=True):
        rows = np.flatnonzero(group == GROUPS)
        seen, rest = rows[:3], rows[3:]
        adapted = clone(found.estimator_).fit(X[seen], Y[seen], sample_weight=weight[seen])
        assert score == pytest.approx(adapted.score(X[rest], Y[rest], sample_weight=weight[rest]))
    kept = np.arange(len(Y)) % 8 != 1
    by_weight = found.score(X[NEW], Y[NEW], GROUPS[NEW], sample_weight=kept[NEW].astype(float))
    new = NEW & kept
    assert by_weight == pytest.approx(found.score(X[new], Y[new], GROUPS[new]))


def test_labels_may_be_tuples():
    groups = [("north", int(g)) for g in GROUPS]
    result = fitted().fit(X, Y, groups=groups).evaluate(X, Y, groups)
    assert result.tasks[3] == ("north", 3)


# --- several numbers of shots


def test_an_evaluation_is_about_the_same_rows_at_every_number_of_shots():
    asked = []

    def scoring(estimator, x, y):
        asked.append(tuple(y))
        return -mean_absolute_error(y, estimator.predict(x))

    uneven = ~np.isin(np.arange(len(Y)), np.flatnonzero(GROUPS == 12)[4:])  # four rows of one group
    new = NEW & uneven
    result = fitted().evaluate(X[new], Y[new], GROUPS[new], n_shots=(1, 5, 2), scoring=scoring)
    assert asked[:4] == asked[4:8] == asked[8:]
    assert_array_equal(result.tasks, [10, 11, 13, 14])
    assert_array_equal(result.n_shots, [1, 5, 2])
    assert_array_equal(result.n_tasks, [4, 4, 4])
    assert result.task_scores.shape == (4, 3)
    most = fitted(n_shots=5, scoring=scoring).score(X[new], Y[new], GROUPS[new])
    assert result.mean[1] == pytest.approx(most)
    assert result.mean[0] < result.mean[2] < result.mean[1] < 0
    assert (result.low < result.mean).all()
    assert (result.mean < result.high).all()


def test_without_a_shot_the_prior_is_scored():
    for estimator in (reml(), quick()):
        found = learner(estimator).fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
        scores = found.evaluate(X[NEW], Y[NEW], GROUPS[NEW], n_shots=0).task_scores[:, 0]
        for score, group in zip(scores, range(10, 15), strict=True):
            rows = group == GROUPS
            assert score == pytest.approx(found.estimator_.score(X[rows], Y[rows]))


def test_an_evaluation_is_a_frame():
    result = fitted().evaluate(X[NEW], Y[NEW], GROUPS[NEW], n_shots=[1, 2])
    frame = pd.DataFrame({name: result[name] for name in ("mean", "low", "high", "n_tasks")})
    assert frame.shape == (2, 4)
    assert pd.DataFrame(result.task_scores, result.tasks, result.n_shots).shape == (5, 2)


# --- exchangeable classes


def test_episodes_of_a_pool_are_scored_as_in_a_loop():
    x, y = pool(seed=5)
    found = pool_learner(support="first", n_ways=None, n_shots=2)
    new = np.flatnonzero(y >= "class 10")
    assert found.estimator_.class_setting_ == "exchangeable"
    result = found.evaluate(x[new], y[new], n_shots=(1, 2))
    assert len(result.tasks) == 1  # the first rows of all six classes, each time
    for column, k in enumerate((1, 2)):
        seen, rest = new[new % 8 < k], new[new % 8 >= 2]
        adapted = clone(found.estimator_).fit(x[seen], y[seen])
        assert result.task_scores[0, column] == adapted.score(x[rest], y[rest])
    assert np.isnan(result.low).all()  # of one task there is no interval


def test_episodes_are_drawn_anew_by_the_seed():
    x, y = pool()
    seen = []

    def scoring(estimator, x, y):
        seen.append(tuple(estimator.classes_))
        assert set(y) == set(estimator.classes_)
        return estimator.score(x, y)

    found = pool_learner(n_ways=3)
    found.scoring = scoring
    first, again = (found.evaluate(x, y).task_scores for _ in range(2))
    assert_array_equal(first, again)
    assert seen[:20] == seen[20:]
    assert len(set(seen)) > 10
    assert {len(classes) for classes in seen} == {3}
    other = found.set_params(random_state=1).evaluate(x, y).task_scores
    assert (other != first).any()
    assert found.set_params(n_ways=99).evaluate(x, y).n_tasks == [20]
    assert {len(classes) for classes in seen[60:]} == {16}


def test_groups_with_classes_of_their_own():
    x, y = pool(n_classes=12)
    alphabet = np.repeat(np.arange(4), 24)  # three classes of eight rows each
    found = digits_learner(support="first", scoring="neg_log_loss")
    found.fit(x, y, groups=alphabet)
    result = found.evaluate(x, y, alphabet, n_shots=2)
    assert_array_equal(result.tasks, range(4))
    place = np.arange(len(y)) % 8
    for task in range(4):
        seen, rest = (alphabet == task) & (place < 2), (alphabet == task) & (place >= 2)
        adapted = clone(found.estimator_).fit(x[seen], y[seen])
        expected = -log_loss(y[rest], adapted.predict_proba(x[rest]))
        assert result.task_scores[task, 0] == pytest.approx(expected)


def test_a_pool_that_cannot_be_scored():
    x, y = pool()
    found = pool_learner()
    with pytest.raises(ValueError, match=r"beside n_shots=8 rows.*of the 16 classes.*has 8 row"):
        found.evaluate(x, y, n_shots=8)
    lonely = np.arange(len(y)) // 8 + 100 * (np.arange(len(y)) % 8 > 6)
    with pytest.raises(ValueError, match=r"two classes of one of the 32 groups .*n_shots=3"):
        found.evaluate(x, y, lonely)
    with pytest.raises(ValueError, match="n_shots=0 leaves exchangeable classes without a row"):
        found.evaluate(x, y, n_shots=0)


# --- misuse


def test_rows_to_score_that_are_not_what_they_should_be():
    found = fitted()
    for bad, message in [
        ((X, Y[:5], GROUPS), "y has 5 rows, but X has 120; pass one for each row"),
        ((X, None, GROUPS), "requires y to be passed"),
        ((X, Y, GROUPS[:5]), "groups has 5 labels for 120 rows"),
        ((X[:, :1], Y, GROUPS), "X has 1 features"),
        ((np.where(X > 2, np.nan, X), Y, GROUPS), "Input X contains NaN"),
        ((X, np.where(Y > 2, np.nan, Y), GROUPS), "Input y contains NaN"),
        ((X, np.where(Y > 2, np.inf, Y), GROUPS), "Input y contains infinity"),
        ((X, Y, GROUPS, -np.ones(len(Y))), "Negative values in sample_weight"),
        ((X[:0], Y[:0], GROUPS[:0]), r"y: Found array with 0 sample\(s\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            found.score(*bad)
    with pytest.raises(ValueError, match=r"None of the 12 groups .* n_shots=8 .* has 8 row"):
        found.set_params(n_shots=8).score(X[GROUPS < 12], Y[GROUPS < 12], GROUPS[GROUPS < 12])
    for shots in ([], [1, -1], [2, 2], True):
        with pytest.raises(ValueError, match=r"n_shots=.* must hold distinct whole numbers of 0"):
            found.evaluate(X, Y, GROUPS, n_shots=shots)
    for arguments, name in (((None, Y), "X"), ((X, 3.0), "y")):
        with pytest.raises(TypeError, match=f"{name}: Expected sequence or array-like, got"):
            found.score(*arguments, GROUPS)
    with pytest.raises(NotFittedError):
        learner().score(X, Y, groups=GROUPS)


def test_labels_to_score_that_are_none():
    x, y, groups = labelled(n_groups=20, n_rows=8)
    for label, message in [
        (np.nan, "Input y contains NaN: 1 missing label"),
        (None, "Input y contains NaN"),
        (np.inf, "Input y contains infinity"),
    ]:
        bad = y.astype(object)
        bad[7] = label  # a row that is not shown
        with pytest.raises(ValueError, match=message):
            classes_learner().score(x, bad, groups=groups)
    bad[7] = 3
    with pytest.raises(TypeError, match="y mixes labels that cannot be compared"):
        classes_learner().score(x, bad, groups=groups)


def test_tasks_without_a_score_are_left_out_and_counted():
    x, y, groups = labelled(n_groups=20, n_rows=8)
    found = classes_learner(scoring="roc_auc")
    one_class = [len(set(y[groups == g][3:])) == 1 for g in range(20)]
    with pytest.warns(UndefinedMetricWarning) as record:
        result = found.evaluate(x, y, groups)
    (warning,) = record
    assert f"of {sum(one_class)} of 20 tasks (it gives nan)" in str(warning.message)
    assert warning.filename == __file__
    assert_array_equal(np.isnan(result.task_scores[:, 0]), one_class)
    assert result.n_tasks == [20 - sum(one_class)]
    assert result.mean[0] == pytest.approx(np.nanmean(result.task_scores))
    lonely = np.isin(groups, np.flatnonzero(one_class))
    with pytest.raises(ValueError, match=r"'roc_auc' cannot be computed .* of any of the"):
        found.score(x[lonely], y[lonely], groups=groups[lonely])


def test_a_single_row_has_no_r2():
    with pytest.raises(ValueError, match=r"own score cannot be computed .*any of the 5 tasks"):
        fitted(n_shots=7).score(X[NEW], Y[NEW], groups=GROUPS[NEW])
    assert fitted(n_shots=7, scoring="neg_mean_squared_error").score(X[NEW], Y[NEW], GROUPS[NEW])


def test_rows_of_groups_that_were_learned_from():
    found = learner(group_column="ward", scoring="neg_mean_squared_error")
    # Rows of a group stand together, so that a splitter of rows cuts some at the ends of a fold.
    with pytest.warns(UserWarning, match=r"cv=GroupKFold\(\) and groups\.$") as record:
        cross_val_score(found, table(), Y, cv=KFold(4), **LOUD)
    assert all(str(w.message).startswith("1 of the ") for w in record)
    x, y = pool()
    classes = pool_learner(n_shots=1)
    with pytest.warns(UserWarning, match=r"16 of the 16 classes .*groups=y"):
        classes.score(x[1::2], y[1::2])
    # Whole groups, as for training scores, and labels of another kind are no error.
    fitted().score(X, Y, groups=GROUPS)
    fitted().score(X[1:], Y[1:], groups=GROUPS[1:].astype(str))


def test_a_score_must_be_a_number():
    with pytest.raises(TypeError, match=r"one number for each task; got \{'a': 1\}"):
        fitted(scoring=lambda estimator, x, y: {"a": 1}).score(X, Y, groups=GROUPS)


def test_errors_of_a_scorer_that_are_not_about_rows_are_not_hidden():
    def scoring(estimator, x, y):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        fitted(scoring=scoring).score(X, Y, groups=GROUPS)
