"""An estimator that has learned, as the functions of `skcml.inspection` take it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import ProgressBar
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import skcml.pipeline
from skcml import CMLClassifier, CMLRegressor
from skcml.inspection._learned import (
    last_step,
    name_of,
    output_of,
    place_of_output,
    what_learned,
    working_copy,
)
from tests import pipelines
from tests.estimators import both, grouped, learned, learned_classifier, learned_pool
from tests.pipelines import quickest

X, Y, GROUPS = grouped()


def test_what_was_learned_is_returned():
    for est in (learned(), learned_pool()):
        assert what_learned(est, "it", "is nothing") == (est, est._meta, [])
        assert what_learned(est, "it", "is nothing").rows(X) is X


@pytest.mark.parametrize("thing", [Ridge(), CMLRegressor, make_pipeline(learned()), None])
def test_what_is_none_of_our_estimators_is_refused(thing):
    name = type(thing).__name__
    with pytest.raises(
        TypeError, match=f"it is about CML.*of type {name}. Instead of scikit-learn"
    ):
        what_learned(thing, "it", "is nothing")


@pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])
def test_an_estimator_that_has_not_learned_is_refused(make):
    message = rf"This {make.__name__} has not learned yet, so that there is nothing: call meta_fit"
    with pytest.raises(ValueError, match=message):
        what_learned(make().fit(X, GROUPS % 2), "it", "is nothing")


def test_a_parameter_that_has_changed_is_refused():
    with pytest.raises(ValueError, match=r"n_shots was None when meta_fit was called and is 3 now"):
        what_learned(learned().set_params(n_shots=3), "it", "is nothing")


def test_a_working_copy_is_not_adapted_and_leaves_the_original_alone(capsys):
    est = learned().fit(X, Y, groups=GROUPS).set_callbacks(ProgressBar())
    before = both(est, X, GROUPS)
    copy = working_copy(est)
    assert_array_equal(both(copy, X), both(learned(), X))
    copy.fit(X[:3], Y[:3])
    assert capsys.readouterr().out == ""
    assert_array_equal(both(est, X, GROUPS), before)


@pytest.mark.parametrize(
    ("output", "names", "place"),
    [
        (None, ["y0"], 0),
        (0, ["y0"], 0),
        (1, ["y0", "y1"], 1),
        ("y1", ["y0", "y1"], 1),
        (np.int64(1), ["y0", "y1"], 1),
    ],
)
def test_an_output_is_found_by_name_or_place(output, names, place):
    assert place_of_output(output, names) == place


@pytest.mark.parametrize(
    ("output", "place"), [("b", 1), (np.str_("b"), 1), (7, 2), (np.int64(7), 2), (7.0, 2)]
)
def test_a_class_is_found_by_its_label_alone(output, place):
    assert place_of_output(output, ["a", "b", 7], "class") == place


@pytest.mark.parametrize("output", [None, 2, -1, "c", True, [0], 0.5])
def test_an_output_that_is_not_there_is_refused(output):
    with pytest.raises(ValueError, match=r"output=.* names no output: pass one of 0, 1"):
        place_of_output(output, ["y0", "y1"])
    with pytest.raises(ValueError, match=r"output=.* names no class: pass one of 'a'"):
        place_of_output(output, ["a", "b"], "class")


def test_the_name_of_what_is_meant():
    assert output_of(learned(), None, 1) == (0, "y")
    assert output_of(learned(2), 1, 2) == (1, "y1")
    assert output_of(learned_classifier(), None, 1) == (1, "b")
    assert output_of(learned_classifier(), "a", 1) == (0, "a")
    with pytest.raises(ValueError, match="output=None names no class: pass one of 'a', 'b', 'c'"):
        output_of(learned_classifier(3), None, 1)


def test_columns_that_know_their_names():
    assert name_of(pd.Series([1.0], name="height")) == "height"
    for thing in (pd.Series([1.0]), pd.Series([1.0], name=3), np.ones(2), [1.0]):
        assert name_of(thing) is None


# --- pipelines


def test_of_a_pipeline_the_last_step_and_what_the_others_make_of_rows():
    pipeline = pipelines.learned()
    scale, curve, last = pipelines.by_hand()
    found = what_learned(pipeline, "it", "is nothing")
    assert found.estimator is pipeline.steps[-1][1]
    assert found.state is found.estimator._meta
    assert_allclose(found.rows(X), curve.transform(scale.transform(X)))
    assert_allclose(both(found.estimator, found.rows(X)), both(last, found.rows(X)))


def test_of_a_pipeline_in_a_pipeline_the_last_step_of_all():
    inner = skcml.pipeline.make_pipeline(PolynomialFeatures(include_bias=False), quickest())
    outer = skcml.pipeline.make_pipeline(StandardScaler(), "passthrough", inner)
    outer.meta_fit(X, Y, groups=GROUPS)
    found = what_learned(outer, "it", "is nothing")
    assert found.estimator is outer[-1][-1]
    assert_allclose(found.rows(X), what_learned(pipelines.learned(), "it", "").rows(X))
    # What changed inside the inner one counts.
    outer[-1].steps[0] = ("polynomialfeatures", StandardScaler())
    with pytest.raises(ValueError, match="The steps before the last have changed since meta_fit"):
        what_learned(outer, "it", "is nothing")


def test_transformers_that_were_frozen_by_hand_will_do():
    scale, curve, last = pipelines.by_hand()
    steps = map(FrozenEstimator, (scale, curve))
    found = what_learned(skcml.pipeline.make_pipeline(*steps, last), "it", "is nothing")
    assert_allclose(found.rows(X), curve.transform(scale.transform(X)))


def test_pipelines_that_have_not_learned_or_have_changed_are_refused():
    with pytest.raises(ValueError, match=r"This Pipeline has not learned yet, so that there is no"):
        what_learned(pipelines.curved(), "it", "is nothing")
    adapted = skcml.pipeline.make_pipeline(StandardScaler(), CMLRegressor()).fit(X, Y)
    with pytest.raises(ValueError, match=r"This Pipeline has not learned yet, so that there is no"):
        what_learned(adapted, "it", "is nothing")
    around = skcml.pipeline.make_pipeline(StandardScaler(), learned())
    with pytest.raises(ValueError, match="The last step has learned and the pipeline has not"):
        what_learned(around, "it", "is nothing")
    changed = pipelines.learned().set_params(standardscaler__with_mean=False)
    with pytest.raises(ValueError, match="The steps before the last have changed since meta_fit"):
        what_learned(changed, "it", "is nothing")
    other = pipelines.learned().set_params(cmlregressor=CMLRegressor())
    with pytest.raises(ValueError, match="The last step has changed since meta_fit was called"):
        what_learned(other, "it", "is nothing")
    with pytest.raises(ValueError, match="steps must be a list of pairs"):
        what_learned(skcml.pipeline.Pipeline([]), "it", "is nothing")
    changed = pipelines.learned().set_params(cmlregressor__n_shots=3)
    with pytest.raises(ValueError, match=r"n_shots was None when meta_fit was called and is 3 now"):
        what_learned(changed, "it", "is nothing")


@pytest.mark.parametrize("last", [Ridge(), make_pipeline(learned())])
def test_a_pipeline_that_ends_in_something_else_is_refused(last):
    message = f"it is about CML.*; got a pipeline that ends in {type(last).__name__}. Instead of"
    with pytest.raises(TypeError, match=message):
        what_learned(skcml.pipeline.make_pipeline("passthrough", last), "it", "is nothing")


def test_what_a_transformer_refuses_is_named():
    found = what_learned(pipelines.learned(), "it", "is nothing")
    with pytest.raises(ValueError, match="X_query: X has 1 features, but StandardScaler is expect"):
        found.rows(X[:, :1], "X_query")


def test_the_last_step_of_anything():
    assert last_step(Ridge())[1] == []
    pipeline = skcml.pipeline.make_pipeline(StandardScaler(), Ridge())
    assert last_step(pipeline) == (pipeline[1], pipeline.steps[:1])
