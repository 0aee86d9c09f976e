"""What the steps of a pipeline may be, and which may follow which."""

import numpy as np
import pytest
import sklearn.pipeline
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skcml import CMLRegressor
from skcml.pipeline import Pipeline, make_pipeline
from skcml.pipeline._steps import are_pairs, check_steps, has_learned, is_refitted
from tests.estimators import both
from tests.pipelines import (
    GROUPS,
    NEW_GROUPS,
    NEW_X,
    NEW_Y,
    Stateless,
    X,
    Y,
    by_hand,
    learned,
    quickest,
)

NO_STEPS = [
    CMLRegressor(),
    "ab",
    3,
    None,
    {"last": CMLRegressor()},
    [StandardScaler(), CMLRegressor()],
    ["ab", "cd"],
    [(1, CMLRegressor())],
    [("last", CMLRegressor(), 1)],
]
ON_ROWS = ("fit", "meta_fit", "partial_fit", "score")
ON_NONE = ("forget", "group_effects", "prior_summary")


def called(pipeline, method):
    """Call a method with as many arguments as it needs."""
    return getattr(pipeline, method)(*(X, Y) * (method in ON_ROWS))


# --- what is no list of steps


@pytest.mark.parametrize("steps", NO_STEPS, ids=str)
def test_what_steps_must_be_is_said_by_each_method(steps):
    assert not are_pairs(steps)
    for method in (*ON_ROWS, *ON_NONE):
        with pytest.raises(ValueError, match=r"^steps must be a list of pairs of a name and"):
            called(Pipeline(steps), method)


def test_there_must_be_a_step():
    assert are_pairs([])
    for pipeline in (Pipeline([]), make_pipeline(StandardScaler(), make_pipeline())):
        with pytest.raises(ValueError, match=r"^steps must be .* not empty; got \[\]"):
            pipeline.fit(X, Y)


def test_a_last_step_that_is_none_takes_no_groups():
    scale = StandardScaler().fit(X)
    pipeline = Pipeline([("scale", StandardScaler()), ("last", None)])
    assert_array_equal(pipeline.fit(X, Y).transform(NEW_X), scale.transform(NEW_X))
    with pytest.raises(ValueError, match=r"'last' of steps is None, and takes no parameters\.$"):
        pipeline.fit(X, Y, groups=GROUPS)


def test_a_tuple_of_steps_will_do():
    check_steps((["scale", StandardScaler()], ("last", quickest())))
    steps = learned().steps
    assert_array_equal(both(Pipeline(tuple(steps)), X), both(Pipeline(steps), X))


@pytest.mark.parametrize("place", [0, 1])
def test_a_class_is_no_step(place):
    steps = [("scale", StandardScaler()), ("last", CMLRegressor())]
    name, step = steps[place]
    steps[place] = name, type(step)
    message = rf"{name}.* class was passed: pass an instance, {type(step).__name__}\(\)\.$"
    for method in (*ON_ROWS, *ON_NONE):
        if place == 1 or method != "partial_fit":  # which depends on the parameters
            with pytest.raises(TypeError, match=message):
                called(Pipeline(steps), method)


# --- a last step that learned by itself


def test_who_has_learned():
    _, _, last = by_hand()
    assert has_learned(last)
    assert has_learned(clone(last))
    assert has_learned(learned())
    assert has_learned(sklearn.pipeline.make_pipeline(StandardScaler(), last))
    for unlearned in (CMLRegressor().fit(X, Y), make_pipeline(make_pipeline(CMLRegressor()))):
        assert has_learned(unlearned) is False
    for unknown in (Ridge().fit(X, Y), make_pipeline(Ridge()), None, "passthrough"):
        assert has_learned(unknown) is None


def test_which_transformers_fit_changes():
    class Bare:
        """Neither an estimator of scikit-learn nor one that says what it is."""

    for transformer in (StandardScaler().fit(X), Stateless(), Bare()):
        assert is_refitted(transformer)
        assert not is_refitted(FrozenEstimator(transformer))
    for transformer in (None, "passthrough", FunctionTransformer(np.tanh), learned()[0]):
        assert not is_refitted(transformer)


@pytest.mark.parametrize("nested", [False, True])
def test_transformers_are_not_fitted_beneath_a_last_step_that_has_learned(nested):
    last = quickest().meta_fit(X + 10, Y, groups=GROUPS)
    before = both(last, NEW_X)
    pipeline = make_pipeline(StandardScaler(), make_pipeline(last) if nested else last)
    with pytest.raises(
        ValueError, match=r"\['standardscaler'\].* meta_fit of the pipeline, or freeze the transf"
    ):
        pipeline.fit(NEW_X + 10, NEW_Y, groups=NEW_GROUPS)
    assert not hasattr(pipeline[0], "mean_")
    assert_array_equal(both(last, NEW_X), before)
    pipeline.meta_fit(X + 10, Y, groups=GROUPS).fit(NEW_X + 10, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(pipeline[0].mean_, (X + 10).mean(0))


def test_frozen_transformers_may_be_put_before_what_has_learned():
    scale, curve, last = by_hand()
    pipeline = make_pipeline(
        FrozenEstimator(scale), None, FunctionTransformer(), FrozenEstimator(curve), clone(last)
    )
    pipeline.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    last.fit(curve.transform(scale.transform(NEW_X)), NEW_Y, groups=NEW_GROUPS)
    made = curve.transform(scale.transform(X))
    assert_array_equal(both(pipeline, X, GROUPS), both(last, made, GROUPS))


# --- a last step that changes after meta_fit


@pytest.mark.parametrize("other", [quickest(), CMLRegressor().fit(X, Y), make_pipeline(quickest())])
def test_a_last_step_that_has_not_learned_is_noticed(other):
    pipeline = learned()
    last = pipeline[-1]
    pipeline.set_params(cmlregressor=other)
    with pytest.raises(ValueError, match=r"(?s)The last step has changed since meta_fit.*set it"):
        pipeline.fit(NEW_X[:6], NEW_Y[:6])
    with pytest.raises(NotFittedError, match="The last step has changed since meta_fit"):
        pipeline.predict(NEW_X)
    pipeline.set_params(cmlregressor=last).fit(NEW_X[:6], NEW_Y[:6])
    pipeline.set_params(cmlregressor=clone(other)).meta_fit(X, Y, groups=GROUPS).predict(NEW_X)


def test_a_last_step_that_has_learned_may_take_its_place():
    pipeline, (_, _, last) = learned(), by_hand()
    expected = both(pipeline.fit(NEW_X[:6], NEW_Y[:6]), NEW_X)
    pipeline.set_params(cmlregressor=last)
    assert_array_equal(both(pipeline.fit(NEW_X[:6], NEW_Y[:6]), NEW_X), expected)
