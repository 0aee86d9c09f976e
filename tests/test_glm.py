"""Penalised generalised linear models: minima, posteriors and their factors."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats
from sklearn.linear_model import LogisticRegression

from skcml.glm import GLM, gaussian_posterior, solve
from skcml.likelihoods import Bernoulli, Categorical, Poisson

KINDS = ["bernoulli", "poisson", "categorical"]
EACH = pytest.mark.parametrize("kind", KINDS)


def draw(kind, *, n_rows=5, n_columns=4, n_tasks=3, n_logits=3, seed=0, stack=()):
    """Draw problems, with weights and a padded row; optionally a stack that shares y."""
    rng = np.random.default_rng(seed)
    shape = (*stack, n_logits, n_tasks, n_rows)
    design, offset = rng.normal(size=(*shape, n_columns)), 0.3 * rng.normal(size=shape)
    if kind == "categorical":
        y = np.moveaxis(np.eye(n_logits)[rng.integers(n_logits, size=shape[-2:])], -1, 0)
    elif kind == "poisson":
        y = rng.poisson(1.5, size=shape[-3:]).astype(float)
    else:
        y = rng.integers(2, size=shape[-3:]).astype(float)
    weight = rng.uniform(0.5, 2.0, (n_tasks, n_rows))
    weight[0, -1] = 0.0
    likelihood = {"bernoulli": Bernoulli, "poisson": Poisson, "categorical": Categorical}[kind]()
    return GLM(likelihood, design, offset, y, weight)


def hessian(glm, u, task, eps=1e-5):
    """Differentiate one task's gradient; in the order of logits, then columns."""
    n_logits, _, n_columns = u.shape
    columns = []
    for c in range(n_logits):
        for p in range(n_columns):
            up, down = u.copy(), u.copy()
            up[c, task, p] += eps
            down[c, task, p] -= eps
            slope = (glm.gradient(up)[0] - glm.gradient(down)[0])[:, task] / (2 * eps)
            columns.append(slope.ravel())
    return np.array(columns)


@EACH
def test_the_gradient_is_that_of_the_objective(kind):
    glm = draw(kind)
    u = np.random.default_rng(1).normal(size=(3, 3, 4))
    gradient, _ = glm.gradient(u)
    for index in np.ndindex(u.shape):
        up, down = u.copy(), u.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        slope = (glm.objective(up) - glm.objective(down)) / 2e-6
        assert slope[index[1]] == pytest.approx(gradient[index], abs=1e-7)


@EACH
@pytest.mark.parametrize("n_rows", [1, 5, 40])  # in the dual and in the primal
def test_the_minimum_has_no_gradient_and_scipy_finds_it_too(kind, n_rows):
    glm = draw(kind, n_rows=n_rows)
    found = solve(glm)
    assert found.grad_norm.max() < 1e-7
    assert found.n_iter < 15
    for task in range(3):

        def cost(flat, task=task):
            u = found.u.copy()
            u[:, task] = flat.reshape(3, 4)
            return glm.objective(u)[task]

        best = optimize.minimize(cost, np.zeros(12), method="BFGS", options={"gtol": 1e-7})
        assert_allclose(found.u[:, task].ravel(), best.x, atol=1e-5)


@EACH
@pytest.mark.parametrize("n_rows", [2, 40])
def test_the_curvature_is_the_hessian(kind, n_rows):
    glm = draw(kind, n_rows=n_rows)
    found = solve(glm)
    direction = np.random.default_rng(2).normal(size=found.u.shape)
    solved = found.curvature.solve(direction)
    doubt = found.curvature.doubt(glm.design)
    for task in range(3):
        inverse = np.linalg.inv(hessian(glm, found.u, task))
        assert_allclose(
            solved[:, task].ravel(), inverse @ direction[:, task].ravel(), rtol=1e-4, atol=1e-6
        )
        for row in range(n_rows):
            a = np.zeros((3, 12))
            for c in range(3):
                a[c, 4 * c : 4 * c + 4] = glm.design[c, task, row]
            expected = a @ inverse @ a.T
            if kind == "categorical":
                assert_allclose(doubt[task, row], expected, rtol=1e-4, atol=1e-6)
            else:
                assert_allclose(doubt[:, task, row], expected.diagonal(), rtol=1e-4, atol=1e-6)


@EACH
def test_a_stack_is_solved_as_its_members(kind):
    stacked = draw(kind, stack=(2,))
    both = solve(stacked)
    posterior, doubt = gaussian_posterior(stacked)
    for member in range(2):
        one = GLM(
            stacked.likelihood,
            stacked.design[member],
            stacked.offset[member],
            stacked.y,
            stacked.weight,
        )
        assert_allclose(both.u[member], solve(one).u, atol=1e-7)
        alone, its_doubt = gaussian_posterior(one)
        assert_allclose(posterior.u[member], alone.u, atol=1e-5)
        assert_allclose(doubt[member], its_doubt, atol=1e-5)


def test_logistic_regression_is_scikit_learns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = rng.integers(4, size=60)
    design = np.broadcast_to(X[None, None], (4, 1, 60, 3))
    one_hot = np.eye(4)[y].T[:, None]
    many = GLM(Categorical(), design, np.zeros((4, 1, 60)), one_hot, np.ones((1, 60)))
    reference = LogisticRegression(fit_intercept=False, tol=1e-10).fit(X, y)
    assert_allclose(solve(many).u[:, 0], reference.coef_, atol=1e-5)
    two = (y > 1).astype(float)
    one = GLM(Bernoulli(), design[:1], np.zeros((1, 1, 60)), two[None, None], np.ones((1, 60)))
    reference = LogisticRegression(fit_intercept=False, tol=1e-10).fit(X, two)
    assert_allclose(solve(one).u[0], reference.coef_, atol=1e-5)


@EACH
def test_a_row_of_weight_two_is_a_row_twice(kind):
    glm = draw(kind)
    weight = np.ones((3, 5))
    weight[:, 0] = 2.0
    twice = GLM(
        glm.likelihood,
        np.concatenate([glm.design, glm.design[..., :1, :]], axis=-2),
        np.concatenate([glm.offset, glm.offset[..., :1]], axis=-1),
        np.concatenate([glm.y, glm.y[..., :1]], axis=-1),
        np.ones((3, 6)),
    )
    once = GLM(glm.likelihood, glm.design, glm.offset, glm.y, weight)
    assert_allclose(solve(once).u, solve(twice).u, atol=1e-8)
    assert_allclose(gaussian_posterior(once)[0].u, gaussian_posterior(twice)[0].u, atol=1e-6)


@EACH
def test_a_weightless_row_has_no_say(kind):
    glm = draw(kind)
    other = GLM(glm.likelihood, glm.design.copy(), glm.offset, glm.y, glm.weight)
    other.design[:, 0, -1] *= 100.0
    assert_allclose(solve(glm).u, solve(other).u, atol=1e-9)


# --- the posterior


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


def test_of_two_classes_two_logits_say_what_one_says():
    # The difference of two logits of variance 1/2 each is one of variance 1.
    one = draw("bernoulli", n_logits=1)
    two = GLM(
        Categorical(),
        np.concatenate([-one.design, one.design]) / 2 * np.sqrt(2),
        np.concatenate([0 * one.offset, one.offset]),
        np.concatenate([1 - one.y, one.y]),
        one.weight,
    )
    difference = np.diff(two.eta(solve(two).u), axis=0)
    assert_allclose(difference, one.eta(solve(one).u), atol=1e-6)
    difference = np.diff(two.eta(gaussian_posterior(two)[0].u), axis=0)
    assert_allclose(difference, one.eta(gaussian_posterior(one)[0].u), atol=0.02)


# --- far out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-8, 1e3, 1e8])
def test_extreme_designs_leave_finite_numbers(kind, scale):
    glm = draw(kind)
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


# --- two ways to the same factor


@pytest.mark.parametrize("stack", [(), (2,)])
def test_of_coupled_logits_the_sum_over_rows_is_the_factor_of_the_rows(stack, monkeypatch):
    glm = draw("categorical", n_rows=9, stack=stack)
    u = np.random.default_rng(1).normal(size=(*stack, 3, 3, 4))
    _, rows = glm.gradient(u)
    primal = glm.factorize(rows)
    assert primal.system.design.shape[-2] == 0  # no rows are kept
    # As if rows were few: the dual.
    small = GLM(
        glm.likelihood,
        np.concatenate([glm.design, np.zeros((*stack, 3, 3, 9, 8))], axis=-1),
        glm.offset,
        glm.y,
        glm.weight,
    )
    dual = small.factorize(rows)
    assert dual.system.form == "dual"
    direction = np.random.default_rng(2).normal(size=u.shape)
    padded = np.concatenate([direction, np.zeros((*u.shape[:-1], 8))], axis=-1)
    assert_allclose(primal.solve(direction), dual.solve(padded)[..., :4], atol=1e-8)
    assert_allclose(primal.doubt(glm.design), dual.doubt(small.design), atol=1e-8)
    assert_allclose(primal.covariance(4), dual.covariance(12)[..., :4, :4], atol=1e-8)
    gram = glm._gram(rows)
    assert gram.shape == (*stack, 3, 12, 12)
    assert_allclose(gram, gram.mT)
    for task in range(3):
        for index in np.ndindex(*stack):
            expected = np.zeros((12, 12))
            for row in range(9):
                a = np.zeros((3, 12))
                for c in range(3):
                    a[c, 4 * c : 4 * c + 4] = glm.design[*index, c, task, row]
                expected += glm.weight[task, row] * a.T @ rows[*index, task, row] @ a
            assert_allclose(gram[*index, task], expected, atol=1e-10)


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
@pytest.mark.parametrize("stack", [(), (2,)])
def test_with_few_rows_the_posterior_is_that_without_the_short_cut(kind, stack):
    glm = draw(kind, n_rows=3, n_columns=6, stack=stack)
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
