"""Cross-validation, searches, pipelines and inspection on a meta-fitted estimator."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier, CMLRegressor
from tests.estimators import (
    both,
    grouped,
    labelled,
    learned,
    learned_pool,
    linear,
    pool,
    quick,
    quick_classifier,
)

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
TASK = NEW_GROUPS == 3  # one task of six rows
# Every row of a group in another fold, so that each fold has seen every group.
FOLDS = KFold(3, shuffle=True, random_state=0)


def table(x, groups):
    return pd.DataFrame(x, columns=["a", "b"]).assign(ward=[f"w{g:02}" for g in groups])


@functools.cache
def _with_column():
    return quick(group_column="ward").meta_fit(table(X, GROUPS), Y)


def with_column():
    return clone(_with_column())


NEW_TABLE = table(NEW_X, NEW_GROUPS)


# --- cross-validation


def test_cross_validation_adapts_and_does_not_start_over():
    x, y = NEW_X[TASK], NEW_Y[TASK]
    options = {"cv": KFold(3), "scoring": "neg_mean_squared_error"}
    scores = cross_val_score(learned(), x, y, **options)
    expected = [
        -mean_squared_error(y[test], learned().fit(x[train], y[train]).predict(x[test]))
        for train, test in KFold(3).split(x)
    ]
    assert_allclose(scores, expected, rtol=1e-12)
    assert scores.mean() > cross_val_score(CMLRegressor(), x, y, **options).mean()


@pytest.mark.parametrize(
    ("scoring", "metric", "sign"),
    [
        (None, r2_score, 1),
        ("r2", r2_score, 1),
        ("neg_mean_squared_error", mean_squared_error, -1),
        ("neg_mean_absolute_error", mean_absolute_error, -1),
    ],
)
def test_scorers_by_name_know_the_groups_from_the_column(scoring, metric, sign):
    scores = cross_val_score(with_column(), NEW_TABLE, NEW_Y, cv=FOLDS, scoring=scoring)
    for score, (train, test) in zip(scores, FOLDS.split(NEW_X), strict=True):
        estimator = learned().fit(NEW_X[train], NEW_Y[train], groups=NEW_GROUPS[train])
        predicted = estimator.predict(NEW_X[test], groups=NEW_GROUPS[test])
        assert score == pytest.approx(sign * metric(NEW_Y[test], predicted), rel=1e-6)


def test_cross_val_predict_predicts_each_group():
    predicted = cross_val_predict(with_column(), NEW_TABLE, NEW_Y, cv=FOLDS)
    assert np.corrcoef(predicted, NEW_Y)[0, 1] > 0.9


def test_groups_are_routed_without_being_asked_for():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = learned()
        result = cross_validate(estimator, NEW_X, NEW_Y, params={"groups": NEW_GROUPS}, cv=FOLDS)
        search = GridSearchCV(estimator, {"prior_strength": [0.5, 1.0]}, cv=FOLDS)
        search.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    by_column = cross_val_score(with_column(), NEW_TABLE, NEW_Y, cv=FOLDS)
    assert_allclose(result["test_score"], by_column, rtol=1e-6)
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(by_column.mean(), rel=1e-6)
    assert search.best_estimator_._adapted.groups is not None


def test_groups_are_kept_from_an_estimator_that_wants_none():
    with sklearn.config_context(enable_metadata_routing=True):
        alone = learned().set_fit_request(groups=False).set_score_request(groups=False)
        options = {"params": {"groups": NEW_GROUPS}, "cv": GroupKFold(3), "error_score": "raise"}
        scores = cross_validate(alone, NEW_X, NEW_Y, **options)["test_score"]
    folds = list(GroupKFold(3).split(NEW_X, NEW_Y, NEW_GROUPS))
    assert_array_equal(scores, cross_val_score(learned(), NEW_X, NEW_Y, cv=folds))


def test_clones_keep_requests():
    with sklearn.config_context(enable_metadata_routing=True):
        copied = clone(learned().set_fit_request(groups=True))
        assert copied.get_metadata_routing().fit.requests["groups"] is True


# --- searches


def test_the_prior_strength_can_be_searched():
    grid = {"prior_strength": [1e-6, 1.0, 1e6]}
    search = GridSearchCV(with_column(), grid, cv=FOLDS, scoring="neg_mean_squared_error")
    search.fit(NEW_TABLE, NEW_Y)
    assert search.best_params_ == {"prior_strength": 1.0}
    expected = with_column().fit(NEW_TABLE, NEW_Y)
    assert_array_equal(both(search.best_estimator_, NEW_TABLE), both(expected, NEW_TABLE))
    scores = search.cv_results_["mean_test_score"]
    for strength, score in zip(grid["prior_strength"], scores, strict=True):
        one = with_column().set_params(prior_strength=strength)
        by_hand = cross_val_score(one, NEW_TABLE, NEW_Y, cv=FOLDS, scoring="neg_mean_squared_error")
        assert score == pytest.approx(by_hand.mean())


def test_searching_what_shaped_meta_fit_says_so():
    search = GridSearchCV(learned(), {"activation": ["relu"]}, cv=3, error_score="raise")
    with pytest.raises(ValueError, match=r"activation was 'tanh' when meta_fit was called"):
        search.fit(NEW_X, NEW_Y)
    # By default a search goes on, and its warning has the same sentence.
    search.set_params(error_score=np.nan, param_grid={"activation": ["relu", "tanh"]})
    with pytest.warns() as record:
        search.fit(NEW_X, NEW_Y)
    failed = [str(w.message) for w in record if w.category is FitFailedWarning]
    assert len(failed) == 1
    assert "activation was 'tanh' when meta_fit was called and is 'relu' now" in failed[0]
    assert "call meta_fit again, or set it back" in failed[0]


# --- other estimators around it


def test_a_pipeline_adapts_its_last_step():
    scaler = StandardScaler().fit(X)
    estimator = quick().meta_fit(scaler.transform(X), Y, groups=GROUPS)
    pipeline = make_pipeline(FrozenEstimator(scaler), estimator)
    x, y = NEW_X[TASK], NEW_Y[TASK]
    assert_allclose(
        both(pipeline.fit(x, y)[-1], scaler.transform(X)),
        both(learned().fit(x, y), X),
        rtol=1e-6,
    )
    options = {"cv": KFold(3), "scoring": "neg_mean_squared_error"}
    scores = cross_val_score(pipeline, x, y, **options)
    assert_allclose(scores, cross_val_score(learned(), x, y, **options), rtol=1e-6)
    # A scaler that learns from the few rows works too, if less well.
    fresh = make_pipeline(StandardScaler(), estimator)
    assert np.isfinite(cross_val_score(fresh, x, y, **options)).all()
    search = GridSearchCV(pipeline, {"cmlregressor__prior_strength": [1.0, 2.0]}, **options)
    assert search.fit(x, y).best_params_["cmlregressor__prior_strength"] in (1.0, 2.0)


def test_a_pipeline_may_make_frames():
    scaler = StandardScaler().set_output(transform="pandas").fit(table(X, GROUPS)[["a", "b"]])
    names = scaler.transform(table(X, GROUPS)[["a", "b"]])
    pipeline = make_pipeline(FrozenEstimator(scaler), linear().meta_fit(names, Y, groups=GROUPS))
    new = NEW_TABLE[["a", "b"]]
    assert pipeline.fit(new[TASK], NEW_Y[TASK]).predict(new).shape == (72,)


def test_bagging_sets_random_states_and_averages():
    bagging = BaggingRegressor(learned(), n_estimators=4, random_state=0)
    bagging.fit(NEW_X[TASK], NEW_Y[TASK])
    assert all(isinstance(e.random_state, int) for e in bagging.estimators_)
    assert len({e.random_state for e in bagging.estimators_}) == 4
    parts = np.stack([e.predict(X) for e in bagging.estimators_])
    assert_allclose(bagging.predict(X), parts.mean(0))
    assert parts.std(0).max() > 1e-3
    # The parts have learned from the meta-training groups.
    assert all(e.meta_gain_ == learned().meta_gain_ for e in bagging.estimators_)


def test_a_transformed_target_is_passed_on():
    outer = TransformedTargetRegressor(learned(), func=np.negative, inverse_func=np.negative)
    outer.fit(NEW_X[TASK], -NEW_Y[TASK])
    inner = learned().fit(NEW_X[TASK], NEW_Y[TASK][:, None])
    assert_allclose(outer.predict(X), -inner.predict(X)[:, 0], rtol=1e-12)


def test_stacking_with_a_ridge():
    stack = StackingRegressor([("few", learned()), ("ridge", Ridge())], cv=3)
    stack.fit(NEW_X[:24], NEW_Y[:24])
    assert stack.named_estimators_["few"].meta_gain_ == learned().meta_gain_
    assert np.isfinite(stack.predict(X)).all()


def test_a_frozen_estimator_keeps_its_task():
    fitted = learned().fit(NEW_X[TASK], NEW_Y[TASK])
    frozen = clone(FrozenEstimator(fitted)).fit(X, Y)
    assert_array_equal(frozen.predict(X), fitted.predict(X))


# --- inspection


def test_permutation_importance_counts_the_group_column():
    estimator = with_column().fit(NEW_TABLE, NEW_Y)
    options = {"n_repeats": 3, "random_state": 0, "scoring": "neg_mean_squared_error"}
    result = permutation_importance(estimator, NEW_TABLE, NEW_Y, **options)
    assert result.importances_mean.shape == (3,)
    assert (result.importances_mean > 0.1).all()


@pytest.mark.parametrize("kind", ["array", "polars"])
def test_permutation_importance_with_a_column_by_position(kind):
    numbers = np.column_stack([NEW_X, NEW_GROUPS])
    if kind == "polars":
        numbers = pl.DataFrame(numbers, schema=["0", "1", "2"]).to_numpy()
    estimator = quick(group_column=-1, early_stopping=False)
    estimator.meta_fit(np.column_stack([X, GROUPS]), Y).fit(numbers, NEW_Y)
    result = permutation_importance(estimator, numbers, NEW_Y, n_repeats=2, random_state=0)
    assert (result.importances_mean > 0.05).all()


def test_partial_dependence_of_a_feature():
    estimator = learned().fit(NEW_X[TASK], NEW_Y[TASK])
    result = partial_dependence(estimator, NEW_X, [0], grid_resolution=5)
    assert result["average"].shape == (1, 5)
    assert np.isfinite(result["average"]).all()


# --- parameters and pictures of the estimator


def test_parameters_round_trip():
    params = CMLRegressor().get_params()
    assert CMLRegressor(**params).get_params() == params
    estimator = learned().set_params(prior_strength=3.0)
    assert estimator.get_params()["prior_strength"] == 3.0
    with pytest.raises(ValueError, match="Invalid parameter 'shots' for estimator CMLRegressor"):
        estimator.set_params(shots=3)


@pytest.mark.parametrize("estimator", [CMLRegressor(), learned(), learned().fit(X, Y)])
def test_estimators_can_be_shown(estimator):
    assert repr(estimator).startswith("CMLRegressor(")
    html = estimator._repr_html_()
    assert "CMLRegressor" in html
    assert "prior_strength" in html
    assert ("Not fitted" in html) == (not estimator.__sklearn_is_fitted__())


def test_tags_say_what_it_is():
    tags = learned().__sklearn_tags__()
    assert tags.estimator_type == "regressor"
    assert tags.target_tags.multi_output
    assert tags.target_tags.required


# --- classes


@functools.cache
def _classes_with_column():
    x, y, groups = labelled(n_groups=20, n_rows=9)
    estimator = quick_classifier(
        hidden_layer_sizes=(),
        meta_max_iter=0,
        early_stopping=False,
        prior_covariance="diagonal",
        group_column="ward",
    )
    return estimator.meta_fit(table(x, groups), y)


def classes_with_column():
    return clone(_classes_with_column())


# Groups of the kind that was learned from, seen from another side.
CLASS_X, CLASS_Y, CLASS_GROUPS = labelled(n_groups=20, n_rows=9)
CLASS_TABLE = table(CLASS_X, CLASS_GROUPS)
SHOT_X, SHOT_Y = pool(seed=1, n_classes=6, n_rows=6)


@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        (None, lambda y, e, *to: accuracy_score(y, e.predict(*to))),
        ("accuracy", lambda y, e, *to: accuracy_score(y, e.predict(*to))),
        ("neg_log_loss", lambda y, e, *to: -log_loss(y, e.predict_proba(*to))),
        ("roc_auc", lambda y, e, *to: roc_auc_score(y, e.predict_proba(*to)[:, 1])),
        ("f1_macro", lambda y, e, *to: f1_score(y, e.predict(*to), average="macro")),
    ],
)
def test_scorers_of_classes_know_the_groups_from_the_column(scoring, metric):
    scores = cross_val_score(classes_with_column(), CLASS_TABLE, CLASS_Y, cv=FOLDS, scoring=scoring)
    for score, (train, test) in zip(scores, FOLDS.split(CLASS_X), strict=True):
        estimator = classes_with_column().fit(CLASS_TABLE.iloc[train], CLASS_Y[train])
        expected = metric(CLASS_Y[test], estimator, CLASS_TABLE.iloc[test])
        assert score == pytest.approx(expected, rel=1e-9)
    alone = CMLClassifier(group_column="ward")
    by_itself = cross_val_score(alone, CLASS_TABLE, CLASS_Y, cv=FOLDS, scoring=scoring)
    assert scores.mean() > by_itself.mean()


def test_the_prior_strength_of_classes_can_be_searched():
    grid = {"prior_strength": [1e-6, 1.0, 1e6]}
    search = GridSearchCV(classes_with_column(), grid, cv=FOLDS, scoring="neg_log_loss")
    search.fit(CLASS_TABLE, CLASS_Y)
    assert search.best_params_ == {"prior_strength": 1.0}
    expected = classes_with_column().fit(CLASS_TABLE, CLASS_Y)
    assert_array_equal(search.predict_proba(CLASS_TABLE), expected.predict_proba(CLASS_TABLE))
    assert_array_equal(search.classes_, ["a", "b"])


def test_cross_validation_adapts_to_exchangeable_classes():
    cv = StratifiedKFold(3)
    scores = cross_val_score(learned_pool(), SHOT_X, SHOT_Y, cv=cv)
    for score, (train, test) in zip(scores, cv.split(SHOT_X, SHOT_Y), strict=True):
        estimator = learned_pool().fit(SHOT_X[train], SHOT_Y[train])
        assert score == estimator.score(SHOT_X[test], SHOT_Y[test])
    p = cross_val_predict(learned_pool(), SHOT_X, SHOT_Y, cv=cv, method="predict_proba")
    assert p.shape == (36, 6)
    assert_allclose(p.sum(1), 1)
    search = GridSearchCV(learned_pool(), {"prior_strength": [1e-8, 1.0, 1e8]}, cv=cv)
    search.fit(SHOT_X, SHOT_Y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1


def test_probabilities_may_be_calibrated():
    fitted = learned_pool().fit(SHOT_X[::2], SHOT_Y[::2])
    frozen = CalibratedClassifierCV(FrozenEstimator(fitted), method="temperature", cv=3)
    p = frozen.fit(SHOT_X[1::2], SHOT_Y[1::2]).predict_proba(SHOT_X)
    assert_array_equal(frozen.predict(SHOT_X), fitted.predict(SHOT_X))
    assert_allclose(p.sum(1), 1)
    folds = CalibratedClassifierCV(classes_with_column(), cv=3).fit(CLASS_TABLE, CLASS_Y)
    assert_array_equal(folds.classes_, ["a", "b"])
    found = log_loss(CLASS_Y, folds.predict_proba(CLASS_TABLE))
    assert found < log_loss(CLASS_Y, np.full((180, 2), 0.5)) - 0.1
    assert folds.calibrated_classifiers_[0].estimator.class_setting_ == "shared"


def test_a_pipeline_ends_with_a_classifier():
    scaler = StandardScaler().fit(pool()[0])
    estimator = clone(learned_pool()).meta_fit(scaler.transform(pool()[0]), pool()[1])
    pipeline = make_pipeline(FrozenEstimator(scaler), estimator).fit(SHOT_X[::3], SHOT_Y[::3])
    alone = clone(estimator).fit(scaler.transform(SHOT_X[::3]), SHOT_Y[::3])
    assert_array_equal(pipeline.classes_, alone.classes_)
    assert_array_equal(
        pipeline.predict_proba(SHOT_X), alone.predict_proba(scaler.transform(SHOT_X))
    )
    search = GridSearchCV(pipeline, {"cmlclassifier__prior_strength": [1.0, 2.0]}, cv=2)
    assert search.fit(SHOT_X, SHOT_Y).best_params_["cmlclassifier__prior_strength"] in (1.0, 2.0)


def test_permutation_importance_of_classes_counts_the_group_column():
    estimator = classes_with_column().fit(CLASS_TABLE, CLASS_Y)
    options = {"n_repeats": 3, "random_state": 0, "scoring": "neg_log_loss"}
    result = permutation_importance(estimator, CLASS_TABLE, CLASS_Y, **options)
    assert result.importances_mean.shape == (3,)
    assert (result.importances_mean > 0.02).all()


def test_voting_and_stacking_with_other_classifiers():
    voting = VotingClassifier(
        [("few", learned_pool()), ("many", LogisticRegression())], voting="soft"
    )
    voting.fit(SHOT_X, SHOT_Y)
    parts = [e.predict_proba(SHOT_X) for e in voting.estimators_]
    assert_allclose(voting.predict_proba(SHOT_X), np.mean(parts, axis=0))
    assert voting.named_estimators_["few"].meta_gain_ == learned_pool().meta_gain_


def test_an_estimator_of_classes_can_be_shown():
    for estimator in (CMLClassifier(), learned_pool(), learned_pool().fit(SHOT_X, SHOT_Y)):
        assert repr(estimator).startswith("CMLClassifier(")
        html = estimator._repr_html_()
        assert ("Not fitted" in html) == (not estimator.__sklearn_is_fitted__())


def test_parameters_of_a_classifier_round_trip():
    params = CMLClassifier().get_params()
    assert CMLClassifier(**params).get_params() == params
