"""Group effects and the summary of the prior."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from skcml import CMLClassifier, CMLRegressor
from skcml.estimators._summaries import column_names, frame_of
from tests.estimators import (
    both,
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    linear,
    pool,
    quick_classifier,
)

X, Y, GROUPS = grouped(seed=5)
Z = np.column_stack([np.ones(len(X)), X])


def test_group_effects_predict_what_the_linear_model_predicts():
    estimator = linear().meta_fit(X, Y, groups=GROUPS).fit(X, Y, groups=GROUPS)
    effects = estimator.group_effects()
    assert list(effects.columns) == ["intercept", "x0", "x1"]
    assert effects.index.name == "group"
    assert list(effects.index) == list(range(12))
    predicted = (Z * effects.to_numpy()[GROUPS]).sum(1)
    assert_allclose(estimator.predict(X, groups=GROUPS), predicted, rtol=1e-9)
    assert_array_equal(estimator.group_effects(as_frame=False), effects)


def test_deviations_leave_out_what_the_groups_share():
    estimator = linear().meta_fit(X, Y, groups=GROUPS).fit(X, Y, groups=GROUPS)
    shared = estimator.prior_summary()["mean"].to_numpy()
    deviations = estimator.group_effects(deviations=True)
    assert_allclose(estimator.group_effects(), deviations + shared, rtol=1e-12)
    # They are deviations from a mean over the very groups that were learned from.
    assert_allclose(deviations.mean(), 0, atol=0.1)


def test_effects_of_several_outputs_stand_side_by_side():
    y = grouped(seed=5, n_outputs=2)[1]
    estimator = learned(n_outputs=2).fit(X, y, groups=GROUPS)
    effects = estimator.group_effects()
    names = [f"y{output}: {name}" for output in (0, 1) for name in ("intercept", "x0", "x1")]
    assert list(effects.columns) == names
    assert effects.shape == (12, 6)
    assert list(estimator.prior_summary().index) == names


@pytest.mark.parametrize("column", ["ward", 1, -2])
def test_names_are_those_of_the_features(column):
    frame = pd.DataFrame({"dose": X[:, 0], "ward": [f"w{g:02}" for g in GROUPS], "age": X[:, 1]})
    estimator = linear(group_column=column).meta_fit(frame, Y).fit(frame, Y)
    effects = estimator.group_effects()
    assert list(effects.columns) == ["intercept", "dose", "age"]
    assert list(effects.index[:2]) == ["w00", "w01"]
    assert list(estimator.prior_summary().index) == ["intercept", "dose", "age"]


def test_labels_that_are_tuples_stay_tuples():
    labels = [("a", int(g)) for g in GROUPS]
    effects = learned().fit(X, Y, groups=labels).group_effects()
    assert effects.index[3] == ("a", 3)


def test_effects_without_meta_fit_are_ridge_regressions():
    estimator = CMLRegressor(prior_strength=1e-6).fit(X, Y, groups=GROUPS)
    rows = GROUPS == 2
    expected = np.linalg.lstsq(Z[rows], Y[rows])[0]
    assert_allclose(estimator.group_effects().loc[2], expected, rtol=1e-3)


def test_effects_need_rows():
    with pytest.raises(ValueError, match=r"group_effects needs rows of a group: call fit"):
        learned().group_effects()


def test_a_single_task_has_one_row_of_effects():
    alone = learned().fit(X[:4], Y[:4]).group_effects()
    assert list(alone.index) == [0]
    one = learned().fit(X[:4], Y[:4], groups=["a"] * 4).group_effects()
    assert_array_equal(alone, one)


def test_the_prior_predicts_what_its_summary_says():
    estimator = linear().meta_fit(X, Y, groups=GROUPS)
    summary = estimator.prior_summary(as_frame=False)
    sd, correlation = summary.sd_between_groups[0], summary.correlation[0]
    covariance = correlation * np.outer(sd, sd)
    variance = np.einsum("ij,jk,ik->i", Z, covariance, Z) + summary.noise_sd[0] ** 2
    assert_allclose(
        both(estimator, X), [Z @ summary.mean[0], np.sqrt(variance)], rtol=1e-6, atol=1e-9
    )
    assert_array_equal(correlation.diagonal(), 1)
    assert abs(correlation).max() <= 1
    assert_array_equal(summary.network_weight, [0.0])
    assert summary.covariance_structure in ("full", "diagonal", "intercept", "none")


def test_the_frame_holds_the_same_figures():
    estimator = learned()
    summary, frame = estimator.prior_summary(as_frame=False), estimator.prior_summary()
    assert list(frame.columns) == ["mean", "sd_between_groups"]
    assert_array_equal(frame["mean"], summary.mean[0])
    assert_array_equal(frame["sd_between_groups"], summary.sd_between_groups[0])
    assert frame.attrs["noise_sd"] == summary.noise_sd.tolist()
    assert frame.attrs["covariance_structure"] == summary.covariance_structure
    assert frame.attrs["network_weight"] == estimator.meta_params_["weights"][3].tolist()


def test_the_summary_finds_the_spread_that_was_drawn():
    x, y, groups = grouped(seed=6, n_groups=200)
    summary = linear().meta_fit(x, y, groups=groups).prior_summary(as_frame=False)
    assert_allclose(summary.sd_between_groups[0], [1.0, 0.5, 0.5], rtol=0.15)
    assert_allclose(summary.noise_sd, 0.1, rtol=0.1)


def test_the_summary_needs_meta_fit():
    with pytest.raises(ValueError, match="prior_summary needs meta_fit"):
        CMLRegressor().fit(X, Y).prior_summary()


def test_column_names():
    assert column_names(["a"], ["y"]) == ["intercept", "a"]
    assert column_names(["a"], ["y0", "y1"]) == ["y0: intercept", "y0: a", "y1: intercept", "y1: a"]


def test_without_pandas_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'skcml\[datasets\]', or pass as_frame=Fal"):
        frame_of(np.zeros((1, 1)), ["a"], [0], None)


# --- classes


def test_coefficients_of_several_classes_are_named_by_class():
    x, y, groups = labelled(n_classes=3)
    estimator = learned_classifier(3).fit(x, y, groups=groups)
    names = [f"{label}: {name}" for label in "abc" for name in ("intercept", "x0", "x1")]
    assert list(estimator.group_effects().columns) == names
    assert list(estimator.prior_summary().index) == names
    summary = estimator.prior_summary(as_frame=False)
    assert summary.mean.shape == (3, 3)
    assert "noise_sd" not in summary
    assert "noise_sd" not in estimator.prior_summary().attrs


def test_two_classes_have_coefficients_of_log_odds():
    x, y, groups = labelled()
    estimator = quick_classifier(
        hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False, prior_covariance="diagonal"
    )
    estimator.meta_fit(x, y, groups=groups).fit(x, y, groups=groups)
    effects = estimator.group_effects()
    assert list(effects.columns) == ["intercept", "x0", "x1"]
    z = np.column_stack([np.ones(len(x)), x])
    log_odds = (z * effects.to_numpy()[groups]).sum(1)
    # Of the second class; integrating over what is left open draws them towards zero.
    decision = estimator.decision_function(x, groups=groups)
    assert_array_equal(np.sign(decision), np.sign(log_odds))
    assert (abs(decision) <= abs(log_odds) + 1e-9).all()
    assert np.corrcoef(decision, log_odds)[0, 1] > 0.95
    deviations = estimator.group_effects(deviations=True)
    assert_allclose(effects, deviations + estimator.prior_summary()["mean"].to_numpy(), rtol=1e-9)


def test_without_meta_fit_effects_are_those_of_logistic_regression():
    x, y, _ = labelled(n_classes=3)
    estimator = CMLClassifier(standardize=False).fit(x, y)
    theirs = LogisticRegression(tol=1e-10, max_iter=1000).fit(x, y)
    effects = estimator.group_effects(as_frame=False).reshape(3, 3)
    assert_allclose(effects[:, 1:], theirs.coef_, atol=1e-5)
    assert_allclose(np.diff(effects[:, 0]), np.diff(theirs.intercept_), atol=1e-4)
    assert estimator.group_effects().columns[3] == "b: intercept"


def test_exchangeable_classes_have_two_numbers_and_no_effects():
    estimator = learned_pool()
    frame = estimator.prior_summary()
    assert list(frame.index) == ["prototype_scale", "prior_precision"]
    assert frame.index.name == "parameter"
    assert list(frame.columns) == ["value"]
    summary = estimator.prior_summary(as_frame=False)
    assert_array_equal(frame["value"], [summary.prototype_scale, summary.prior_precision])
    assert (frame["value"] > 0).all()
    assert estimator.meta_params_["prototype_scale"] == summary.prototype_scale
    estimator.fit(*pool(seed=1))
    assert_array_equal(estimator.prior_summary(), frame)
    with pytest.raises(ValueError, match="exchangeable classes have none"):
        estimator.group_effects()


def test_a_summary_of_classes_needs_meta_fit():
    with pytest.raises(ValueError, match="prior_summary needs meta_fit"):
        CMLClassifier().fit(*labelled()[:2]).prior_summary()
