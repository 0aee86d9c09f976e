"""Pipelines whose transformers learn once: they do what the steps do one after the other."""

import copy
import functools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import sklearn.pipeline
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils.estimator_checks import check_dont_overwrite_parameters, check_estimator

from skcml import CMLRegressor
from skcml.pipeline import FrozenTransformer, Pipeline, make_pipeline
from tests.estimators import (
    both,
    grouped,
    labelled,
    linear,
    pool,
    quick,
    quick_classifier,
)
from tests.test_estimator_checks import SKIPPED_BY_SCIKIT_LEARN, UnjudgedRegressor
from tests.test_progress import Recorder

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
FOLDS = KFold(3, shuffle=True, random_state=0)


def quickest(**params):
    """Return an estimator that learns a mixed model in no time, and holds no group out."""
    return linear(early_stopping=False, prior_covariance="diagonal", **params)


def curved(**params):
    """Return a pipeline of two transformers and a mixed model."""
    curve = PolynomialFeatures(include_bias=False)
    return make_pipeline(StandardScaler(), curve, quickest(**params))


def learned():
    """Return such a pipeline that has learned, one's own to change."""
    return copy.deepcopy(_learned())


@functools.cache
def _learned():
    return curved().meta_fit(X, Y, groups=GROUPS)


def by_hand():
    """Return what `learned` does, without a pipeline: the two transformers and the estimator."""
    return copy.deepcopy(_by_hand())


@functools.cache
def _by_hand():
    scale, curve, last = (clone(step) for _, step in curved().steps)
    made = curve.fit_transform(scale.fit_transform(X))
    return scale, curve, last.meta_fit(made, Y, groups=GROUPS)


class Stateless(TransformerMixin, BaseEstimator):
    """What many write: it learns nothing, and does not say so."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X * 2


class Shortening(Stateless):
    def transform(self, X):
        return X[:-2]


class Picky(StandardScaler):
    """Refuses large numbers."""

    def fit(self, X, y=None):
        if np.max(X) > 100:
            raise ValueError("too large for me")
        return super().fit(X, y)


# --- what it does is what the steps do


def test_each_method_does_what_the_steps_do():
    scale, curve, last = by_hand()
    pipeline = learned().fit(NEW_X[::2], NEW_Y[::2], groups=NEW_GROUPS[::2])
    made = curve.transform(scale.transform(NEW_X))
    last.fit(made[::2], NEW_Y[::2], groups=NEW_GROUPS[::2])

    assert_array_equal(pipeline.predict(NEW_X, groups=NEW_GROUPS), last.predict(made, NEW_GROUPS))
    assert_array_equal(both(pipeline, NEW_X, NEW_GROUPS), both(last, made, NEW_GROUPS))
    assert_array_equal(
        pipeline.predict_quantiles(NEW_X, [0.1, 0.8], groups=NEW_GROUPS),
        last.predict_quantiles(made, [0.1, 0.8], groups=NEW_GROUPS),
    )
    weight = np.arange(1.0, len(NEW_Y) + 1)
    for extra in ({}, {"sample_weight": weight}):
        found = pipeline.score(NEW_X, NEW_Y, groups=NEW_GROUPS, **extra)
        assert found == last.score(made, NEW_Y, groups=NEW_GROUPS, **extra)
    for options in ({}, {"deviations": True}):
        pd.testing.assert_frame_equal(
            pipeline.group_effects(**options), last.group_effects(**options)
        )
    pd.testing.assert_frame_equal(pipeline.prior_summary(), last.prior_summary())
    assert_array_equal(pipeline.group_effects(as_frame=False), last.group_effects(as_frame=False))


def test_rows_that_come_by_and_by_go_through_the_transformers():
    pipeline, (scale, curve, last) = learned(), by_hand()
    for rows in np.array_split(np.arange(len(NEW_Y)), 3):
        groups = NEW_GROUPS[rows]
        pipeline.partial_fit(NEW_X[rows], NEW_Y[rows], groups=groups)
        made = curve.transform(scale.transform(NEW_X[rows]))
        last.partial_fit(made, NEW_Y[rows], groups=groups)
    asked = curve.transform(scale.transform(NEW_X))
    expected = both(last, asked, groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, NEW_X, groups=NEW_GROUPS), expected)
    some = NEW_GROUPS[0]
    assert_array_equal(
        both(pipeline.forget(some), NEW_X, groups=NEW_GROUPS),
        both(last.forget(some), asked, groups=NEW_GROUPS),
    )
    assert not hasattr(make_pipeline(StandardScaler(), Ridge()), "partial_fit")
    assert not hasattr(make_pipeline(StandardScaler(), Ridge()), "forget")


def test_one_task_needs_no_groups_and_meta_fit_alone_predicts_the_prior():
    scale, curve, last = by_hand()
    made = curve.transform(scale.transform(NEW_X))
    pipeline = learned()
    assert_array_equal(both(pipeline, NEW_X), both(last, made))
    assert_array_equal(
        both(pipeline.fit(NEW_X[:3], NEW_Y[:3]), NEW_X), both(last.fit(made[:3], NEW_Y[:3]), made)
    )


def test_without_meta_fit_it_is_scikit_learns_pipeline():
    ours = make_pipeline(StandardScaler(), CMLRegressor()).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    theirs = sklearn.pipeline.make_pipeline(StandardScaler(), CMLRegressor())
    theirs.fit(NEW_X, NEW_Y, cmlregressor__groups=NEW_GROUPS)
    assert_array_equal(both(ours, X, GROUPS), both(theirs, X, GROUPS))
    assert isinstance(ours[0], StandardScaler)
    ridge = make_pipeline(StandardScaler(), Ridge())
    assert not hasattr(ridge, "meta_fit")
    assert not hasattr(ridge, "predict_quantiles")
    assert not hasattr(ridge.fit(X, Y), "meta_gain_")


def test_shared_classes():
    x, y, groups = labelled()
    scale = StandardScaler().fit(x)
    shared = quick_classifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    last = clone(shared).meta_fit(scale.transform(x), y, groups=groups)
    last.fit(scale.transform(x[::2]), y[::2], groups=groups[::2])
    pipeline = make_pipeline(StandardScaler(), shared).meta_fit(x, y, groups=groups)
    pipeline.fit(x[::2], y[::2], groups=groups[::2])
    made = scale.transform(x)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        found = getattr(pipeline, method)(x, groups=groups)
        assert_array_equal(found, getattr(last, method)(made, groups=groups))
    assert pipeline.score(x, y, groups=groups) == last.score(made, y, groups=groups)
    assert_array_equal(pipeline.classes_, ["a", "b"])
    with pytest.raises(ValueError, match="predict needs the group of each row"):
        pipeline.decision_function(x)


def test_classes_that_are_new_at_fit():
    x, y = pool()
    old = np.arange(len(y)) < 80
    scale = StandardScaler().fit(x[old])
    unlearned = quick_classifier(n_ways=4, n_shots=2, early_stopping=False)
    last = clone(unlearned).meta_fit(scale.transform(x[old]), y[old])
    pipeline = make_pipeline(StandardScaler(), unlearned)
    pipeline.meta_fit(x[old], y[old])
    with pytest.raises(NotFittedError):
        pipeline.predict_proba(x)
    last.fit(scale.transform(x[~old][::4]), y[~old][::4])
    pipeline.fit(x[~old][::4], y[~old][::4])
    assert_array_equal(pipeline.predict_proba(x), last.predict_proba(scale.transform(x)))
    assert pipeline.score(x[~old], y[~old]) > 0.8


def test_groups_to_judge_by_are_transformed_too():
    scale = StandardScaler().fit(X)
    judges = {"y_val": NEW_Y, "groups_val": NEW_GROUPS}
    last = quick().meta_fit(
        scale.transform(X), Y, groups=GROUPS, X_val=scale.transform(NEW_X), **judges
    )
    pipeline = make_pipeline(StandardScaler(), quick())
    pipeline.meta_fit(X, Y, groups=GROUPS, X_val=NEW_X, **judges)
    assert pipeline.meta_gain_ == last.meta_gain_
    assert_array_equal(pipeline[0].mean_, X.mean(0))
    with pytest.raises(ValueError, match="X_val was passed without y_val"):
        pipeline.meta_fit(X, Y, groups=GROUPS, X_val=NEW_X)


def test_weights_go_to_the_last_step_and_to_those_that_are_named():
    weight = np.random.default_rng(0).integers(0, 3, len(Y)).astype(float)
    options = {"groups": GROUPS, "sample_weight": weight}
    plain = make_pipeline(StandardScaler(), quickest()).meta_fit(X, Y, **options)
    assert_array_equal(plain[0].mean_, X.mean(0))
    made = StandardScaler().fit_transform(X)
    assert_array_equal(both(plain, X), both(quickest().meta_fit(made, Y, **options), made))
    both_steps = make_pipeline(StandardScaler(), quickest())
    both_steps.meta_fit(X, Y, **options, standardscaler__sample_weight=weight)
    assert_allclose(both_steps[0].mean_, np.average(X, axis=0, weights=weight))


def test_target_encoders_cross_fit_the_rows_that_they_learn_from():
    kind = np.array(list("abc"))[np.random.default_rng(0).integers(0, 3, len(Y))][:, None]
    encoder = TargetEncoder(cv=KFold(3, shuffle=True, random_state=0), target_type="continuous")
    pipeline = make_pipeline(encoder, quickest())
    pipeline.meta_fit(kind, Y, groups=GROUPS)
    alone = clone(encoder)
    made = alone.fit_transform(kind, Y)
    assert not np.array_equal(made, alone.transform(kind))
    last = quickest().meta_fit(made, Y, groups=GROUPS)
    assert_array_equal(both(pipeline, kind), both(last, alone.transform(kind)))
    # What it has learned stays, whatever y is at fit.
    pipeline.fit(kind, -Y, groups=GROUPS)
    assert_array_equal(pipeline[0].encodings_[0], alone.encodings_[0])


def test_frames_give_their_names():
    frame = pd.DataFrame(X, columns=["dose", "age"])
    pipeline = curved().set_output(transform="pandas").meta_fit(frame, Y, groups=GROUPS)
    pipeline.fit(frame, Y, groups=GROUPS)
    made = ["dose", "age", "dose^2", "dose age", "age^2"]
    assert list(pipeline.group_effects().columns) == ["intercept", *made]
    assert list(pipeline.prior_summary().index) == ["intercept", *made]
    assert list(pipeline[:-1].get_feature_names_out()) == made
    assert list(pipeline.feature_names_in_) == ["dose", "age"]
    assert pipeline.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline.predict(frame[["age", "dose"]], groups=GROUPS)


def test_polars_is_what_pandas_is():
    table = {"dose": X[:, 0], "age": X[:, 1], "ward": [f"w{g:02}" for g in GROUPS]}
    columns = sklearn.compose.make_column_transformer(
        (StandardScaler(), ["dose", "age"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    found = []
    for library, kind in ((pd.DataFrame, "pandas"), (pl.DataFrame, "polars")):
        pipeline = make_pipeline(clone(columns), quickest(group_column="ward"))
        pipeline.set_output(transform=kind).meta_fit(library(table), Y)
        found.append(both(pipeline.fit(library(table), Y), library(table)))
        assert list(pipeline.group_effects().columns) == ["intercept", "dose", "age"]
    assert_array_equal(*found)


# --- frozen, cloned, saved


def test_fit_changes_the_last_step_alone():
    pipeline = learned()
    frozen = pipeline[:-1].steps
    assert all(isinstance(step, FrozenEstimator) for _, step in frozen)
    before = pipeline[0].mean_.copy()
    pipeline.fit(NEW_X + 100, NEW_Y, groups=NEW_GROUPS)
    assert all(a is b for (_, a), (_, b) in zip(frozen, pipeline.steps[:-1], strict=True))
    assert_array_equal(pipeline[0].mean_, before)


def test_transformers_and_the_list_that_were_passed_are_left_alone():
    scale, last = StandardScaler(), quickest()
    steps = [("scale", scale), ("last", last)]
    pipeline = Pipeline(steps).meta_fit(X, Y, groups=GROUPS)
    assert steps == [("scale", scale), ("last", last)]
    assert not hasattr(scale, "mean_")
    assert pipeline["last"] is last
    assert last.meta_params_ is pipeline[-1].meta_params_


@pytest.mark.parametrize("copied", [clone, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_keep_what_was_learned(copied):
    pipeline = learned()
    twin = copied(pipeline)
    assert_array_equal(both(twin, NEW_X), both(pipeline, NEW_X))
    few = NEW_X[:6], NEW_Y[:6]
    assert_array_equal(both(twin.fit(*few), X), both(pipeline.fit(*few), X))
    # It notices changes, and learns again.
    with pytest.raises(ValueError, match="have changed since meta_fit"):
        twin.set_params(polynomialfeatures__degree=3).fit(*few)
    pipeline.fit(*few)
    twin.set_params(polynomialfeatures__degree=2).meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(twin.fit(*few), X), both(pipeline, X))


def test_clones_of_the_unlearned_are_unlearned():
    assert not isinstance(clone(curved())[0], FrozenEstimator)
    assert not isinstance(clone(learned()[0]), StandardScaler)


def test_learning_again_is_learning_anew():
    pipeline = make_pipeline(StandardScaler(), quickest()).meta_fit(X + 10, Y, groups=GROUPS)
    pipeline.meta_fit(X, Y, groups=GROUPS)
    assert isinstance(pipeline[0], FrozenTransformer)
    assert isinstance(pipeline[0].estimator, StandardScaler)
    assert_array_equal(pipeline[0].mean_, X.mean(0))


def test_what_the_user_froze_stays_frozen():
    scale = FrozenEstimator(StandardScaler().fit(X + 10))
    pipeline = make_pipeline(scale, quickest())
    for _ in range(2):
        pipeline.meta_fit(X, Y, groups=GROUPS)
        assert_array_equal(pipeline[0].mean_, (X + 10).mean(0))
    assert pipeline[0].estimator is scale


def test_a_failed_meta_fit_loses_nothing():
    pipeline = make_pipeline(Picky(), quick()).meta_fit(X, Y, groups=GROUPS)
    pipeline.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    before, steps = both(pipeline, NEW_X, NEW_GROUPS), list(pipeline.steps)
    for bad, message in (
        ({"X": X + 1000}, "too large for me"),
        ({"y": np.full(len(Y), np.nan)}, "y contains NaN"),
        ({"groups": None}, "meta_fit needs the group of each"),
        ({"groups": GROUPS[1:]}, "groups"),
        ({"X": X.astype(str)}, "dtype|could not convert|str"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            pipeline.meta_fit(**{"X": X, "y": Y, "groups": GROUPS} | bad)
        assert pipeline.steps == steps
        assert_array_equal(both(pipeline, NEW_X, NEW_GROUPS), before)
    pipeline.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, NEW_X, NEW_GROUPS), before)


def test_a_failed_fit_loses_nothing(tmp_path):
    pipeline = curved().set_params(memory=str(tmp_path)).meta_fit(X, Y, groups=GROUPS)
    before = both(pipeline.fit(NEW_X, NEW_Y, groups=NEW_GROUPS), X, GROUPS)
    with pytest.raises(ValueError, match="y contains NaN"):
        pipeline.fit(NEW_X, np.full(len(NEW_Y), np.nan), groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, X, GROUPS), before)


# --- steps that change after meta_fit


def test_a_changed_transformer_is_to_be_learned_again():
    pipeline = learned()
    pipeline.set_params(polynomialfeatures__degree=3)
    with pytest.raises(
        ValueError, match=r"changed since meta_fit.*degree=3.*\n?.*call meta_fit again"
    ):
        pipeline.fit(NEW_X, NEW_Y)
    with pytest.raises(NotFittedError):
        pipeline.predict(NEW_X)
    pipeline.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    assert pipeline.prior_summary().shape == (10, 2)


@pytest.mark.parametrize("other", [MinMaxScaler(), "passthrough", None, StandardScaler()])
def test_a_replaced_transformer_is_noticed(other):
    pipeline = learned()
    original = pipeline[0]
    with pytest.raises(ValueError, match="have changed since meta_fit"):
        pipeline.set_params(standardscaler=other).fit(NEW_X, NEW_Y)
    pipeline.set_params(standardscaler=original).fit(NEW_X, NEW_Y)
    del pipeline.steps[0]
    with pytest.raises(ValueError, match="have changed since meta_fit"):
        pipeline.fit(NEW_X, NEW_Y)


def test_parameters_round_trip():
    pipeline = learned()
    pipeline.set_params(**pipeline.get_params()).fit(NEW_X, NEW_Y)
    pipeline.set_params(cmlregressor__prior_strength=2.0).fit(NEW_X, NEW_Y)
    assert pipeline[-1].prior_strength == 2.0


def test_bad_parameters_change_nothing():
    pipeline = learned()
    for bad in ({"standardscaler__bogus": 1}, {"standardscaler__estimator": PCA()}, {"bogus": 1}):
        with pytest.raises(ValueError, match="Invalid parameter"):
            pipeline.set_params(**bad)
        pipeline.fit(NEW_X, NEW_Y)


def test_what_shaped_the_last_step_is_still_checked():
    pipeline = learned().set_params(cmlregressor__standardize=False)
    with pytest.raises(ValueError, match="standardize was True when meta_fit was called"):
        pipeline.fit(NEW_X, NEW_Y)


# --- steps of all kinds


def test_steps_that_learn_nothing():
    pipeline = make_pipeline(
        Stateless(), None, "passthrough", FunctionTransformer(np.tanh), quickest()
    )
    pipeline.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    last = quickest().meta_fit(np.tanh(2 * X), Y, groups=GROUPS)
    last.fit(np.tanh(2 * NEW_X), NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, X, GROUPS), both(last, np.tanh(2 * X), GROUPS))
    assert pipeline[:-1].transform(X).shape == X.shape


def test_the_last_step_alone():
    pipeline = make_pipeline(quickest()).meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    last = quickest().meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    assert_array_equal(both(pipeline, X), both(last, X))
    assert_array_equal(pipeline.predict_quantiles(X), last.predict_quantiles(X))


def test_pipelines_in_pipelines():
    flat = curved().meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    scale, curve, last = (step for _, step in curved().steps)
    at_the_end = make_pipeline(scale, make_pipeline(curve, last))
    at_the_start = make_pipeline(sklearn.pipeline.make_pipeline(scale, curve), clone(last))
    for nested in (at_the_end, at_the_start):
        nested.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
        assert_array_equal(both(nested, X, GROUPS), both(flat, X, GROUPS))
        assert_array_equal(
            nested.predict_quantiles(X, groups=GROUPS), flat.predict_quantiles(X, groups=GROUPS)
        )
        assert nested.meta_gain_ is None
        with pytest.raises(ValueError, match="have changed since meta_fit"):
            nested.set_params(pipeline__polynomialfeatures__degree=3).fit(NEW_X, NEW_Y)
        nested.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)


def test_rows_may_not_be_dropped():
    with pytest.raises(ValueError, match=r"made 70 rows of the 72 rows of X.*before meta_fit"):
        make_pipeline(Shortening(), quickest()).meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        ([StandardScaler, quickest()], TypeError, "got estimator class instead"),
        ([Ridge(), quickest()], TypeError, "intermediate steps should be transformers"),
        ([StandardScaler(), Ridge()], AttributeError, "no attribute 'meta_fit'"),
        ([StandardScaler(), "passthrough"], AttributeError, "no attribute 'meta_fit'"),
        ([], AttributeError, "no attribute 'meta_fit'"),
    ],
)
def test_pipelines_that_cannot_learn(steps, error, message):
    with pytest.raises(error, match=message):
        make_pipeline(*steps).meta_fit(X, Y, groups=GROUPS)


def test_names_that_nothing_has():
    pipeline = learned()
    with pytest.raises(ValueError, match=r"scaler__groups names no step.*'standardscaler'"):
        pipeline.fit(NEW_X, NEW_Y, scaler__groups=NEW_GROUPS)
    with pytest.raises(ValueError, match="scaler__sample_weight names no step"):
        pipeline.meta_fit(X, Y, groups=GROUPS, scaler__sample_weight=Y)
    with pytest.raises(TypeError, match="unexpected keyword argument 'group'"):
        pipeline.fit(NEW_X, NEW_Y, group=NEW_GROUPS)
    with pytest.raises(ValueError, match="pipeline is empty"):
        make_pipeline().fit(X, Y)


# --- cache, messages, callbacks


def test_a_cache_changes_nothing(tmp_path):
    plain = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    cached = clone(curved()).set_params(memory=str(tmp_path))
    for _ in range(2):
        cached.meta_fit(X, Y, groups=GROUPS)
        for _ in range(3):  # from the second on, steps come from the cache
            cached.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
            assert_array_equal(both(cached, X, GROUPS), both(plain, X, GROUPS))
    assert any(tmp_path.iterdir())


def test_each_step_says_how_long_it_took(capsys):
    curved().set_params(verbose=True).meta_fit(X, Y, groups=GROUPS)
    lines = capsys.readouterr().out.splitlines()
    assert ["(step 1 of 3) Processing standardscaler" in lines[0], len(lines)] == [True, 3]
    assert "(step 3 of 3) Processing cmlregressor" in lines[2]


def test_callbacks_follow_the_last_step_through_meta_fit(capsys):
    recorder = Recorder()
    pipeline = make_pipeline(StandardScaler(), quick(early_stopping=False))
    pipeline.set_callbacks(recorder).meta_fit(X, Y, groups=GROUPS)
    assert recorder.events[0] == ("setup", "fit")
    assert recorder.events[-1] == ("teardown", "fit")
    pipeline.set_callbacks(ProgressBar()).meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    assert "descent" in capsys.readouterr().out
    assert "_skl_callbacks" not in vars(pipeline[-1])
    assert "_parent_callback_ctx" not in vars(pipeline[-1])


class Outer(CallbackSupportMixin, BaseEstimator):
    """Meta-fits a pipeline as a task of its own."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    @with_callbacks
    def fit(self, X, y, groups):
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        part = context.subcontext(task_name="part")
        with part.propagate_callback_context(self.pipeline):
            part.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self.pipeline.meta_fit(X, y, groups=groups)
            part.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self


def test_callbacks_come_from_further_out(capsys):
    pipeline = make_pipeline(StandardScaler(), quick(early_stopping=False))
    outer = Outer(pipeline).set_callbacks(ProgressBar(max_propagation_depth=None))
    for _ in range(2):
        outer.fit(X, Y, GROUPS)
        assert "descent" in capsys.readouterr().out
    with pytest.raises(ValueError, match="NaN"):
        outer.fit(X, np.full(len(Y), np.nan), GROUPS)
    assert not {"_parent_callback_ctx", "_skl_callbacks"} & set(vars(pipeline))


# --- metadata routing, scorers and searches


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_groups_find_the_last_step_with_routing(routing):
    scale, curve, last = by_hand()
    pipeline = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    last.fit(curve.transform(scale.transform(NEW_X)), NEW_Y, groups=NEW_GROUPS)
    made = curve.transform(scale.transform(X))
    assert_array_equal(both(pipeline, X, GROUPS), both(last, made, GROUPS))
    assert_array_equal(
        pipeline.predict_quantiles(X, groups=GROUPS), last.predict_quantiles(made, groups=GROUPS)
    )
    assert pipeline.score(X, Y, groups=GROUPS) == last.score(made, Y, groups=GROUPS)


def test_classes_find_the_last_step_with_routing(routing):
    x, y, groups = labelled()
    pipeline = make_pipeline(StandardScaler(), quick_classifier(early_stopping=False))
    pipeline.meta_fit(x, y, groups=groups).fit(x, y, groups=groups)
    p = pipeline.predict_proba(x, groups=groups)
    assert_array_equal(np.exp(pipeline.predict_log_proba(x, groups=groups)).round(9), p.round(9))
    assert_allclose(pipeline.decision_function(x, groups=groups), np.log(p[:, 1] / p[:, 0]))
    assert pipeline.score(x, y, groups=groups) == np.mean(pipeline.predict(x, groups=groups) == y)


def test_weights_ask_first_with_routing(routing):
    weight = np.arange(1.0, len(Y) + 1)
    options = {"groups": GROUPS, "sample_weight": weight}
    with pytest.raises(UnsetMetadataPassedError, match=r"StandardScaler\.set_fit_request"):
        make_pipeline(StandardScaler(), quickest()).meta_fit(X, Y, **options)
    for wanted, mean in ((True, np.average(X, axis=0, weights=weight)), (False, X.mean(0))):
        scale = StandardScaler().set_fit_request(sample_weight=wanted)
        pipeline = make_pipeline(scale, quickest()).meta_fit(X, Y, **options)
        assert_allclose(pipeline[0].mean_, mean)
        made = pipeline[0].transform(X)
        assert_array_equal(both(pipeline, X), both(quickest().meta_fit(made, Y, **options), made))


def test_scores_with_routing_are_those_by_hand(routing):
    expected = []
    for train, test in FOLDS.split(NEW_X):
        pipeline = learned().fit(NEW_X[train], NEW_Y[train], groups=NEW_GROUPS[train])
        expected.append(pipeline.score(NEW_X[test], NEW_Y[test], groups=NEW_GROUPS[test]))
    for pipeline in (learned(), sklearn.pipeline.Pipeline(learned().steps)):
        found = cross_validate(
            pipeline, NEW_X, NEW_Y, params={"groups": NEW_GROUPS}, cv=FOLDS, error_score="raise"
        )
        assert_array_equal(found["test_score"], expected)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_prior_strength_is_searched_within_a_pipeline(n_jobs):
    x, y = NEW_X[NEW_GROUPS == 3], NEW_Y[NEW_GROUPS == 3]
    grid = {"cmlregressor__prior_strength": [1e-6, 1.0, 1e6]}
    options = {"cv": 3, "scoring": "neg_mean_squared_error"}
    search = GridSearchCV(learned(), grid, **options, n_jobs=n_jobs).fit(x, y)
    for strength, score in zip(
        [1e-6, 1.0, 1e6], search.cv_results_["mean_test_score"], strict=True
    ):
        one = learned().set_params(cmlregressor__prior_strength=strength)
        assert score == cross_val_score(one, x, y, **options).mean()
    assert isinstance(search.best_estimator_[0], FrozenTransformer)


def test_searching_a_transformer_says_so():
    search = GridSearchCV(
        learned(), {"polynomialfeatures__degree": [2, 3]}, cv=3, error_score="raise"
    )
    with pytest.raises(ValueError, match="have changed since meta_fit"):
        search.fit(NEW_X[:6], NEW_Y[:6])


# --- scikit-learn's checks


class MetaFittedPipeline(Pipeline):
    """Learns, before its first fit, from data made up to look like those it is given."""

    def fit(self, X, y=None, **params):
        self.learn(X, y)
        return super().fit(X, y, **params)

    def partial_fit(self, X, y, **params):
        self.learn(X, y)
        return super().partial_fit(X, y, **params)

    def learn(self, X, y):
        width, outputs = np.asarray(X).shape, np.asarray(y).shape
        if self._learned is None and len(width) == 2 and width[1] > 0 and len(outputs) > 0:
            columns = tuple(X.columns) if hasattr(X, "columns") else None
            learner = copy.deepcopy(made_up(width[1], outputs[1:], columns))
            self.steps, self._learned = learner.steps, learner._learned


@functools.cache
def made_up(n_features, outputs, columns):
    made = UnjudgedRegressor().made_up(n_features, np.empty((1, *outputs)), columns)
    return make_pipeline(StandardScaler(), quickest()).meta_fit(*made)


@pytest.mark.parametrize(
    ("kind", "last"), [(Pipeline, CMLRegressor()), (MetaFittedPipeline, quickest())]
)
def test_scikit_learns_checks_find_what_they_find_in_its_own_pipeline(kind, last):
    pipeline = kind([("standardscaler", StandardScaler()), ("cmlregressor", last)])
    results = check_estimator(pipeline, on_fail=None, on_skip=None)
    found = {
        status: {r["check_name"] for r in results if r["status"] == status}
        for status in ("failed", "skipped")
    }
    # As scikit-learn's, it puts what has been fitted in the list of steps.
    in_place = {"check_estimators_overwrite_params", "check_dont_overwrite_parameters"}
    assert found == {"failed": in_place, "skipped": SKIPPED_BY_SCIKIT_LEARN}
    assert len(results) > 40


def test_scikit_learns_own_pipeline_fits_in_place():
    own = sklearn.pipeline.make_pipeline(StandardScaler(), CMLRegressor())
    with pytest.raises(AssertionError, match="steps changed"):
        check_dont_overwrite_parameters("Pipeline", own)
