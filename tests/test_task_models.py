"""Estimators whose every weight, or gains and shifts, are adapted: model=, strength=."""

import copy
import dataclasses
import functools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skcml import CMLRegressor
from skcml.estimators._meta_options import ADAPTING, solver_of
from tests.estimators import (
    both,
    grouped,
    labelled,
    pool,
    quick,
    quick_classifier,
)
from tests.test_progress import Recorder

X, Y, GROUPS = grouped()
X_OF_CLASSES, LABELS, _ = labelled(n_classes=3)
COUNTS = np.random.default_rng(0).poisson(np.exp(0.5 * Y))
NEW_X, NEW_Y, _ = grouped(seed=1)
MODELS = ("synaptic", "modulatory")
# One network, which predicts known groups alone.
ONE = {"early_stopping": False, "meta_max_iter": 2, "hidden_layer_sizes": (3,)}

DATA = {
    "numbers": (quick, {}, X, Y),
    "two outputs": (quick, {}, X, np.column_stack([Y, -2 * Y + X[:, 0]])),
    "counts": (quick, {"loss": "poisson"}, X, COUNTS),
    "two classes": (quick_classifier, {}, X_OF_CLASSES, LABELS == "a"),
    "three classes": (quick_classifier, {}, X_OF_CLASSES, LABELS),
}


def adapted(kind, model, **params):
    """Return an estimator that has learned, one's own to change, with its rows."""
    _, more, x, y = DATA[kind]
    return copy.deepcopy(_adapted(kind, model, tuple((more | params).items()))), x, y


@functools.cache
def _adapted(kind, model, params):
    make, _, x, y = DATA[kind]
    return make(model=model, **ONE | dict(params)).meta_fit(x, y, groups=GROUPS)


def said(estimator, x, groups=None):
    """Return what an estimator predicts: probabilities, or means and standard deviations."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(x, groups)
    return both(estimator, x, groups)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_it_learns_adapts_and_predicts(kind, model):
    estimator, x, y = adapted(kind, model)
    prior = said(estimator, x[:6])
    assert np.isfinite(prior).all()
    learned = estimator.meta_params_["networks"]
    assert {"omega", "log_strength", "log_scatter"} <= set(learned)
    assert ("weight_0" in learned) == (model == "modulatory")
    assert all(len(array) == 1 for array in learned.values())
    estimator.fit(x[:4], y[:4])
    assert np.isfinite(said(estimator, x[:6])).all()
    assert (said(estimator, x[:6]) != prior).any()
    assert np.isfinite(estimator.score(x, y))


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_groups_are_adapted_to_as_one_by_one(kind, model):
    estimator, x, y = adapted(kind, model)
    together = said(estimator.fit(x, y, groups=GROUPS), x, GROUPS)
    for group in (0, 7):
        mine = group == GROUPS
        alone = said(estimator.fit(x[mine], y[mine]), x[mine])
        part = together[mine] if hasattr(estimator, "predict_proba") else together[:, mine]
        assert_allclose(alone, part, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["numbers", "counts", "three classes"])
@pytest.mark.parametrize("model", MODELS)
def test_a_group_never_seen_gets_the_prior(kind, model):
    estimator, x, y = adapted(kind, model)
    prior = said(estimator, x[:3])
    estimator.fit(x, y, groups=GROUPS)
    assert_allclose(said(estimator, x[:3], [99, 99, 99]), prior, rtol=1e-12)


@pytest.mark.parametrize("kind", ["numbers", "three classes"])
@pytest.mark.parametrize("model", MODELS)
def test_a_weight_is_a_number_of_copies(kind, model):
    estimator, x, y = adapted(kind, model)
    weight = np.array([1, 2, 0, 3, 1, 1])
    once = said(estimator.fit(x[:6], y[:6], sample_weight=weight), x)
    rows = np.repeat(np.arange(6), weight)
    assert_allclose(said(estimator.fit(x[rows], y[rows]), x), once, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_bits(model):
    one, two, other = (
        quick(model=model, **ONE | {"random_state": seed}).meta_fit(X, Y, groups=GROUPS)
        for seed in (0, 0, 1)
    )
    first, second, third = (
        e.meta_params_["networks"]["omega"].tobytes() for e in (one, two, other)
    )
    assert first == second != third
    assert_array_equal(both(one.fit(X[:4], Y[:4]), X), both(two.fit(X[:4], Y[:4]), X))


@pytest.mark.parametrize("kind", ["numbers", "three classes"])
@pytest.mark.parametrize("model", MODELS)
def test_copies_adapt_alike(kind, model):
    estimator, x, y = adapted(kind, model)
    learned = clone(estimator), pickle.loads(pickle.dumps(estimator))
    estimator.fit(x[:4], y[:4])
    expected = said(estimator, x)
    for other in learned:
        assert other.get_params() == estimator.get_params()
        assert_array_equal(said(other.fit(x[:4], y[:4]), x), expected)
    assert_array_equal(said(pickle.loads(pickle.dumps(estimator)), x), expected)


@pytest.mark.parametrize("model", MODELS)
def test_learned_arrays_are_copies(model):
    estimator, x, y = adapted("numbers", model)
    before = both(estimator.fit(x[:4], y[:4]), x)
    for array in estimator.meta_params_["networks"].values():
        array[...] = np.nan
    assert_array_equal(both(estimator.fit(x[:4], y[:4]), x), before)


@pytest.mark.parametrize("kind", ["numbers", "two outputs", "counts"])
@pytest.mark.parametrize("model", MODELS)
def test_quantiles_widen_and_hold_the_mean(kind, model):
    estimator, x, y = adapted(kind, model)
    estimator.fit(x[:4], y[:4])
    mean, std = estimator.predict(x, return_std=True)
    assert (std > 0).all()
    quantiles = estimator.predict_quantiles(x, [0.05, 0.25, 0.75, 0.95])
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    if kind != "counts":
        assert ((quantiles[..., 0] < mean) & (mean < quantiles[..., -1])).all()


@pytest.mark.parametrize("model", MODELS)
def test_more_rows_leave_less_scatter(model):
    estimator, x, y = adapted("numbers", model)
    _, few = estimator.fit(x[:1], y[:1]).predict(x, return_std=True)
    _, many = estimator.fit(x[:6], y[:6]).predict(x, return_std=True)
    assert (many <= few).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_large_prior_strength_holds_what_is_shared(model):
    estimator, x, y = adapted("numbers", model)

    def predicted(strength):
        return estimator.set_params(prior_strength=strength).fit(x[:6], y[:6]).predict(x)

    shared = predicted(1e12)
    moved = [np.linalg.norm(predicted(strength) - shared) for strength in (1.0, 10.0, 1e6)]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 1e-3 * moved[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("model", "loss"), list(zip(MODELS, ["poisson", "squared_error"], strict=True))
)
def test_held_out_groups_give_a_verdict_and_networks_of_every_fold(model, loss):
    y = Y if loss == "squared_error" else COUNTS
    estimator = quick(model=model, loss=loss, meta_max_iter=2).meta_fit(X, y, groups=GROUPS)
    assert set(estimator.meta_gain_) == {"pooled", "per_task", "mixed_model", "final"}
    assert all(np.isfinite(value) for value in estimator.meta_gain_.values())
    assert len(estimator.meta_history_) == 10
    if "networks" in estimator.meta_params_:
        assert len(estimator.meta_params_["networks"]["omega"]) == 10
    if "pooled_networks" in estimator.meta_params_:
        assert len(estimator.meta_params_["pooled_networks"]["omega"]) == 10
    prior = both(estimator, X[:3])
    estimator.fit(X, y, groups=GROUPS)
    assert_allclose(both(estimator, X[:3], [99, 99, 99]), prior, rtol=1e-12)


@pytest.mark.parametrize("strength", ["fixed", "layer", "synapse"])
@pytest.mark.parametrize("model", MODELS)
def test_strengths_are_learned_for_what_was_asked(model, strength):
    estimator, _, _ = adapted("numbers", model, strength=strength)
    learned = estimator.meta_params_["networks"]
    n_blocks = {"synaptic": 2, "modulatory": 3}[model]
    each = strength == "synapse"
    assert learned["log_strength"].shape[1] == (learned["omega"].shape[1] if each else n_blocks)
    start = quick(model=model, strength=strength, **ONE | {"meta_learning_rate": 1e-12})
    start.meta_fit(X, Y, groups=GROUPS)
    change = abs(learned["log_strength"] - start.meta_params_["networks"]["log_strength"]).max()
    assert change < 1e-9 if strength == "fixed" else change > 1e-3


@pytest.mark.parametrize("kind", ["numbers", "counts", "three classes"])
@pytest.mark.parametrize("model", MODELS)
def test_without_a_hidden_layer_the_head_alone_is_adapted(kind, model):
    estimator, x, y = adapted(kind, model, hidden_layer_sizes=())
    assert set(estimator.meta_params_["networks"]) == {"omega", "log_strength", "log_scatter"}
    prior = said(estimator, x)
    assert (said(estimator.fit(x[:4], y[:4]), x) != prior).any()


@pytest.mark.parametrize(("kind", "model"), list(zip(["numbers", "counts"], MODELS, strict=True)))
def test_without_steps_the_mixed_model_is_all_there_is(kind, model):
    estimator, x, y = adapted(kind, model, meta_max_iter=0)
    like, _, _ = adapted(kind, "head", meta_max_iter=0)
    assert "networks" not in estimator.meta_params_
    assert estimator.meta_history_ == []
    expected = said(like.fit(x[:4], y[:4]), x)
    assert_allclose(said(estimator.fit(x[:4], y[:4]), x), expected, rtol=1e-9)


@pytest.mark.parametrize(("model", "early_stopping"), list(zip(MODELS, [True, False], strict=True)))
def test_callbacks_follow_and_may_predict_in_the_middle(model, early_stopping):
    recorder = Recorder()
    params = ONE | {"early_stopping": early_stopping}
    followed = quick(model=model, **params).set_callbacks(recorder)
    followed.meta_fit(X[:24], Y[:24], groups=GROUPS[:24])
    n_descents = 4 if early_stopping else 1
    assert recorder.events.count(("end", "descent")) == n_descents
    assert recorder.events.count(("end", "meta-step")) == 2 * n_descents
    for fitted in list(recorder.fitted):
        assert np.isfinite(fitted.set_callbacks().predict(X)).all()
    alone = quick(model=model, **params).meta_fit(X[:24], Y[:24], groups=GROUPS[:24])
    assert_array_equal(both(alone, X), both(followed.set_callbacks(), X))


# --- what does not go together


@pytest.mark.parametrize(
    ("name", "value"), [("strength", "layer"), ("model", "head"), ("activation", "relu")]
)
def test_what_shaped_meta_fit_may_not_change(name, value):
    estimator, x, y = adapted("numbers", "synaptic")
    estimator.set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"^{name} was .* when meta_fit was called and is "):
        estimator.fit(x[:4], y[:4])


@pytest.mark.parametrize("model", MODELS)
def test_a_predictive_density_is_for_heads(model):
    sentence = f"meta_loss='log_predictive' is for model='head', and model is '{model}'"
    with pytest.raises(ValueError, match=sentence):
        quick(model=model, meta_loss="log_predictive").meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("make", [quick, quick_classifier])
@pytest.mark.parametrize("model", MODELS)
def test_a_heads_solver_is_for_heads(model, make):
    sentence = "solver='newton' needs an energy that is that of a generalised linear model"
    y = Y if make is quick else LABELS
    estimator = make(model=model, solver="newton")
    for call in (estimator.meta_fit, estimator.fit):
        with pytest.raises(ValueError, match=sentence):
            call(X, y, groups=GROUPS)


@pytest.mark.parametrize("make", [quick, quick_classifier])
@pytest.mark.parametrize("name", ["model", "strength"])
def test_unknown_words_are_refused(name, make):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of CML.* must be a str among"):
        make(**{"model": "synaptic", name: "x"}).meta_fit(X, LABELS, groups=GROUPS)


@pytest.mark.parametrize("model", MODELS)
def test_without_meta_fit_the_model_says_nothing(model):
    with pytest.warns(UserWarning, match="without which model has no effect: fit is ridge"):
        estimator = CMLRegressor(model=model).fit(X, Y)
    assert_array_equal(both(estimator, X[:4]), both(CMLRegressor().fit(X, Y), X[:4]))


# --- the solver of `fit`


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["numbers", "two classes"])
@pytest.mark.parametrize("model", MODELS)
def test_fit_follows_the_solver_that_is_set_after_meta_fit(kind, model):
    estimator, x, y = adapted(kind, model)
    first = said(estimator.fit(x[:6], y[:6]), x)
    for name, value in {"solver": "lbfgs", "inner_max_iter": 1, "inner_tol": 0.5}.items():
        other = clone(estimator).set_params(**{name: value}).fit(x[:6], y[:6])
        # The same learned state, of an estimator that had asked for it.
        asked, _, _ = adapted(kind, model)
        asked._meta.params[name] = value
        networks = asked._meta.learned.members["networks"]
        asked.set_params(**{name: value})
        asked._meta.learned.members["networks"] = dataclasses.replace(
            networks, solver=solver_of(asked, networks.problem, ADAPTING)
        )
        assert_array_equal(said(other, x), said(asked.fit(x[:6], y[:6]), x))
        assert (said(other, x) != first).any(), name
    # And back.
    assert_array_equal(said(estimator.fit(x[:6], y[:6]), x), first)


def test_fit_refuses_a_solver_that_a_network_has_nothing_for():
    estimator, x, y = adapted("numbers", "synaptic")
    before = said(estimator.fit(x[:6], y[:6]), x)
    estimator.set_params(solver="closed_form")
    with pytest.raises(ValueError, match="solver='closed_form'"):
        estimator.fit(x[:6], y[:6])
    assert_array_equal(said(estimator, x), before)


def test_fit_warns_of_tasks_that_are_not_near_their_minimum():
    estimator, x, y = adapted("numbers", "synaptic")
    groups = np.repeat([1, 2, 3], [4, 5, 1])
    estimator.fit(x[:10], y[:10], groups=groups)  # not a word
    few_steps = clone(estimator).set_params(solver="sgd", inner_max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"^In 3 of 3 task\(s\) .* raise inner_max_iter"):
        few_steps.fit(x[:10], y[:10], groups=groups)
    assert np.isfinite(few_steps.predict(x[:10], groups=groups)).all()
    few_steps.set_params(inner_tol=1e3).fit(x[:10], y[:10], groups=groups)  # as was asked for


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", MODELS)
def test_exchangeable_classes_follow_it_too(model):
    x, y = pool(n_classes=6)
    estimator = quick_classifier(model=model, classes="exchangeable", **ONE).meta_fit(x, y)
    assert estimator._meta.learned.network is not None
    few = np.concatenate([np.flatnonzero(y == label)[:2] for label in np.unique(y)[:3]])
    before = estimator.fit(x[few], y[few]).predict_proba(x)
    after = estimator.set_params(inner_max_iter=1, solver="sgd").fit(x[few], y[few])
    assert (after.predict_proba(x) != before).any()
