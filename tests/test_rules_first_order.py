"""First-order MAML: its closed form, and that it leads downhill."""

import numpy as np
import pytest

from skcml.problems.base import Term
from skcml.rules.first_order import FirstOrder
from skcml.rules.t1t2 import T1T2
from tests.builders import relative_error
from tests.rules import CASES, exact_gradient, network_case


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_direct_derivative_and_that_of_the_start(name):
    problem, solver, theta, episode = CASES[name]()
    batch = problem.embed(theta, episode)
    phi = solver(problem, theta, batch).phi
    expected = problem.theta_grad([Term(phi, None, np.full(4, 0.25))], theta, batch)
    if "log_strength" in theta:  # phi starts at omega; heads start at zero
        expected["omega"][...] += problem.loss_phi_grad(phi, theta, batch).mean((0, 1))
    found = FirstOrder()(problem, solver, theta, episode)
    assert relative_error(found.theta.vector, expected.vector) < 1e-10
    assert found.loss == pytest.approx(problem.loss(phi, theta, batch).mean(), rel=1e-12)


def test_with_equal_strengths_it_leads_downhill_in_each_task():
    for seed in range(5):
        problem, solver, theta, episode = network_case(hidden=(), strength="fixed", seed=seed)
        theta["log_strength"][...] = -2.0
        for t in range(4):
            one = episode.subset(np.array([t]))
            exact = exact_gradient(problem, solver, theta, one).vector
            found = FirstOrder()(problem, solver, theta, one).theta.vector
            assert found @ exact > 0
            # In omega alone, one cannot tell it from T1-T2.
            assert relative_error(found, T1T2()(problem, solver, theta, one).theta.vector) < 1e-9


def test_strengths_have_no_gradient():
    found = FirstOrder()(*network_case())
    assert (found.theta["log_strength"] == 0).all()
