"""The truncated Neumann series: its error, and where it converges to."""

import numpy as np
import pytest

from skcml.rules.neumann import Neumann
from skcml.rules.t1t2 import T1T2
from tests.builders import relative_error
from tests.rules import CASES, exact_gradient, head_case, network_case


@pytest.mark.parametrize("name", CASES)
def test_the_error_falls_with_the_number_of_terms(name):
    problem, solver, theta, episode = CASES[name]()
    exact = exact_gradient(problem, solver, theta, episode)
    errors = []
    for n_terms in (1, 10, 100):
        found = Neumann(n_terms)(problem, solver, theta, episode)
        errors.append(relative_error(found.theta.vector, exact.vector))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.2


@pytest.mark.parametrize("name", ["ridge, loss", "categorical", "synapses"])
def test_with_many_terms_it_is_the_gradient_of_the_solved_loss(name):
    problem, solver, theta, episode = CASES[name]()
    exact = exact_gradient(problem, solver, theta, episode)
    found = Neumann(500)(problem, solver, theta, episode)
    assert relative_error(found.theta.vector, exact.vector) < 1e-7


def test_the_error_is_as_stated():
    # For one task of linear networks the derivative in omega is lambda v.
    problem, solver, theta, episode = network_case(hidden=(), log_strength=-1.0)
    episode = episode.subset(np.array([2]))
    strength = problem.pull.strengths(theta)
    batch = problem.embed(theta, episode)
    eye = np.eye(len(strength))
    inverse = problem.curvature_inverse(solver(problem, theta, batch).phi, theta, batch, 0.0)
    H = np.linalg.inv(np.stack([inverse(row[None, None])[0, 0] for row in eye]))
    largest = np.linalg.eigvals(H / strength[:, None]).real.max()

    def length(v):
        return np.sqrt(v @ H @ v)

    exact = exact_gradient(problem, solver, theta, episode)["omega"] / strength
    for n_terms in (1, 2, 5, 20):
        found = Neumann(n_terms)(problem, solver, theta, episode).theta["omega"] / strength
        bound = (1 - 1 / largest) ** n_terms * length(exact)
        assert 0 < length(found - exact) < 1.01 * bound
    # The same by the step as a number.
    auto, number = (
        Neumann(5, step)(problem, solver, theta, episode).theta.vector
        for step in ("auto", 1 / largest)
    )
    assert relative_error(auto, number) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_a_single_term_with_a_step_of_one_is_t1t2(name):
    case = CASES[name]()
    rtol = 1e-12 if case[0].is_quadratic else 1e-6
    found, expected = (rule(*case).theta.vector for rule in (Neumann(1, 1.0), T1T2()))
    assert relative_error(found, expected) < rtol


def test_a_series_that_diverges_leaves_tasks_out():
    case = head_case()
    found = Neumann(30, 1e20)(*case)
    assert found.n_left_out == 4
    assert (found.theta.vector == 0).all()


@pytest.mark.parametrize("options", [{"n_terms": 0}, {"step": 0.0}, {"step": "large"}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.* must be a"):
        Neumann(**options)
