"""TaskLearner: its scores against plain loops, in scikit-learn's tools, and misused."""

import functools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import get_scorer, log_loss, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    LeaveOneOut,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier, CMLRegressor
from skcml.datasets import load_grouped
from skcml.model_selection import TaskLearner
from tests.estimators import grouped, labelled, linear, pool, quick, quick_classifier
from tests.test_progress import Recorder

X, Y, GROUPS = grouped(n_groups=15, n_rows=8)
OLD, NEW = GROUPS < 10, GROUPS >= 10
CV = GroupKFold(3)


def reml(**params):
    return linear(early_stopping=False, **params)


def learner(estimator=None, **params):
    options = {"n_shots": 3, "support": "first", "random_state": 0}
    return TaskLearner(reml() if estimator is None else estimator, **options | params)


@functools.cache
def _fitted():
    return learner().fit(X[OLD], Y[OLD], groups=GROUPS[OLD])


def fitted(**params):
    """Return a learner of numbers that has been fitted, with other parameters."""
    return pickle.loads(pickle.dumps(_fitted())).set_params(**params)


def table(x=X, groups=GROUPS):
    return pd.DataFrame(x, columns=["a", "b"]).assign(ward=[f"w{g:02}" for g in groups])


def by_hand(estimator, x, y, groups, k, score):
    """Return the score of each group by a plain loop: adapt to its first k rows, score the rest."""
    scores = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) > k:
            adapted = clone(estimator).fit(x[rows[:k]], y[rows[:k]])
            scores.append(score(adapted, x[rows[k:]], y[rows[k:]]))
    return np.array(scores)


def own_score(estimator, x, y):
    return estimator.score(x, y)


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


@functools.cache
def _classes_learner():
    alone = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}
    x, y, groups = labelled(n_groups=20, n_rows=8)
    return learner(quick_classifier(**alone)).fit(x, y, groups=groups)


def classes_learner(**params):
    """Return a learner of shared classes that has been fitted, with other parameters."""
    return pickle.loads(pickle.dumps(_classes_learner())).set_params(**params)


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


def test_weights_reach_meta_fit():
    weight = np.where(GROUPS[OLD] < 5, 1.0, 0.0)
    found = learner().fit(X[OLD], Y[OLD], groups=GROUPS[OLD], sample_weight=weight)
    half = GROUPS < 5
    expected = reml().meta_fit(X[half], Y[half], groups=GROUPS[half])
    assert_allclose(found.predict(X), expected.predict(X))


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


# --- searches, with groups in both ways

GRID = {
    "estimator__hidden_layer_sizes": [(), (4,)],
    "estimator__prior_covariance": ["full", "diagonal"],
}
QUICK = quick(meta_max_iter=2, early_stopping=False)
# The shape of errors of scikit-learn's that hold ours.
LOUD = {"error_score": "raise"}


@functools.cache
def search_by_hand(params):
    """Return the mean of each split, by clone, meta_fit, fit for each group and score."""
    estimator = clone(QUICK).set_params(**{k.removeprefix("estimator__"): v for k, v in params})
    scores = []
    for old, new in CV.split(X, Y, GROUPS):
        one = clone(estimator).meta_fit(X[old], Y[old], groups=GROUPS[old])
        scores.append(by_hand(one, X[new], Y[new], GROUPS[new], 3, own_score).mean())
    return scores


def check_search(search):
    results = search.cv_results_
    assert len(results["params"]) == 4
    for number, params in enumerate(results["params"]):
        expected = search_by_hand(tuple(params.items()))
        found = [results[f"split{split}_test_score"][number] for split in range(3)]
        assert_allclose(found, expected, rtol=1e-9)
    # Ready for a new task.
    best = search.best_estimator_.estimator_
    assert best.meta_history_ is not None
    return best


def test_a_search_with_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(learner(QUICK), GRID, cv=CV, **LOUD).fit(X, Y, groups=GROUPS)
        again = search.score(X, Y, groups=GROUPS)
    best = check_search(search)
    assert again == pytest.approx(by_hand(best, X, Y, GROUPS, 3, own_score).mean())
    assert best.fit(X[:3], Y[:3]).predict(X).shape == Y.shape


@pytest.mark.parametrize("in_estimator", [False, True])
@pytest.mark.parametrize("routing", [False, True])
def test_a_search_with_a_group_column(in_estimator, routing):
    named = {"group_column": "ward"}
    inner = clone(QUICK).set_params(**named) if in_estimator else QUICK
    outer = learner(inner) if in_estimator else learner(inner, **named)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(outer, GRID, cv=CV, **LOUD).fit(table(), Y, groups=GROUPS_BY_NAME)
        score = search.score(table(), Y)
    best = check_search(search)
    assert score == pytest.approx(search.best_estimator_.score(table(), Y))
    one = best.fit(table()[:3], Y[:3])
    assert one.predict(table()).shape == Y.shape


GROUPS_BY_NAME = table()["ward"]


def test_a_search_without_groups_names_both_remedies():
    message = r"(?s)set_config\(enable_metadata_routing=True\).*TaskLearner\(\.\.\., group_column="
    for tool in (
        lambda: GridSearchCV(learner(), {"n_shots": [1]}, cv=CV).fit(X, Y, groups=GROUPS),
        lambda: cross_val_score(learner(), X, Y, groups=GROUPS, cv=CV),
        lambda: learner().fit(X, Y),
        lambda: fitted().score(X, Y),
        lambda: learner(CMLClassifier(classes="shared")).fit(X, Y > 0),
    ):
        with pytest.raises(ValueError, match=message):
            tool()
    # A classifier may have a third one.
    with pytest.raises(ValueError, match=message + ".*classes='exchangeable'"):
        learner(CMLClassifier()).fit(X, Y > 0)


def test_searching_in_several_processes_gives_the_same():
    options = {"cv": CV, "error_score": "raise"}
    by_column = learner(QUICK, group_column="ward", support="random")
    one, two = (
        GridSearchCV(by_column, {"n_shots": [1, 2]}, n_jobs=n, **options).fit(
            table(), Y, groups=GROUPS
        )
        for n in (None, 2)
    )
    assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])


def test_halving_by_meta_steps():
    search = HalvingGridSearchCV(
        learner(QUICK, group_column="ward"),
        {"estimator__activation": ["tanh", "relu"], "estimator__hidden_layer_sizes": [(2,), (4,)]},
        resource="estimator__meta_max_iter",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=CV,
        **LOUD,
    )
    search.fit(table(), Y, groups=GROUPS)
    assert search.n_resources_ == [2, 4, 8]
    assert search.best_estimator_.estimator_.n_meta_iter_ == 8


def test_cross_validation_with_training_scores():
    with sklearn.config_context(enable_metadata_routing=True):
        result = cross_validate(
            learner(), X, Y, params={"groups": GROUPS}, cv=CV, return_train_score=True, **LOUD
        )
    for split, (old, new) in enumerate(CV.split(X, Y, GROUPS)):
        estimator = reml().meta_fit(X[old], Y[old], groups=GROUPS[old])
        for part, rows in (("train", old), ("test", new)):
            expected = by_hand(estimator, X[rows], Y[rows], GROUPS[rows], 3, own_score).mean()
            assert result[f"{part}_score"][split] == pytest.approx(expected)


def test_a_learning_curve_over_tasks():
    sizes, train, test = learning_curve(
        learner(group_column="ward"),
        table(),
        Y,
        groups=GROUPS,
        cv=CV,
        train_sizes=[24, 48, 80],  # three, six and ten groups of eight rows, which stand together
        **LOUD,
    )
    assert_array_equal(sizes, [24, 48, 80])
    assert train.shape == test.shape == (3, 3)
    old, new = next(CV.split(X, Y, GROUPS))
    few = old[:24]
    assert len(set(GROUPS[few])) == 3
    estimator = reml().meta_fit(X[few], Y[few], groups=GROUPS[few])
    expected = by_hand(estimator, X[new], Y[new], GROUPS[new], 3, own_score).mean()
    assert test[0, 0] == pytest.approx(expected)


def test_nested_cross_validation_of_a_search():
    grid = {"estimator__prior_covariance": ["full", "diagonal"]}
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(learner(), grid, cv=GroupKFold(2), **LOUD)
        found = cross_validate(
            search, X, Y, params={"groups": GROUPS}, cv=CV, return_estimator=True, **LOUD
        )
    _, new = next(CV.split(X, Y, GROUPS))
    best = found["estimator"][0].best_estimator_
    expected = by_hand(best.estimator_, X[new], Y[new], GROUPS[new], 3, own_score).mean()
    assert found["test_score"][0] == pytest.approx(expected)


class Pipeline(PlainPipeline):
    """One whose transformers learn in `meta_fit`."""

    def meta_fit(self, X, y, groups=None):
        scaler = FrozenEstimator(clone(self.steps[0][1]).fit(X))
        self.steps = [("scale", scaler), self.steps[1]]
        self.steps[1][1].meta_fit(scaler.transform(X), y, groups=groups)
        return self


def test_a_pipeline_with_meta_fit():
    steps = [("scale", StandardScaler()), ("last", reml())]
    expected = fitted().score(X[NEW], Y[NEW], groups=GROUPS[NEW])
    found = learner(Pipeline(steps)).fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    assert found.score(X[NEW], Y[NEW], groups=GROUPS[NEW]) == pytest.approx(expected)
    # A column that no step is told of is taken out.
    found = learner(Pipeline(steps), group_column="ward").fit(table()[OLD], Y[OLD])
    assert found.score(table()[NEW], Y[NEW]) == pytest.approx(expected)
    assert_allclose(found.predict(table()), found.estimator_.predict(table()[["a", "b"]]))
    assert_array_equal(found.feature_names_in_, ["a", "b"])


def test_a_search_of_the_prior_strength_in_each_task():
    inner = GridSearchCV(
        reml(), {"prior_strength": [0.01, 1.0]}, cv=LeaveOneOut(), scoring="neg_mean_squared_error"
    )
    outer = {"estimator__estimator__prior_covariance": ["full", "diagonal"]}
    scoring = "neg_mean_squared_error"
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(learner(inner, scoring=scoring), outer, cv=CV, **LOUD)
        search.fit(X, Y, groups=GROUPS)
    old, new = next(CV.split(X, Y, GROUPS))
    estimator = reml().meta_fit(X[old], Y[old], groups=GROUPS[old])
    one = clone(inner).set_params(estimator=estimator)
    expected = by_hand(one, X[new], Y[new], GROUPS[new], 3, get_scorer(scoring))
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected.mean())
    # A new task is searched again.
    new_task = search.best_estimator_.estimator_.fit(X[:5], Y[:5])
    assert new_task.best_params_["prior_strength"] in (0.01, 1.0)
    assert new_task.best_estimator_.meta_params_ is not None


def test_a_search_on_a_real_table():
    x, y, person = load_grouped("sleepstudy", return_X_y=True)
    x = x.assign(person=np.asarray(person))
    search = GridSearchCV(
        learner(reml(group_column="person"), scoring="neg_root_mean_squared_error"),
        {"estimator__prior_strength": [1e-3, 1.0, 1e3]},
        cv=GroupKFold(3),
        **LOUD,
    )
    search.fit(x, y, groups=person)
    assert search.best_params_ == {"estimator__prior_strength": 1.0}
    assert -45 < search.best_score_ < -30  # milliseconds
    best = search.best_estimator_.estimator_
    new = x[:10].assign(person=999)
    assert np.abs(best.fit(new[:5], y[:5]).predict(new[5:]) - y[5:10]).mean() < 60


# --- exchangeable classes


def digits_learner(**params):
    estimator = CMLClassifier(
        classes="exchangeable",
        n_ways=3,
        n_shots=1,
        meta_max_iter=1,
        early_stopping=False,
        random_state=0,
    )
    return TaskLearner(estimator, **{"n_shots": 3, "random_state": 0, "n_episodes": 20} | params)


@functools.cache
def _pool_learner():
    return digits_learner().fit(*pool())


def pool_learner(**params):
    """Return a learner that has learned from `pool`, with other parameters."""
    return pickle.loads(pickle.dumps(_pool_learner())).set_params(**params)


def test_new_digits_are_told_apart_with_either_way_to_pass_them():
    x, y = load_digits(return_X_y=True)
    x, y = x[:300], y[:300]
    cv = GroupKFold(2)
    scores = cross_val_score(digits_learner(), x, y, groups=y, cv=cv, **LOUD)
    assert (scores > 0.7).all()
    with sklearn.config_context(enable_metadata_routing=True):
        auto = digits_learner().set_params(estimator__classes="auto")
        routed = cross_val_score(auto, x, y, params={"groups": y}, cv=cv, **LOUD)
    assert_array_equal(scores, routed)


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
    with pytest.raises(NotFittedError, match="call fit with rows of them first"):
        found.predict(x)


# --- conventions


def test_parameters_clones_pictures_and_tags():
    one = learner(quick(), scoring="r2")
    assert one.get_params()["estimator__meta_max_iter"] == 5
    assert one.set_params(estimator__beta=0.5).estimator.beta == 0.5
    params = one.get_params(deep=False)
    assert TaskLearner(**params).get_params(deep=False) == params
    copied = clone(fitted())
    assert not copied.__sklearn_is_fitted__()
    assert copied.estimator is not fitted().estimator
    assert repr(learner(reml())).startswith("TaskLearner(estimator=CMLRegressor(")
    assert "TaskLearner" in fitted()._repr_html_()
    assert is_regressor(one)
    assert not is_classifier(one)
    assert is_classifier(learner(CMLClassifier()))


def test_the_estimator_that_is_passed_stays_as_it_is():
    estimator = reml()
    before = estimator.get_params()
    found = learner(estimator, group_column="ward").fit(table(), Y)
    assert estimator.get_params() == before
    assert not hasattr(estimator, "meta_params_")
    assert found.estimator is estimator


def test_a_learner_pickles():
    for found in (_fitted(), learner(group_column="ward").fit(table(), Y)):
        copied = pickle.loads(pickle.dumps(found))
        data = (X, Y, GROUPS) if found is _fitted() else (table(), Y)
        assert copied.score(*data) == found.score(*data)


def test_a_learner_predicts_the_prior():
    found = fitted()
    expected = reml().meta_fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    assert_array_equal(found.predict(X), expected.predict(X))
    _, std = found.predict(X, return_std=True)
    assert (std > 0).all()
    found.estimator_.fit(X[:3], Y[:3])
    assert_array_equal(found.predict(X), expected.predict(X))
    by_column = learner(group_column="ward").fit(table(), Y)
    assert_array_equal(by_column.predict(table()), by_column.estimator_.predict(table()))
    assert found.n_features_in_ == 2
    assert_array_equal(by_column.feature_names_in_, ["a", "b", "ward"])
    assert not hasattr(found, "predict_proba")
    assert not hasattr(learner(), "n_features_in_")
    with pytest.raises(NotFittedError, match="TaskLearner"):
        learner().predict(X)
    x, classes = labelled()[0], classes_learner()
    assert_array_equal(classes.classes_, ["a", "b"])
    assert_allclose(classes.predict_proba(x), classes.estimator_.predict_proba(x))
    # What a scorer of a search asks; the guide warns of it.
    alone = cross_val_score(
        learner(group_column="ward"), table(), Y, groups=GROUPS, cv=CV, scoring="r2"
    )
    assert alone.shape == (3,)


@pytest.mark.parametrize("kind", ["pandas", "polars", "list"])
def test_tables_of_all_kinds(kind):
    expected = fitted().score(X[NEW], Y[NEW], groups=GROUPS[NEW])
    make = {
        "pandas": (pd.DataFrame, pd.Series),
        "polars": (lambda x: pl.DataFrame(x, schema=["a", "b"]), pl.Series),
        "list": (np.ndarray.tolist, np.ndarray.tolist),
    }[kind]
    x, y, groups = make[0](X), make[1](Y), [f"w{g:02}" for g in GROUPS]
    if kind == "pandas":
        x, y = x.rename(columns={0: "a", 1: "b"}).set_index(Y), y.set_axis(Y)
    old, new = np.flatnonzero(OLD), np.flatnonzero(NEW)

    def take(values, rows):
        if kind == "list":
            return [values[row] for row in rows]
        return values.iloc[rows] if kind == "pandas" else values[rows]

    found = learner().fit(take(x, old), take(y, old), groups=groups[:80])
    assert found.score(take(x, new), take(y, new), groups=groups[80:]) == pytest.approx(expected)
    result = found.evaluate(take(x, new), take(y, new), groups[80:])
    assert list(result.tasks) == ["w10", "w11", "w12", "w13", "w14"]
    if kind != "list":
        with_column = table() if kind == "pandas" else pl.DataFrame(table().to_dict("list"))
        by_column = learner(group_column="ward").fit(take(with_column, old), take(y, old))
        score = by_column.score(take(with_column, new), take(y, new))
        assert score == pytest.approx(expected)


def test_labels_may_be_tuples():
    groups = [("north", int(g)) for g in GROUPS]
    result = fitted().fit(X, Y, groups=groups).evaluate(X, Y, groups)
    assert result.tasks[3] == ("north", 3)


def test_callbacks_follow_meta_fit_in_a_search(capsys):
    class Propagated(Recorder):
        max_propagation_depth = None

    recorder = Propagated()
    estimator = quick(meta_max_iter=2, early_stopping=False)
    search = GridSearchCV(learner(estimator, group_column="ward"), {"n_shots": [2, 3]}, cv=CV)
    search.set_callbacks(recorder).fit(table(), Y, groups=GROUPS)
    fits = 2 * 3 + 1
    assert recorder.events.count(("end", "meta_fit")) == fits
    assert recorder.events.count(("end", "meta-step")) == 2 * fits
    # Tasks of a score are not followed; ("fit" is the search's and each learner's)
    assert recorder.events.count(("end", "fit")) == 1 + fits
    alone = Recorder()
    found = learner(estimator).set_callbacks(alone).fit(X, Y, groups=GROUPS)
    n_events = len(alone.events)
    found.score(X, Y, groups=GROUPS)
    assert len(alone.events) == n_events
    inner = Recorder()
    found = learner(clone(estimator).set_callbacks(inner)).fit(X, Y, groups=GROUPS)
    assert inner.events.count(("end", "meta-step")) == 2
    found.score(X, Y, groups=GROUPS)
    assert ("end", "fit") not in inner.events


# --- misuse


def test_an_estimator_that_does_not_meta_learn():
    for wrong in (Ridge(), CMLRegressor, "ridge", None, GridSearchCV(Ridge(), {})):
        with pytest.raises(TypeError, match=r"TaskLearner needs an estimator with meta_fit"):
            TaskLearner(wrong).fit(X, Y, groups=GROUPS)
    with pytest.raises(TypeError, match="The class was passed: pass an instance"):
        TaskLearner(CMLRegressor).fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_shots": -1}, "'n_shots' parameter of TaskLearner"),
        ({"n_shots": 2.5}, "'n_shots' parameter of TaskLearner"),
        ({"n_ways": 1}, "'n_ways' parameter of TaskLearner"),
        ({"n_episodes": 0}, "'n_episodes' parameter of TaskLearner"),
        ({"support": "last"}, "'support' parameter of TaskLearner"),
        ({"scoring": ["r2"]}, "'scoring' parameter of TaskLearner"),
        ({"scoring": "rmse"}, "'scoring' parameter .*Got 'rmse'"),
        ({"scoring": mean_absolute_error}, "scoring value .* looks like it is a metric"),
        ({"random_state": "x"}, "'random_state' parameter of TaskLearner"),
        ({"group_column": "shop"}, "group_column='shop' is a name, but X has no column names"),
        ({"group_column": 7}, "group_column=7 is not a position in X, which has 2"),
    ],
)
def test_bad_parameters_are_refused_and_nothing_is_lost(params, message):
    found = fitted()
    before = found.estimator_
    with pytest.raises(ValueError, match=message):
        found.set_params(**params).fit(X, Y, groups=GROUPS)
    assert found.estimator_ is before


def test_a_failed_meta_fit_loses_nothing():
    found = fitted()
    before = found.estimator_
    with pytest.raises(ValueError, match="Input X contains NaN"):
        found.fit(np.where(X > 2, np.nan, X), Y, groups=GROUPS)
    assert found.estimator_ is before


def test_rows_to_score_that_are_not_what_they_should_be():
    found = fitted()
    for bad, message in [
        ((X, Y[:5], GROUPS), "inconsistent numbers of samples"),
        ((X, None, GROUPS), "requires y to be passed"),
        ((X, Y, GROUPS[:5]), "groups has 5 labels for 120 rows"),
        ((X[:, :1], Y, GROUPS), "X has 1 features"),
        ((np.where(X > 2, np.nan, X), Y, GROUPS), "NaN"),
        ((X, Y, GROUPS, -np.ones(len(Y))), "Negative values in sample_weight"),
        ((X[:0], Y[:0], GROUPS[:0]), "None of the 0 groups"),
    ]:
        with pytest.raises(ValueError, match=message):
            found.score(*bad)
    with pytest.raises(ValueError, match=r"None of the 12 groups .* n_shots=8 .* has 8 row"):
        found.set_params(n_shots=8).score(X[GROUPS < 12], Y[GROUPS < 12], GROUPS[GROUPS < 12])
    for shots in ([], [1, -1], 1.5, "3", [2.5]):
        with pytest.raises(ValueError, match="n_shots must be an integer of zero or more, or a"):
            found.evaluate(X, Y, GROUPS, n_shots=shots)
    with pytest.raises(NotFittedError):
        learner().score(X, Y, groups=GROUPS)


def test_groups_that_contradict_a_column():
    found = learner(group_column="ward").fit(table(), Y)
    with pytest.raises(ValueError, match="groups and group_column='ward' disagree: row 0"):
        found.score(table(), Y, groups=GROUPS)
    assert found.score(table(), Y, groups=GROUPS_BY_NAME) == found.score(table(), Y)
    twice = learner(reml(group_column="ward"), group_column="a")
    with pytest.raises(ValueError, match="group_column is 'a' in TaskLearner and 'ward' in its"):
        twice.fit(table(), Y)


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


def test_changing_what_shaped_meta_fit_names_the_way_to_search_it():
    estimator = reml().meta_fit(X, Y, groups=GROUPS).set_params(prior_covariance="diagonal")
    with pytest.raises(
        ValueError, match=r"to search over it, .*skcml\.model_selection\.TaskLearner"
    ):
        estimator.fit(X, Y)
    with pytest.warns(UserWarning, match=r"in a search .* use skcml\.model_selection\.TaskLearner"):
        CMLRegressor(meta_max_iter=3).fit(X, Y)


def test_a_score_must_be_a_number():
    with pytest.raises(TypeError, match=r"one number for each task; got \{'a': 1\}"):
        fitted(scoring=lambda estimator, x, y: {"a": 1}).score(X, Y, groups=GROUPS)


def test_errors_of_a_scorer_that_are_not_about_rows_are_not_hidden():
    def scoring(estimator, x, y):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        fitted(scoring=scoring).score(X, Y, groups=GROUPS)
