"""Penalised generalised linear models: minima, posteriors and their factors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from skcml.glm import GLM, solve
from skcml.likelihoods import Bernoulli, Categorical
from skcml.nearest_gaussian import gaussian_posterior
from tests.builders import draw_glm

KINDS = ["bernoulli", "poisson", "categorical"]
EACH = pytest.mark.parametrize("kind", KINDS)


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
    glm = draw_glm(kind)
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
    glm = draw_glm(kind, n_rows=n_rows)
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
    glm = draw_glm(kind, n_rows=n_rows)
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
    stacked = draw_glm(kind, stack=(2,))
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
    glm = draw_glm(kind)
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
    glm = draw_glm(kind)
    other = GLM(glm.likelihood, glm.design.copy(), glm.offset, glm.y, glm.weight)
    other.design[:, 0, -1] *= 100.0
    assert_allclose(solve(glm).u, solve(other).u, atol=1e-9)


# --- the posterior


def test_of_two_classes_two_logits_say_what_one_says():
    # The difference of two logits of variance 1/2 each is one of variance 1.
    one = draw_glm("bernoulli", n_logits=1)
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


# --- two ways to the same factor


@pytest.mark.parametrize("stack", [(), (2,)])
def test_of_coupled_logits_the_sum_over_rows_is_the_factor_of_the_rows(stack, monkeypatch):
    glm = draw_glm("categorical", n_rows=9, stack=stack)
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
