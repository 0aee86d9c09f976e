"""Networks pulled to a common point: energy, loss and every derivative against torch."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.problems.base import CurvedProblem, InnerProblem, Term
from skcml.problems.pull import START_STRENGTH, STRENGTHS
from tests.asserts import assert_energy_theta_grad, assert_follows, augmented_gradient
from tests.builders import (
    COSTS,
    LAYERS,
    map_episode,
    near_start,
    proximal_episode,
    proximal_problem,
    proximal_theta,
    take_tasks,
    tensor_episode,
)

KINDS = pytest.mark.parametrize("kind", COSTS)
LAYER = pytest.mark.parametrize("layer", LAYERS)
BETAS = pytest.mark.parametrize("beta", [0.0, 0.4, np.array([0.3, -0.2, 0.0, -0.05])])
# Sides of the systems: in the dual, in the primal, and without a hidden layer.
SIZES = pytest.mark.parametrize(
    ("hidden", "n_support"), [((7, 5), 5), ((2,), 30), ((), 5), ((), 30)]
)


def case(layer="dense", kind="squared_error", *, n_support=5, **options):
    problem = proximal_problem(layer, kind, **options)
    theta = proximal_theta(problem)
    episode = proximal_episode(problem, n_support=n_support)
    batch = problem.embed(theta, episode)
    return problem, theta, episode, batch, near_start(problem, theta, batch)


def graph_of(problem, theta, episode):
    """Return what torch needs to see the same energy."""
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    return graph, problem.embed(graph, tensor_episode(episode))


def gauss_newton_matrix(problem, theta, episode, phi, t, beta):
    """Return Lambda + J' W J of a task, J by torch and W the second derivative of the cost."""
    graph, _ = graph_of(problem, theta, episode)
    batch = problem.embed(theta, episode)
    matrix = np.diag(problem.pull.strengths(theta))
    for x, y, weight in (
        (batch.x_support, batch.y_support, batch.w_support),
        (batch.x_query, batch.y_query, beta * batch.w_query),
    ):

        def outputs(p, x=x):
            return problem.outputs(p[None, None], graph, torch.tensor(x[t : t + 1]))[:, 0].T

        phi_t = torch.tensor(phi[0, t])
        jacobian = torch.autograd.functional.jacobian(outputs, phi_t).numpy()
        for row, eta in enumerate(outputs(phi_t)):
            target = torch.tensor(y[:, t, row])

            def cost(e, target=target):
                return problem.cost.nll(target[:, None, None], e[:, None, None]).sum()

            bend = torch.autograd.functional.hessian(cost, eta).numpy()
            matrix += weight[t, row] * jacobian[row].T @ bend @ jacobian[row]
    return matrix


@LAYER
def test_it_follows_the_interfaces(layer):
    problem = proximal_problem(layer)
    assert_follows(problem, InnerProblem)
    assert_follows(problem, CurvedProblem)
    assert isinstance(problem, CurvedProblem)
    assert not problem.is_quadratic


@KINDS
@LAYER
def test_the_energy_is_misfit_and_pull_and_the_loss_a_mean(layer, kind):
    problem, theta, episode, batch, phi = case(layer, kind)
    cost, lam = problem.cost, np.exp(theta["log_strength"])
    eta, eta_query = (problem.outputs(phi, theta, x) for x in (episode.x_support, episode.x_query))
    pull = 0.5 * (lam * (phi[0] - theta["omega"]) ** 2).sum(-1)
    misfit = (episode.w_support * cost.nll(episode.y_support, eta)).sum(-1)
    assert_allclose(problem.energy(phi, theta, batch), misfit + pull)
    weighed = episode.w_query * cost.nll(episode.y_query, eta_query)
    n_rows = (episode.w_query > 0).sum(-1) if cost.has_exposure else episode.w_query.sum(-1)
    assert_allclose(problem.loss(phi, theta, batch), weighed.sum(-1) / n_rows)


@KINDS
@LAYER
@BETAS
@pytest.mark.parametrize("hidden", [(), (7, 5)])
def test_the_augmented_energy_and_its_slope_are_those_of_torch(layer, kind, beta, hidden):
    problem, theta, episode, batch, phi = case(layer, kind, hidden=hidden)
    value, gradient = problem.augmented(phi, theta, batch, beta)
    expected = problem.energy(phi, theta, batch) + beta * problem.loss(phi, theta, batch)
    assert_allclose(value, expected)
    exact = augmented_gradient(problem, theta, episode, phi, beta)
    assert_allclose(gradient, exact, atol=1e-10)
    if np.ndim(beta) == 0 and beta:
        without = augmented_gradient(problem, theta, episode, phi, 0.0)
        slope = beta * problem.loss_phi_grad(phi, theta, batch)
        assert_allclose(slope, exact - without, atol=1e-10)


@KINDS
@LAYER
@SIZES
def test_the_curvature_is_that_of_gauss_and_newton(layer, kind, hidden, n_support):
    problem, theta, episode, batch, phi = case(layer, kind, hidden=hidden, n_support=n_support)
    # Shares of a nudge with which all stay positive definite, and without which they need not.
    strengths = np.array([0.0, 0.5, -0.05, -30.0])
    direction = np.random.default_rng(3).normal(size=phi.shape)
    solved = problem.curvature_inverse(phi, theta, batch, strengths)(direction)
    plain = problem.curvature_inverse(phi, theta, batch, 0.0)(direction)
    curved = problem.loss_curvature(direction, phi, theta, batch)
    for t, beta in enumerate(strengths):
        matrix = gauss_newton_matrix(problem, theta, episode, phi, t, beta)
        without = gauss_newton_matrix(problem, theta, episode, phi, t, 0.0)
        assert_allclose(matrix @ solved[0, t], direction[0, t], atol=1e-8)
        assert_allclose(without @ plain[0, t], direction[0, t], atol=1e-8)
        if beta:
            nudge = (matrix - without) @ direction[0, t] / beta
            assert_allclose(curved[0, t], nudge, atol=1e-8)


@KINDS
@LAYER
@pytest.mark.parametrize("strength", ["layer", "synapse"])
@pytest.mark.parametrize("hidden", [(), (7, 5)])
def test_theta_grad_is_that_of_torch(layer, kind, strength, hidden):
    problem, theta, episode, _, _ = case(layer, kind, strength=strength, hidden=hidden)
    assert_energy_theta_grad(problem, theta, episode)


@LAYER
def test_fixed_strengths_have_no_gradient_and_all_else_has(layer):
    grads = {}
    for strength in ("fixed", "layer"):
        problem, theta, _, batch, phi = case(layer, strength=strength)
        one = np.ones(4)
        grads[strength] = problem.theta_grad([Term(phi, one, 2 * one)], theta, batch)
    assert_array_equal(grads["fixed"]["log_strength"], 0)
    for name in set(grads["layer"]) - {"log_strength"}:
        assert_array_equal(grads["fixed"][name], grads["layer"][name])


def test_terms_of_losses_alone_need_no_rows_of_support():
    problem, theta, _, batch, phi = case("modulated")
    loss = problem.theta_grad([Term(phi, None, np.ones(4))], theta, batch)
    assert_array_equal(loss["omega"], 0)
    assert abs(loss["weight_0"]).max() > 0


@pytest.mark.parametrize("strength", STRENGTHS)
@LAYER
def test_a_start_is_omega_and_strengths_are_shared_as_asked(layer, strength):
    problem = proximal_problem(layer, strength=strength)
    theta = proximal_theta(problem, noise=0.0)
    network = problem.network
    n_params = sum(n_in * n_out for n_in, n_out in network.fast.values())
    n_strengths = n_params if strength == "synapse" else len(network.fast)
    assert theta["omega"].shape == (n_params,)
    assert theta["log_strength"].shape == (n_strengths,)
    assert_allclose(problem.pull.strengths(theta), START_STRENGTH)
    batch = problem.embed(theta, proximal_episode(problem))
    start = problem.start(theta, batch)
    assert start.shape == (1, 4, n_params)
    assert_array_equal(start, np.broadcast_to(theta["omega"], start.shape))
    assert_allclose(problem.solve_prior(3.0 * start, theta), 3.0 * start / START_STRENGTH)


def test_strengths_of_a_layer_are_those_of_its_parameters():
    problem = proximal_problem("modulated", strength="layer", hidden=(7,))
    theta = proximal_theta(problem)
    theta["log_strength"][...] = np.log([1.0, 2.0, 3.0])
    assert_allclose(problem.pull.strengths(theta), np.repeat([1.0, 2.0, 3.0], [7, 7, 22]))


@LAYER
def test_padded_rows_do_not_count(layer):
    problem, theta, episode, _, phi = case(layer)
    cut = {"support": slice(None, -2), "query": slice(None)}

    def drop(name, array):
        rows = cut[name[2:]]
        return array[..., rows, :] if name.startswith("x_") else array[..., rows]

    padded, short = take_tasks(episode, [0]), map_episode(drop, take_tasks(episode, [0]))
    for beta in (0.0, -0.1):
        found, expected = (
            problem.augmented(phi[:, :1], theta, problem.embed(theta, one), beta)
            for one in (padded, short)
        )
        assert_allclose(found[0], expected[0])
        assert_allclose(found[1], expected[1], atol=1e-12)


@LAYER
@BETAS
def test_tensors_give_what_arrays_give(layer, beta):
    problem, theta, episode, batch, phi = case(layer, "categorical")
    graph, graph_batch = graph_of(problem, theta, episode)
    tensor, nudge = torch.tensor(phi), torch.as_tensor(beta, dtype=torch.float64)
    for found, expected in zip(
        problem.augmented(tensor, graph, graph_batch, nudge),
        problem.augmented(phi, theta, batch, beta),
        strict=True,
    ):
        assert_allclose(found, expected, atol=1e-12)
    found = problem.curvature_inverse(tensor, graph, graph_batch, nudge)(tensor)
    assert_allclose(found, problem.curvature_inverse(phi, theta, batch, beta)(phi), atol=1e-10)
    assert_array_equal(problem.start(graph, graph_batch), problem.start(theta, batch))
