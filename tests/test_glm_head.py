"""Heads of classes and counts: energy, loss, derivatives, and the rule on top of them."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

from skcml.rules.contrastive import Contrastive
from skcml.rules.strength import nudge_limit
from skcml.solvers.newton import newton
from tests.asserts import (
    assert_energy_theta_grad,
    assert_mean_over_tasks,
    assert_meta_gradient,
    assert_order_does_not_matter,
)
from tests.builders import (
    BODIES,
    LIKELIHOODS,
    glm_episode,
    glm_problem,
    implicit_meta_gradient,
    random_theta,
    relative_error,
    solved_loss,
    tensor_episode,
)

EACH = pytest.mark.parametrize("kind", LIKELIHOODS)
ACCURACY = {"tangent": 1e-6, "symmetric": 1e-4, "second_order": 1e-4, "forward": 1e-2}


def case(kind, hidden=(), n_outputs=None, **options):
    problem = glm_problem(kind, hidden, n_outputs)
    return problem, random_theta(problem), glm_episode(problem, **options)


@EACH
def test_the_energy_is_minus_the_log_of_likelihood_and_prior(kind):
    problem, theta, episode = case(kind)
    batch = problem.embed(theta, episode)
    phi = np.random.default_rng(0).normal(size=(problem.n_outputs, 4, 4))
    z = np.concatenate([np.ones((4, 5, 1)), episode.x_support], -1)
    coefficients = theta["omega"][:, None] + (theta["factor"][:, None] @ phi[..., None])[..., 0]
    eta = (z @ coefficients[..., None])[..., 0]
    if kind == "poisson":
        log = stats.poisson.logpmf(episode.y_support, np.exp(eta)).sum(0)
    elif kind == "bernoulli":
        log = stats.bernoulli.logpmf(episode.y_support, 1 / (1 + np.exp(-eta))).sum(0)
    else:
        log = np.log((np.exp(eta) * episode.y_support).sum(0) / np.exp(eta).sum(0))
    expected = -(episode.w_support * log).sum(-1) + 0.5 * (phi**2).sum((0, 2))
    assert_allclose(problem.energy(phi, theta, batch), expected)


@EACH
def test_the_loss_is_the_mean_cost_of_query_rows(kind):
    problem, theta, episode = case(kind)
    batch = problem.embed(theta, episode)
    phi = np.random.default_rng(0).normal(size=(problem.n_outputs, 4, 4))
    eta = batch.mean_query + (batch.a_query @ phi[..., None])[..., 0]
    cost = problem.likelihood.nll(episode.y_query, eta)
    expected = [np.average(c, weights=w) for c, w in zip(cost, episode.w_query, strict=True)]
    if kind == "poisson":
        # A row of twice the exposure costs twice as much.
        total = (episode.w_query * cost).sum(1)
        expected = total / (episode.w_query > 0).sum(1)
    assert_allclose(problem.loss(phi, theta, batch), expected)
    nothing = dataclasses.replace(episode, w_query=0 * episode.w_query)
    assert (problem.loss(phi, theta, problem.embed(theta, nothing)) == 0).all()


@EACH
@pytest.mark.parametrize("hidden", BODIES)
def test_the_theta_gradient_agrees_with_torch(kind, hidden):
    problem, theta, episode = case(kind, hidden)
    assert_energy_theta_grad(problem, theta, episode)


@EACH
def test_derivatives_of_the_loss_agree_with_torch(kind):
    problem, theta, episode = case(kind, (6, 5))
    batch = problem.embed(theta, episode)
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    graph_batch = problem.embed(graph, tensor_episode(episode))
    phi = np.random.default_rng(0).normal(size=batch.a_support[:, :, 0].shape)
    direction = np.random.default_rng(1).normal(size=phi.shape)

    def loss(phi):
        return problem.loss(phi, graph, graph_batch).sum()

    exact = torch.autograd.functional.jacobian(loss, torch.tensor(phi)).numpy()
    assert_allclose(problem.loss_phi_grad(phi, theta, batch), exact, atol=1e-10)
    _, curved = torch.autograd.functional.hvp(loss, torch.tensor(phi), torch.tensor(direction))
    assert_allclose(problem.loss_curvature(direction, phi, theta, batch), curved, atol=1e-10)


# --- the rule


@EACH
@pytest.mark.parametrize("hidden", BODIES)
@pytest.mark.parametrize("scheme", ACCURACY)
def test_schemes_agree_with_the_implicit_gradient(kind, hidden, scheme):
    problem, theta, episode = case(kind, hidden)
    assert_meta_gradient(Contrastive(scheme), problem, newton, theta, episode, ACCURACY[scheme])


@EACH
def test_the_implicit_gradient_agrees_with_finite_differences(kind):
    problem, theta, episode = case(kind)
    exact, loss = implicit_meta_gradient(problem, theta, episode)
    assert loss == pytest.approx(solved_loss(problem, theta, episode))
    free = np.flatnonzero(exact.vector)
    for index in np.random.default_rng(0).choice(free, 8, replace=False):
        up, down = theta.copy(), theta.copy()
        up.vector[index] += 1e-5
        down.vector[index] -= 1e-5
        slope = solved_loss(problem, up, episode) - solved_loss(problem, down, episode)
        assert slope / 2e-5 == pytest.approx(exact.vector[index], abs=1e-7)


@EACH
@pytest.mark.parametrize(("scheme", "order"), [("forward", 1), ("symmetric", 2)])
def test_the_error_falls_with_the_schemes_power_of_beta(kind, scheme, order):
    problem, theta, episode = case(kind)
    exact, _ = implicit_meta_gradient(problem, theta, episode)
    batch = problem.embed(theta, episode)
    limit = nudge_limit(problem, theta, batch, newton(problem, theta, batch)).min()
    errors = [
        relative_error(
            Contrastive(scheme, share * limit)(problem, newton, theta, episode).theta.vector,
            exact.vector,
        )
        for share in (1e-1, 1e-2)
    ]
    assert np.log10(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@EACH
def test_order_does_not_matter(kind):
    problem, theta, episode = case(kind, (7,))
    assert_order_does_not_matter(Contrastive(), problem, newton, theta, episode, rtol=1e-6)
    assert_mean_over_tasks(Contrastive(), problem, newton, theta, episode, rtol=1e-6)
