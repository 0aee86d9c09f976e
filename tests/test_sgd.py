"""Gradient descent with momentum: its equations, and the learning rate at which it diverges."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.solvers.sgd import SGD
from tests.quadratics import Quadratics


def equations(problem, epsilon, mu, n_steps, *, nesterov):
    """Return the points at which the gradient of Sutskever et al. is taken.

    Equations 1 and 2 or, ahead along the momentum, 3 and 4.
    """
    theta, v = problem.start(None, None), 0.0
    path = []
    for _ in range(n_steps + 1):
        path.append(theta + mu * v if nesterov else theta)
        v = mu * v - epsilon * problem.gradient(path[-1])
        theta = theta + v
    return np.stack(path)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)]
)
def test_its_steps_are_those_of_the_equations(momentum, nesterov):
    problem = Quadratics.diagonal([[1.0, 20.0, 0.1], [3.0, 1e-3, 7.0]])
    expected = equations(problem, 0.02, momentum, 8, nesterov=nesterov)
    problem.seen.clear()
    SGD(8, 0.02, momentum, nesterov, tol=0.0)(problem, None, None)
    assert_allclose(problem.seen, expected, rtol=1e-12, atol=1e-12)


def test_all_options_reach_the_optimiser_of_torch(monkeypatch):
    asked, plain = [], torch.optim.SGD
    monkeypatch.setattr(
        torch.optim, "SGD", lambda params, **options: asked.append(options) or plain(params)
    )
    solver = SGD(max_iter=1, learning_rate=0.07, momentum=0.3, nesterov=False)
    solver(Quadratics.diagonal([[1.0]]), None, None)
    assert asked == [{"lr": 0.07, "momentum": 0.3, "nesterov": False, "fused": True}]


def test_a_learning_rate_that_is_too_large_for_a_task_is_not_silent():
    """Plain descent of a quadratic diverges beyond two over the curvature."""
    problem = Quadratics.diagonal([[3.9], [4.1], [1.0]])
    found = SGD(500, learning_rate=0.5, momentum=0.0, nesterov=False)(problem, None, None)
    assert found.usable.tolist() == [True, False, True]
    assert found.converged.tolist() == [True, False, True]


def test_where_numbers_overflow_the_best_phi_is_left():
    problem = Quadratics.diagonal([[3.0, 1.0]])
    found = SGD(100, learning_rate=1e4, momentum=0.0, nesterov=False)(problem, None, None)
    assert found.n_iter < 100
    assert not found.usable.any()
    assert_allclose(found.phi, 1.0)
