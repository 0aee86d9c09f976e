"""Likelihoods: costs, derivatives and expectations against closed forms and brute force."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from skcml.likelihoods import (
    MAX_LOG_RATE,
    TINY,
    Bernoulli,
    Categorical,
    Poisson,
    SquaredError,
    count_quantiles,
)
from skcml.quasi_random import cholesky_of_doubt

RNG = np.random.default_rng(0)
ETA = RNG.normal(size=(3, 4, 5)) * 2
ONE_HOT = np.moveaxis(np.eye(3)[RNG.integers(3, size=(4, 5))], -1, 0)
CASES = {
    "bernoulli": (Bernoulli(), RNG.integers(2, size=ETA.shape).astype(float)),
    "poisson": (Poisson(), RNG.poisson(2.0, size=ETA.shape).astype(float)),
    "categorical": (Categorical(), ONE_HOT),
}
EACH = pytest.mark.parametrize("name", CASES)


def test_costs_are_negative_log_probabilities():
    likelihood, y = CASES["bernoulli"]
    p = 1 / (1 + np.exp(-ETA))
    assert_allclose(likelihood.nll(y, ETA), -stats.bernoulli.logpmf(y, p).sum(0))
    likelihood, y = CASES["poisson"]
    assert_allclose(likelihood.nll(y, ETA), -stats.poisson.logpmf(y, np.exp(ETA)).sum(0))
    likelihood, y = CASES["categorical"]
    p = np.exp(ETA) / np.exp(ETA).sum(0)
    assert_allclose(likelihood.nll(y, ETA), -np.log((y * p).sum(0)))


@EACH
def test_derivatives_are_those_of_the_cost(name):
    likelihood, y = CASES[name]
    eta = torch.tensor(ETA, requires_grad=True)
    likelihood.nll(torch.tensor(y), eta).sum().backward()
    mean, curvature = likelihood.slopes(ETA)
    assert_allclose(eta.grad.numpy(), mean - y, atol=1e-12)
    assert_allclose(likelihood.mean(torch.tensor(ETA)).numpy(), mean)
    for c in range(3):
        other = ETA.copy()
        other[c] += 1e-6
        slope = (likelihood.mean(other) - mean) / 1e-6
        expected = np.moveaxis(curvature[..., c], -1, 0) if likelihood.is_coupled else curvature[c]
        found = slope if likelihood.is_coupled else slope[c]
        assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@EACH
@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_roots_are_those_of_the_curvature(name, library):
    likelihood, _ = CASES[name]
    root = np.asarray(likelihood.root(library(ETA)))
    _, curvature = likelihood.slopes(ETA)
    if not likelihood.is_coupled:
        curvature = np.eye(3) * np.moveaxis(curvature, 0, -1)[..., None]
    assert_allclose(root.mT @ root, curvature, atol=1e-12)


def test_numbers_cost_half_their_squared_error():
    cost, y = SquaredError(), RNG.normal(size=ETA.shape)
    eta = torch.tensor(ETA, requires_grad=True)
    cost.nll(torch.tensor(y), eta).sum().backward()
    assert_allclose(cost.nll(y, ETA), 0.5 * ((y - ETA) ** 2).sum(0))
    assert_allclose(eta.grad.numpy(), cost.mean(ETA) - y)
    assert_array_equal(cost.root(ETA), np.broadcast_to(np.eye(3), (4, 5, 3, 3)))


@pytest.mark.parametrize("name", ["bernoulli", "poisson"])
@pytest.mark.parametrize("doubt", [1e-6, 0.5, 4.0])
def test_expectations_of_one_predictor_are_integrals(name, doubt):
    likelihood, _ = CASES[name]
    y, at = np.full((1, 1, 1), 1.0), np.full((1, 1, 1), 0.7)
    about = np.full((1, 1, 1), doubt)
    cost, (mean, curvature) = likelihood.expected_nll(y, at, about), likelihood.slopes(at, about)

    def expect(function):
        width = np.sqrt(doubt)
        return integrate.quad(
            lambda e: function(np.full((1, 1, 1), e)).item() * stats.norm.pdf(e, 0.7, width),
            0.7 - 12 * width,
            0.7 + 12 * width,
            points=[0.7],
        )[0]

    assert cost.item() == pytest.approx(expect(lambda e: likelihood.nll(y, e)), rel=1e-4)
    assert mean.item() == pytest.approx(expect(likelihood.mean), rel=1e-4)
    slope = expect(lambda e: likelihood.slopes(e)[1])
    assert curvature.item() == pytest.approx(slope, rel=2e-3)


def test_expectations_of_several_logits_are_integrals():
    likelihood, y = CASES["categorical"]
    root = RNG.normal(size=(3, 3)) * 0.7
    doubt = np.broadcast_to(root @ root.T, (4, 5, 3, 3))
    cost = likelihood.expected_nll(y, ETA, doubt)
    mean, curvature = likelihood.slopes(ETA, doubt)
    draws = np.random.default_rng(1).normal(size=(20_000, 3)) @ root.T
    at = ETA[None] + draws[..., None, None]
    p = likelihood.mean(at)
    assert_allclose(mean, p.mean(0), atol=0.01)
    assert_allclose(mean.sum(0), 1.0)
    assert_allclose(cost, likelihood.nll(y, at).mean(0), atol=0.05)
    second = np.einsum("sctn,sdtn->tncd", p, p) / len(p)
    diagonal = np.einsum("sctn,cd->tncd", p, np.eye(3)) / len(p)
    assert_allclose(curvature, diagonal - second, atol=0.01)
    assert (np.linalg.eigvalsh(curvature) > -1e-12).all()


@EACH
def test_no_doubt_is_a_doubt_of_zero(name):
    likelihood, y = CASES[name]
    shape = (4, 5, 3, 3) if likelihood.is_coupled else ETA.shape
    certain = np.zeros(shape)
    assert_allclose(likelihood.expected_nll(y, ETA, certain), likelihood.nll(y, ETA), atol=1e-5)
    for found, plain in zip(likelihood.slopes(ETA, certain), likelihood.slopes(ETA), strict=True):
        assert_allclose(found, plain, atol=1e-5)


@EACH
def test_far_out_nothing_overflows(name):
    likelihood, y = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for eta in (ETA * 1e6, -ETA * 1e6, ETA * 0):
            for part in (likelihood.nll(y, eta), *likelihood.slopes(eta)):
                assert np.isfinite(part).all()
    assert Poisson().mean(np.array([1e300])) == np.exp(MAX_LOG_RATE)


# --- predictions


@EACH
def test_predictive_moments_are_those_of_draws(name):
    likelihood, _ = CASES[name]
    rng = np.random.default_rng(3)
    eta = 0.5 * ETA
    root = 0.6 * np.tril(rng.normal(size=(3, 3))) + 0.3 * np.eye(3)
    covariance = root @ root.T
    if likelihood.is_coupled:
        doubt = np.broadcast_to(covariance, (4, 5, 3, 3))
    else:
        doubt = np.broadcast_to(covariance.diagonal()[:, None, None], eta.shape)
    mean, variance = likelihood.moments(eta, doubt)
    at = eta + np.moveaxis(rng.normal(size=(40_000, 1, 1, 3)) @ root.T, -1, 1)
    means = likelihood.mean(at)
    assert_allclose(mean, means.mean(0), rtol=0.05)
    within = means if name == "poisson" else means * (1 - means)
    assert_allclose(variance, within.mean(0) + means.var(0), rtol=0.2)


def test_log_densities_are_those_of_the_predictive_mean():
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=20).T
    labels = np.random.default_rng(1).integers(3, size=20)
    found = Categorical().log_density(np.eye(3)[labels].T, p)
    assert_allclose(found, np.log(p[labels, range(20)])[None])
    y = (labels > 0).astype(float)
    assert_allclose(Bernoulli().log_density(y, p[0]), stats.bernoulli.logpmf(y, p[0]))
    counts, rate = labels.astype(float), 5 * p[0]
    saturated = stats.poisson.logpmf(counts, counts) * (counts > 0)
    expected = stats.poisson.logpmf(counts, rate) - saturated
    assert_allclose(Poisson().log_density(counts, rate), expected, atol=1e-12)


def test_a_certain_mistake_costs_much_and_not_all():
    assert Bernoulli().log_density(np.array([1.0]), np.array([0.0])) == np.log(TINY)
    certain = Categorical().log_density(np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]]))
    assert certain == np.log(TINY)
    assert np.isfinite(Poisson().log_density(np.array([3.0]), np.array([0.0]))).all()


def test_a_doubt_that_rounding_made_indefinite_has_a_root():
    half = RNG.normal(size=(3, 1))
    doubt = half @ half.T - 1e-6 * np.eye(3)
    root = cholesky_of_doubt(doubt[None])
    assert_allclose(root @ root.mT, doubt[None], atol=1e-5)


# --- quantiles of counts

Q = np.array([0.001, 0.05, 0.5, 0.95, 0.999])


def test_quantiles_of_counts_are_those_of_a_negative_binomial():
    mean = np.array([[0.2, 1.0, 7.5, 300.0]])
    variance = mean * np.array([1.5, 2.0, 1.1, 40.0])
    n, p = mean**2 / (variance - mean), mean / variance
    # The moments are matched.
    assert_allclose(stats.nbinom.mean(n, p), mean)
    assert_allclose(stats.nbinom.var(n, p), variance)
    found = count_quantiles(mean, variance, Q)
    assert found.shape == (1, 4, 5)
    assert_allclose(found, stats.nbinom.ppf(Q, n[..., None], p[..., None]))


def test_without_more_variance_than_mean_they_are_those_of_a_poisson_distribution():
    mean = np.array([0.3, 2.0, 50.0])
    expected = stats.poisson.ppf(Q, mean[:, None])
    for variance in (mean, 0.5 * mean, mean * (1 + 1e-9)):
        assert_allclose(count_quantiles(mean, variance, Q), expected)
    # Which is what those of the other come near to.
    near = count_quantiles(mean, mean * (1 + 2e-6), Q)
    assert_allclose(near, expected)


def test_quantiles_of_counts_ascend_with_the_probability_and_the_mean():
    rng = np.random.default_rng(0)
    mean = np.exp(rng.uniform(-20, 30, 400))
    variance = mean * (1 + np.exp(rng.uniform(-20, 20, 400)))
    found = count_quantiles(mean, variance, Q)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()
    grid = np.exp(np.linspace(-3, 13.7, 200))
    medians = count_quantiles(grid, 1.3 * grid, np.array([0.5]))[:, 0]
    assert (np.diff(medians) >= 0).all()
    assert_array_equal(medians, np.round(medians))


def test_beyond_a_million_counts_are_continuous():
    mean = np.array([2e6, 1e20, 1e40])
    found = count_quantiles(mean, 3 * mean, Q)
    expected = stats.gamma.ppf(Q, mean[:, None] / 3, scale=3)
    assert_allclose(found, expected, rtol=1e-6)
    assert_allclose(found[:, 2], mean, rtol=1e-5)
    # And there the two kinds meet.
    low, high = count_quantiles(np.array([0.999e6, 1.001e6]), np.array([2.5e6, 2.5e6]), Q)
    assert_allclose(low / 0.999, high / 1.001, rtol=1e-4)


def test_a_mean_of_zero_has_quantiles_of_zero():
    assert_array_equal(count_quantiles(np.zeros(2), np.array([0.0, 1e-9]), Q), np.zeros((2, 5)))
