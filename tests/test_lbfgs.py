"""L-BFGS: how many steps a quadratic takes, by what is remembered and by what the prior knows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcml.solvers.closed_form import closed_form
from skcml.solvers.lbfgs import LBFGS
from tests.builders import head_problem, random_episode, random_theta
from tests.quadratics import Quadratics


def turned(curvatures):
    """Return one task whose curvatures are along directions of no axis."""
    rng = np.random.default_rng(0)
    n = len(curvatures)
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return Quadratics(axes * curvatures @ axes.T[None], rng.normal(size=(1, 1, n)))


@pytest.mark.parametrize("n_params", [2, 3, 5, 8])
def test_with_a_full_history_a_quadratic_takes_about_a_step_for_each_dimension(n_params):
    problem = turned(np.geomspace(1.0, 3.0, n_params))
    full, last = (LBFGS(tol=1e-8, history_size=size)(problem, None, None) for size in (n_params, 1))
    assert full.converged.all()
    assert last.converged.all()
    assert_allclose(full.phi, 0, atol=1e-7)
    assert n_params <= full.n_iter <= 2 * n_params
    # The last secant alone is a full history of two dimensions at most.
    assert (last.n_iter == full.n_iter) == (n_params == 2)
    assert last.n_iter >= full.n_iter


def test_a_history_of_one_is_enough_for_two_dimensions_however_they_differ():
    for curvature in (10.0, 30.0, 100.0):
        found = LBFGS(tol=1e-8, history_size=1)(turned([1.0, curvature]), None, None)
        assert found.n_iter == 3
        assert found.converged.all()


def test_its_first_step_is_that_of_the_prior():
    curvatures = np.array([[1.0, 50.0, 1e4], [3.0, 2.0, 1.0]])
    # Where the prior is all there is to the energy, one step is exact.
    known = Quadratics.diagonal(curvatures, prior=curvatures)
    assert LBFGS()(known, None, None).n_iter == 1
    assert LBFGS()(Quadratics.diagonal(curvatures), None, None).n_iter > 3
    problem = Quadratics.diagonal(curvatures, prior=3 * curvatures)
    found = LBFGS(max_iter=1)(problem, None, None)
    assert_allclose(found.phi, 2 / 3)


def test_a_prior_of_another_size_is_rescaled_once_a_step_has_shown_it():
    curvatures = np.array([[1.0, 50.0, 1e4], [3.0, 2.0, 1.0]])
    found = LBFGS(tol=1e-9)(Quadratics.diagonal(curvatures, prior=3 * curvatures), None, None)
    assert found.n_iter == 2
    assert found.converged.all()


def test_a_condition_number_of_a_million_is_solved():
    problem = head_problem(n_outputs=2)
    theta, episode = random_theta(problem), random_episode(problem)
    theta["log_noise"][...] = -12.0
    batch = problem.embed(theta, episode)
    system = problem.least_squares(theta, batch, 0.0)
    eye = np.eye(system.u.shape[-1])
    hessian = eye + system.design.mT @ (system.precision[..., None] * system.design)
    assert np.linalg.cond(hessian).max() > 1e6
    found = LBFGS(max_iter=1000, tol=1e-8)(problem, theta, batch)
    assert found.converged.all()
    expected = closed_form(problem, theta, batch).phi
    assert_allclose(found.phi, expected, rtol=1e-5, atol=1e-5)
