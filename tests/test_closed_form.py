"""The closed form, on every body, with and without nudging."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.solvers.closed_form import closed_form
from tests.asserts import assert_solve_h_inverts_curvature, assert_stationary
from tests.builders import BODIES, head_problem, random_episode, random_theta, tensor_episode

# The number of support rows decides between primal and dual.
CASES = [(hidden, m, n) for hidden in BODIES for m in (1, 3) for n in (3, 30)]
BETAS = [0.0, 0.3, -0.02, np.array([0.0, 0.5, -0.01, 2.0])]


def case(hidden=(), n_outputs=1, n_support=5, meta_loss="log_predictive"):
    problem = head_problem(hidden, n_outputs, meta_loss)
    return problem, random_theta(problem), random_episode(problem, n_support=n_support)


@pytest.mark.parametrize(("hidden", "n_outputs", "n_support"), CASES)
@pytest.mark.parametrize("meta_loss", ["loss", "log_predictive"])
def test_no_gradient_is_left(hidden, n_outputs, n_support, meta_loss):
    problem, theta, episode = case(hidden, n_outputs, n_support, meta_loss)
    for beta in BETAS:
        assert_stationary(problem, closed_form, theta, episode, beta)


@pytest.mark.parametrize(("hidden", "n_outputs", "n_support"), CASES)
def test_solve_h_inverts_the_curvature(hidden, n_outputs, n_support):
    problem, theta, episode = case(hidden, n_outputs, n_support)
    for beta in BETAS:
        assert_solve_h_inverts_curvature(problem, closed_form, theta, episode, beta)


def test_the_free_phase_is_a_minimum():
    problem, theta, episode = case((7,), 3)
    batch = problem.embed(theta, episode)
    phi = closed_form(problem, theta, batch).phi
    least = problem.energy(phi, theta, batch)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0):
        moved = phi + scale * rng.normal(size=phi.shape)
        assert (problem.energy(moved, theta, batch) > least).all()


def test_each_task_has_its_own_strength():
    problem, theta, episode = case((7,), 3)
    batch = problem.embed(theta, episode)
    beta = np.array([0.0, 0.5, -0.01, 2.0])
    together = closed_form(problem, theta, batch, beta).phi
    for t, strength in enumerate(beta):
        alone = closed_form(problem, theta, batch, strength).phi
        assert_allclose(together[:, t], alone[:, t], rtol=1e-10, atol=1e-12)


def test_nudging_lowers_the_loss():
    problem, theta, episode = case((7,), 3)
    batch = problem.embed(theta, episode)
    losses = [
        problem.loss(closed_form(problem, theta, batch, beta).phi, theta, batch)
        for beta in (0.0, 0.1, 1.0, 10.0)
    ]
    assert (np.diff(losses, axis=0) < 0).all()


def test_a_closed_form_starts_nowhere_and_takes_no_steps():
    problem, theta, episode = case()
    batch = problem.embed(theta, episode)
    solution = closed_form(problem, theta, batch, 0.1)
    other = closed_form(problem, theta, batch, 0.1, init=solution.phi + 1)
    np.testing.assert_array_equal(other.phi, solution.phi)
    assert solution.n_iter == 0


def test_a_task_that_is_not_finite_is_told():
    problem, theta, episode = case(n_outputs=2)
    y = episode.y_support.copy()
    y[1, 2, 0] = np.nan
    episode = dataclasses.replace(episode, y_support=y)
    solution = closed_form(problem, theta, problem.embed(theta, episode))
    np.testing.assert_array_equal(solution.usable, [True, True, False, True])


@pytest.mark.parametrize("beta", BETAS)
def test_torch_gives_what_numpy_gives(beta):
    problem, theta, episode = case((7,), 3)
    ours = closed_form(problem, theta, problem.embed(theta, episode), beta)
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    if isinstance(beta, np.ndarray):
        beta = torch.tensor(beta)
    batch = problem.embed(graph, tensor_episode(episode))
    theirs = closed_form(problem, graph, batch, beta)
    assert_allclose(theirs.phi.numpy(), ours.phi, rtol=1e-10, atol=1e-12)
    assert_allclose(theirs.solve_h(theirs.phi).numpy(), ours.solve_h(ours.phi), atol=1e-10)
    assert theirs.converged.all()
