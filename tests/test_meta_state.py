"""What `meta_fit` leaves behind, and what may change afterwards."""

import copy

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skcml import CMLClassifier, CMLRegressor
from skcml.estimators._inputs import Targets
from skcml.estimators._meta_state import (
    ABOUT_DATA,
    READ_BY_FIT,
    UNREAD_BY_FIT,
    check_params,
    watched_params,
)
from tests.estimators import (
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    pool,
    quick,
    quick_classifier,
)

X, Y, GROUPS = grouped()
# For each parameter a value other than the one that `learned` has.
OTHER = {
    "model": "other",
    "strength": "layer",
    "loss": "poisson",
    "hidden_layer_sizes": (5,),
    "activation": "relu",
    "prior_covariance": "diagonal",
    "prior_strength": 2.0,
    "solver": "closed_form",
    "rule": "other",
    "scheme": "forward",
    "inner_max_iter": 3,
    "inner_tol": 0.1,
    "body": torch.nn.Linear(2, 2),
    "transductive": True,
    "device": "meta",
    "beta": 0.1,
    "meta_loss": "loss",
    "n_shots": (1, 2),
    "n_queries": None,
    "support": "first",
    "meta_batch_size": 8,
    "meta_max_iter": 6,
    "meta_learning_rate": 0.1,
    "early_stopping": False,
    "validation_fraction": 0.3,
    "n_iter_no_change": 7,
    "tol": 0.1,
    "group_column": -1,
    "standardize": False,
    "compile": True,
    "n_jobs": 2,
    "random_state": 1,
    "verbose": 1,
}


def test_every_parameter_is_looked_at_here():
    assert set(OTHER) == set(CMLRegressor().get_params())


@pytest.mark.parametrize("name", sorted(set(OTHER) - READ_BY_FIT - UNREAD_BY_FIT))
def test_what_shaped_meta_fit_may_not_change(name):
    estimator = learned()
    value = getattr(estimator, name)
    before = estimator.predict(X)
    estimator.set_params(**{name: OTHER[name]})
    with pytest.raises(ValueError, match=rf"^{name} was .* when meta_fit was called and is "):
        estimator.fit(X[:4], Y[:4])
    estimator.set_params(**{name: value})
    np.testing.assert_array_equal(estimator.predict(X), before)
    estimator.fit(X[:4], Y[:4])


@pytest.mark.parametrize("name", sorted(READ_BY_FIT | UNREAD_BY_FIT))
def test_the_rest_may_change(name):
    estimator = learned().set_params(**{name: OTHER[name]}).fit(X[:4], Y[:4])
    same = np.array_equal(estimator.predict(X), learned().fit(X[:4], Y[:4]).predict(X))
    assert same == (name != "prior_strength")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prior_strength", -1.0),
        ("prior_strength", "much"),
        ("prior_strength", np.nan),
        ("solver", "magic"),
    ],
)
def test_what_may_change_must_still_be_valid(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of CMLRegressor must be"):
        learned().set_params(**{name: value}).fit(X[:4], Y[:4])


@pytest.mark.parametrize("sizes", [[4], np.array([4]), (np.int64(4),)])
def test_equal_values_are_no_change(sizes):
    learned().set_params(hidden_layer_sizes=sizes).fit(X[:4], Y[:4])


def test_a_list_changed_in_place_is_found():
    estimator = quick(hidden_layer_sizes=[4], early_stopping=False).meta_fit(X, Y, groups=GROUPS)
    estimator.hidden_layer_sizes.append(3)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes was \[4\] .* is \[4, 3\] now"):
        estimator.fit(X[:4], Y[:4])


def test_watched_params_are_a_copy_of_all_that_matters():
    estimator = CMLRegressor(n_shots=[1, 2])
    watched = watched_params(estimator)
    assert set(watched) == set(OTHER) - UNREAD_BY_FIT
    assert watched["n_shots"] == [1, 2]
    assert watched["n_shots"] is not estimator.n_shots


def test_nothing_new_is_nothing_to_validate():
    estimator = learned()
    calls = []
    estimator._validate_params = lambda: calls.append(1)
    check_params(estimator, estimator._meta)
    assert calls == []
    estimator.prior_strength = 3.0
    check_params(estimator, estimator._meta)
    assert calls == [1]


def test_the_attributes_are_those_documented():
    estimator = learned()
    state = estimator._meta
    attributes = state.attributes()
    assert {name for name in attributes if name.endswith("_")} == {
        "meta_params_",
        "meta_history_",
        "n_meta_iter_",
        "meta_gain_",
    }
    assert (state.n_groups, state.n_rows, state.metric) == (12, 72, "RMSE")
    assert state.targets == Targets(1, True)
    assert set(estimator.meta_gain_) == {"pooled", "per_task", "mixed_model", "final"}
    assert estimator.n_meta_iter_ == 5
    assert len(estimator.meta_history_) == 10
    for history in estimator.meta_history_:
        assert len(history["loss"]) == 5
        assert {"validation_step", "validation_loss", "best_step"} <= set(history)


def test_meta_params_are_plain_arrays():
    params = learned().meta_params_
    assert {"mixed_model", "networks", "weights", "prior_weights"} <= set(params)
    for name in ("weights", "prior_weights"):
        assert params[name].shape == (4, 1)
        assert params[name].sum() == pytest.approx(1.0)
    assert params["mixed_model"]["omega"].shape == (1, 1, 3)
    assert params["networks"]["omega"].shape == (10, 1, 3 + 4)
    for part in (params["mixed_model"], params["networks"]):
        assert all(type(array) is np.ndarray for array in part.values())


def test_without_steps_there_is_no_network():
    estimator = quick(meta_max_iter=0).meta_fit(X, Y, groups=GROUPS)
    assert set(estimator.meta_params_) == {"mixed_model", "pooled", "weights", "prior_weights"}
    assert estimator.n_meta_iter_ == 0
    assert estimator.meta_history_ == []


def test_the_prior_is_that_of_meta_fit_whatever_was_set_since():
    estimator = learned()
    prior = estimator.predict(X, return_std=True)
    other = copy.deepcopy(estimator).set_params(prior_strength=0)
    attributes = other._meta.attributes()
    vars(other).update(attributes)
    np.testing.assert_array_equal(other.predict(X, return_std=True), prior)


# --- parameters that fit does not read without meta_fit

QUIET = READ_BY_FIT | UNREAD_BY_FIT | ABOUT_DATA


@pytest.mark.parametrize("name", sorted(set(OTHER) - QUIET))
def test_what_shapes_nothing_without_meta_fit_is_warned_of(name):
    value = {"model": "synaptic", "rule": "implicit"}.get(name, OTHER[name])
    sentence = rf"^meta_fit has not been called, without which {name} has no effect: fit is ridge "
    with pytest.warns(UserWarning, match=sentence) as record:
        estimator = CMLRegressor(**{name: value}).fit(X, Y)
    assert [w.filename for w in record] == [__file__]
    np.testing.assert_array_equal(estimator.predict(X), CMLRegressor().fit(X, Y).predict(X))


@pytest.mark.parametrize("name", sorted(QUIET & set(OTHER)))
def test_what_fit_reads_or_the_data_ask_for_is_not_warned_of(name):
    estimator = CMLRegressor(**{name: OTHER[name]})
    estimator.fit(X, abs(Y))
    assert hasattr(estimator, "_adapted")


@pytest.mark.parametrize("sizes", [[32], np.array([32])])
def test_a_default_in_another_container_is_not_warned_of(sizes):
    CMLRegressor(hidden_layer_sizes=sizes).fit(X, Y)


def test_the_warning_says_what_fit_does_instead():
    many = "n_shots, support have no effect: fit is"
    with pytest.warns(UserWarning, match=f"{many} Poisson regression, one for each group; to "):
        CMLRegressor(loss="poisson", n_shots=3, support="first").fit(X, abs(Y), groups=GROUPS)
    x, y, _ = labelled()
    with pytest.warns(UserWarning, match="n_ways has no effect: fit is logistic regression; to "):
        CMLClassifier(n_ways=3, class_weight="balanced").fit(x, y)


def test_a_search_over_what_shapes_meta_fit_says_that_nobody_called_it():
    search = GridSearchCV(CMLRegressor(), {"hidden_layer_sizes": [(4,), (8,)]}, cv=2)
    with pytest.warns(UserWarning, match="without which hidden_layer_sizes has no effect"):
        search.fit(X, Y)
    assert len(set(search.cv_results_["mean_test_score"])) == 1


# --- classes

# For each parameter of a classifier a value other than the one that it has learned with.
OTHER_OF_CLASSES = {n: v for n, v in OTHER.items() if n not in ("loss", "meta_loss")} | {
    "classes": "exchangeable",
    "class_weight": {"a": 2.0},
    "solver": "newton",
    "n_ways": 3,
}
POOL = pool(seed=1)


def a_pool():
    estimator = learned_pool()
    return estimator, lambda: estimator.fit(*POOL).predict_proba(POOL[0])


def shared():
    estimator = learned_classifier()
    x, y, _ = labelled()
    return estimator, lambda: estimator.fit(x[:4], y[:4]).predict_proba(x)


def test_every_parameter_of_a_classifier_is_looked_at_here():
    assert set(OTHER_OF_CLASSES) == set(CMLClassifier().get_params())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (make, name)
        for make in (a_pool, shared)
        for name in sorted(set(OTHER_OF_CLASSES) - READ_BY_FIT - UNREAD_BY_FIT)
        if (make, name) != (a_pool, "class_weight")
    ],
)
def test_what_shaped_meta_fit_of_classes_may_not_change(name, make):
    estimator, adapt = make()
    value, before = getattr(estimator, name), adapt()
    estimator.set_params(**{name: OTHER_OF_CLASSES[name]})
    with pytest.raises(ValueError, match=rf"^{name} was .* when meta_fit was called and is "):
        adapt()
    estimator.set_params(**{name: value})
    np.testing.assert_array_equal(adapt(), before)


@pytest.mark.parametrize("make", [a_pool, shared])
@pytest.mark.parametrize("name", sorted(READ_BY_FIT | UNREAD_BY_FIT))
def test_the_rest_of_a_classifier_may_change(name, make):
    estimator, adapt = make()
    before = adapt()
    estimator.set_params(**{name: OTHER_OF_CLASSES[name]})
    assert np.array_equal(adapt(), before) == (name != "prior_strength")


def test_new_classes_may_have_new_weights():
    estimator, adapt = a_pool()
    before = adapt()
    label = POOL[1][0]
    heavier = estimator.set_params(class_weight={label: 5.0}) and adapt()
    place = list(estimator.classes_).index(label)
    odds = [p[:, place] / (1 - p[:, place]) for p in (before, heavier)]
    np.testing.assert_allclose(odds[1], 5 * odds[0], rtol=1e-6)


def test_what_may_change_is_listed_for_each_setting():
    names = (
        "compile, inner_max_iter, inner_tol, n_jobs, prior_strength, random_state, solver, verbose"
    )
    free = f"{names} may"
    for (estimator, adapt), listed in ((shared(), free), (a_pool(), f"class_weight, {free}")):
        estimator.set_params(tol=0.5)
        with pytest.raises(ValueError, match=f"Between meta_fit and fit only {listed}"):
            adapt()


def test_a_class_weight_changed_in_place_is_found():
    weights = {"a": 2.0}
    estimator = quick_classifier(
        class_weight=weights,
        early_stopping=False,
        hidden_layer_sizes=(),
        meta_max_iter=0,
        prior_covariance="diagonal",
    )
    x, y, groups = labelled()
    estimator.meta_fit(x, y, groups=groups).fit(x, y)
    estimator.set_params(class_weight={"a": 2}).fit(x, y)  # equal
    estimator.set_params(class_weight=weights)
    weights["a"] = 3.0
    with pytest.raises(ValueError, match=r"class_weight was \{'a': 2.0\} .* is \{'a': 3.0\} now"):
        estimator.fit(x, y)


def test_the_state_of_shared_classes_knows_them():
    estimator = learned_classifier(3)
    attributes = estimator._meta.attributes()
    assert {name for name in attributes if name.endswith("_")} == {
        "meta_params_",
        "meta_history_",
        "n_meta_iter_",
        "meta_gain_",
        "classes_",
        "class_setting_",
    }
    assert estimator._meta.targets.classes.tolist() == ["a", "b", "c"]
    assert estimator.meta_params_["mixed_model"]["omega"].shape == (1, 3, 3)
    assert estimator.meta_params_["weights"].shape == (4, 1)  # one for all logits
    assert learned_classifier().meta_params_["mixed_model"]["omega"].shape == (1, 1, 3)
    assert estimator._meta.report().startswith("12 groups, 72 rows; held-out log loss: pooled ")
