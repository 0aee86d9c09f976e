"""Baselines made of what `meta_fit` has kept."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier
from skcml.inspection._baselines import baselines
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

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, _ = grouped(seed=1)
FEW = slice(0, 4)


def test_the_mixed_model_is_that_of_the_mixture():
    found = baselines(learned())["mixed_model"]
    assert (found._meta.learned.known.weights == [[0.0], [0.0], [1.0], [0.0]]).all()
    est = learned().fit(NEW_X[FEW], NEW_Y[FEW])
    found.fit(NEW_X[FEW], NEW_Y[FEW])
    effects = est.group_effects(as_frame=False)[0]
    assert_allclose(found.predict(X), effects[0] + X @ effects[1:])
    assert (found.predict(X) != est.predict(X)).any()


def test_the_mixed_model_is_left_out_where_it_is_all_there_is():
    est = linear().meta_fit(X, Y, groups=GROUPS)
    assert list(baselines(est)) == ["per_task", "pooled"]
    assert list(baselines(learned())) == ["mixed_model", "per_task", "pooled"]


def test_pooled_is_ridge_on_all_rows():
    scaler = StandardScaler().fit(X)
    ridge = Ridge(alpha=1.0).fit(scaler.transform(X), Y)
    found = baselines(learned())["pooled"].predict(NEW_X)
    assert_allclose(found, ridge.predict(scaler.transform(NEW_X)), atol=1e-3)


def test_per_task_is_ridge_on_rows_in_the_units_of_meta_fit():
    scaler = StandardScaler().fit(X)
    ridge = Ridge(alpha=1.0).fit(scaler.transform(NEW_X[FEW]), NEW_Y[FEW] / Y.std())
    for strength in (1.0, 100.0):  # not a prior's
        est = learned().set_params(prior_strength=strength)
        found = baselines(est)["per_task"].fit(NEW_X[FEW], NEW_Y[FEW]).predict(NEW_X)
        assert_allclose(found, Y.std() * ridge.predict(scaler.transform(NEW_X)), atol=1e-3)


def test_the_estimator_is_left_as_it_is():
    est = learned().fit(X, Y, groups=GROUPS)
    before = both(est, X, GROUPS)
    for model in baselines(est).values():
        model.fit(NEW_X[FEW], NEW_Y[FEW])
    assert_array_equal(both(est, X, GROUPS), before)
    assert est.prior_strength == 1.0


@pytest.mark.parametrize("model", ["modulatory", "synaptic"])
def test_other_networks_have_the_same_baselines(model):
    est = quick(model=model, early_stopping=False, meta_max_iter=2).meta_fit(X, Y, groups=GROUPS)
    found = {name: m.fit(NEW_X[FEW], NEW_Y[FEW]) for name, m in baselines(est).items()}
    assert list(found) == ["mixed_model", "per_task", "pooled"]
    effects = est.fit(NEW_X[FEW], NEW_Y[FEW]).group_effects(as_frame=False)[0]
    assert_allclose(found["mixed_model"].predict(X), effects[0] + X @ effects[1:])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_shared_classes(n_classes):
    x, y, _ = labelled(n_classes=n_classes)
    est = learned_classifier(n_classes)
    scaler = StandardScaler().fit(x)
    pooled = LogisticRegression(C=1.0).fit(scaler.transform(x), y)
    found = baselines(est)
    expected = pooled.predict_proba(scaler.transform(x))
    assert_allclose(found["pooled"].predict_proba(x), expected, atol=0.01)
    # Rows of one class alone are no reason to be certain.
    one = np.flatnonzero(y == "a")[:2]
    p = found["per_task"].fit(x[one], y[one]).predict_proba(x[one])[:, 0]
    assert ((p > 0.5) & (p < 0.99)).all()


def test_exchangeable_classes():
    x, y = pool(seed=9, n_classes=4)
    few = np.flatnonzero(np.arange(len(y)) % 8 < 2)
    found = {name: m.fit(x[few], y[few]) for name, m in baselines(learned_pool()).items()}
    assert list(found) == ["class_mean", "per_task"]
    z = learned_pool()._meta.learned.transform(x)
    means = np.stack([z[few][y[few] == label].mean(0) for label in np.unique(y)])
    means /= np.linalg.norm(means, axis=1)[:, None]
    nearest = np.unique(y)[(z @ means.T).argmax(1)]
    assert_array_equal(found["class_mean"].predict(x), nearest)
    precision = learned_pool().prior_summary(as_frame=False).prior_precision
    logistic = LogisticRegression(C=1 / precision, fit_intercept=False, tol=1e-8, max_iter=1000)
    expected = logistic.fit(z[few], y[few]).predict_proba(z)
    assert_allclose(found["per_task"].predict_proba(x), expected, atol=1e-3)


def test_a_network_of_classes_has_no_prototypes_to_compare_with(monkeypatch):
    x, y = pool(n_classes=12)
    est = CMLClassifier(
        model="modulatory",
        hidden_layer_sizes=(3,),
        meta_max_iter=1,
        random_state=0,
        classes="exchangeable",
        early_stopping=False,
    ).meta_fit(x, y)
    assert est._meta.learned.network is not None
    assert baselines(est) == {}
