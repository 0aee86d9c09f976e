"""The exact meta-gradient: beside torch's through the minimum, and of which tasks there is one."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.inspection._exact import TOL, _has_strict_minimum, exact_gradient
from skcml.rules.contrastive import Contrastive
from skcml.solvers.gauss_newton import GaussNewton
from tests.asserts import augmented_gradient
from tests.builders import (
    implicit_meta_gradient,
    proximal_episode,
    proximal_problem,
    proximal_theta,
    relative_error,
    take_tasks,
)
from tests.rules import CASES

SADDLE = 1


def torn_case():
    """Return networks, and tasks of which one starts at a saddle of its energy, and stays there.

    With a head of zero and no biases, outputs that are even in x and cancel leave no gradient; yet
    they bend the energy down where head and bias of a hidden unit change together.
    """
    problem = proximal_problem(hidden=(4,), n_outputs=1, n_inputs=1)
    theta = proximal_theta(problem, noise=0.0)
    theta["omega"][:4] = 0.0
    assert_array_equal(theta["omega"][8:], 0)
    episode = proximal_episode(problem, n_support=4)
    episode.x_support[SADDLE, :, 0] = [0.5, -0.5, 2.0, -2.0]
    episode.y_support[0, SADDLE] = [16.0, 16.0, -16.0, -16.0]
    episode.w_support[SADDLE] = 1.0
    return problem, theta, episode


@pytest.mark.parametrize("name", ["ridge", "ridge, loss", "categorical", "poisson", "synapses"])
def test_it_is_what_torch_differentiates_the_minimum_to(name):
    problem, solver, theta, episode = CASES[name]()
    found = exact_gradient(problem, theta, episode)
    expected, _ = implicit_meta_gradient(problem, theta, episode, solver)
    assert relative_error(found.gradient, expected.vector) < 1e-8
    assert found.n_left_out == 0
    left = augmented_gradient(problem, theta, episode, found.free.phi, 0.0)
    start = problem.start(theta, problem.embed(theta, episode))
    at_start = augmented_gradient(problem, theta, episode, start, 0.0)
    assert np.linalg.norm(left) < 10 * TOL * np.linalg.norm(at_start)


@pytest.mark.parametrize("name", ["ridge", "ridge, loss"])
def test_of_a_head_the_tangent_is_exact(name):
    problem, solver, theta, episode = CASES[name]()
    found = exact_gradient(problem, theta, episode)
    tangent = Contrastive("tangent")(problem, solver, theta, episode)
    assert relative_error(tangent.theta.vector, found.gradient) < 1e-8


def test_a_task_that_ends_at_a_saddle_is_left_out_and_counted():
    problem, theta, episode = torn_case()
    batch = problem.embed(theta, episode)
    # Its descent ends where it begins, and by the gradient nothing is amiss.
    free = GaussNewton(1000, TOL)(problem, theta, batch)
    assert free.converged.all()
    assert_array_equal(free.phi[0, SADDLE], theta["omega"])
    found = exact_gradient(problem, theta, episode)
    others = [0, 2, 3]
    assert found.n_left_out == 1
    assert_array_equal(found.episode.x_support, episode.x_support[others])
    assert_allclose(found.free.phi, free.phi[:, others], atol=1e-8)
    alone = exact_gradient(problem, theta, take_tasks(episode, others))
    assert alone.n_left_out == 0
    assert_allclose(found.gradient, alone.gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("poison", [np.nan, 1e200])
def test_a_task_that_cannot_be_solved_is_left_out_and_counted(poison):
    problem, _, theta, episode = CASES["synapses"]()
    y = episode.y_support.copy()
    y[:, 2, 0] = poison
    found = exact_gradient(problem, theta, dataclasses.replace(episode, y_support=y))
    assert found.n_left_out == 1
    alone = exact_gradient(problem, theta, take_tasks(episode, [0, 1, 3]))
    assert_allclose(found.gradient, alone.gradient, rtol=1e-7, atol=1e-10)


def test_where_no_task_is_left_it_says_so_and_what_to_do():
    problem, theta, episode = torn_case()
    torn = take_tasks(episode, [SADDLE, SADDLE])
    with pytest.raises(ValueError, match="At none of the 2 tasks is the energy positive") as caught:
        exact_gradient(problem, theta, torn)
    assert "try model='head' or model='modulatory', or fewer hidden units" in str(caught.value)


def test_an_energy_that_is_not_convex_has_no_strict_minimum():
    problem = proximal_problem()
    theta, episode = proximal_theta(problem, log_strength=3.0), proximal_episode(problem)
    free = GaussNewton(200, 1e-10)(problem, theta, problem.embed(theta, episode))
    assert _has_strict_minimum(problem, theta, episode, free).all()
    theta["log_strength"][...] = -12  # at these phi nothing holds it any more
    assert not _has_strict_minimum(problem, theta, episode, free).all()


def test_what_is_not_usable_has_no_strict_minimum():
    problem, solver, theta, episode = CASES["ridge"]()
    free = solver(problem, theta, problem.embed(theta, episode))
    usable = np.array([True, False, True, True])
    free = dataclasses.replace(free, usable=usable)
    assert_array_equal(_has_strict_minimum(problem, theta, episode, free), usable)
