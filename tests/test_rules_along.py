"""The gradient of a loss whose minimum moves in a known direction."""

import numpy as np
import pytest

from skcml.rules.along import CONTRAST_WIDTH, terms_along
from tests.builders import relative_error
from tests.rules import CASES, exact_gradient, head_case, network_case


@pytest.mark.parametrize("name", ["ridge", "categorical", "linear synapses"])
def test_with_the_minimums_own_direction_it_is_exact(name):
    problem, solver, theta, episode = CASES[name]()
    batch = problem.embed(theta, episode)
    free = solver(problem, theta, batch)
    move = -free.solve_h(problem.loss_phi_grad(free.phi, theta, batch))
    found = problem.theta_grad(terms_along(problem, free.phi, move), theta, batch).vector / 4
    exact = exact_gradient(problem, solver, theta, episode).vector
    assert relative_error(found, exact) < (1e-10 if problem.is_quadratic else 1e-7)


def test_an_energy_that_is_not_quadratic_is_contrasted_nearby():
    problem, solver, theta, episode = network_case()
    phi = solver(problem, theta, problem.embed(theta, episode)).phi
    plus, minus, at = terms_along(problem, phi, 3.0 * phi)
    width = np.linalg.norm(plus.phi - phi, axis=(0, 2))
    np.testing.assert_allclose(width, CONTRAST_WIDTH, rtol=1e-8)
    np.testing.assert_allclose(plus.phi + minus.phi, 2 * phi)
    assert at.energy is None
    assert (at.loss == 1).all()


@pytest.mark.parametrize("case", [head_case, network_case])
def test_no_move_leaves_the_direct_derivative(case):
    problem, solver, theta, episode = case()
    batch = problem.embed(theta, episode)
    phi = solver(problem, theta, batch).phi
    terms = terms_along(problem, phi, 0.0 * phi)
    found = problem.theta_grad(terms, theta, batch).vector
    expected = problem.theta_grad(terms[-1:], theta, batch).vector
    np.testing.assert_allclose(found, expected, atol=1e-7)
