"""Hostile but legal input: nothing raises, and what comes back is finite, ordered and repeatable.

``make test`` tries the same 200 cases every time, ``make fuzz`` 10 000 new ones.
"""

import contextlib
import copy
import os
import pickle
import re
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skcml import CMLClassifier
from tests.hostile import KINDS, build, choices, take

IS_LONG = "FUZZ_CASES" in os.environ
CASES = int(os.environ.get("FUZZ_CASES", "200"))
QUANTILES = [0.001, 0.3, 0.5, 0.7, 0.999]
ARGUMENTS = ("X", "y", "groups", "sample_weight")


def fuzzed(share):
    """Run a test on a share of the cases, for every kind of outputs."""

    def decorate(test):
        test = given(data=st.data())(test)
        test = settings(
            max_examples=max(round(share * CASES / len(KINDS)), 1),
            derandomize=not IS_LONG,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=IS_LONG,
        )(test)
        return pytest.mark.parametrize("kind", KINDS)(test)

    return decorate


@contextlib.contextmanager
def quiet():
    """Let the two documented warnings pass; pytest makes errors of the others."""
    with warnings.catch_warnings():
        for start in ("A REML fit of", "meta_fit has not been called, without which"):
            warnings.filterwarnings("ignore", start, UserWarning)
        yield


def called(method, arguments):
    """Call a method, and check that it leaves its arguments alone."""
    before = copy.deepcopy(arguments)
    with quiet():
        result = method(**arguments)
    for name, values in arguments.items():
        assert_same_bits(values, before[name])
    return result


def assert_same_bits(values, before):
    assert type(values) is type(before)
    if isinstance(values, pd.DataFrame | pd.Series):
        same = pd.testing.assert_frame_equal if values.ndim == 2 else pd.testing.assert_series_equal
        same(values, before, check_exact=True)
    elif isinstance(values, pl.DataFrame | pl.Series):
        assert values.equals(before)
    elif isinstance(values, np.ndarray):
        assert values.dtype == before.dtype
        assert values.tolist() == before.tolist()
    else:
        assert values == before


def learn(estimator, case):
    """Call meta_fit; tell whether it could be done, which it must with standardised columns."""
    try:
        called(estimator.meta_fit, case.learn)
    except ValueError as error:
        # By chance no group has two classes, or no label two groups and hardly a class two rows.
        too_little = (
            "nothing to tell apart in a group",
            "learning needs two classes (of one group)",
        )
        if any(sentence in str(error) for sentence in too_little):
            return False
        # Columns of 1e30 as they are may be too large.
        if case.params["standardize"] or "or set standardize=True" not in str(error):
            raise
        assert vars(estimator).keys() == estimator.get_params().keys()
        return False
    if getattr(estimator, "class_setting_", "shared") == "exchangeable":
        # By chance labels look like classes of each group alone. Pools have a test of their own.
        return learn(estimator.set_params(classes="shared"), case)
    return True


def predictions(estimator, asked):
    """Return everything that an estimator says of some rows, by name, after checks."""
    found = {"predict": called(estimator.predict, asked)}
    n_rows = len(asked["X"])
    if hasattr(estimator, "predict_proba"):
        found["predict_proba"] = proba = called(estimator.predict_proba, asked)
        assert proba.shape == (n_rows, len(estimator.classes_))
        assert (proba >= 0).all()
        np.testing.assert_allclose(proba.sum(1), 1.0, rtol=1e-12)
        assert np.isin(found["predict"], estimator.classes_).all()
        return found
    mean, std = called(estimator.predict, {**asked, "return_std": True})
    np.testing.assert_array_equal(mean, found["predict"])
    quantiles = called(estimator.predict_quantiles, {**asked, "q": QUANTILES})
    assert len(mean) == n_rows
    assert std.shape == mean.shape
    assert quantiles.shape == (*mean.shape, len(QUANTILES))
    assert (std >= 0).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    return {**found, "std": std, "quantiles": quantiles}


def assert_finite(values, name):
    if isinstance(values, dict):
        for key, value in values.items():
            assert_finite(value, f"{name}[{key!r}]")
    elif np.asarray(values).dtype.kind == "f":
        assert np.isfinite(values).all(), name


def adapt(estimator, case):
    """Call fit; tell whether it could be done, which takes two classes, and none that is new."""
    try:
        called(estimator.fit, case.adapt)
    except ValueError as error:
        if not re.search("has one class|which meta_fit has not seen", str(error)):
            raise
        return False
    return True


@fuzzed(0.25)
def test_what_is_learned_predicts(kind, data):
    case = build(data.draw(choices(kind)))
    estimator = KINDS[kind].estimator(**case.params)
    if not learn(estimator, case):
        return
    assert_finite(estimator.meta_params_, "meta_params_")
    assert_finite(estimator.meta_gain_ or {}, "meta_gain_")
    assert_finite(predictions(estimator, case.asked_prior), "prior")
    if adapt(estimator, case):
        assert_finite(predictions(estimator, case.asked), "fitted")


@settings(
    max_examples=max(round(0.05 * CASES), 1),
    derandomize=not IS_LONG,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(chosen=choices("classes"))
def test_a_pool_of_classes_predicts(chosen):
    case = build(chosen)
    params = {name: value for name, value in case.params.items() if name != "meta_loss"}
    estimator = CMLClassifier(classes="exchangeable", **params)
    learn, adapt, asked = (
        {name: value for name, value in part.items() if name != "groups"}
        for part in (case.learn, case.adapt, case.asked)
    )
    try:
        called(estimator.meta_fit, learn)
        called(estimator.fit, adapt)
    except ValueError as error:
        if not re.search("learning needs two classes|has one class", str(error)):
            raise
        return
    assert_finite(estimator.meta_params_, "meta_params_")
    assert_finite(estimator.meta_gain_ or {}, "meta_gain_")
    assert_finite(predictions(estimator, asked), "fitted")


@fuzzed(0.5)
def test_fit_without_meta_fit_predicts(kind, data):
    case = build(data.draw(choices(kind)))
    estimator = KINDS[kind].estimator(**case.params)
    if adapt(estimator, case):
        assert_finite(predictions(estimator, case.asked), "fitted")


@fuzzed(0.05)
def test_the_same_seed_gives_the_same_bits(kind, data):
    case = build(data.draw(choices(kind)))
    found = []
    for _ in range(2):
        estimator = KINDS[kind].estimator(**case.params)
        learn(estimator, case)
        if not adapt(estimator, case):
            return
        found.append(predictions(estimator, case.asked))
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


@fuzzed(0.1)
def test_rows_are_predicted_one_by_one(kind, data):
    case = build(data.draw(choices(kind)))
    estimator = KINDS[kind].estimator(**case.params)
    if data.draw(st.booleans()):
        learn(estimator, case)
    if not adapt(estimator, case):
        return
    whole = predictions(estimator, case.asked)
    n_rows = len(case.asked["X"])
    rows = sorted(data.draw(st.sets(st.integers(0, n_rows - 1), min_size=1)))
    part = predictions(estimator, take(case.asked, rows))
    for name, values in part.items():
        if name == "predict" and "predict_proba" in whole:
            # Of classes that are as likely as each other, rounding decides.
            proba = whole["predict_proba"][rows]
            chosen = proba[range(len(rows)), np.searchsorted(estimator.classes_, values)]
            assert (chosen >= proba.max(1) - 1e-9).all()
        else:
            off, largest = abs(values - whole[name][rows]), abs(whole[name]).max(0)
            if name == "std":
                # One that is small by cancellation has lost digits of the prior's, and has about
                # half as many as the mean beside which it is small.
                mean = abs(whole["predict"]).max(0)
                assert (off <= 1e-6 * largest + 1e-7 * mean).all()
            else:
                assert (off <= (1e-6 if name == "quantiles" else 1e-9) * largest).all(), name


@settings(
    max_examples=max(round(0.1 * CASES), 1),
    derandomize=not IS_LONG,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(chosen=choices("numbers"), data=st.data())
def test_rows_may_come_by_and_by(chosen, data):
    chosen["params"]["standardize"] = True
    if chosen["labels"] == "mixed":  # numbers first, and then texts, would be a mistake
        chosen["labels"] = "numbers"
    case = build(chosen)
    estimator = KINDS["numbers"].estimator(**case.params)
    if not learn(estimator, case):
        return
    called(estimator.fit, case.adapt)
    whole = predictions(estimator, case.asked)
    # Where rows, or rows and prior, differ by orders of magnitude, neither is exact.
    rows = estimator._meta.scaling.features(np.array(case.adapt["X"], dtype=float))
    is_moderate = abs(rows).max() < 1e3 and chosen["weights"] in ("none", "counts", "zeros")
    is_moderate &= chosen["params"]["prior_strength"] >= 1
    estimator.forget()
    order = data.draw(st.permutations(range(len(case.adapt["X"]))))
    cuts = data.draw(st.sets(st.integers(1, len(order)), max_size=4))
    begins_with_fit = data.draw(st.booleans())
    for start, stop in pairwise([0, *sorted(cuts - {len(order)}), len(order)]):
        part = take(case.adapt, order[start:stop])
        weighs = np.any(part.get("sample_weight", 1.0))
        is_first = begins_with_fit and start == 0 and weighs
        called(estimator.fit if is_first else estimator.partial_fit, part)
    for name, values in predictions(estimator, case.asked).items():
        assert_finite(values, name)
        largest = abs(whole[name]).max(0)
        assert not is_moderate or (abs(values - whole[name]) <= 1e-7 * largest).all(), name


def _with_nan(values):
    values = np.array(values, dtype=float)
    values[0] = np.nan
    return values


# What turns legal arguments into illegal ones.
SPOILS = {
    "X with NaN": lambda a: {"X": _with_nan(a["X"])},
    "X of one dimension": lambda a: {"X": np.array(a["X"], dtype=float)[:, 0]},
    "X and a column": lambda a: {"X": np.column_stack([np.array(a["X"], float)] * 2)},
    "X too short": lambda a: {"X": np.array(a["X"], dtype=float)[:-1]},
    "y with NaN": lambda a: {"y": _with_nan(a["y"])},
    "y too long": lambda a: {"y": [*a["y"], a["y"][0]]},
    "weights negative": lambda a: {"sample_weight": -np.ones(len(a["X"]))},
    "weights zero": lambda a: {"sample_weight": np.zeros(len(a["X"]))},
    "groups too short": lambda a: {"groups": [0] * (len(a["X"]) - 1)},
    "groups missing": lambda a: {"groups": [None] * len(a["X"])},
}


@fuzzed(0.1)
def test_a_failed_call_changes_nothing(kind, data):
    chosen = data.draw(choices(kind))
    # A column too many is legal before anything has been learned; names are in others' tests.
    chosen["x_as"], chosen["y_as"] = "float64", "float64"
    case = build(chosen)
    estimator = KINDS[kind].estimator(**case.params)
    is_learned = learn(estimator, case)
    if not adapt(estimator, case):
        return
    before = dict(vars(estimator))
    learned, said = pickle.dumps(before), predictions(estimator, case.asked)
    spoil = data.draw(st.sampled_from(list(SPOILS)))
    if spoil == "X and a column" and not is_learned:
        return
    is_meta = data.draw(st.booleans()) and spoil != "X and a column"
    arguments = dict(case.learn if is_meta else case.adapt)
    arguments |= SPOILS[spoil](arguments)
    with pytest.raises((ValueError, TypeError), match="|".join(ARGUMENTS)):
        called(estimator.meta_fit if is_meta else estimator.fit, arguments)
    after = vars(estimator)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert pickle.dumps(after) == learned
    for name, values in predictions(estimator, case.asked).items():
        np.testing.assert_array_equal(values, said[name])
