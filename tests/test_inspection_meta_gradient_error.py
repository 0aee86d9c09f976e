"""`meta_gradient_error` by itself: what it compares, and what it refuses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.theory.problems import ridge
from skcml import CMLClassifier, CMLRegressor
from skcml.inspection import _exact, meta_gradient_error
from tests.estimators import grouped, labelled, learned, quick
from tests.pipelines import learned_seller, sales, seller_by_hand

FEW = {"tols": [1e-8], "betas": [1e-3, 1e-2], "random_state": 0}


def test_shapes_and_counts():
    X, y, groups = grouped()
    found = meta_gradient_error(
        learned(), X, y, groups, betas=[1e-4, 1e-3, 1e-2], tols=[1e-3, 1e-6], n_tasks=5
    )
    for scheme in ("forward", "symmetric", "second_order"):
        assert found.error[scheme].shape == (2, 3)
        for part in ("best_beta", "best_error", "auto_beta", "auto_error"):
            assert found[part][scheme].shape == (2,)
        assert_array_equal(found.best_error[scheme], found.error[scheme].min(1))
    assert found.tangent_error.shape == (2,)
    assert 0 < found.beta_limit <= found.beta_limit_median
    assert found.n_tasks == 5
    assert found.n_left_out == 0
    everyone = meta_gradient_error(learned(), X, y, groups, n_tasks=1000, **FEW)
    assert everyone.n_tasks == 12
    alone = meta_gradient_error(learned(), X, y, groups, schemes=["forward"], **FEW)
    assert list(alone.error) == ["forward"]


def test_strengths_by_default_end_at_the_limit():
    found = meta_gradient_error(*ridge(), tols=[1e-2], schemes="forward", random_state=0)
    assert_allclose(found.beta[-1], found.beta_limit)


def test_the_estimator_is_left_as_it_is_and_tasks_are_drawn_by_random_state():
    X, y, groups = grouped()
    est = learned()
    before = est.predict(X, groups=groups)
    first, second, other = (
        meta_gradient_error(est, X, y, groups, n_tasks=4, **FEW | {"random_state": seed})
        for seed in (0, 0, 1)
    )
    assert_array_equal(first.error["forward"], second.error["forward"])
    assert (first.error["forward"] != other.error["forward"]).any()
    assert_array_equal(est.predict(X, groups=groups), before)


@pytest.mark.parametrize("model", ["modulatory", "synaptic"])
def test_the_estimators_own_solver(model):
    X, y, groups = grouped()
    params = {"model": model, "early_stopping": False, "prior_strength": 15.0}
    est = quick(**params).meta_fit(X, y, groups=groups)

    def error(**solver):
        found = meta_gradient_error(est.set_params(**solver), X, y, groups, **FEW)
        assert found.member == "networks"
        return found.error["symmetric"]

    by_default = error()
    assert_allclose(error(solver="gauss_newton"), by_default, rtol=0.5, atol=1e-4)
    assert by_default.max() < 0.05
    # A few steps of a slow solver lead nowhere.
    assert error(solver="adam", inner_max_iter=5).min() > 0.2


def test_classes_counts_and_several_outputs():
    X, y, groups = labelled(n_classes=3)
    options = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}
    several = CMLClassifier(classes="shared", **options).meta_fit(X, y, groups=groups)
    assert meta_gradient_error(several, X, y, groups, **FEW).error["symmetric"].max() < 1e-3
    X, y, groups = grouped()
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * y.clip(-3, 3)))
    est = CMLRegressor(loss="poisson", **options).meta_fit(X, counts, groups=groups)
    assert meta_gradient_error(est, X, counts, groups, **FEW).error["symmetric"].max() < 1e-3
    X, y, groups = grouped(n_outputs=2)
    found = meta_gradient_error(learned(2), X, y, groups, **FEW)
    assert found.error["symmetric"].max() < 1e-2


X, Y, GROUPS = grouped()
BAD = {
    "strength zero": ({"betas": [0.0, 0.1]}, r"betas must be .* positive numbers; got \[0.0, 0"),
    "strength infinite": ({"betas": np.inf}, "betas must be one or more positive numbers"),
    "no strength": ({"betas": []}, "betas must be one or more positive numbers"),
    "tolerance": ({"tols": [-1e-3]}, "tols must be one or more positive numbers"),
    "scheme": ({"schemes": ["backward"]}, "schemes holds 'backward'; those .* are 'forward', 's"),
    "tangent": ({"schemes": "tangent"}, "schemes holds 'tangent'.*is in tangent_error"),
    "no scheme": ({"schemes": []}, "schemes is empty"),
    "seed": ({"random_state": -1}, "random_state: Seed must be between 0"),
    "tasks": ({"n_tasks": 0}, "n_tasks=0 must be a whole number of 1 or more"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case):
    changed, message = BAD[case]
    arguments = {"X": X, "y": Y, "groups": GROUPS} | changed
    with pytest.raises(ValueError, match=message):
        meta_gradient_error(learned(), **arguments)


def test_tasks_without_an_exact_gradient_are_counted(monkeypatch):
    kept = np.arange(10) < 7
    monkeypatch.setattr(_exact, "_has_strict_minimum", lambda *args: kept)
    found = meta_gradient_error(learned(), X, Y, GROUPS, **FEW)
    assert (found.n_tasks, found.n_left_out) == (7, 3)


def test_of_a_pipeline_the_last_step_on_the_rows_that_the_others_make():
    x, y, shops = sales(seed=1)
    encode, last = seller_by_hand()
    options = {"n_tasks": 4, "schemes": "forward", **FEW}
    expected = meta_gradient_error(last, encode.transform(x), y, shops, **options)
    found = meta_gradient_error(learned_seller(), x, y, shops, **options)
    assert_allclose(found.error["forward"], expected.error["forward"])
    with pytest.raises(ValueError, match=r"X: columns are missing: \{'drink'\}"):
        meta_gradient_error(learned_seller(), x.drop(columns="drink"), y, shops)
