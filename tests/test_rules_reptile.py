"""Reptile: omega moves towards tasks, and so descends what adaptation cannot repair."""

import numpy as np
import pytest

from skcml.rules.reptile import Reptile, with_all_rows
from tests.builders import relative_error
from tests.rules import learned_direction, network_case, slope_along


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_omega_moves_towards_the_mean_of_tasks(hidden):
    problem, solver, theta, episode = network_case(hidden=hidden)
    batch = problem.embed(theta, with_all_rows(episode))
    phi = solver(problem, theta, batch).phi
    found = Reptile()(problem, solver, theta, episode)
    np.testing.assert_allclose(found.theta["omega"], theta["omega"] - phi[0].mean(0), rtol=1e-12)
    assert (found.theta["log_strength"] == 0).all()
    assert found.loss == pytest.approx(problem.loss(phi, theta, batch).mean(), rel=1e-12)
    # A step all the way makes omega the mean.
    moved = theta.copy()
    moved.vector -= found.theta.vector
    np.testing.assert_allclose(moved["omega"], phi[0].mean(0), rtol=1e-12)


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_times_the_strengths_it_is_the_gradient_of_the_energys_minimum(hidden):
    problem, solver, theta, episode = network_case(hidden=hidden, strength="fixed")
    episode = with_all_rows(episode)

    def minimum(theta):
        batch = problem.embed(theta, episode)
        return problem.energy(solver(problem, theta, batch).phi, theta, batch).mean()

    direction = learned_direction(problem)
    batch = problem.embed(theta, episode)
    phi = solver(problem, theta, batch).phi
    gradient = problem.pull.strengths(theta) * (theta["omega"] - phi[0].mean(0))
    numeric = slope_along(minimum, theta, direction)
    assert gradient @ direction[: len(gradient)] == pytest.approx(numeric, rel=1e-7)


def test_every_row_is_a_support_row():
    _, _, _, episode = network_case()
    found = with_all_rows(episode)
    assert found.w_support.sum() == episode.w_support.sum() + episode.w_query.sum()
    assert found.y_support.shape[-1] == episode.y_support.shape[-1] + episode.y_query.shape[-1]
    np.testing.assert_array_equal(found.x_query, episode.x_query)


def test_many_steps_find_the_mean_of_tasks_on_a_line():
    # Linear networks with weak pull: omega ends where the tasks' solutions have their mean.
    problem, solver, theta, episode = network_case(hidden=(), log_strength=-3.0)
    for _ in range(300):
        theta.vector -= Reptile()(problem, solver, theta, episode).theta.vector
    assert relative_error(Reptile()(problem, solver, theta, episode).theta["omega"] + 1, 1) < 1e-3
