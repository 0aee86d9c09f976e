"""The generalised linear mixed model, against its exact likelihood and against the truth."""

import dataclasses
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

from skcml.episodes import TaskRows
from skcml.likelihoods import Bernoulli, Categorical, Poisson
from skcml.mixed_glm import MAX_EFFECT, MAX_SPREAD, _bounded, _standardised, fit_mixed_glm

NODES = np.linspace(-5, 5, 201)
WEIGHTS = stats.norm.pdf(NODES) * 0.05


def draw(kind, *, n_tasks=200, size=6, omega=(0.3, 0.8), factor=((1.0,), (0.0,)), seed=0):
    """Draw tasks of one output with known effects."""
    rng = np.random.default_rng(seed)
    omega, factor = np.asarray(omega), np.asarray(factor)
    codes = np.repeat(np.arange(n_tasks), size)
    X = rng.normal(size=(len(codes), len(omega) - 1))
    coefficients = omega + rng.normal(size=(n_tasks, factor.shape[1])) @ factor.T
    eta = (np.column_stack([np.ones(len(X)), X]) * coefficients[codes]).sum(1)
    if kind == "poisson":
        y = rng.poisson(np.exp(eta)).astype(float)
    else:
        y = (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float)
    return TaskRows.from_codes(X, y[:, None], np.ones(len(y)), codes, n_tasks)


def exact_intercept_model(tasks, kind):
    """Maximise the exact likelihood of a random intercept, by quadrature over it.

    Returns
    -------
    omega : ndarray
    spread : float
    """
    z = np.column_stack([np.ones(len(tasks.X)), tasks.X])
    codes = np.repeat(np.arange(tasks.n_tasks), tasks.sizes)

    def cost(parameters):
        eta = (z @ parameters[:-1])[:, None] + np.exp(parameters[-1]) * NODES
        if kind == "poisson":
            log = stats.poisson.logpmf(tasks.y, np.exp(np.minimum(eta, 30.0)))
        else:
            log = -np.logaddexp(0, np.where(tasks.y > 0, -eta, eta))
        joint = np.zeros((tasks.n_tasks, len(NODES)))
        np.add.at(joint, codes, log)
        return -np.log((np.exp(joint) * WEIGHTS).sum(1)).sum()

    found = optimize.minimize(cost, np.zeros(z.shape[1] + 1), method="Nelder-Mead", tol=1e-5)
    return found.x[:-1], np.exp(found.x[-1])


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_a_random_intercept_is_that_of_the_exact_likelihood(kind, spread):
    tasks = draw(kind, factor=((spread,), (0.0,)))
    likelihood = Poisson() if kind == "poisson" else Bernoulli()
    (model,) = fit_mixed_glm(tasks, likelihood, structure="intercept", shrinkage=0.0, tol=1e-5)
    omega, exact = exact_intercept_model(tasks, kind)
    assert_allclose(model.omega, omega, atol=0.03)
    assert model.factor[0, 0] == pytest.approx(exact, rel=0.06, abs=0.02)
    assert (model.factor[1:] == 0).all()
    assert (model.structure, model.noise) == ("intercept", 1.0)


def test_the_truth_is_found_from_many_groups():
    factor = np.array([[0.8, 0.0], [0.5, 0.5]])
    tasks = draw("poisson", n_tasks=1_500, size=8, factor=factor)
    (model,) = fit_mixed_glm(tasks, Poisson(), shrinkage=0.0)
    assert_allclose(model.omega, [0.3, 0.8], atol=0.05)
    assert_allclose(model.factor @ model.factor.T, factor @ factor.T, atol=0.06)


def three_classes(n_tasks=600, size=10, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_tasks), size)
    X = rng.normal(size=(len(codes), 1))
    omega = np.array([[0.0, 0.0], [0.5, 1.0], [-0.5, -1.0]])
    shift = 0.8 * rng.normal(size=(n_tasks, 3))
    eta = omega[:, 0] + X * omega[:, 1] + shift[codes]
    y = np.eye(3)[(eta + rng.gumbel(size=eta.shape)).argmax(1)]
    return TaskRows.from_codes(X, y, np.ones(len(y)), codes, n_tasks)


def test_classes_have_effects_of_their_own():
    models = fit_mixed_glm(three_classes(), Categorical(), structure="intercept", shrinkage=0.0)
    omega = np.array([model.omega for model in models])
    # Only differences between classes are in the data.
    assert_allclose(omega[1:] - omega[0], [[0.5, 1.0], [-0.5, -1.0]], atol=0.15)
    spread = sum(model.factor[0, 0] ** 2 for model in models[:2])
    assert spread == pytest.approx(2 * 0.8**2, rel=0.25)


def test_two_coupled_logits_say_what_one_says():
    tasks = draw("bernoulli")
    both = dataclasses.replace(tasks, y=np.hstack([1 - tasks.y, tasks.y]))
    (one,) = fit_mixed_glm(tasks, Bernoulli(), shrinkage=0.0, tol=1e-4)
    first, second = fit_mixed_glm(both, Categorical(), shrinkage=0.0, tol=1e-4)
    assert_allclose(second.omega - first.omega, one.omega, atol=0.03)
    total = first.factor @ first.factor.T + second.factor @ second.factor.T
    assert_allclose(total, one.factor @ one.factor.T, atol=0.06)


# --- what enters, and how


@pytest.mark.parametrize("structure", ["full", "diagonal", "intercept"])
def test_the_structure_says_what_varies(structure):
    tasks = draw("poisson", factor=((0.8, 0.0), (0.5, 0.5)))
    (model,) = fit_mixed_glm(tasks, Poisson(), structure=structure)
    covariance = model.factor @ model.factor.T
    if structure == "full":
        assert covariance[0, 1] > 0.1
    else:
        assert abs(covariance[0, 1]) < 1e-6
        assert (covariance[1, 1] > 0.1) == (structure == "diagonal")


def test_shrinkage_takes_from_covariances():
    tasks = draw("poisson", n_tasks=40, factor=((0.8, 0.0), (0.5, 0.5)))
    correlations = []
    for shrinkage in (0.0, 5.0, 1e6):
        (model,) = fit_mixed_glm(tasks, Poisson(), shrinkage=shrinkage)
        covariance = model.factor @ model.factor.T
        correlations.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    assert correlations[0] > correlations[1] > correlations[2]
    assert abs(correlations[2]) < 1e-3


@pytest.mark.parametrize("likelihood", [Bernoulli(), Poisson()])
def test_a_row_of_weight_two_is_a_row_twice(likelihood):
    tasks = draw("bernoulli", n_tasks=60)
    weight = np.ones(len(tasks.X))
    weight[::3] = 2.0
    rows = np.repeat(np.arange(len(weight)), weight.astype(int))
    codes = np.repeat(np.arange(60), tasks.sizes)[rows]
    twice = TaskRows.from_codes(tasks.X[rows], tasks.y[rows], np.ones(len(rows)), codes, 60)
    once = dataclasses.replace(tasks, weight=weight)
    (a,), (b,) = (fit_mixed_glm(t, likelihood) for t in (once, twice))
    assert_allclose(a.omega, b.omega, atol=1e-6)
    assert_allclose(a.factor, b.factor, atol=1e-6)


def test_counts_over_exposures_are_rates_with_weights():
    rng = np.random.default_rng(0)
    tasks = draw("poisson", n_tasks=400)
    exposure = rng.uniform(0.5, 4.0, len(tasks.X))
    codes = np.repeat(np.arange(400), tasks.sizes)
    shift = 0.7 * rng.normal(size=400)
    counts = rng.poisson(exposure * np.exp(0.3 + 0.8 * tasks.X[:, 0] + shift[codes]))
    rates = dataclasses.replace(tasks, y=(counts / exposure)[:, None], weight=exposure)
    (model,) = fit_mixed_glm(rates, Poisson(), structure="intercept", shrinkage=0.0)
    assert_allclose(model.omega, [0.3, 0.8], atol=0.1)
    assert model.factor[0, 0] == pytest.approx(0.7, rel=0.12)


def test_groups_of_all_sizes_enter():
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.integers(1, 30, 60), [300]])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    X = rng.normal(size=(starts[-1], 2))
    y = (rng.random((starts[-1], 1)) < 0.3).astype(float)
    (model,) = fit_mixed_glm(TaskRows(X, y, np.ones(len(X)), starts), Bernoulli())
    assert np.isfinite(model.factor).all()
    assert model.omega[0] == pytest.approx(np.log(0.3 / 0.7), abs=0.2)


# --- far out


@pytest.mark.parametrize("likelihood", [Bernoulli(), Poisson()])
@pytest.mark.parametrize("case", ["separable", "all zero", "collinear", "constant", "large"])
def test_degenerate_data_leave_finite_numbers(likelihood, case):
    tasks = draw("bernoulli", n_tasks=20)
    X, y = tasks.X, tasks.y
    if case == "separable":
        y = (X > 0).astype(float)
    elif case == "all zero":
        y = np.zeros_like(y)
    elif case == "collinear":
        X = np.hstack([X, X])
    elif case == "constant":
        X = np.zeros_like(X)
    elif isinstance(likelihood, Poisson):
        y = 1e6 * (1 + y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (model,) = fit_mixed_glm(dataclasses.replace(tasks, X=X, y=y), likelihood)
    assert np.isfinite(model.omega).all()
    assert np.isfinite(model.factor).all()


def test_the_same_data_give_the_same_bits():
    tasks = three_classes(40)
    first, second = (fit_mixed_glm(tasks, Categorical()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a.factor, b.factor)
        assert_array_equal(a.omega, b.omega)


# --- bounds


def test_standardised_columns_and_the_way_back():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(2010.0, 5.0, 50), rng.normal(0.0, 1e-3, 50), np.full(50, 1e8)])
    tasks = TaskRows(X, np.zeros((50, 1)), rng.uniform(0.5, 2.0, 50), np.array([0, 50]))
    found, back = _standardised(tasks)
    assert_allclose(np.average(found.X, axis=0, weights=tasks.weight), 0.0, atol=1e-6)
    spread = np.average(found.X**2, axis=0, weights=tasks.weight)
    assert_allclose(spread, [1.0, 1.0, 0.0], atol=1e-6)
    coefficients = rng.normal(size=4)
    raw = back @ coefficients
    assert_allclose(
        raw[0] + X @ raw[1:], coefficients[0] + found.X @ coefficients[1:], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
def test_a_column_in_other_units_has_coefficients_in_other_units(kind):
    tasks = draw(kind, n_tasks=30)
    likelihood = Bernoulli() if kind == "bernoulli" else Poisson()
    means, covariances = [], []
    for X in (2010 + 5 * tasks.X, 0.01 * tasks.X - 3):
        (model,) = fit_mixed_glm(dataclasses.replace(tasks, X=X), likelihood)
        z = np.column_stack([np.ones(len(X)), X])
        means.append(z @ model.omega)
        covariances.append(z @ model.factor @ model.factor.T @ z.T)
    assert_allclose(means[1], means[0], atol=1e-6)
    assert_allclose(covariances[1], covariances[0], atol=1e-4)


def test_deviations_are_lowered_to_their_bounds_and_correlations_kept():
    half = np.random.default_rng(0).normal(size=(3, 5))
    sigma = half @ half.T
    deviation = np.sqrt(sigma.diagonal())
    scale = 2 * MAX_SPREAD / deviation.max()
    sigma, deviation = sigma * scale**2, deviation * scale
    found = _bounded(sigma)
    assert_allclose(np.sqrt(found.diagonal()), np.minimum(deviation, MAX_SPREAD))
    correlation = sigma / np.outer(deviation, deviation)
    scale = np.sqrt(found.diagonal())
    assert_allclose(found / np.outer(scale, scale), correlation)
    assert_array_equal(_bounded(sigma / 100), sigma / 100)
    assert_array_equal(_bounded(np.zeros((2, 2))), np.zeros((2, 2)))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical()])
def test_groups_of_one_class_each_have_effects_within_bounds(likelihood):
    tasks = draw("bernoulli", n_tasks=20)
    y = (np.repeat(np.arange(20), 6) % 2)[:, None].astype(float)
    if likelihood.is_coupled:
        y = np.hstack([y, 1 - y])
    models = fit_mixed_glm(dataclasses.replace(tasks, y=y), likelihood)
    _, back = _standardised(tasks)
    there = np.linalg.inv(back)
    for model in models:
        assert (abs(there @ model.omega) <= MAX_EFFECT * (1 + 1e-6)).all()
        deviation = np.sqrt(((there @ model.factor) ** 2).sum(1))
        assert (deviation <= MAX_SPREAD * (1 + 1e-6)).all()
        assert deviation[0] > 1  # the group tells the class
