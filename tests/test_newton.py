"""Newton's method as an inner solver: the minimum, its factor, and how far it got."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcml.solvers import newton as module
from skcml.solvers.newton import newton
from tests.asserts import assert_solve_h_inverts_curvature, assert_stationary
from tests.builders import BODIES, LIKELIHOODS, glm_episode, glm_problem, random_theta

EACH = pytest.mark.parametrize("kind", LIKELIHOODS)


def case(kind, hidden=(), **options):
    problem = glm_problem(kind, hidden)
    return problem, random_theta(problem), glm_episode(problem, **options)


@EACH
@pytest.mark.parametrize("hidden", BODIES)
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("n_support", [3, 30])
def test_it_ends_at_the_minimum(kind, hidden, beta, n_support):
    problem, theta, episode = case(kind, hidden, n_support=n_support)
    assert_stationary(problem, newton, theta, episode, beta, tol=1e-6)
    assert_solve_h_inverts_curvature(problem, newton, theta, episode, beta, rtol=1e-4)


@EACH
def test_each_task_may_have_a_strength_of_its_own(kind):
    problem, theta, episode = case(kind)
    batch = problem.embed(theta, episode)
    strengths = np.array([0.0, 0.1, 0.5, 2.0])
    found = newton(problem, theta, batch, strengths)
    for t, beta in enumerate(strengths):
        one = newton(problem, theta, batch, float(beta))
        assert_allclose(found.phi[:, t], one.phi[:, t], atol=1e-7)


@EACH
def test_a_good_start_saves_iterations(kind):
    problem, theta, episode = case(kind)
    batch = problem.embed(theta, episode)
    free = newton(problem, theta, batch)
    assert newton(problem, theta, batch, init=free.phi).n_iter == 0
    again = newton(problem, theta, batch, 1e-3, init=free.phi)
    assert again.n_iter < newton(problem, theta, batch, 1e-3).n_iter


def test_what_did_not_converge_is_said(monkeypatch):
    problem, theta, episode = case("categorical")
    batch = problem.embed(theta, episode)
    solve = module.solve
    monkeypatch.setattr(module, "solve", lambda glm, **how: solve(glm, **how | {"max_iter": 1}))
    found = newton(problem, theta, batch)
    assert found.n_iter == 1
    assert not found.usable.all()
    assert (found.usable == (found.grad_norm < module.USABLE)).all()
