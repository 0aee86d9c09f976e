"""The gradient through the steps of descent: of what it is exact, and where it converges to."""

import dataclasses

import numpy as np
import pytest

from skcml.rules.neumann import Neumann
from skcml.rules.unrolled import Unrolled
from tests.builders import relative_error
from tests.rules import (
    CASES,
    exact_gradient,
    glm_case,
    head_case,
    learned_direction,
    network_case,
    slope_along,
    solved_loss,
)


def no_solver(*args, **options):
    raise AssertionError("The rule has a learner of its own.")


def descended(problem, theta, episode, n_steps, rate, start=None):
    """Take the steps in numpy, by derivatives written by hand."""
    batch = problem.embed(theta, episode)
    phi = problem.start(theta, batch) if start is None else start
    for _ in range(n_steps):
        _, slope = problem.augmented(phi, theta, batch, 0.0)
        phi = phi - rate * problem.solve_prior(slope, theta)
    return phi, problem.loss(phi, theta, batch).mean()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n_steps", [1, 5])
def test_it_is_the_gradient_of_the_loss_after_its_steps(name, n_steps):
    problem, _, theta, episode = CASES[name]()
    rule = Unrolled(n_steps, learning_rate=0.02)
    found = rule(problem, no_solver, theta, episode)
    direction = learned_direction(problem)
    numeric = slope_along(
        lambda at: descended(problem, at, episode, n_steps, 0.02)[1], theta, direction
    )
    scale = np.linalg.norm(found.theta.vector)
    assert found.theta.vector @ direction == pytest.approx(numeric, rel=1e-7, abs=1e-7 * scale)
    expected = descended(problem, theta, episode, n_steps, 0.02)[1]
    assert found.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["ridge, loss", "bernoulli", "synapses", "gains"])
def test_with_many_steps_it_is_the_gradient_of_the_solved_loss(name):
    problem, solver, theta, episode = CASES[name]()
    exact = exact_gradient(problem, solver, theta, episode)
    errors = []
    for n_steps in (3, 30, 200):
        found = Unrolled(n_steps)(problem, no_solver, theta, episode)
        errors.append(relative_error(found.theta.vector, exact.vector))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-3
    assert found.loss == pytest.approx(solved_loss(problem, solver, theta, episode), rel=1e-4)


@pytest.mark.parametrize("name", ["ridge, loss", "bernoulli", "synapses"])
def test_truncated_after_many_steps_it_is_the_neumann_series(name):
    # Lorraine et al., 2020, theorem 1.
    problem, solver, theta, episode = CASES[name]()
    if "log_noise" in theta:
        theta["log_noise"][...] = 1.0  # so that curvatures are small enough for the rate
    truncated, series = Unrolled(300, 4, 0.1), Neumann(4, 0.1)
    found = truncated(problem, no_solver, theta, episode).theta.vector
    expected = series(problem, solver, theta, episode).theta.vector
    assert relative_error(found, expected) < 1e-7


def test_truncation_takes_what_came_before_for_a_constant():
    problem, _, theta, episode = network_case()
    n_steps, k, rate = 7, 3, 0.1
    middle, _ = descended(problem, theta, episode, n_steps - k, rate)
    found = Unrolled(n_steps, k, rate)(problem, no_solver, theta, episode).theta.vector
    direction = learned_direction(problem)
    numeric = slope_along(
        lambda at: descended(problem, at, episode, k, rate, middle)[1], theta, direction
    )
    assert found @ direction == pytest.approx(numeric, rel=1e-7)
    whole, same = (
        Unrolled(n_steps, k, rate)(problem, no_solver, theta, episode).theta.vector
        for k in (None, n_steps)
    )
    np.testing.assert_array_equal(whole, same)


@pytest.mark.parametrize("name", CASES)
def test_the_automatic_rate_descends(name):
    problem, solver, theta, episode = CASES[name]()
    batch = problem.embed(theta, episode)
    losses = [Unrolled(n)(problem, no_solver, theta, episode).loss for n in (1, 50)]
    best = problem.loss(solver(problem, theta, batch).phi, theta, batch).mean()
    assert abs(losses[1] - best) < abs(losses[0] - best)


@pytest.mark.parametrize("scale", [10.0, 1e3])
def test_large_counts_do_not_make_it_diverge(scale):
    # A step that is right for a rate of one is far too long for one of a thousand.
    problem, _, theta, episode = glm_case("poisson")
    episode = dataclasses.replace(
        episode, y_support=scale * episode.y_support, y_query=scale * episode.y_query
    )
    found = Unrolled(20)(problem, no_solver, theta, episode)
    before = Unrolled(1)(problem, no_solver, theta, episode)
    assert found.n_left_out == 0
    assert np.isfinite(found.theta.vector).all()
    assert np.isfinite(before.loss)


@pytest.mark.parametrize("noise", [-3.0, -6.0])
def test_little_noise_does_not_make_it_diverge(noise):
    problem, solver, theta, episode = head_case((), 1, "loss")
    theta["log_noise"][...] = noise
    exact = exact_gradient(problem, solver, theta, episode)
    found = Unrolled(50)(problem, no_solver, theta, episode)
    assert found.n_left_out == 0
    assert np.linalg.norm(found.theta.vector) < 10 * np.linalg.norm(exact.vector)


def test_a_rate_that_is_too_large_leaves_tasks_out():
    problem, _, theta, episode = head_case()
    found = Unrolled(30, learning_rate=1e20)(problem, no_solver, theta, episode)
    assert found.n_left_out == 4
    assert (found.theta.vector == 0).all()


@pytest.mark.parametrize(
    "options", [{"n_steps": 0}, {"truncate": 0}, {"learning_rate": -0.1}, {"learning_rate": "big"}]
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.* must be a"):
        Unrolled(**options)
