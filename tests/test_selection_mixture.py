"""Mixture weights, moments of mixtures, and the shape of intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

from skcml.selection.mixture import (
    LEVELS,
    PRUNE_BELOW,
    Densities,
    IntervalShape,
    moments,
    stacking_weights,
)

QUANTILES = np.linspace(0.001, 0.999, 999)


def predictions(shares, n_rows=600, n_outputs=2, seed=0):
    """Draw y from members with given shares, and return their densities of it."""
    rng = np.random.default_rng(seed)
    mean = 2.0 * rng.normal(size=(len(shares), n_outputs, n_rows))
    variance = rng.uniform(0.3, 1.0, size=mean.shape)
    member = rng.choice(len(shares), size=(n_outputs, n_rows), p=shares)
    pick = np.ix_(range(n_outputs), range(n_rows))
    y = mean[(member, *pick)] + np.sqrt(variance[(member, *pick)]) * rng.normal(size=member.shape)
    return Densities(mean, variance), y


def weigh(log_density, row_weight=None, row_group=None, seed=0):
    n_rows = log_density.shape[-1]
    return stacking_weights(
        log_density,
        np.ones(n_rows) if row_weight is None else row_weight,
        np.arange(n_rows) if row_group is None else row_group,
        np.random.default_rng(seed),
    )


# --- densities and weights


def test_log_densities_are_those_of_gaussians():
    densities, y = predictions([0.5, 0.5])
    expected = stats.norm.logpdf(y, densities.mean, np.sqrt(densities.variance))
    assert_allclose(densities.log_density(y), expected, rtol=1e-12)


@pytest.mark.parametrize("shares", [(0.3, 0.7), (0.5, 0.3, 0.2)])
def test_weights_recover_the_shares_of_the_members(shares):
    densities, y = predictions(shares, n_rows=4_000)
    weights = weigh(densities.log_density(y))
    assert_allclose(weights, np.tile(np.array(shares)[:, None], 2), atol=0.05)


def test_weights_are_the_best_ones():
    densities, y = predictions([0.3, 0.7], n_rows=4_000, n_outputs=1)
    density = np.exp(densities.log_density(y))[:, 0]

    def loss(w):
        return -np.log(w * density[0] + (1 - w) * density[1]).mean()

    best = optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    # The mean over samples of the groups has an error of its own.
    assert weigh(densities.log_density(y))[0, 0] == pytest.approx(best, abs=0.015)


@pytest.mark.parametrize("better", [0, 1])
def test_a_member_that_is_better_throughout_has_all_the_weight(better):
    y = np.random.default_rng(0).normal(size=(1, 300))
    mean = np.stack([y + 0.1, y + 3.0])
    densities = Densities(mean if better == 0 else mean[::-1], np.full((2, 1, 300), 0.5))
    weights = weigh(densities.log_density(y))
    assert_array_equal(weights[:, 0], [1.0, 0.0] if better == 0 else [0.0, 1.0])


def test_each_output_has_weights_of_its_own():
    (densities, y), (_, other) = (predictions([s, 1 - s], n_rows=2_000) for s in (0.0, 1.0))
    both = np.stack([y[0], other[1]])
    weights = weigh(densities.log_density(both))
    assert weights[0, 0] < 0.05
    assert weights[0, 1] > 0.95


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 8),
    st.sampled_from([0.1, 1.0, 30.0, 1e4]),
)
def test_weights_are_shares(seed, n_members, n_outputs, n_groups, spread):
    rng = np.random.default_rng(seed)
    log_density = spread * rng.normal(size=(n_members, n_outputs, 40))
    group = rng.permutation(np.arange(40) % n_groups)
    weight = rng.uniform(0.1, 2.0, 40)
    weights = weigh(log_density, weight, group, seed)
    assert weights.shape == (n_members, n_outputs)
    assert_allclose(weights.sum(0), 1.0, rtol=1e-12)
    assert ((weights == 0) | (weights >= PRUNE_BELOW)).all()
    # The same again, in the same bits, and in another order of members.
    assert weigh(log_density, weight, group, seed).tobytes() == weights.tobytes()
    order = rng.permutation(n_members)
    assert_allclose(weigh(log_density[order], weight, group, seed), weights[order], atol=1e-9)
    # A constant, and a factor on all weights, say nothing.
    shifted = log_density + rng.normal(size=(1, n_outputs, 40))
    assert_allclose(weigh(shifted, weight, group, seed), weights, atol=1e-9)
    assert_allclose(weigh(log_density, 7 * weight, group, seed), weights, atol=1e-9)


def test_equal_members_share_equally():
    log_density = np.repeat(np.random.default_rng(0).normal(size=(1, 1, 50)), 4, axis=0)
    assert_allclose(weigh(log_density), np.full((4, 1), 0.25))


def test_a_heavy_row_decides():
    log_density = np.zeros((2, 1, 10))
    log_density[0, 0, 0], log_density[1, 0, 1:] = 3.0, 3.0
    light, heavy = np.ones(10), np.ones(10)
    heavy[0] = 1e4
    assert weigh(log_density, light)[0, 0] < 0.3
    assert weigh(log_density, heavy)[0, 0] > 0.95


def test_few_groups_leave_more_doubt_than_many():
    # The same rows, of few groups or of many: the weights of few are further from a verdict.
    rng = np.random.default_rng(0)
    log_density = np.zeros((2, 1, 1_000))
    log_density[0] = 0.35 + 2.0 * np.repeat(rng.normal(size=10), 100)
    many = [weigh(log_density, row_group=rng.permutation(1_000), seed=s)[0, 0] for s in range(20)]
    few = [weigh(log_density, row_group=np.arange(1_000) // 100, seed=s)[0, 0] for s in range(20)]
    assert np.std(few) > 3 * np.std(many)


# --- moments


def test_moments_are_those_of_a_sample_of_the_mixture():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(3, 2, 4)), rng.uniform(0.2, 2.0, (3, 2, 4))
    weights = np.array([[0.2, 1.0], [0.5, 0.0], [0.3, 0.0]])
    found_mean, found_variance = moments(mean, variance, weights)
    n = 400_000
    for output in range(2):
        member = rng.choice(3, n, p=weights[:, output])
        deviations = np.sqrt(variance[member, output]) * rng.normal(size=(n, 4))
        sample = mean[member, output] + deviations
        assert_allclose(found_mean[output], sample.mean(0), atol=0.02)
        assert_allclose(found_variance[output], sample.var(0), rtol=0.02)
    assert_allclose(found_mean[1], mean[0, 1])
    assert_allclose(found_variance[1], variance[0, 1])


def test_moments_follow_their_formula():
    mean, variance = np.array([[[1.0]], [[5.0]]]), np.array([[[2.0]], [[4.0]]])
    mixed, total = moments(mean, variance, np.array([[0.25], [0.75]]))
    assert mixed.item() == 4.0
    assert total.item() == 0.25 * (2 + 9) + 0.75 * (4 + 1)
    alone, nothing = moments(mean, None, np.array([[0.25], [0.75]]))
    assert alone.item() == 4.0
    assert nothing is None


# --- intervals


def fit(z, n_groups=10_000, weight=None):
    z = np.atleast_2d(z)
    return IntervalShape.fit(z, np.ones(z.shape[1]) if weight is None else weight, n_groups)


def coverage(shape, z, level):
    low, high = shape.ppf(np.array([0.5 - level / 2, 0.5 + level / 2]))[0]
    return ((z > low) & (z < high)).mean()


def test_a_gaussian_shape_is_gaussian():
    shape = IntervalShape.gaussian(2)
    expected = stats.norm.ppf(QUANTILES)
    assert_allclose(shape.ppf(QUANTILES), np.stack([expected, expected]), rtol=1e-12, atol=1e-15)


def test_gaussian_errors_give_gaussian_quantiles():
    z = np.random.default_rng(0).normal(size=40_000)
    inside = QUANTILES[(QUANTILES > 0.01) & (QUANTILES < 0.99)]
    assert_allclose(fit(z).ppf(inside)[0], stats.norm.ppf(inside), atol=0.05)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("degrees", [4, np.inf])
def test_intervals_hold_what_they_say_on_fresh_errors(scale, degrees):
    rng = np.random.default_rng(1)
    z = scale * (rng.standard_t(degrees, 6_000) if degrees < 5 else rng.normal(size=6_000))
    shape = fit(z[:3_000])
    for level in (0.5, 0.8, 0.9, 0.95):
        assert coverage(shape, z[3_000:], level) == pytest.approx(level, abs=0.025)
    assert coverage(shape, z[3_000:], 0.9) == pytest.approx(0.9, abs=0.015)


def test_a_gaussian_would_not_hold_what_it_says():
    # What the shape is for: standardised to unit variance, heavy tails are calm in the middle.
    rng = np.random.default_rng(2)
    z = rng.standard_t(4, 20_000) / np.sqrt(2.0)
    plain, learned = IntervalShape.gaussian(1), fit(z[:10_000])
    assert coverage(plain, z[10_000:], 0.5) > 0.55
    assert coverage(learned, z[10_000:], 0.5) == pytest.approx(0.5, abs=0.02)


def test_weights_of_rows_count():
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.normal(size=3_000), 3 * rng.normal(size=3_000)])
    weight = np.repeat([1.0, 1e-6], 3_000)
    assert coverage(fit(z, weight=weight), z[:3_000], 0.9) == pytest.approx(0.9, abs=0.01)
    counts = rng.integers(1, 4, 200)
    found = fit(z[:200], weight=counts.astype(float)).ppf(QUANTILES)
    assert_allclose(found, fit(np.repeat(z[:200], counts)).ppf(QUANTILES), rtol=0.1, atol=0.02)


def test_few_groups_keep_to_the_gaussian():
    z = 3.0 * np.random.default_rng(4).standard_t(3, 2_000)
    distance = [
        abs(fit(z, n).ppf(LEVELS) - stats.norm.ppf(LEVELS)).max() for n in (0, 1, 5, 50, 10**6)
    ]
    assert distance[0] < 1e-12
    assert (np.diff(distance) > 0).all()
    assert distance[1] < 0.1 * distance[-1]


def test_each_output_has_a_shape_of_its_own():
    rng = np.random.default_rng(5)
    z = np.stack([0.5 * rng.normal(size=2_000), rng.standard_t(4, 2_000)])
    both = fit(z).ppf(QUANTILES)
    for output in range(2):
        assert_array_equal(both[output], fit(z[output]).ppf(QUANTILES)[0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1e3]), st.floats(-5, 5)), min_size=1, max_size=30
    ),
    st.integers(1, 10**6),
)
def test_quantiles_never_cross_and_are_symmetric(z, n_groups):
    quantiles = fit(z, n_groups).ppf(QUANTILES)[0]
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0).all()
    assert_allclose(quantiles, -quantiles[::-1], rtol=1e-9, atol=1e-12)
    assert quantiles[499] == 0.0
    # Nor far out, where no error was.
    tail = fit(z, n_groups).ppf(1 - np.logspace(-1, -12, 50))[0]
    assert (np.diff(tail) > 0).all()
