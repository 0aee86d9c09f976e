"""CMLRegressor on grouped data: what it predicts, and what must not matter."""

import datetime
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import StandardScaler
from statsmodels.regression.mixed_linear_model import MixedLM
from threadpoolctl import threadpool_info, threadpool_limits

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from tests.estimators import N_GROUPS, both, grouped, learned, linear, quick

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
COLUMNS = ["a", "b"]


# --- it learns


def test_what_was_learned_helps_from_few_rows_on():
    x, y, groups = grouped(seed=8, n_groups=60, n_rows=10)
    known = groups < 30
    few = ~known & (np.tile(np.arange(10), 60) < 2)
    later = ~known & ~few
    estimator = quick(early_stopping=False).meta_fit(x[known], y[known], groups=groups[known])
    estimator.fit(x[few], y[few], groups=groups[few])
    ridge = CMLRegressor().fit(x[few], y[few], groups=groups[few])
    ours, theirs = (e.score(x[later], y[later], groups=groups[later]) for e in (estimator, ridge))
    assert 1 - ours < 0.75 * (1 - theirs)


def test_intervals_hold_as_many_rows_as_they_say():
    x, y, groups = grouped(seed=8, n_groups=90, n_rows=10)
    known, new = groups < 60, groups >= 60
    estimator = linear().meta_fit(x[known], y[known], groups=groups[known])
    first = new & np.tile(np.arange(10) < 3, 90)
    later = new & ~first
    estimator.fit(x[first], y[first], groups=groups[first])
    low, high = estimator.predict_quantiles(x[later], q=[0.05, 0.95], groups=groups[later]).T
    assert 0.8 < np.mean((low < y[later]) & (y[later] < high)) < 0.97


def test_without_network_it_is_the_mixed_model_of_statsmodels(monkeypatch):
    days, reaction, subject = load_grouped("sleepstudy", return_X_y=True)
    z = np.column_stack([np.ones(len(days)), days["Days"]])
    y, subject = reaction.to_numpy(), np.asarray(subject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MixedLM(y, z, subject, exog_re=z).fit(reml=True)
    # Plain REML: ours by default draws correlations towards zero.
    monkeypatch.setattr("skcml.selection.families.SHRINKAGE", 0.0)
    ours = linear(early_stopping=False).meta_fit(days, y, groups=subject)
    seen = z[:, 1] < 4
    ours.fit(days[seen], y[seen], groups=subject[seen])
    mean, std = ours.predict(days, groups=subject, return_std=True)
    omega, sigma, noise = theirs.fe_params, theirs.cov_re, theirs.scale
    for label in np.unique(subject):
        rows = subject == label
        z_seen, z_all = z[rows & seen], z[rows]
        # Conditional mean and covariance of the group's random effects.
        gain = sigma @ z_seen.T
        gain = gain @ np.linalg.inv(z_seen @ gain + noise * np.eye(len(z_seen)))
        b = gain @ (y[rows & seen] - z_seen @ omega)
        left = sigma - gain @ z_seen @ sigma
        assert_allclose(mean[rows], z_all @ (omega + b), rtol=0.01)
        variance = np.einsum("ij,jk,ik->i", z_all, left, z_all) + noise
        assert_allclose(std[rows], np.sqrt(variance), rtol=0.01)
    strangers = both(ours, days, groups=np.full(len(days), -1))
    marginal = np.einsum("ij,jk,ik->i", z, sigma, z) + noise
    assert_allclose(strangers, [z @ omega, np.sqrt(marginal)], rtol=0.01)


# --- groups


def test_fit_with_groups_is_one_fit_after_the_other():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    ridge = CMLRegressor(standardize=False).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    for label in range(N_GROUPS):
        rows = label == NEW_GROUPS
        alone = learned().fit(NEW_X[rows], NEW_Y[rows])
        together = both(estimator, X, groups=np.full(len(X), label))
        assert_allclose(both(alone, X), together, rtol=1e-8)
        alone = CMLRegressor(standardize=False).fit(NEW_X[rows], NEW_Y[rows])
        assert_allclose(
            alone.predict(X), ridge.predict(X, groups=np.full(len(X), label)), rtol=1e-8
        )


def test_groups_of_any_sizes_are_fitted_alike():
    sizes = [1, 2, 3, 5, 8, 20, 1, 12]
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x, y = rng.normal(size=(len(groups), 2)), rng.normal(size=len(groups))
    estimator = learned().fit(x, y, groups=groups)
    for label in range(len(sizes)):
        rows = label == groups
        alone = both(learned().fit(x[rows], y[rows]), X)
        assert_allclose(alone, both(estimator, X, groups=np.full(len(X), label)), rtol=1e-8)


def test_the_order_of_rows_does_not_matter():
    expected = both(learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS), X, groups=GROUPS)
    order = np.random.default_rng(0).permutation(len(X))
    estimator = learned().fit(NEW_X[order], NEW_Y[order], groups=NEW_GROUPS[order])
    assert_allclose(both(estimator, X, groups=GROUPS), expected, rtol=1e-8)
    shuffled = both(estimator, X[order], groups=GROUPS[order])
    assert_allclose(shuffled, expected[:, order], rtol=1e-8)


def test_rows_of_a_group_need_not_stand_together_in_meta_fit():
    # Row after row of each group in turn: no two rows of a group are adjacent.
    order = np.arange(len(X)).reshape(N_GROUPS, -1).T.ravel()
    estimator = quick().meta_fit(X[order], Y[order], groups=GROUPS[order])
    assert_allclose(both(estimator, X), both(learned(), X), rtol=1e-6)


LABELS = {
    "strings": [f"p{g:02}" for g in GROUPS],
    "tuples": [("ward", int(g)) for g in GROUPS],
    "floats": GROUPS / 7,
    "dates": [datetime.date(2024, 1, 1 + g) for g in GROUPS],
    "mixed": [f"p{g}" if g % 2 else int(g) for g in GROUPS],
    "pandas": pd.Series(GROUPS, index=GROUPS[::-1], name="ward"),
    "polars": pl.Series("ward", [f"p{g:02}" for g in GROUPS]),
    "categories": pd.Series([f"p{g:02}" for g in GROUPS], dtype="category"),
    "times": pd.Series(pd.date_range("2024-01-01", periods=N_GROUPS)[GROUPS]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_labels(kind):
    labels = LABELS[kind]
    estimator = linear().meta_fit(X, Y, groups=labels)
    expected = linear().meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(estimator, X), both(expected, X))
    estimator.fit(NEW_X, NEW_Y, groups=labels)
    expected.fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(both(estimator, X, groups=labels), both(expected, X, groups=GROUPS))


def tables(labels):
    """Return the same table with its groups as frames and as an array."""
    frame = pd.DataFrame(X, columns=COLUMNS)
    frame.insert(1, "ward", labels)
    polars = pl.DataFrame({name: frame[name].to_list() for name in frame})
    return {"pandas": frame, "polars": polars, "array": frame.to_numpy()}


@pytest.mark.parametrize(
    ("kind", "column"),
    [("pandas", "ward"), ("polars", "ward"), ("pandas", 1), ("polars", -2), ("array", -2)],
)
@pytest.mark.parametrize("labels", [GROUPS, LABELS["strings"]], ids=["numbers", "strings"])
def test_a_group_column_is_groups(kind, column, labels):
    table = tables(labels)[kind]
    inside = linear(group_column=column).meta_fit(table, Y).fit(table, Y)
    beside = linear().meta_fit(X, Y, groups=labels).fit(X, Y, groups=labels)
    assert_allclose(both(inside, table), both(beside, X, groups=labels), rtol=1e-8)
    assert inside.score(table, Y) == pytest.approx(beside.score(X, Y, groups=labels))
    quantiles = inside.predict_quantiles(table)
    assert_allclose(quantiles, beside.predict_quantiles(X, groups=labels), rtol=1e-8)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_outputs_may_be_frames_and_series(make):
    y = grouped(n_outputs=2)[1]
    expected = linear().meta_fit(X, y, groups=GROUPS).predict(X)
    found = linear().meta_fit(X, make(y), groups=GROUPS).predict(X)
    assert_allclose(found, expected, rtol=1e-8)


def test_a_group_never_seen_gets_the_prior_and_says_that_it_knows_less():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    mean, std = both(estimator, X, groups=np.full(len(X), 99))
    assert_allclose([mean, std], both(learned(), X), rtol=1e-12)
    for label in range(N_GROUPS):
        assert (std > both(estimator, X, groups=np.full(len(X), label))[1]).all()
    # The variance between groups is in it: noise alone is far less.
    assert (std > 2 * estimator.prior_summary(as_frame=False).noise_sd).all()


def test_known_and_unknown_groups_may_come_together():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    labels = np.where(np.arange(len(X)) % 2, GROUPS, 99)
    mixed = both(estimator, X, groups=labels)
    seen, prior = both(estimator, X, groups=GROUPS), both(learned(), X)
    assert_allclose(mixed, np.where(labels == 99, prior, seen), rtol=1e-8)


def test_more_rows_mean_less_doubt():
    deviations = [
        learned().fit(NEW_X[:n], NEW_Y[:n]).predict(X, return_std=True)[1] for n in (1, 2, 4, 6)
    ]
    for more, fewer in zip(deviations[1:], deviations, strict=False):
        assert more.mean() < fewer.mean()


# --- support="first"


def test_the_first_rows_of_a_group_support_the_rest():
    options = {"n_shots": 2, "n_queries": None, "early_stopping": False, "meta_learning_rate": 0.1}
    rows = np.arange(len(X)).reshape(N_GROUPS, -1)
    queries_reversed = rows[:, [0, 1, 5, 4, 3, 2]].ravel()
    other_support = rows[:, [5, 1, 2, 3, 4, 0]].ravel()
    moved = {}
    for support in ("first", "random"):
        predictions = [
            quick(support=support, **options)
            .meta_fit(X[order], Y[order], groups=GROUPS)
            .fit(X[:3], Y[:3])
            .predict(X)
            for order in (rows.ravel(), queries_reversed, other_support)
        ]
        moved[support] = [abs(p - predictions[0]).max() for p in predictions[1:]]
    assert moved["first"][0] < 1e-8 < 1e-4 < moved["first"][1]
    assert moved["random"][0] > 1e-4


# --- weights


def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row_in_fit():
    weight = np.arange(len(X)) % 3
    x, y, groups = (np.repeat(a, weight, axis=0) for a in (NEW_X, NEW_Y, NEW_GROUPS))
    for new in (learned, CMLRegressor):
        weighted = new().fit(NEW_X, NEW_Y, sample_weight=weight)
        assert_allclose(both(weighted, X), both(new().fit(x, y), X), rtol=1e-8)
        weighted.fit(NEW_X, NEW_Y, groups=NEW_GROUPS, sample_weight=weight)
        expected = new().fit(x, y, groups=groups)
        assert_allclose(
            both(weighted, X, groups=GROUPS), both(expected, X, groups=GROUPS), rtol=1e-8
        )


def test_weights_of_one_change_nothing_in_meta_fit():
    estimator = quick().meta_fit(X, Y, groups=GROUPS, sample_weight=np.ones(len(X)))
    assert_allclose(both(estimator, X), both(learned(), X), rtol=1e-8)


def test_rows_of_weight_zero_are_no_rows_in_meta_fit():
    weight = (np.arange(len(X)) % 5 > 0) & (GROUPS != 3)
    weighted = linear().meta_fit(X, Y, groups=GROUPS, sample_weight=weight.astype(float))
    without = linear().meta_fit(X[weight], Y[weight], groups=GROUPS[weight])
    assert_allclose(both(weighted, X), both(without, X), rtol=1e-8)


def test_a_weight_of_two_is_the_row_twice_for_the_mixed_model():
    weight = 1 + np.arange(len(X)) % 2
    x, y, groups = (np.repeat(a, weight, axis=0) for a in (X, Y, GROUPS))
    weighted = linear(early_stopping=False).meta_fit(X, Y, groups=GROUPS, sample_weight=weight)
    expected = linear(early_stopping=False).meta_fit(x, y, groups=groups)
    assert_allclose(both(weighted, X), both(expected, X), rtol=1e-8)


# --- outputs, units


def test_each_output_is_a_model_of_its_own_without_network():
    y = grouped(n_outputs=3)[1]
    options = {"early_stopping": False}
    together = linear(**options).meta_fit(X, y, groups=GROUPS).fit(X, y, groups=GROUPS)
    mean, std = both(together, X, groups=GROUPS)
    assert mean.shape == std.shape == (72, 3)
    for output in range(3):
        alone = linear(**options).meta_fit(X, y[:, output], groups=GROUPS)
        alone.fit(X, y[:, output], groups=GROUPS)
        assert_allclose([mean[:, output], std[:, output]], both(alone, X, groups=GROUPS), rtol=1e-8)


def test_a_column_of_outputs_stays_a_column():
    estimator = learned().fit(NEW_X, NEW_Y[:, None])
    assert estimator.predict(X).shape == (72, 1)
    assert estimator.predict_quantiles(X).shape == (72, 1, 3)
    flat = learned().fit(NEW_X, NEW_Y)
    assert_array_equal(estimator.predict(X)[:, 0], flat.predict(X))


def test_several_outputs_share_a_network():
    y = grouped(n_outputs=2)[1]
    estimator = learned(n_outputs=2).fit(X, y, groups=GROUPS)
    assert estimator.predict(X, groups=GROUPS).shape == (72, 2)
    assert estimator.predict_quantiles(X, groups=GROUPS, q=[0.1, 0.9]).shape == (72, 2, 2)
    assert estimator.score(X, y, groups=GROUPS) > 0.9


def test_without_standardising_standardised_data_give_the_same():
    x = StandardScaler().fit_transform(X)
    y = StandardScaler().fit_transform(Y[:, None])[:, 0]
    inside = linear().meta_fit(x, y, groups=GROUPS).fit(x, y, groups=GROUPS)
    outside = linear(standardize=False).meta_fit(x, y, groups=GROUPS).fit(x, y, groups=GROUPS)
    assert_allclose(both(inside, x, groups=GROUPS), both(outside, x, groups=GROUPS), rtol=1e-8)


def test_without_standardising_units_matter():
    estimator = quick(standardize=False, early_stopping=False).meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(estimator._meta.scaling.x_scale, [1, 1])
    assert np.isfinite(both(estimator.fit(NEW_X, NEW_Y), X)).all()


# --- quantiles and scores


# --- columns and outputs of every kind must just work

WITH = {
    "constant": lambda x: np.column_stack([x, np.full(len(x), 7.0)]),
    "zero": lambda x: np.column_stack([np.zeros(len(x)), x]),
    "duplicated": lambda x: np.column_stack([x, x[:, 0]]),
    "collinear": lambda x: np.column_stack([x, x @ [1.0, -2.0]]),
    "constant in each group": lambda x: np.column_stack([x, np.repeat(np.arange(12.0), 6)]),
    "nothing but constants": np.ones_like,
}


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", WITH)
def test_degenerate_columns_give_finite_predictions(kind, standardize):
    x, new = WITH[kind](X), WITH[kind](NEW_X)
    estimator = quick(standardize=standardize).meta_fit(x, Y, groups=GROUPS)
    assert np.isfinite(both(estimator, new)).all()
    assert np.isfinite(both(estimator.fit(new, NEW_Y, groups=GROUPS), x, groups=GROUPS)).all()
    assert np.isfinite(estimator.predict_quantiles(x, groups=GROUPS)).all()
    assert np.isfinite(both(CMLRegressor().fit(x, Y), new)).all()


@pytest.mark.parametrize("kind", ["constant", "zero", "duplicated"])
def test_degenerate_columns_tell_the_mixed_model_nothing(kind):
    def predictions(change):
        estimator = linear(early_stopping=False).meta_fit(change(X), Y, groups=GROUPS)
        estimator.fit(change(NEW_X), NEW_Y, groups=NEW_GROUPS)
        return both(estimator, change(X), groups=GROUPS)

    assert_allclose(predictions(WITH[kind]), predictions(np.asarray), rtol=0.02, atol=0.02)


def test_a_column_may_start_to_vary_after_meta_fit():
    estimator = quick().meta_fit(WITH["constant"](X), Y, groups=GROUPS)
    new = np.column_stack([NEW_X, NEW_X[:, 0]])
    assert np.isfinite(both(estimator.fit(new, NEW_Y), new)).all()


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_output_is_predicted(value):
    y = np.full(len(X), value)
    estimator = quick().meta_fit(X, y, groups=GROUPS)
    assert_allclose(estimator.predict(NEW_X), value, atol=1e-6)
    assert_allclose(estimator.fit(NEW_X, y).predict(NEW_X), value, atol=1e-6)
    assert np.isfinite(both(estimator.fit(NEW_X, NEW_Y), X)).all()


def test_an_output_without_noise_is_predicted():
    def output(x):
        return x @ [2.0, -1.0] + 1

    estimator = quick().meta_fit(X, output(X), groups=GROUPS)
    assert_allclose(estimator.predict(NEW_X), output(NEW_X), atol=1e-4)
    assert np.isfinite(both(estimator.fit(NEW_X, NEW_Y), X)).all()


@pytest.mark.parametrize("factor", [1e12, 1e-12])
def test_units_do_not_matter(factor):
    unit = np.array([factor, 1 / factor])
    estimator = quick().meta_fit(X * unit, Y, groups=GROUPS)
    assert_allclose(both(estimator, X * unit), both(learned(), X), rtol=1e-6)
    estimator.fit(NEW_X * unit, NEW_Y, groups=NEW_GROUPS)
    expected = both(learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS), X, groups=GROUPS)
    assert_allclose(both(estimator, X * unit, groups=GROUPS), expected, rtol=1e-6)
    outputs = quick().meta_fit(X, Y * factor, groups=GROUPS).fit(NEW_X, NEW_Y * factor)
    assert_allclose(both(outputs, X) / factor, both(learned().fit(NEW_X, NEW_Y), X), rtol=1e-6)
    ridge = CMLRegressor().fit(X * unit, Y)
    assert_allclose(both(ridge, X * unit), both(CMLRegressor().fit(X, Y), X), rtol=1e-6)


@pytest.mark.parametrize("groups", [[0] * 6 + [1] * 6, [0, 0, 1], [0, 0, 1, 2, 3]])
def test_few_groups_are_enough_to_predict(groups):
    n = len(groups)
    estimator = quick().meta_fit(X[:n], Y[:n], groups=groups)
    assert np.isfinite(both(estimator, X)).all()
    assert np.isfinite(both(estimator.fit(X, Y, groups=GROUPS), X, groups=GROUPS)).all()


KINDS = {
    "float32": lambda a: a.astype(np.float32),
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_kind_mean_the_same(kind):
    x, y = (KINDS[kind](a) for a in (X.round(2), Y.round(2)))
    estimator = linear().meta_fit(x, y, groups=GROUPS).fit(x, y, groups=GROUPS)
    plain = np.array(x, dtype=float), np.array(y, dtype=float)
    expected = linear().meta_fit(*plain, groups=GROUPS).fit(*plain, groups=GROUPS)
    assert_allclose(both(estimator, x, groups=GROUPS), both(expected, plain[0], groups=GROUPS))


def test_integers_are_numbers():
    x, y = (10 * X).astype(int), (10 * Y).astype(int)
    estimator = linear().meta_fit(x, y, groups=GROUPS).fit(x, y)
    expected = linear().meta_fit(x.astype(float), y.astype(float), groups=GROUPS)
    expected.fit(x.astype(float), y.astype(float))
    assert_array_equal(both(estimator, x), both(expected, x))


def test_what_is_passed_stays_as_it_is_and_may_be_read_only():
    x, y, groups = (a.copy() for a in (X, Y, GROUPS))
    weight = np.linspace(0, 2, len(X))
    arrays = (x, y, groups, weight)
    for array in arrays:
        array.flags.writeable = False
    before = [array.copy() for array in arrays]
    for estimator in (quick().meta_fit(x, y, groups, weight, x, y, groups), CMLRegressor()):
        estimator.fit(x, y, groups=groups, sample_weight=weight)
        both(estimator, x, groups=groups)
        estimator.predict_quantiles(x, groups=groups)
        estimator.score(x, y, groups=groups, sample_weight=weight)
    for array, expected in zip(arrays, before, strict=True):
        assert_array_equal(array, expected)


# --- determinism


def test_the_same_seed_gives_the_same_bits():
    again = quick().meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(again, X), both(learned(), X))
    again.meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(again, X), both(learned(), X))
    assert_array_equal(both(again.fit(X, Y), X), both(learned().fit(X, Y).fit(X, Y), X))


def test_another_seed_gives_another_network():
    other = quick(random_state=1).meta_fit(X, Y, groups=GROUPS).fit(X[:3], Y[:3])
    assert abs(both(other, X) - both(learned().fit(X[:3], Y[:3]), X)).max() > 1e-6


def test_equal_random_states_give_the_same_bits():
    first, second = (
        quick(random_state=np.random.RandomState(3), early_stopping=False).meta_fit(
            X, Y, groups=GROUPS
        )
        for _ in range(2)
    )
    assert_array_equal(both(first, X), both(second, X))


def test_the_number_of_processes_does_not_matter():
    several = quick(n_jobs=2).meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(several, X), both(learned(), X))
    assert several.meta_history_ == learned().meta_history_


def test_each_fold_is_learned_on_one_thread(monkeypatch):
    # Processes may have more threads each, which would sum in another order.
    from skcml.selection import learning

    seen = []

    def learn_fold(*job):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    monkeypatch.setattr(learning, "learn_fold", learn_fold)
    with threadpool_limits(2):
        learning._learn_on_one_thread(1, 2)
    assert seen
    assert set(seen) == {1}
