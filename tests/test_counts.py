"""CMLRegressor(loss="poisson"): counts, rates and their quantiles."""

import copy
import functools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score
from sklearn.preprocessing import StandardScaler

from skcml import CMLRegressor
from tests.estimators import both, quick


def counted(seed=4, *, n_groups=12, n_rows=6):
    """Draw groups with log rates of their own; rows of a group stand together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_rows)
    x = rng.normal(size=(len(groups), 2))
    log_rate = 1.0 + x @ [0.5, -0.3] + 0.8 * rng.normal(size=n_groups)[groups]
    return x, rng.poisson(np.exp(log_rate)).astype(float), groups


X, Y, GROUPS = counted()
NEW_X, NEW_Y, NEW_GROUPS = counted(seed=1)


def counts(**params):
    return quick(loss="poisson", **params)


def mixed(**params):
    return counts(
        **{"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False} | params
    )


@functools.cache
def _learned(is_mixed):
    estimator = mixed() if is_mixed else counts()
    return estimator.meta_fit(X, Y, groups=GROUPS)


def learned(is_mixed=False):
    return copy.deepcopy(_learned(is_mixed))


EACH_MODEL = pytest.mark.parametrize("is_mixed", [True, False])


# --- it learns


def test_what_was_learned_helps_from_few_rows_on():
    x, y, groups = counted(seed=8, n_groups=60, n_rows=12)
    known = groups < 40
    few = ~known & (np.tile(np.arange(12), 60) < 3)
    later = ~known & ~few
    estimator = mixed().meta_fit(x[known], y[known], groups=groups[known])
    estimator.fit(x[few], y[few], groups=groups[few])
    alone = CMLRegressor(loss="poisson").fit(x[few], y[few], groups=groups[few])
    pooled = PoissonRegressor().fit(x[known], y[known])
    ours, theirs = (e.score(x[later], y[later], groups=groups[later]) for e in (estimator, alone))
    assert ours > theirs + 0.05
    assert ours > pooled.score(x[later], y[later]) + 0.1


def test_quantiles_hold_as_many_counts_as_they_say():
    x, y, groups = counted(seed=8, n_groups=90, n_rows=10)
    known, first = groups < 60, np.tile(np.arange(10) < 3, 90)
    new, later = ~known & first, ~known & ~first
    estimator = mixed().meta_fit(x[known], y[known], groups=groups[known])
    estimator.fit(x[new], y[new], groups=groups[new])
    low, high = estimator.predict_quantiles(x[later], q=[0.05, 0.95], groups=groups[later]).T
    assert 0.86 < np.mean((low <= y[later]) & (y[later] <= high)) < 0.98


def test_the_prior_and_the_gain_are_those_of_counts():
    estimator = learned()
    assert set(estimator.meta_gain_) == {"pooled", "per_task", "mixed_model", "final"}
    assert estimator.meta_gain_["final"] < estimator.meta_gain_["pooled"]
    summary = learned(is_mixed=True).prior_summary(as_frame=False)
    assert "noise_sd" not in summary
    assert_allclose(summary.mean[0, 1:], [0.5, -0.3], atol=0.2)
    assert summary.sd_between_groups[0, 0] == pytest.approx(0.8, abs=0.35)


# --- without meta_fit


@pytest.mark.parametrize("penalty", [0.3, 1.0, 30.0])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_without_meta_fit_it_is_poisson_regression(penalty, is_weighted):
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 72) if is_weighted else np.ones(72)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    ours = CMLRegressor(loss="poisson", prior_strength=penalty).fit(X, Y, sample_weight=weight)
    # Theirs divides the deviance by the sum of weights.
    theirs = PoissonRegressor(alpha=penalty / weight.sum(), tol=1e-12, max_iter=10_000)
    theirs.fit(scaler.transform(X), Y, sample_weight=weight)
    assert_allclose(ours.predict(NEW_X), theirs.predict(scaler.transform(NEW_X)), rtol=1e-5)
    raw = CMLRegressor(loss="poisson", prior_strength=penalty, standardize=False)
    theirs.fit(X, Y, sample_weight=weight)
    found = raw.fit(X, Y, sample_weight=weight).predict(NEW_X)
    assert_allclose(found, theirs.predict(NEW_X), rtol=1e-5)


def test_without_meta_fit_each_group_has_a_poisson_regression():
    groups = np.arange(72) // 18
    ours = CMLRegressor(loss="poisson").fit(X, Y, groups=groups)
    z = StandardScaler().fit(X).transform
    fast = {"tol": 1e-12, "max_iter": 10_000}
    for group in range(4):
        rows = groups == group
        theirs = PoissonRegressor(alpha=1 / 18, **fast).fit(z(X[rows]), Y[rows])
        found = ours.predict(NEW_X, groups=np.full(72, group))
        assert_allclose(found, theirs.predict(z(NEW_X)), rtol=1e-5)
    theirs = PoissonRegressor(alpha=1 / 72, **fast).fit(z(X), Y)
    found = ours.predict(NEW_X, groups=np.full(72, 9))
    assert_allclose(found, theirs.predict(z(NEW_X)), rtol=1e-5)


def test_without_meta_fit_there_is_no_doubt_about_the_rate():
    estimator = CMLRegressor(loss="poisson").fit(X, Y)
    mean, std = both(estimator, NEW_X)
    assert_allclose(std, np.sqrt(mean), rtol=1e-9)
    q = np.array([0.05, 0.5, 0.95])
    expected = stats.poisson.ppf(q, mean[:, None])
    assert_array_equal(estimator.predict_quantiles(NEW_X, q=q), expected)


# --- exposure

EXPOSURE = np.random.default_rng(5).integers(1, 5, 72)


def spread(x, y, groups):
    """Return rows of exposure one, over which each row's count is spread."""
    rng = np.random.default_rng(6)
    parts = np.concatenate(
        [
            rng.multinomial(int(count), np.full(n, 1 / n))
            for count, n in zip(y, EXPOSURE, strict=True)
        ]
    )
    return np.repeat(x, EXPOSURE, axis=0), parts.astype(float), np.repeat(groups, EXPOSURE)


def test_a_rate_with_its_exposure_is_the_count_spread_over_it():
    x, y, groups = spread(NEW_X, NEW_Y, NEW_GROUPS)
    assert_array_equal(np.add.reduceat(y, np.cumsum(EXPOSURE) - EXPOSURE), NEW_Y)
    rates = {"y": NEW_Y / EXPOSURE, "sample_weight": EXPOSURE}
    for new in (learned, lambda: learned(is_mixed=True), lambda: CMLRegressor(loss="poisson")):
        found = both(new().fit(NEW_X, **rates), X)
        assert_allclose(found, both(new().fit(x, y), X), rtol=1e-4)
        found = both(new().fit(NEW_X, **rates, groups=NEW_GROUPS), X, groups=GROUPS)
        assert_allclose(found, both(new().fit(x, y, groups=groups), X, groups=GROUPS), rtol=2e-3)


def test_rates_with_their_exposures_have_the_mixed_model_of_counts_spread_over_them(monkeypatch):
    # Counts that are spread evenly do not scatter.
    monkeypatch.setattr("skcml.estimators._groups.dispersion", lambda tasks: 1.0)
    x, y, groups = spread(X, Y, GROUPS)
    rates = mixed().meta_fit(X, Y / EXPOSURE, groups=GROUPS, sample_weight=EXPOSURE)
    assert_allclose(both(rates, X), both(mixed().meta_fit(x, y, groups=groups), X), rtol=1e-3)


def test_the_likelihood_of_rates_is_that_of_counts():
    # The minimum over coefficients of the penalised likelihood, with the exposure as an offset.
    from scipy import optimize

    z = np.column_stack([np.ones(72), X])

    def cost(w):
        rate = EXPOSURE * np.exp(z @ w)
        return -stats.poisson.logpmf(Y, rate).sum() + 0.5 * (w[1:] ** 2).sum()

    best = optimize.minimize(cost, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
    ours = CMLRegressor(loss="poisson", standardize=False)
    ours.fit(X, Y / EXPOSURE, sample_weight=EXPOSURE)
    assert_allclose(ours.group_effects(as_frame=False)[0], best.x, atol=1e-4)


# --- groups, weights, units


@EACH_MODEL
def test_fit_with_groups_is_one_fit_after_the_other(is_mixed):
    estimator = learned(is_mixed).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    for label in (0, 5, 11):
        rows = label == NEW_GROUPS
        alone = learned(is_mixed).fit(NEW_X[rows], NEW_Y[rows])
        together = both(estimator, X, groups=np.full(72, label))
        assert_allclose(both(alone, X), together, rtol=1e-3)


def test_a_group_never_seen_gets_the_prior_and_says_that_it_knows_less():
    estimator = learned(is_mixed=True).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    mean, std = both(estimator, X, groups=np.full(72, 99))
    assert_allclose([mean, std], both(learned(is_mixed=True), X), rtol=1e-9)
    # The rate's variance relative to its square, of which the variance between groups is part.
    prior = (std**2 - mean) / mean**2
    for label in (0, 5, 11):
        mean, std = both(estimator, X, groups=np.full(72, label))
        assert (prior > 1.5 * (std**2 - mean) / mean**2).all()


def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row():
    weight = np.arange(72) % 3
    x, y, groups = (np.repeat(a, weight, axis=0) for a in (NEW_X, NEW_Y, NEW_GROUPS))
    for new in (lambda: learned(is_mixed=True), lambda: CMLRegressor(loss="poisson")):
        weighted = new().fit(NEW_X, NEW_Y, sample_weight=weight)
        assert_allclose(both(weighted, X), both(new().fit(x, y), X), rtol=1e-4)
        weighted.fit(NEW_X, NEW_Y, groups=NEW_GROUPS, sample_weight=weight)
        expected = both(new().fit(x, y, groups=groups), X, groups=GROUPS)
        assert_allclose(both(weighted, X, groups=GROUPS), expected, rtol=2e-3)


def test_counts_are_not_standardised():
    scaling = learned()._meta.scaling
    assert_array_equal([scaling.y_mean, scaling.y_scale], [[0.0], [1.0]])
    assert_allclose(scaling.x_mean, X.mean(0))
    assert (learned().fit(NEW_X, NEW_Y).predict(X) > 0).all()


def test_a_group_without_events_has_a_low_rate_and_not_none():
    mean, std = both(learned(is_mixed=True).fit(NEW_X[:6], np.zeros(6)), NEW_X[:6])
    prior = learned(is_mixed=True).predict(NEW_X[:6])
    assert (mean > 1e-3).all()
    assert (mean < prior).all()
    assert (std > 0).all()


# --- quantiles


@EACH_MODEL
def test_quantiles_are_those_of_a_negative_binomial_with_mean_and_variance(is_mixed):
    estimator = learned(is_mixed).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    q = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    mean, std = both(estimator, X, groups=GROUPS)
    n = mean**2 / (std**2 - mean)
    expected = stats.nbinom.ppf(q, n[:, None], (mean / std**2)[:, None])
    found = estimator.predict_quantiles(X, q=q, groups=GROUPS)
    assert found.shape == (72, 5)
    # Where a distribution function meets q to the last digit, either count will do.
    assert np.mean(found == expected) > 0.99
    assert abs(found - expected).max() <= 1
    assert (np.diff(found, axis=1) >= 0).all()
    assert_array_equal(found, np.round(found))
    assert_array_equal(estimator.predict_quantiles(X, q=0.5, groups=GROUPS), found[:, [2]])


# --- what is refused


def test_counts_are_zero_or_more():
    bad = np.where(np.arange(72) == 3, -0.5, Y)
    sentence = r"has negative values, the least of them -0\.5; with loss='poisson' it holds counts"
    for call in (
        lambda: CMLRegressor(loss="poisson").fit(X, bad),
        lambda: learned().fit(X, bad),
        lambda: counts().meta_fit(X, bad, groups=GROUPS),
    ):
        with pytest.raises(ValueError, match=f"^y {sentence}"):
            call()
    with pytest.raises(ValueError, match=f"^y_val {sentence}"):
        counts().meta_fit(X, Y, GROUPS, X_val=X, y_val=bad, groups_val=GROUPS)


def test_there_is_one_output():
    with pytest.raises(ValueError, match=r"y should be a 1d array, got .* one output"):
        CMLRegressor(loss="poisson").fit(X, np.column_stack([Y, Y]))
    with pytest.warns(DataConversionWarning, match="column-vector y") as record:
        column = CMLRegressor(loss="poisson").fit(X, Y[:, None])
    assert record[0].filename == __file__
    assert column.predict(X).shape == (72,)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"loss": "poisson", "solver": "closed_form"},
            "solver='closed_form' needs an energy that is quadratic",
        ),
        ({"loss": "squared_error", "solver": "newton"}, "solver='newton' needs an energy"),
        (
            {"loss": "poisson", "meta_loss": "log_predictive"},
            "meta_loss='log_predictive' is for lo",
        ),
    ],
)
def test_solver_loss_and_meta_loss_must_go_together(params, sentence):
    with pytest.raises(ValueError, match=sentence):
        quick(**params).meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("params", [{"solver": "newton"}, {"meta_loss": "loss"}])
def test_what_auto_stands_for_may_be_said(params):
    options = {"early_stopping": False}
    said = counts(**options, **params).meta_fit(X, Y, groups=GROUPS)
    expected = counts(**options).meta_fit(X, Y, groups=GROUPS)
    assert_array_equal(both(said, X), both(expected, X))


def test_the_loss_may_not_change_after_meta_fit():
    with pytest.raises(ValueError, match="loss was 'poisson' when meta_fit was called and is 'squ"):
        learned().set_params(loss="squared_error").fit(X, Y)


# --- score, tags, copies


def test_predictions_are_of_what_was_fitted_whatever_is_set_since():
    estimator = learned(is_mixed=True).fit(NEW_X, NEW_Y)
    quantiles, score = estimator.predict_quantiles(X), estimator.score(NEW_X, NEW_Y)
    estimator.set_params(loss="squared_error")
    assert_array_equal(estimator.predict_quantiles(X), quantiles)
    assert estimator.score(NEW_X, NEW_Y) == score


def test_where_there_is_nothing_to_explain_the_score_is_zero():
    estimator = CMLRegressor(loss="poisson").fit(X, 0 * Y)
    assert estimator.score(X, 0 * Y) == 0.0  # warnings are errors here


def test_the_score_is_that_of_the_deviance():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    rates = estimator.predict(NEW_X, groups=NEW_GROUPS)
    score = estimator.score(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert score == pytest.approx(d2_tweedie_score(NEW_Y, rates, power=1))
    weight = np.arange(72) / 10
    score = estimator.score(NEW_X, NEW_Y, groups=NEW_GROUPS, sample_weight=weight)
    expected = d2_tweedie_score(NEW_Y, rates, sample_weight=weight, power=1)
    assert score == pytest.approx(expected)


def test_a_rate_of_zero_has_a_score(monkeypatch):
    estimator = learned().fit(NEW_X, NEW_Y)
    monkeypatch.setattr(CMLRegressor, "predict", lambda *args, **kwargs: np.zeros(72))
    assert np.isfinite(estimator.score(NEW_X, NEW_Y))


def test_tags_say_what_y_may_be():
    tags = CMLRegressor(loss="poisson").__sklearn_tags__().target_tags
    assert tags.positive_only
    assert not tags.multi_output
    tags = CMLRegressor().__sklearn_tags__().target_tags
    assert not tags.positive_only
    assert tags.multi_output


def test_copies_and_the_same_seed_give_the_same_bits():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    expected = both(estimator, X, groups=GROUPS)
    copied = clone(estimator).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    for other in (pickle.loads(pickle.dumps(estimator)), copied):
        assert_array_equal(both(other, X, groups=GROUPS), expected)
    again = counts(early_stopping=False)
    first, second = (again.meta_fit(X, Y, groups=GROUPS).meta_history_ for _ in range(2))
    assert first == second


def test_no_row_is_in_the_file():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    blob = pickle.dumps(estimator)
    scaling = estimator._meta.scaling
    values = np.concatenate([X, NEW_X, scaling.features(X), scaling.features(NEW_X)]).ravel()
    assert not any(value.tobytes() in blob for value in values)


def test_a_curve_that_networks_learn_is_no_noise():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(120), 12)
    x = rng.uniform(-2, 2, size=(len(groups), 1))
    effect = 0.4 * rng.normal(size=120)
    y = rng.poisson(np.exp(1.2 + effect[groups] + np.sin(2 * x[:, 0]))).astype(float)
    seen, early = groups < 80, np.arange(len(groups)) % 12 < 4
    estimator = CMLRegressor(loss="poisson", meta_max_iter=150, random_state=0)
    estimator.meta_fit(x[seen], y[seen], groups=groups[seen])
    assert estimator._meta.scaling.dispersion > 1.5  # about a mixed model, which is linear
    assert estimator.prior_summary(as_frame=False).dispersion < 1.3
    later = ~seen & ~early
    estimator.fit(x[~seen & early], y[~seen & early], groups=groups[~seen & early])
    mean, std = estimator.predict(x[later], groups=groups[later], return_std=True)
    assert 0.7 < np.mean((y[later] - mean) ** 2 / std**2) < 1.4


def test_noise_in_proportion_to_the_count_is_not_followed():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    x = rng.normal(size=(600, 2))
    rate = 100 * np.exp(0.3 * x[:, 0] + 0.4 * rng.normal(size=60)[groups])
    y = rng.poisson(rate * rng.gamma(3, 1 / 3, size=600)).astype(float)
    estimator = mixed().meta_fit(x[:400], y[:400], groups=groups[:400])
    summary = estimator.prior_summary(as_frame=False)
    assert 20 < summary.dispersion < 50
    assert estimator.prior_summary().attrs["dispersion"] == summary.dispersion
    early = (np.arange(600) % 10 < 4) & (groups >= 40)
    later = ~early & (groups >= 40)
    estimator.fit(x[early], y[early], groups=groups[early])
    assert estimator.score(x[later], y[later], groups=groups[later]) > 0.1
    low, high = estimator.predict_quantiles(x[later], [0.05, 0.95], groups=groups[later]).T
    assert 0.8 < ((low <= y[later]) & (y[later] <= high)).mean() < 0.97
