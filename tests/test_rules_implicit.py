"""The implicit gradient by conjugate gradients, against the gradient of the solved loss."""

import numpy as np
import pytest

from skcml.rules.implicit import Implicit
from skcml.solvers.gauss_newton import GaussNewton
from tests.builders import relative_error
from tests.rules import (
    CASES,
    exact_gradient,
    head_case,
    learned_direction,
    network_case,
    slope_along,
    solved_loss,
)


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_gradient_of_the_solved_loss(name):
    problem, solver, theta, episode = CASES[name]()
    found = Implicit()(problem, solver, theta, episode)
    assert found.n_left_out == 0
    assert found.loss == pytest.approx(solved_loss(problem, solver, theta, episode), rel=1e-12)
    exact = exact_gradient(problem, solver, theta, episode)
    assert relative_error(found.theta.vector, exact.vector) < 1e-8
    # And by differences, for the oracle's sake.
    direction = learned_direction(problem)
    numeric = slope_along(lambda at: solved_loss(problem, solver, at, episode), theta, direction)
    scale = np.linalg.norm(exact.vector)
    assert found.theta.vector @ direction == pytest.approx(numeric, rel=1e-6, abs=1e-6 * scale)


def test_few_products_leave_an_error_that_falls():
    problem, solver, theta, episode = head_case((), 1)
    exact = exact_gradient(problem, solver, theta, episode)
    errors = [
        relative_error(Implicit(n)(problem, solver, theta, episode).theta.vector, exact.vector)
        for n in (1, 2, 3, 4)
    ]
    assert errors[0] > errors[2] > errors[3]
    # One for each of the columns is enough, but for rounding.
    assert errors[-1] < 1e-8
    for tol in (1e-1, 1e-3, 1e-6):
        found = Implicit(tol=tol)(problem, solver, theta, episode)
        assert relative_error(found.theta.vector, exact.vector) < 100 * tol


def test_a_curvature_that_is_not_positive_leaves_it_finite():
    problem, _, theta, episode = network_case(log_strength=-4.0)
    found = Implicit()(problem, GaussNewton(max_iter=3), theta, episode)
    assert found.n_left_out == 0
    assert np.isfinite(found.theta.vector).all()


@pytest.mark.parametrize("options", [{"max_iter": 0}, {"max_iter": 1.5}, {"tol": -1.0}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.* must be a"):
        Implicit(**options)
