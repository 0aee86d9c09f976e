"""Rows that keep coming: `partial_fit` against `fit` on all rows so far; groups to forget."""

import copy
import functools
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import learning_curve
from sklearn.multioutput import MultiOutputRegressor

from skcml import CMLClassifier, CMLRegressor
from skcml.datasets import load_grouped
from tests.estimators import (
    both,
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    linear,
    pool,
    quick,
)

# Groups 10 to 15 are new to `meta_fit`, which saw 0 to 11 from another seed.
X, Y, GROUPS = grouped(seed=1, n_groups=6, n_rows=9)
GROUPS = GROUPS + 10
Q = [0.05, 0.5, 0.9]


@functools.cache
def _made(kind):
    x, y, groups = grouped(n_outputs=2 if kind == "two outputs" else None)
    made = {
        "mixture": quick,
        "two outputs": quick,
        "REML": linear,
        "no verdict": functools.partial(quick, early_stopping=False, activation="relu"),
        "as it is": functools.partial(quick, standardize=False, prior_covariance="diagonal"),
        "intercepts": functools.partial(linear, n_shots=1),
        "module": functools.partial(
            quick, body=torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
        ),
    }[kind]()
    if kind == "intercepts":  # groups that differ in nothing else
        y = y - y + groups + 0.1 * np.random.default_rng(0).normal(size=len(y))
    return made.meta_fit(x, y, groups=groups)


KINDS = ["mixture", "two outputs", "REML", "no verdict", "as it is", "intercepts", "module"]


def made(kind):
    """Return an estimator after `meta_fit`, one's own to change."""
    return copy.deepcopy(_made(kind))


def outputs(kind):
    return np.column_stack([Y, Y**2]) if kind == "two outputs" else Y


def said(estimator, groups=None):
    """Return all that an estimator says of rows of some groups, and its linear effects."""
    x = np.linspace(-3, 3, 40).reshape(20, 2)
    groups = None if groups is None else np.resize(groups, 20)
    quantiles = np.asarray(estimator.predict_quantiles(x, Q, groups=groups))
    effects = estimator.group_effects(as_frame=False)
    return np.concatenate(
        [both(estimator, x, groups=groups).ravel(), quantiles.ravel(), effects.ravel()]
    )


def assert_as_fit(estimator, *rows, groups=None, sample_weight=None, asked=None):
    """Assert that an estimator is as if it had been fitted to these rows at once."""
    once = copy.deepcopy(estimator).fit(*rows, groups=groups, sample_weight=sample_weight)
    assert_allclose(said(estimator, asked), said(once, asked), rtol=1e-10, atol=1e-10)


# --- the oracle


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_batches_in_any_order_are_all_rows_at_once(kind, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    estimator, y = made(kind), outputs(kind)
    weight = rng.choice([0.0, 0.3, 1.0, 2.0], size=len(X)) if data.draw(st.booleans()) else None
    order = rng.permutation(len(X))
    cuts = np.unique(rng.integers(1, len(X), size=data.draw(st.integers(0, 12))))
    begins_with_fit = data.draw(st.booleans())
    parts = np.split(order, cuts)
    if weight is not None and not weight[parts[0]].any():
        begins_with_fit = False  # which refuses rows that all weigh nothing
    for number, rows in enumerate(parts):
        call = estimator.fit if begins_with_fit and number == 0 else estimator.partial_fit
        call(
            X[rows],
            y[rows],
            groups=GROUPS[rows],
            sample_weight=None if weight is None else weight[rows],
        )
    assert_as_fit(estimator, X, y, groups=GROUPS, sample_weight=weight, asked=np.arange(8, 17))


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_task_row_by_row(kind):
    estimator, y = made(kind), outputs(kind)
    for row in range(len(X)):
        estimator.partial_fit(X[[row]], y[[row]])
        if row in (0, 1, 2, 9):
            assert_as_fit(estimator, X[: row + 1], y[: row + 1])
    assert_as_fit(estimator, X, y)


def test_a_thousand_calls_lose_no_digit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    y = x @ [1.0, -2.0] + np.linspace(-5, 5, 1000) + 0.1 * rng.normal(size=1000)  # it drifts
    estimator = made("mixture").fit(x[:10], y[:10])
    for row in range(10, 1000):
        estimator.partial_fit(x[[row]], y[[row]])
    assert_as_fit(estimator, x, y)


@pytest.mark.parametrize("n_fitted", [0, 3, 30])
def test_where_there_is_no_noise_digits_are_not_lost_either(n_fitted):
    x, _, groups = grouped()
    rng = np.random.default_rng(0)
    y = rng.normal(size=12)[groups] + (x * rng.normal(size=(12, 2))[groups]).sum(1)
    estimator = quick().meta_fit(x, y, groups=groups)
    assert estimator.meta_params_["mixed_model"]["noise"].max() < 2e-6  # the floor
    x = rng.normal(size=(100, 2))
    y = x @ [1.0, -3.0] + 2 + 1e-3 * rng.normal(size=100)
    if n_fitted:
        estimator.fit(x[:n_fitted], y[:n_fitted])
    for row in range(n_fitted, 100):
        estimator.partial_fit(x[[row]], y[[row]])
    assert_as_fit(estimator, x, y)


@pytest.mark.parametrize("name", ["sleepstudy", "Oxboys"])
def test_real_tables_with_labels_of_their_own(name):
    x, y, groups = load_grouped(name, return_X_y=True)
    groups = [f"{name} {label}" for label in groups]
    estimator = quick(meta_max_iter=20).meta_fit(x, y, groups=groups)
    scale = np.std(y)
    for start in range(0, len(x), 50):
        part = slice(start, start + 50)
        estimator.partial_fit(x[part], y[part], groups=groups[part])
    found, effects = both(estimator, x, groups=groups), estimator.group_effects()
    estimator.fit(x, y, groups=groups)
    assert_allclose(found, both(estimator, x, groups=groups), atol=1e-10 * scale)
    # Groups in the same order, whatever the order in which they came.
    pd.testing.assert_frame_equal(effects, estimator.group_effects(), atol=1e-10 * scale)


def test_rows_that_repeat_each_other_and_columns_that_say_nothing():
    x, y, groups = grouped()
    x = np.column_stack([x, x[:, 0], np.ones(len(x))])
    estimator = quick(meta_max_iter=10).meta_fit(x, y, groups=groups)
    new_x, new_y = x[[0, 0, 0, 1, 1, 0]], y[[0, 5, 0, 1, 7, 3]]
    for first in (0, 2, 3):
        estimator.fit(new_x[: first + 1], new_y[: first + 1])
        for row in range(first + 1, 6):
            estimator.partial_fit(new_x[[row]], new_y[[row]])
        found = both(estimator, x)
        estimator.fit(new_x, new_y)
        assert_allclose(found, both(estimator, x), rtol=1e-10, atol=1e-10)


def test_a_batch_of_many_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5000, 2)), rng.normal(size=5000)
    groups = np.where(np.arange(5000) < 4500, "a", rng.choice(["b", "c", "d"], size=5000))
    estimator = made("mixture").partial_fit(x[:10], y[:10], groups=groups[:10])
    estimator.partial_fit(x[10:], y[10:], groups=groups[10:])
    assert_as_fit(estimator, x, y, groups=groups, asked=["a", "b", "c", "d", "e"])


# --- groups


def test_groups_that_got_no_row_keep_their_bits():
    estimator = made("mixture").partial_fit(X, Y, groups=GROUPS)
    others = GROUPS != 12
    before = both(estimator, X[others], groups=GROUPS[others])
    estimator.partial_fit(X[:3], Y[:3], groups=[12, 12, 99])
    assert_array_equal(both(estimator, X[others], groups=GROUPS[others]), before)


@pytest.mark.parametrize(
    "labels",
    [
        [["b", "d"], ["a", "c", "b"]],
        [np.array([3, 1]), [2.5, 1.0]],
        [np.array([3, 1], dtype=np.uint8), [-2, 2**60]],
        [[("x", 2), ("x", 1)], [("w", 9), ("x", 2)]],
        [pd.to_datetime(["2020-02-01", "2021-01-01"]), [np.datetime64("2020-02-01"), pd.NaT][:1]],
        [[1, "one"], ["one", 2]],
    ],
    ids=["text", "floats", "integers", "tuples", "dates", "mixed"],
)
def test_labels_of_any_kind_are_those_of_fit(labels):
    first, second = labels
    estimator = made("REML")
    n, k = len(first), len(first) + len(second)
    estimator.partial_fit(X[:n], Y[:n], groups=first).partial_fit(X[n:k], Y[n:k], groups=second)
    together = [*np.asarray(first).tolist(), *second] if isinstance(first, np.ndarray) else None
    together = together or [*first, *second]
    effects = estimator.group_effects()
    once = made("REML").fit(X[:k], Y[:k], groups=together).group_effects()
    assert list(effects.index) == list(once.index)
    assert_allclose(effects, once, atol=1e-12)


def test_rows_without_weight_are_not_there():
    estimator = made("mixture")
    weight = np.where(GROUPS == 12, 0.0, 1.0)
    estimator.partial_fit(X, Y, groups=GROUPS, sample_weight=weight)
    assert_as_fit(estimator, X, Y, groups=GROUPS, sample_weight=weight, asked=[11, 12, 99])
    one = both(estimator, X[:1], groups=[12])
    assert_array_equal(one, both(estimator, X[:1], groups=[99]))
    estimator.partial_fit(X[:1], Y[:1], groups=[12])  # now it has been seen
    assert (both(estimator, X[:1], groups=[12]) != one).all()
    estimator = made("mixture").partial_fit(X[:2], Y[:2], sample_weight=0)
    assert_array_equal(both(estimator, X), both(made("mixture"), X))
    estimator.partial_fit(X[2:5], Y[2:5]).partial_fit(X[:1], Y[:1], sample_weight=[0.0])
    assert_as_fit(estimator, X[2:5], Y[2:5])


def test_a_weight_of_two_is_the_row_twice():
    once = made("mixture").partial_fit(X[:3], Y[:3], sample_weight=[2, 1, 1])
    twice = made("mixture").partial_fit(X[:3], Y[:3]).partial_fit(X[:1], Y[:1])
    assert_allclose(said(once), said(twice), rtol=1e-12, atol=1e-12)


def test_groups_in_a_column():
    x, y, groups = grouped()
    table = pd.DataFrame({"dose": x[:, 0], "who": [f"p{g}" for g in groups], "age": x[:, 1]})
    estimator = quick(group_column="who").meta_fit(table, y)
    half = np.arange(len(y)) % 2 == 0
    estimator.partial_fit(table[half], y[half]).partial_fit(table[~half], y[~half])
    found = both(estimator, table)
    assert_allclose(found, both(estimator.fit(table, y), table), atol=1e-10)
    with pytest.raises(ValueError, match="groups and group_column='who' disagree"):
        estimator.partial_fit(table[:2], y[:2], groups=["p7", "p7"])


# --- what may change, and what survives


def test_the_current_prior_strength_holds_for_all_rows():
    estimator = made("mixture").set_params(prior_strength=3.0)
    estimator.fit(X[::3], Y[::3], groups=GROUPS[::3])
    estimator.partial_fit(X[1::3], Y[1::3], groups=GROUPS[1::3])
    before = both(estimator, X, groups=GROUPS)
    estimator.set_params(prior_strength=0.2)
    assert_array_equal(both(estimator, X, groups=GROUPS), before)
    # One group gets a row; the others follow too.
    estimator.partial_fit(X[2:3], Y[2:3], groups=GROUPS[2:3])
    rows = np.r_[0:54:3, 1:54:3, 2]
    assert_as_fit(estimator, X[rows], Y[rows], groups=GROUPS[rows], asked=np.arange(9, 17))


def test_a_shallow_copy_goes_its_own_way():
    first = made("mixture").partial_fit(X[:9], Y[:9], groups=GROUPS[:9])
    second = copy.copy(first)
    first.partial_fit(X[9:20], Y[9:20], groups=GROUPS[9:20])
    second.partial_fit(X[5:6], -Y[5:6], groups=GROUPS[5:6])
    assert_as_fit(first, X[:20], Y[:20], groups=GROUPS[:20], asked=[10, 11, 12, 13])
    rows, y = np.r_[:9, 5], np.append(Y[:9], -Y[5])
    assert_as_fit(second, X[rows], y, groups=GROUPS[rows], asked=[10, 11])


def test_pickles_go_on_where_they_were():
    estimator = made("mixture").partial_fit(X[:20], Y[:20], groups=GROUPS[:20])
    loaded = pickle.loads(pickle.dumps(estimator))
    for one in (estimator, loaded):
        one.partial_fit(X[20:], Y[20:], groups=GROUPS[20:])
    assert_array_equal(both(loaded, X, groups=GROUPS), both(estimator, X, groups=GROUPS))


def test_a_clone_begins_anew_and_so_does_fit():
    estimator = made("mixture").partial_fit(X[:20], Y[:20])
    fresh = clone(estimator)
    assert_array_equal(both(fresh, X), both(made("mixture"), X))
    assert_as_fit(fresh.partial_fit(X[20:], Y[20:]), X[20:], Y[20:])
    assert_array_equal(both(estimator.fit(X[30:], Y[30:]), X), both(fresh.fit(X[30:], Y[30:]), X))


def test_meta_fit_begins_anew():
    x, y, groups = grouped(seed=7)
    estimator = made("REML").partial_fit(X[:5], Y[:5]).meta_fit(x, y, groups=groups)
    assert_as_fit(estimator.partial_fit(X[5:9], Y[5:9]), X[5:9], Y[5:9])


def test_y_may_change_its_layout_as_at_fit():
    estimator = made("mixture").partial_fit(X[:4], Y[:4])
    assert estimator.predict(X).shape == (54,)
    assert estimator.partial_fit(X[4:6], Y[4:6, None]).predict(X).shape == (54, 1)
    frame = pd.DataFrame(X[:4])
    assert_array_equal(
        both(made("mixture").partial_fit(frame.to_numpy(), Y[:4]), X),
        both(made("mixture").partial_fit(X[:4].tolist(), list(Y[:4])), X),
    )


# --- what is kept


def test_no_more_rows_are_kept_than_there_are_coefficients():
    estimator = made("mixture")
    sizes = []
    for start in range(0, 54, 9):
        estimator.partial_fit(X[start : start + 9], Y[start : start + 9])
        sizes.append(len(pickle.dumps(estimator)))
        for name, kept in estimator._adapted.factors.items():
            n_columns = estimator.meta_params_[name]["factor"].shape[-1]
            assert [len(factor) for factor in kept] == [min(start + 9, n_columns)]
    assert len(set(sizes)) == 1


def test_no_value_of_a_row_is_in_the_file():
    estimator = made("mixture")
    for row in range(3):
        estimator.partial_fit(X[[row]], Y[[row]], groups=[0])
    estimator.partial_fit(X[3:4], Y[3:4], groups=[1])
    blob = pickle.dumps(estimator)
    scaling = estimator._adapted.scaling
    rows = [X[:4], -X[:4], Y[:4], -Y[:4], scaling.features(X[:4]), scaling.outputs(Y[:4, None])]
    values = np.concatenate([np.ravel(part) for part in rows])
    assert [value for value in values if value.tobytes() in blob] == []


def test_the_callers_arrays_are_left_alone():
    x, y, groups, weight = X.copy(), Y.copy(), GROUPS.copy(), np.ones(54)
    made("mixture").partial_fit(x, y, groups, weight).partial_fit(x, y, groups, weight)
    for theirs, kept in ((x, X), (y, Y), (groups, GROUPS), (weight, np.ones(54))):
        assert_array_equal(theirs, kept)


# --- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": X[:2, :1]}, "X has 1 features, but CMLRegressor is expecting 2 features"),
        ({"X": [[0.0, np.nan], [0, 0]]}, "Input X contains NaN"),
        ({"y": [1.0, np.inf]}, "Input y contains infinity"),
        ({"y": None}, "requires y to be passed"),
        ({"y": [1.0]}, "y has 1 rows, but X has 2"),
        ({"y": np.ones((2, 3))}, r"y has 3 output\(s\), but meta_fit saw 1"),
        ({"groups": None}, "rows so far came with groups, and these have none: pass groups="),
        ({"groups": [10]}, "groups has 1 labels for 2 rows"),
        ({"groups": [10, None]}, "groups has 1 missing label"),
        ({"groups": ["ten", "eleven"]}, "groups are strings here, while the labels known"),
        ({"sample_weight": [1, -1]}, "Negative values in sample_weight"),
    ],
)
def test_a_call_that_fails_loses_nothing(change, message):
    estimator = made("mixture").partial_fit(X, Y, groups=GROUPS)
    before, attributes = both(estimator, X, groups=GROUPS), dict(vars(estimator))
    arguments = {"X": X[:2], "y": Y[:2], "groups": GROUPS[:2], "sample_weight": None} | change
    with pytest.raises(ValueError, match=message):
        estimator.partial_fit(**arguments)
    assert vars(estimator) == attributes
    assert_array_equal(both(estimator, X, groups=GROUPS), before)
    assert_as_fit(estimator, X, Y, groups=GROUPS, asked=GROUPS)


def test_a_parameter_that_shaped_meta_fit_may_not_change():
    estimator = made("mixture").partial_fit(X, Y).set_params(hidden_layer_sizes=(7,))
    with pytest.raises(ValueError, match="hidden_layer_sizes was"):
        estimator.partial_fit(X, Y)
    with pytest.raises(ValueError, match="'prior_strength' parameter"):
        made("mixture").set_params(prior_strength=-1.0).partial_fit(X, Y)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_a_single_task_takes_no_groups(first):
    estimator = getattr(made("mixture"), first)(X, Y)
    with pytest.raises(ValueError, match="as a single task, and these have groups: leave groups"):
        estimator.partial_fit(X, Y, groups=GROUPS)
    estimator.forget().partial_fit(X, Y, groups=GROUPS)
    with pytest.raises(ValueError, match="knows a single task"):
        made("mixture").partial_fit(X, Y).predict(X, groups=GROUPS)
    with pytest.raises(ValueError, match="predict needs the group of each row"):
        estimator.predict(X)


NOT_THERE = {
    "before meta_fit": (CMLRegressor, "partial_fit needs meta_fit first"),
    "classes before meta_fit": (CMLClassifier, "partial_fit needs meta_fit first"),
    "after fit alone": (lambda: CMLRegressor().fit(X, Y), "partial_fit needs meta_fit first"),
    "counts": (
        lambda: linear(loss="poisson", early_stopping=False).meta_fit(X, Y**2 // 1, groups=GROUPS),
        "squared_error' and model='head'.*counts is found by a search.*call fit with all of them",
    ),
    "shared classes": (learned_classifier, "posterior of classes is found by a search"),
    "exchangeable classes": (learned_pool, "exchangeable classes are found by a search"),
    "networks": (
        lambda: quick(
            model="modulatory", hidden_layer_sizes=(2,), meta_max_iter=1, early_stopping=False
        ).meta_fit(X, Y, groups=GROUPS),
        "model='modulatory' searches for the parameters of a group anew",
    ),
}


@pytest.mark.parametrize("kind", NOT_THERE)
def test_where_there_is_no_closed_form_the_method_is_not_there(kind):
    make, reason = NOT_THERE[kind]
    estimator = make()
    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as error:
        estimator.partial_fit(X, Y)
    with pytest.raises(AttributeError, match=reason):
        raise error.value.__cause__


# --- scikit-learn's tools


def test_tools_that_call_partial_fit():
    x, y, groups = grouped()
    table = pd.DataFrame({"x0": x[:, 0], "x1": x[:, 1], "who": groups})
    estimator = quick(group_column="who").meta_fit(table, y)
    arguments = {"cv": 3, "train_sizes": [0.3, 0.6, 1.0], "shuffle": True, "random_state": 0}
    _, _, step_by_step = learning_curve(
        estimator, table, y, exploit_incremental_learning=True, **arguments
    )
    _, _, at_once = learning_curve(estimator, table, y, **arguments)
    assert_allclose(step_by_step, at_once, atol=1e-9)
    several = MultiOutputRegressor(made("REML"))
    for part in (slice(0, 5), slice(5, 9)):
        several.partial_fit(X[part], np.column_stack([Y, -Y])[part])
    assert_allclose(several.predict(X)[:, 0], made("REML").fit(X[:9], Y[:9]).predict(X))


# --- forget

FORGETFUL = {
    "fit": lambda: made("mixture").fit(X, Y, groups=GROUPS),
    "partial_fit": lambda: made("mixture").partial_fit(X, Y, groups=GROUPS),
    "two outputs": lambda: made("two outputs").fit(X, outputs("two outputs"), groups=GROUPS),
    "networks": lambda: _network().fit(X, Y, groups=GROUPS),
    "classes": lambda: learned_classifier().fit(
        X, labelled(n_groups=6, n_rows=9)[1], groups=GROUPS
    ),
}


@functools.cache
def _fitted_network():
    estimator = quick(
        model="synaptic", hidden_layer_sizes=(2,), meta_max_iter=2, early_stopping=False
    )
    return estimator.meta_fit(*grouped()[:2], groups=grouped()[2])


def _network():
    return copy.deepcopy(_fitted_network())


def predicted(estimator, x, groups):
    if isinstance(estimator, CMLClassifier):
        return estimator.predict_proba(x, groups=groups)
    return both(estimator, x, groups=groups)


@pytest.mark.parametrize("kind", FORGETFUL)
def test_groups_that_are_forgotten_are_as_never_seen(kind):
    estimator = FORGETFUL[kind]()
    others = ~np.isin(GROUPS, [11, 14])
    before = predicted(estimator, X[others], GROUPS[others])
    strangers = predicted(estimator, X, np.full(len(X), 99))
    effects = estimator.group_effects()
    assert estimator.forget([14, 11.0]) is estimator
    assert_array_equal(predicted(estimator, X[others], GROUPS[others]), before)
    assert_array_equal(predicted(estimator, X, np.where(others, 99, GROUPS)), strangers)
    pd.testing.assert_frame_equal(estimator.group_effects(), effects.drop(index=[11, 14]))
    assert_array_equal(
        predicted(pickle.loads(pickle.dumps(estimator)), X[others], GROUPS[others]), before
    )
    for label in (10, 12, 13, 15):
        estimator.forget(label)
    assert_array_equal(predicted(estimator, X, GROUPS), strangers)
    assert_array_equal(predicted(estimator, X, None), strangers)  # as after `meta_fit` alone
    with pytest.raises(ValueError, match="call fit first"):
        estimator.group_effects()
    with pytest.raises(ValueError, match="There is nothing to forget"):
        estimator.forget()


def test_what_is_forgotten_has_left_the_file():
    for call in ("fit", "partial_fit"):
        estimator = getattr(made("mixture"), call)(X, Y, groups=GROUPS)
        adapted = estimator._adapted
        if call == "fit":
            posterior = adapted.linear
            rows = slice(*posterior.starts[2:4])
            kept = [posterior.coefficients[2], posterior.directions[rows], posterior.along[rows]]
        else:
            kept = [factors[2] for factors in adapted.factors.values()]
        values = np.unique(np.concatenate([np.ravel(part) for part in kept]))
        values = values[abs(values) > 1e-9]
        assert len(values) > 5
        blob = pickle.dumps(estimator)
        assert all(value.tobytes() in blob for value in values)
        blob = pickle.dumps(estimator.forget(12))
        # Of groups with as many rows, the number is the same.
        assert sum(value.tobytes() in blob for value in values) <= 1


def test_rows_may_come_again():
    estimator = FORGETFUL["fit"]().forget([11, 12])
    estimator.partial_fit(X[:9], Y[:9], groups=np.full(9, 12))
    rows = np.r_[np.flatnonzero(~np.isin(GROUPS, [11, 12])), :9]
    groups = np.append(GROUPS[~np.isin(GROUPS, [11, 12])], np.full(9, 12))
    assert_as_fit(estimator, X[rows], Y[rows], groups=groups, asked=np.arange(9, 17))


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_a_single_task_is_forgotten_without_a_label(call):
    estimator = getattr(made("mixture"), call)(X, Y)
    with pytest.raises(ValueError, match=r"as a single task: call forget\(\) to forget it"):
        estimator.forget("a")
    estimator.forget()
    assert_array_equal(both(estimator, X), both(made("mixture"), X))
    with pytest.raises(ValueError, match="fit has not been called since meta_fit"):
        estimator.forget()
    with pytest.raises(ValueError, match="none is known: fit has not been called"):
        estimator.forget(["a"])
    assert_as_fit(estimator.partial_fit(X[:3], Y[:3]), X[:3], Y[:3])


def test_all_groups_may_be_forgotten_at_once():
    estimator = FORGETFUL["partial_fit"]().forget()
    assert_array_equal(both(estimator, X), both(made("mixture"), X))


@pytest.mark.parametrize("kind", ["fit", "partial_fit"])
def test_unknown_labels_are_named_and_nothing_is_forgotten(kind):
    estimator = FORGETFUL[kind]()
    before = both(estimator, X, groups=GROUPS)
    with pytest.raises(ValueError, match="groups holds 99, 98, which fit has not seen"):
        estimator.forget([12, 99, 98, 99])
    with pytest.raises(ValueError, match="20, 21, 22, 23, 24 and 3 more, which"):
        estimator.forget(np.arange(20, 28))
    with pytest.raises(ValueError, match="groups are strings here"):
        estimator.forget("ward")
    with pytest.raises(TypeError, match="groups must be a list, array or Series"):
        estimator.forget({12, 13})
    with pytest.raises(TypeError, match="cannot be hashed"):
        estimator.forget([[12]])
    estimator.forget([])
    assert_array_equal(both(estimator, X, groups=GROUPS), before)


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (["a", "b", "c"], "b"),
        (["a", "b", "c"], ("b",)),
        ([1, 2, 3], 2),
        ([1, 2, 3], np.array(2)),
        ([1, 2, 3], np.int8(2)),
        ([1, 2, 3], pd.Series([2, 2])),
        ([("a", 1), ("b", 1), ("b", 2)], ("b", 1)),
        ([("a", 1), ("b", 1), ("b", 2)], [("b", 1)]),
        (["a", ("b", "c"), "b"], ("b", "c")),
        (pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]), pd.Timestamp("2020-01-02")),
    ],
)
def test_a_label_or_many_of_any_kind(labels, given):
    estimator = made("REML").fit(X[:3], Y[:3], groups=labels)
    expected = list(estimator.group_effects().index)
    gone = expected.pop(2 if expected[1] == "b" and ("b", "c") in labels else 1)
    assert list(estimator.forget(given).group_effects().index) == expected
    assert gone not in expected


def test_forgotten_groups_take_their_classes_along():
    x, y = pool()
    alphabet = np.array(["greek", "runes"])[(np.arange(len(y)) // 8) % 2]
    estimator = learned_pool().fit(x, y, groups=alphabet)
    greek = alphabet == "greek"
    before = estimator.predict_proba(x[greek], groups=alphabet[greek])
    has_some = before.any(0)
    kept = estimator.classes_[has_some]
    estimator.forget("runes")
    assert_array_equal(estimator.classes_, kept)
    after = estimator.predict_proba(x[greek], groups=alphabet[greek])
    assert_array_equal(after, before[:, has_some])
    with pytest.raises(ValueError, match="a group in row 0 that fit has not seen"):
        estimator.predict(x[~greek], groups=alphabet[~greek])
    estimator.forget("greek")
    for _ in range(2):  # as after `meta_fit`: there is nothing to predict
        with pytest.raises(NotFittedError, match="those to tell apart are new"):
            estimator.predict(x)
        assert not hasattr(estimator, "classes_")
    assert learned_pool().fit(x, y).forget().fit(x, y).score(x, y) > 0.5


def test_forget_needs_meta_fit_and_fit():
    with pytest.raises(NotFittedError):
        CMLRegressor().forget("a")
    ridge = CMLRegressor().fit(X, Y, groups=GROUPS)
    with pytest.raises(ValueError, match=r"forget needs meta_fit: without it, scales.*Call fit"):
        ridge.forget(12)


def test_meta_fit_groups_are_not_forgotten():
    """What was learned from a group stays in what groups share."""
    estimator = learned().fit(X, Y, groups=GROUPS)
    prior = estimator.prior_summary()
    pd.testing.assert_frame_equal(estimator.forget().prior_summary(), prior)
