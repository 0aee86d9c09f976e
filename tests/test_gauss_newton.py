"""Gauss-Newton: one step where it is exact, and that it mends what residuals bend."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcml.rules.contrastive import Contrastive
from skcml.rules.strength import nudge_limit
from skcml.solvers import gauss_newton as module
from skcml.solvers.gauss_newton import GaussNewton
from tests.builders import proximal_episode, proximal_problem, proximal_theta


def case(layer="dense", hidden=(7,), log_strength=0.0, **options):
    problem = proximal_problem(layer, hidden=hidden)
    theta = proximal_theta(problem, log_strength=log_strength)
    return problem, theta, problem.embed(theta, proximal_episode(problem, **options))


def test_without_a_hidden_layer_one_step_is_exact():
    problem, theta, batch = case(hidden=())
    found = GaussNewton(tol=1e-10)(problem, theta, batch, 0.3)
    assert found.n_iter == 1
    assert found.converged.all()


@pytest.mark.parametrize("layer", ["dense", "modulated"])
def test_secants_save_steps_where_residuals_are_large(layer, monkeypatch):
    problem, theta, batch = case(layer, hidden=(7, 5))
    solver = GaussNewton(max_iter=500, tol=1e-8)
    found = solver(problem, theta, batch)
    monkeypatch.setattr(module, "HISTORY", 0)
    plain = solver(problem, theta, batch)
    assert found.converged.all()
    assert found.n_iter < plain.n_iter
    assert_allclose(found.phi, plain.phi, atol=1e-4)


def test_the_factor_is_made_when_it_is_asked_for_and_once(monkeypatch):
    problem, theta, batch = case()
    made = []
    inverse = type(problem).curvature_inverse
    monkeypatch.setattr(
        type(problem),
        "curvature_inverse",
        lambda self, *where: made.append(1) or inverse(self, *where),
    )
    found = GaussNewton(max_iter=2)(problem, theta, batch)
    assert len(made) == found.n_iter == 2
    for _ in range(3):
        found.solve_h(found.phi)
    assert len(made) == 3


@pytest.mark.parametrize("layer", ["dense", "modulated"])
@pytest.mark.parametrize("share", [2.0, 5.0, 30.0, 1e4])
def test_a_nudge_beyond_the_limit_of_a_task_is_not_usable(layer, share):
    problem, theta, batch = case(layer, log_strength=1.5)
    solver = GaussNewton(max_iter=50)
    free = solver(problem, theta, batch)
    limit = nudge_limit(problem, theta, batch, free)
    within = solver(problem, theta, batch, -0.5 * limit, init=free.phi)
    assert within.usable.all()
    beyond = solver(problem, theta, batch, -share * limit, init=free.phi)
    assert not np.isnan(beyond.phi).any()
    assert not beyond.usable.any()


@pytest.mark.parametrize("scheme", ["tangent", "symmetric"])
def test_the_contrastive_rule_runs_on_it(scheme):
    problem = proximal_problem(hidden=(7,))
    theta = proximal_theta(problem, log_strength=1.5)
    solver = GaussNewton(max_iter=100, tol=1e-9)
    found = Contrastive(scheme)(problem, solver, theta, proximal_episode(problem))
    assert found.n_left_out == 0
    assert np.isfinite(found.theta.vector).all()
