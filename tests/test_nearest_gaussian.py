"""The nearest Gaussian, against integrals of the posterior."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats

from skcml.glm import GLM, solve
from skcml.likelihoods import Bernoulli, Poisson
from skcml.nearest_gaussian import gaussian_posterior
from tests.builders import draw_glm

KINDS = ["bernoulli", "poisson", "categorical"]
EACH = pytest.mark.parametrize("kind", KINDS)


def exact_moments(glm):
    """Integrate the posterior of a single coefficient, task 0."""

    def density(u):
        return np.exp(-glm.objective(np.full((1, 1, 1), u))[0])

    total = integrate.quad(density, -15, 15, limit=500)[0]
    mean = integrate.quad(lambda u: u * density(u), -15, 15, limit=500)[0] / total
    square = integrate.quad(lambda u: u**2 * density(u), -15, 15, limit=500)[0] / total
    return mean, square - mean**2


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_gaussian_posterior_is_nearer_to_the_truth_than_the_mode(kind, scale):
    rows = np.full((1, 1, 4, 1), scale)
    y = np.zeros((1, 1, 4))
    likelihood = Bernoulli() if kind == "bernoulli" else Poisson()
    glm = GLM(likelihood, rows, np.zeros((1, 1, 4)), y, np.ones((1, 4)))
    mean, variance = exact_moments(glm)
    found, doubt = gaussian_posterior(glm)
    mode = solve(glm)
    assert abs(found.u.item() - mean) < 0.35 * abs(mode.u.item() - mean)
    assert abs(found.u.item() - mean) < 0.12
    assert doubt[0, 0, 0] == pytest.approx(scale**2 * variance, rel=0.35)

    # It minimises the divergence: no other Gaussian of its kind has a better bound.
    def bound(m, v):
        row = np.full((1, 1, 4), scale)
        cost = likelihood.expected_nll(y, m * row, v * row**2)
        return cost.sum() + 0.5 * (m**2 + v - np.log(v))

    best = optimize.minimize(lambda x: bound(x[0], np.exp(x[1])), [0.0, 0.0])
    assert found.u.item() == pytest.approx(best.x[0], abs=1e-3)
    assert doubt[0, 0, 0] / scale**2 == pytest.approx(np.exp(best.x[1]), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-8, 1e3, 1e8])
def test_extreme_designs_leave_finite_numbers(kind, scale):
    glm = draw_glm(kind)
    glm = GLM(glm.likelihood, scale * glm.design, glm.offset, glm.y, glm.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, doubt = gaussian_posterior(glm)
    assert np.isfinite(found.u).all()
    assert np.isfinite(doubt).all()


def test_large_counts_are_reached_from_afar():
    y = np.array([[[0.0, 1e6, 3e6]]])
    glm = GLM(Poisson(), np.full((1, 1, 3, 1), 20.0), np.zeros((1, 1, 3)), y, np.ones((1, 3)))
    found = solve(glm)
    assert found.u.item() * 20 == pytest.approx(np.log(4e6 / 3), abs=1e-3)


def test_without_rows_there_is_the_prior():
    glm = GLM(
        Bernoulli(),
        np.zeros((1, 2, 0, 3)),
        np.zeros((1, 2, 0)),
        np.zeros((1, 2, 0)),
        np.zeros((2, 0)),
    )
    found, _ = gaussian_posterior(glm)
    assert (found.u == 0).all()
    assert_allclose(found.curvature.solve(np.ones((1, 2, 3))), 1.0)


def test_the_integrated_probability_is_that_of_the_posterior():
    # One coefficient, four rows; the truth by quadrature.
    rows, y = np.ones((1, 1, 4, 1)) * 2.0, np.array([[[1.0, 1.0, 1.0, 0.0]]])
    glm = GLM(Bernoulli(), rows, np.zeros((1, 1, 4)), y, np.ones((1, 4)))
    grid = np.linspace(-8, 8, 4001)
    density = np.exp([-glm.objective(np.full((1, 1, 1), u))[0] for u in grid])
    truth = np.average(stats.logistic.cdf(2.0 * grid), weights=density)
    found, doubt = gaussian_posterior(glm)
    p, _ = Bernoulli().slopes(glm.eta(found.u), doubt)
    assert p[0, 0, 0] == pytest.approx(truth, abs=0.005)


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
@pytest.mark.parametrize("stack", [(), (2,)])
def test_with_few_rows_the_posterior_is_that_without_the_short_cut(kind, stack):
    glm = draw_glm(kind, n_rows=3, n_columns=6, stack=stack)
    found, doubt = gaussian_posterior(glm, tol=1e-9)
    # Rows of weight zero make them many, and change nothing.
    wide = [(0, 0)] * (glm.design.ndim - 2)
    many = GLM(
        glm.likelihood,
        np.pad(glm.design, [*wide, (0, 4), (0, 0)], constant_values=0.3),
        np.pad(glm.offset, [*wide, (0, 4)]),
        np.pad(glm.y, [(0, 0), (0, 0), (0, 4)]),
        np.pad(glm.weight, [(0, 0), (0, 4)]),
    )
    expected, its_doubt = gaussian_posterior(many, tol=1e-9)
    assert_allclose(found.u, expected.u, atol=1e-6)
    assert_allclose(doubt, its_doubt[..., :3], atol=1e-6)
    direction = np.random.default_rng(2).normal(size=found.u.shape)
    expected = expected.curvature.solve(direction)
    assert_allclose(found.curvature.solve(direction), expected, atol=1e-6)
    # From where it would come to rest, it does not move.
    again, _ = gaussian_posterior(glm, init=found.u, doubt=doubt, tol=1e-9)
    assert_allclose(again.u, found.u, atol=1e-6)
