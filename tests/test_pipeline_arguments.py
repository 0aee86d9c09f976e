"""Arguments of a pipeline's methods find their step, with metadata routing and without."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from skcml.pipeline import make_pipeline
from skcml.pipeline._arguments import addressed, given, is_routing
from tests.estimators import both
from tests.pipelines import GROUPS, NEW_GROUPS, NEW_X, NEW_Y, X, Y, learned, quickest

STEPS = [("scale", StandardScaler()), ("none", None), ("last", quickest())]


# --- arguments by themselves


def test_what_is_addressed_to_no_step_is_the_last_steps():
    given_names = ("groups", "scale__sample_weight", "last__sample_weight", "last__a__b")
    found = addressed({name: name for name in given_names}, STEPS)
    assert found == {"last__groups": "groups"} | {name: name for name in given_names[1:]}
    assert addressed({}, STEPS) == {}


def test_a_name_of_no_step_is_refused_with_the_names_of_all():
    for bad in ("other__groups", "__groups", "scal__e"):
        with pytest.raises(ValueError, match=rf"^{bad} names no.*\['scale', 'none', 'last'\]\.$"):
            addressed({"groups": 1, bad: 2}, STEPS)


def test_with_routing_arguments_stay_as_they_are(routing):
    params = {"groups": 1, "other__groups": 2}
    assert addressed(params, STEPS) == params
    assert is_routing()


def test_without_routing():
    assert not is_routing()


def test_steps_that_take_no_parameters_refuse_them():
    steps = [("scale", FrozenEstimator(StandardScaler())), *STEPS[1:]]
    assert addressed({"groups": 1}, steps) == {"last__groups": 1}
    with pytest.raises(ValueError, match=r"^scale__a was passed, but 'scale' of steps is frozen"):
        addressed({"groups": 1, "scale__a": 2}, steps)
    for bad, among in (({"none__a": 1}, STEPS), ({"a": 1}, STEPS[:2])):
        with pytest.raises(ValueError, match=r"^none__a was passed, but 'none' of steps is None"):
            addressed(bad, among)
    # Who freezes the last step wants it so.
    assert addressed({"a": 1}, steps[:1]) == {"scale__a": 1}


def test_arguments_that_were_passed_are_those_that_are_not_none():
    zeros = np.zeros(2)
    found = given(a=None, b=zeros, c=False, d=0)
    assert found == {"b": zeros, "c": False, "d": 0}
    assert given() == {}


# --- in a pipeline


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


def test_names_that_nothing_has():
    pipeline = learned()
    with pytest.raises(ValueError, match=r"scaler__groups names no step.*'standardscaler'"):
        pipeline.fit(NEW_X, NEW_Y, scaler__groups=NEW_GROUPS)
    with pytest.raises(ValueError, match="scaler__sample_weight names no step"):
        pipeline.meta_fit(X, Y, groups=GROUPS, scaler__sample_weight=Y)
    with pytest.raises(TypeError, match="unexpected keyword argument 'group'"):
        pipeline.fit(NEW_X, NEW_Y, group=NEW_GROUPS)


def test_frozen_transformers_take_parameters_in_meta_fit():
    pipeline = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    before = both(pipeline, NEW_X, NEW_GROUPS)
    for bad in ({"foo": 3}, {"sample_weight": "rubbish"}):
        key, value = next(iter(bad.items()))
        with pytest.raises(ValueError, match=rf"standardscaler__{key} .* frozen.* to meta_fit"):
            pipeline.fit(X, Y, groups=GROUPS, **{f"standardscaler__{key}": value})
        assert_array_equal(both(pipeline, NEW_X, NEW_GROUPS), before)
    pipeline.meta_fit(X, Y, groups=GROUPS, standardscaler__sample_weight=np.arange(len(Y)))
    assert_allclose(pipeline[0].mean_, np.average(X, axis=0, weights=np.arange(len(Y))))


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
