"""TaskLearner in scikit-learn's tools, and misused."""

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
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import get_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
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
from tests.estimators import quick
from tests.task_learners import (
    CV,
    GROUPS,
    LOUD,
    NEW,
    OLD,
    X,
    Y,
    by_hand,
    digits_learner,
    fitted,
    learner,
    own_score,
    reml,
    table,
)
from tests.test_progress import Recorder

# --- searches, with groups in both ways

GRID = {
    "estimator__hidden_layer_sizes": [(), (4,)],
    "estimator__prior_covariance": ["full", "diagonal"],
}
GROUPS_BY_NAME = table()["ward"]
QUICK = quick(meta_max_iter=2, early_stopping=False)


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


def test_weights_reach_meta_fit():
    weight = np.where(GROUPS[OLD] < 5, 1.0, 0.0)
    found = learner().fit(X[OLD], Y[OLD], groups=GROUPS[OLD], sample_weight=weight)
    half = GROUPS < 5
    expected = reml().meta_fit(X[half], Y[half], groups=GROUPS[half])
    assert_allclose(found.predict(X), expected.predict(X))


def test_a_learner_pickles():
    by_groups = learner().fit(X[OLD], Y[OLD], groups=GROUPS[OLD])
    by_column = learner(group_column="ward").fit(table(), Y)
    for found, data in ((by_groups, (X, Y, GROUPS)), (by_column, (table(), Y))):
        copied = pickle.loads(pickle.dumps(found))
        assert copied.score(*data) == found.score(*data)


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
    for nested in (learner(), GridSearchCV(learner(), {})):
        with pytest.raises(TypeError, match="was passed a TaskLearner, which adapts to no task"):
            TaskLearner(nested).fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_shots": -1}, "'n_shots' parameter of TaskLearner"),
        ({"n_shots": 2.5}, "'n_shots' parameter of TaskLearner"),
        ({"n_shots": True}, "n_shots=True must be a whole number of 0 or more"),
        ({"n_ways": 1}, "'n_ways' parameter of TaskLearner"),
        ({"n_episodes": 0}, "'n_episodes' parameter of TaskLearner"),
        ({"support": "last"}, "'support' parameter of TaskLearner"),
        ({"scoring": ["r2"]}, "'scoring' parameter of TaskLearner"),
        ({"scoring": "rmse"}, "scoring='rmse' is no scorer .* as 'neg_root_mean_squared_error' or"),
        ({"scoring": "roc_auc"}, "scoring='roc_auc' asks for .* which CMLRegressor has not: take"),
        ({"scoring": mean_absolute_error}, "scoring value .* looks like it is a metric"),
        ({"random_state": "x"}, "'random_state' parameter of TaskLearner"),
        ({"random_state": -1}, "'random_state' parameter of TaskLearner"),
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


def test_groups_that_contradict_a_column():
    found = learner(group_column="ward").fit(table(), Y)
    with pytest.raises(ValueError, match="groups and group_column='ward' disagree: row 0"):
        found.score(table(), Y, groups=GROUPS)
    assert found.score(table(), Y, groups=GROUPS_BY_NAME) == found.score(table(), Y)
    twice = learner(reml(group_column="ward"), group_column="a")
    with pytest.raises(ValueError, match="group_column is 'a' in TaskLearner and 'ward' in its"):
        twice.fit(table(), Y)


def test_changing_what_shaped_meta_fit_names_the_way_to_search_it():
    estimator = reml().meta_fit(X, Y, groups=GROUPS).set_params(prior_covariance="diagonal")
    with pytest.raises(
        ValueError, match=r"to search over it, .*skcml\.model_selection\.TaskLearner"
    ):
        estimator.fit(X, Y)
    with pytest.warns(UserWarning, match=r"in a search .* use skcml\.model_selection\.TaskLearner"):
        CMLRegressor(meta_max_iter=3).fit(X, Y)
