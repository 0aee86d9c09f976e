"""An estimator that has learned, as the functions of `skcml.inspection` take it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.callback import ProgressBar
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skcml import CMLClassifier, CMLRegressor
from skcml.inspection._learned import (
    learned_state,
    name_of,
    output_of,
    place_of_output,
    working_copy,
)
from tests.estimators import both, grouped, learned, learned_classifier, learned_pool

X, Y, GROUPS = grouped()


def test_what_was_learned_is_returned():
    for est in (learned(), learned_pool()):
        assert learned_state(est, "it", "is nothing") is est._meta


@pytest.mark.parametrize("thing", [Ridge(), CMLRegressor, make_pipeline(learned()), None])
def test_what_is_none_of_our_estimators_is_refused(thing):
    name = type(thing).__name__
    with pytest.raises(TypeError, match=f"it is about CML.*of type {name}. Of a pipeline pass the"):
        learned_state(thing, "it", "is nothing")


@pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])
def test_an_estimator_that_has_not_learned_is_refused(make):
    message = rf"This {make.__name__} has not learned yet, so that there is nothing: call meta_fit"
    with pytest.raises(ValueError, match=message):
        learned_state(make().fit(X, GROUPS % 2), "it", "is nothing")


def test_a_parameter_that_has_changed_is_refused():
    with pytest.raises(ValueError, match=r"n_shots was None when meta_fit was called and is 3 now"):
        learned_state(learned().set_params(n_shots=3), "it", "is nothing")


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
