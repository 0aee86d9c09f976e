"""Parameters ``body__...``: stored, shown, changed, kept and watched as all others are."""

import copy
import inspect
import pickle
import re
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skcml import CMLClassifier, CMLRegressor
from skcml.estimators._body_params import body_arguments, body_params
from skcml.model_selection import TaskLearner
from tests.estimators import grouped, labelled

X, Y, GROUPS = grouped()
BRIEF = {"meta_max_iter": 1, "early_stopping": False, "random_state": 0}
BOTH = pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])


class Net(nn.Module):
    """A layer of a width."""

    def __init__(self, width=3, *, activation=nn.Tanh):
        super().__init__()
        self.linear = nn.Linear(2, width)
        made = isinstance(activation, nn.Module)
        self.activation = activation if made else activation()

    def forward(self, x):
        return self.activation(self.linear(x))


def layer(width):
    return nn.Linear(2, width)


def learned(**params):
    return CMLRegressor(**BRIEF | {"body": Net} | params).meta_fit(X, Y, groups=GROUPS)


def width_of(estimator):
    return estimator.meta_params_["networks"]["omega"].shape[-1] - 1  # without the constant


# --- as parameters


@BOTH
def test_they_are_stored_and_shown(make):
    estimator = make(body=Net, body__width=64, body__activation=nn.ReLU)
    assert estimator.body__width == 64
    assert body_arguments(estimator) == {"width": 64, "activation": nn.ReLU}
    for deep in (True, False):
        shown = estimator.get_params(deep=deep)
        assert {name: shown[name] for name in shown if "__" in name} == body_params(estimator)
        assert set(shown) == set(make().get_params()) | {"body__width", "body__activation"}
    assert "body__width=64" in repr(estimator)
    cells = re.findall(r'<td class="(param|value)">([^<]*)</td>', estimator._repr_html_())
    assert cells[cells.index(("param", "body__width")) + 1] == ("value", "64")
    # They belong to this estimator, not to its class.
    assert body_params(make()) == {}
    assert make(body__params=1).get_params()["body__params"] == 1  # the name in the signature
    assert "body__width" not in repr(make())


@BOTH
def test_they_can_be_changed(make):
    estimator = make(body=Net, body__width=64)
    assert estimator.set_params(body__width=32, body__depth=2, n_shots=1) is estimator
    assert body_params(estimator) == {"body__width": 32, "body__depth": 2}
    assert estimator.n_shots == 1
    estimator.body__width = 16
    assert estimator.get_params()["body__width"] == 16
    assert estimator.set_params() is estimator


def test_copies_have_them():
    values = [1, 2]
    estimator = CMLRegressor(body=Net, body__width=values)
    cloned = clone(estimator)
    assert cloned.body__width == values
    assert cloned.body__width is not values
    for copied in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert body_params(copied) == {"body__width": values}


def test_they_are_reached_through_other_estimators():
    estimator = CMLRegressor(body=Net, body__width=64)
    for outer, name in (
        (make_pipeline(StandardScaler(), estimator), "cmlregressor__body__width"),
        (TransformedTargetRegressor(estimator), "regressor__body__width"),
    ):
        assert outer.get_params()[name] == 64
        changed = clone(outer).set_params(**{name: 32})
        assert changed.get_params()[name] == 32
        assert outer.get_params()[name] == 64


def test_searches_know_them_by_name():
    # The module is a class, and the search makes one of each width.
    estimator = CMLRegressor(body=Net, **BRIEF)
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            TaskLearner(estimator, n_shots=2, scoring="neg_root_mean_squared_error"),
            {"estimator__body__width": [2, 4]},
            cv=GroupKFold(2),
        ).fit(X, Y, groups=GROUPS)
    best = search.best_estimator_.estimator_
    assert best.body__width == search.best_params_["estimator__body__width"]
    assert width_of(best) == best.body__width


# --- what is refused


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hiden_layer_sizes", "near it there is hidden_layer_sizes."),
        ("body_width", "near it there is body__width."),
        ("body__", "near it there is body."),
        ("n_shot", "near it there is n_shots"),
        ("zzz", "it has activation, .*, verbose, and for each argument of body one whose name "),
    ],
)
def test_other_names_are_refused_with_those_nearby(name, sentence):
    with pytest.raises(TypeError, match=f"^CMLRegressor has no parameter '{name}'; {sentence}"):
        CMLRegressor(body__width=3, **{name: 3})


def test_set_params_changes_nothing_of_the_body_where_a_name_is_wrong():
    estimator = CMLRegressor(body=Net, body__width=64)
    with pytest.raises(ValueError, match="Invalid parameter 'widht' for estimator CMLRegressor"):
        estimator.set_params(body__width=32, widht=32)
    with pytest.raises(ValueError, match=r"^'body__' names no argument of body; write it behind"):
        estimator.set_params(body__width=32, body__=32)
    assert body_params(estimator) == {"body__width": 64}


@BOTH
@pytest.mark.parametrize("method", ["meta_fit", "fit"])
def test_a_body_that_is_not_made_takes_no_arguments(make, method):
    y = Y if make is CMLRegressor else labelled()[1]
    made = layer(3)
    for params, sentence in (
        ({"body__width": 3}, "^body__width is an argument of .*, and body is None: pass the class"),
        ({"body": made, "body__a": 1, "body__b": 2}, "^body__a, body__b are .* body is a Linear "),
    ):
        estimator = make(**BRIEF, **params)
        with pytest.raises(ValueError, match=sentence):
            getattr(estimator, method)(X, y, groups=GROUPS)
        assert not hasattr(estimator, "n_features_in_")


# --- between meta_fit and fit


def test_a_clone_and_a_pickle_keep_what_was_learned():
    estimator = learned(body__width=5)
    assert width_of(estimator) == 5
    expected = estimator.fit(X[:4], Y[:4]).predict(X)
    for other in (clone(estimator), pickle.loads(pickle.dumps(estimator))):
        assert other.body__width == 5
        assert_array_equal(other.fit(X[:4], Y[:4]).predict(X), expected)


def test_what_shaped_meta_fit_may_not_change():
    estimator = learned(body__width=5)
    before = estimator.predict(X)
    with pytest.raises(ValueError, match=r"^body__width was 5 when meta_fit .* and is 4 now"):
        estimator.set_params(body__width=4).fit(X[:4], Y[:4])
    estimator.set_params(body__width=5, body__activation=nn.ReLU)
    with pytest.raises(ValueError, match=r"^body__activation was not set when .*ReLU.* now"):
        estimator.fit(X[:4], Y[:4])
    del estimator.body__activation, estimator.body__width
    with pytest.raises(ValueError, match=r"^body__width was 5 when meta_fit .* is not set now"):
        estimator.fit(X[:4], Y[:4])
    assert_array_equal(estimator.predict(X), before)
    estimator.set_params(body__width=5).fit(X[:4], Y[:4])


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (np.arange(2), np.arange(3)),
        (nn.GELU(), nn.ReLU()),
        (partial(nn.Softplus, 2.0), partial(nn.Softplus, 3.0)),
        ([nn.Linear(3, 3)], [nn.Linear(3, 4)]),
        ({"scale": np.ones(2)}, {"scale": np.zeros(2)}),
        (nn.Parameter(nn.Linear(1, 2).weight), None),
        (np.nan, 0.0),
        (layer, partial(layer, 2)),
    ],
)
def test_a_copy_is_no_change_whatever_the_argument(value, other):
    def body(thing):
        return Net()

    estimator = learned(body=body, body__thing=value).fit(X[:4], Y[:4])
    clone(estimator).fit(X[:4], Y[:4])
    with pytest.raises(ValueError, match=r"^body__thing was "):
        estimator.set_params(body__thing=other).fit(X[:4], Y[:4])


def test_a_function_is_the_same_function_in_another_place(monkeypatch):
    # Where it lies in memory is no part of it, and is another number after a pickle is read.
    state = pickle.dumps(learned(body=partial(layer, 3)))
    elsewhere = type(layer)(layer.__code__, layer.__globals__, layer.__name__)
    monkeypatch.setattr(inspect.getmodule(layer), "layer", elsewhere)
    other = pickle.loads(state)
    assert other.body.func is elsewhere
    other.fit(X[:4], Y[:4])


def test_without_meta_fit_they_are_said_to_have_no_effect():
    estimator = CMLRegressor(body=Net, body__width=5)
    with pytest.warns(UserWarning, match="without which body, body__width have no effect"):
        estimator.fit(X, Y)
