"""Pipelines whose transformers learn once: they do what the steps do one after the other."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import sklearn.pipeline
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skcml import CMLRegressor
from skcml.pipeline import Pipeline, make_pipeline
from tests.estimators import both, quick
from tests.pipelines import (
    GROUPS,
    NEW_GROUPS,
    NEW_X,
    NEW_Y,
    X,
    Y,
    by_hand,
    curved,
    learned,
    quickest,
)


class Picky(StandardScaler):
    """Refuses large numbers."""

    def fit(self, X, y=None):
        if np.max(X) > 100:
            raise ValueError("too large for me")
        return super().fit(X, y)


# --- what it does is what the steps do


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


# --- cloned, saved, and failed


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
    with pytest.raises(NotFittedError, match=r"changed since meta_fit.*call meta_fit again"):
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


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        ([StandardScaler, quickest()], TypeError, "A class was passed: pass an instance"),
        ([Ridge(), quickest()], TypeError, "intermediate steps should be transformers"),
        ([StandardScaler(), Ridge()], AttributeError, "no attribute 'meta_fit'"),
        ([StandardScaler(), "passthrough"], AttributeError, "no attribute 'meta_fit'"),
        ([], AttributeError, "no attribute 'meta_fit'"),
    ],
)
def test_pipelines_that_cannot_learn(steps, error, message):
    with pytest.raises(error, match=message):
        make_pipeline(*steps).meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize(("bad", "kind"), [(None, "NoneType"), (3, "int")])
def test_what_is_no_table_is_called_x(bad, kind):
    with pytest.raises(TypeError, match=f"^X: Expected sequence or array-like, got .*{kind}"):
        learned().meta_fit(bad, Y, groups=GROUPS)


# --- cache and messages


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
