"""Learning, adapting and cloning: what is kept, and when."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from skcml import CMLRegressor
from tests.estimators import both, grouped, learned, linear, quick

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
VALIDATION = dict(zip(("X_val", "y_val", "groups_val"), grouped(seed=2), strict=True))
FRAME = pd.DataFrame(X, columns=["a", "b"])


# --- what is fitted, and when


def test_meta_fit_and_fit_return_the_estimator():
    estimator = quick(early_stopping=False)
    assert estimator.meta_fit(X, Y, groups=GROUPS) is estimator
    assert estimator.fit(X, Y) is estimator
    assert CMLRegressor().fit(X, Y) is not None


@pytest.mark.parametrize("method", ["predict", "predict_quantiles", "group_effects"])
def test_a_new_estimator_is_not_fitted(method):
    with pytest.raises(NotFittedError, match="CMLRegressor instance is not fitted yet"):
        getattr(CMLRegressor(), method)(*[X] * (method != "group_effects"))


def test_meta_fit_alone_predicts_the_prior():
    estimator = learned()
    check_is_fitted(estimator)
    strangers = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    expected = both(strangers, X, groups=np.full(len(X), 99))
    assert_allclose(both(estimator, X), expected, rtol=1e-12)
    assert_array_equal(both(estimator, X, groups=GROUPS), both(estimator, X))


def test_meta_fit_again_forgets_the_tasks():
    estimator = learned().fit(NEW_X, NEW_Y).meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(estimator, X), both(learned(), X))


def test_fit_again_forgets_the_earlier_task():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS).fit(X[:5], Y[:5])
    assert_array_equal(both(estimator, X), both(learned().fit(X[:5], Y[:5]), X))


def test_width_and_names_are_remembered():
    estimator = quick(early_stopping=False).meta_fit(FRAME, Y, groups=GROUPS)
    assert estimator.n_features_in_ == 2
    assert list(estimator.feature_names_in_) == ["a", "b"]
    estimator.meta_fit(X, Y, groups=GROUPS)
    assert not hasattr(estimator, "feature_names_in_")


def test_the_verdict_is_printed_if_wanted(capsys):
    quick(verbose=1).meta_fit(X, Y, groups=GROUPS)
    out = capsys.readouterr().out
    assert out.startswith("[CMLRegressor] 12 groups, 72 rows; held-out RMSE: pooled ")
    assert "final" in out
    quick().meta_fit(X, Y, groups=GROUPS)
    assert capsys.readouterr().out == ""


def test_meta_fit_runs_on_one_thread(monkeypatch):
    # The sums of several threads depend on how many there are.
    seen = []

    def learn(*args):
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        seen.extend(pool["num_threads"] for pool in pools)
        raise InterruptedError

    monkeypatch.setattr("skcml.estimators._groups.learn", learn)
    with threadpool_limits(2), pytest.raises(InterruptedError):
        quick().meta_fit(X, Y, groups=GROUPS)
    assert seen
    assert set(seen) == {1}


# --- failures and interruptions


def interrupted(error):
    def run(*args, **kwargs):
        raise error

    return run


PLACES = {
    "meta_fit": ["skcml.outer_loop.learning_rate", "skcml.selection.learning.Heads.stack"],
    "fit": ["skcml.heads.Heads.adapt", "skcml.estimators._adapting.encode_groups"],
}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize(
    ("method", "place"), [(method, place) for method in PLACES for place in PLACES[method]]
)
def test_what_fails_or_is_interrupted_leaves_the_earlier_state(monkeypatch, method, place, error):
    estimator = quick(early_stopping=False).meta_fit(FRAME, Y, groups=GROUPS)
    estimator.fit(FRAME[:40], Y[:40], groups=GROUPS[:40])
    before, attributes = both(estimator, FRAME, groups=GROUPS), dict(vars(estimator))
    if method == "meta_fit":  # other data: more columns, other names
        x, y, groups = grouped(seed=1, n_features=3)
        x = pd.DataFrame(x, columns=["c", "d", "e"])
    else:
        x, y, groups = FRAME[::-1], Y, GROUPS
    with monkeypatch.context() as patch:
        patch.setattr(place, interrupted(error))
        with pytest.raises(type(error)):
            getattr(estimator, method)(x, y, groups=groups)
    assert vars(estimator) == attributes
    assert estimator.n_features_in_ == 2
    assert list(estimator.feature_names_in_) == ["a", "b"]
    assert_array_equal(both(estimator, FRAME, groups=GROUPS), before)
    getattr(estimator, method)(x, y, groups=groups)  # and works when called again


def test_a_first_meta_fit_that_fails_leaves_nothing_behind(monkeypatch):
    estimator = quick()
    before = dict(vars(estimator))
    monkeypatch.setattr("skcml.outer_loop.learning_rate", interrupted(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        estimator.meta_fit(X, Y, groups=GROUPS)
    assert vars(estimator) == before


def test_bad_input_leaves_the_earlier_state():
    estimator = learned().fit(NEW_X, NEW_Y)
    before = both(estimator, X)
    wide = np.column_stack([X, X])
    for call in (
        lambda: estimator.meta_fit(wide, Y, groups=GROUPS[:-1]),
        lambda: estimator.meta_fit(wide, Y, groups=np.zeros(len(X))),
        lambda: estimator.meta_fit(wide, Y, groups=GROUPS, X_val=X),
        lambda: estimator.fit(wide, Y),
        lambda: estimator.fit(X, np.full(len(X), np.nan)),
    ):
        with pytest.raises(ValueError, match=r"groups|X_val|X has|y contains"):
            call()
        assert estimator.n_features_in_ == 2
        assert_array_equal(both(estimator, X), before)


def test_columns_far_apart_leave_finite_numbers_and_standardising_helps():
    x = np.where(np.arange(len(X))[:, None] == 3, 1e12, X)
    raw = linear(standardize=False).meta_fit(x, Y, groups=GROUPS)
    estimator = linear().meta_fit(x, Y, groups=GROUPS)
    for one in (raw, estimator):
        assert np.isfinite(both(one, x)).all()
    assert estimator.meta_gain_["final"] < 1e-3 * raw.meta_gain_["final"]


# --- own validation groups


def test_own_groups_judge_and_are_not_learned_from():
    estimator = linear().meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    new = {"X_val": NEW_X, "y_val": NEW_Y, "groups_val": NEW_GROUPS}
    other = linear().meta_fit(X, Y, groups=GROUPS, **new)
    summaries = [e.prior_summary(as_frame=False) for e in (estimator, other)]
    assert [s.covariance_structure for s in summaries] == ["full"] * 2
    assert_array_equal(summaries[0].mean, summaries[1].mean)
    assert estimator.meta_gain_["final"] > 1.3 * other.meta_gain_["final"]


def test_own_groups_make_a_single_descent():
    estimator = quick().meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    assert len(estimator.meta_history_) == 1
    assert estimator.meta_params_["networks"]["omega"].shape[0] == 1
    assert estimator.meta_history_[0]["validation_step"] == [0, 5]


def test_own_groups_may_come_in_a_column():
    table = FRAME.assign(ward=GROUPS)
    columns = np.column_stack([VALIDATION["X_val"], VALIDATION["groups_val"]])
    val = pd.DataFrame(columns, columns=["a", "b", "ward"])
    inside = linear(group_column="ward").meta_fit(table, Y, X_val=val, y_val=VALIDATION["y_val"])
    beside = linear().meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    assert inside.meta_gain_ == pytest.approx(beside.meta_gain_, rel=1e-9)


def test_own_groups_of_one_row_are_passed_over():
    x, y, groups = grouped(seed=2)
    alone = {
        "X_val": np.vstack([x, x[:1]]),
        "y_val": np.append(y, 1e3),
        "groups_val": np.append(groups, 77),
    }
    with_one = linear().meta_fit(X, Y, groups=GROUPS, **alone)
    without = linear().meta_fit(X, Y, groups=GROUPS, **VALIDATION)
    assert with_one.meta_gain_ == without.meta_gain_


# --- clones


def test_a_clone_keeps_what_was_learned_and_forgets_the_task():
    estimator = learned().fit(NEW_X, NEW_Y)
    copied = clone(estimator)
    assert_array_equal(both(copied, X), both(learned(), X))
    assert copied.n_features_in_ == 2
    assert copied.meta_gain_ == estimator.meta_gain_
    assert copied.meta_history_ == estimator.meta_history_
    assert_array_equal(both(copied.fit(NEW_X, NEW_Y), X), both(estimator, X))


def test_a_clone_remembers_the_names():
    copied = clone(quick(early_stopping=False).meta_fit(FRAME, Y, groups=GROUPS))
    assert list(copied.feature_names_in_) == ["a", "b"]


def test_a_clone_and_its_origin_go_their_own_ways():
    estimator = learned()
    copied = clone(estimator).fit(NEW_X, NEW_Y)
    assert_array_equal(both(estimator, X), both(learned(), X))
    other = clone(estimator).meta_fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert abs(both(other, X) - both(estimator, X)).max() > 0.01
    assert_array_equal(both(copied, X), both(learned().fit(NEW_X, NEW_Y), X))


def test_a_clone_of_what_has_not_learned_is_new():
    copied = clone(CMLRegressor(prior_strength=0.5).fit(X, Y))
    assert copied.prior_strength == 0.5
    assert not copied.__sklearn_is_fitted__()
    assert not hasattr(copied, "n_features_in_")


def test_parameters_that_fit_would_refuse_can_be_cloned():
    copied = clone(learned().set_params(prior_strength=0, tol=3.0))
    assert (copied.prior_strength, copied.tol) == (0, 3.0)
    assert_array_equal(both(copied, X), both(learned(), X))
    with pytest.raises(ValueError, match="tol was "):
        copied.fit(X, Y)


def test_a_clone_with_a_random_state_of_its_own_still_fits():
    source = quick(random_state=np.random.RandomState(0), early_stopping=False)
    source.meta_fit(X, Y, groups=GROUPS)
    copied = clone(source)
    assert copied.random_state is not source.random_state
    assert_array_equal(
        both(copied.fit(NEW_X, NEW_Y), X), both(copy.deepcopy(source).fit(NEW_X, NEW_Y), X)
    )


def test_deep_copies_and_pickles_keep_the_task_too():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    for copied in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert_array_equal(both(copied, X, groups=GROUPS), both(estimator, X, groups=GROUPS))


# --- another group column than the one that was learned with


@pytest.mark.parametrize("column", [0, 7, "zz"])
def test_a_group_column_set_after_fitting_is_refused(column):
    estimator = learned().fit(X, Y, groups=GROUPS).set_params(group_column=column)
    calls = (
        lambda: estimator.predict(X, groups=GROUPS),
        lambda: estimator.predict_quantiles(X, groups=GROUPS),
        estimator.group_effects,
        estimator.prior_summary,
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"group_column was None when .* is .* now; set it"):
            call()
    estimator.set_params(group_column=None).predict(X, groups=GROUPS)


# --- what users see is theirs


def test_what_users_see_may_be_changed_without_harm():
    estimator, copied = learned(), clone(learned())
    before = both(estimator, X)
    for seen in (estimator, copied):
        for part in (seen.meta_params_["mixed_model"], seen.meta_params_["networks"]):
            for array in part.values():
                array[...] = np.nan
        seen.meta_params_["weights"][...] = np.nan
        seen.meta_gain_.clear()
        seen.meta_history_[0]["loss"].clear()
        seen.prior_summary(as_frame=False).network_weight[...] = np.nan
    assert_array_equal(both(estimator, X), before)
    assert_array_equal(both(clone(estimator), X), before)
    assert clone(copied).meta_gain_ == learned().meta_gain_


def test_many_columns_that_vary_together_are_no_trouble_for_reml():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    x = rng.normal(size=(200, 20))
    y = (x * rng.normal(size=(20, 20))[groups]).sum(1) + rng.normal(size=200)
    estimator = linear(early_stopping=False).meta_fit(x, y, groups=groups)
    assert np.isfinite(both(estimator, x)).all()


def test_a_reml_fit_of_too_few_rows_is_warned_of():
    with pytest.warns(UserWarning, match="A REML fit of 3 coefficients needs more than the n_samp"):
        linear().meta_fit(X[:3], Y[:3], groups=[0, 0, 1])
