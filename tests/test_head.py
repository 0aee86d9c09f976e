"""The Gaussian head: its derivatives against torch, its densities against scipy."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

from skcml.problems.base import Term
from skcml.problems.head import NOISE_FLOOR
from skcml.solvers.closed_form import closed_form
from tests.asserts import assert_energy_theta_grad, augmented_gradient
from tests.builders import (
    BODIES,
    autograd_meta_gradient,
    head_problem,
    random_episode,
    random_theta,
    relative_error,
    solved_loss,
    tensor_episode,
)

META_LOSSES = ["log_predictive", "loss"]
GRID = [(h, m, loss) for h in BODIES for m in (1, 3) for loss in META_LOSSES]


def case(hidden=(), n_outputs=1, meta_loss="log_predictive", seed=0, **options):
    problem = head_problem(hidden, n_outputs, meta_loss, **options)
    theta, episode = random_theta(problem, seed), random_episode(problem, seed)
    return problem, theta, episode, problem.embed(theta, episode)


def random_phi(problem, batch, seed=0):
    return np.random.default_rng([seed, 5]).normal(size=batch.system.u.shape)


def groups_of(problem, theta, episode, batch):
    """Yield, for each output and task, what a Gaussian model in plain algebra needs.

    Yields
    ------
    o, t : int
    z, y, w : of the support rows that have weight
    z_query, y_query, w_query : of the query rows
    noise : float
    """
    n_tasks, n_support = episode.w_support.shape
    z_support, z_query = np.split(batch.z, [n_tasks * n_support])
    z_support = z_support.reshape(n_tasks, n_support, -1)
    z_query = z_query.reshape(n_tasks, -1, z_query.shape[-1])
    for o in range(problem.n_outputs):
        noise = float(np.exp(2 * theta["log_noise"][o])) + NOISE_FLOOR
        for t in range(n_tasks):
            real = episode.w_support[t] > 0
            yield (
                o,
                t,
                (z_support[t, real], episode.y_support[o, t, real], episode.w_support[t, real]),
                (z_query[t], episode.y_query[o, t], episode.w_query[t]),
                noise,
            )


# --- derivatives


@pytest.mark.parametrize(("hidden", "n_outputs", "meta_loss"), GRID)
def test_theta_grad_of_any_terms_is_torchs(hidden, n_outputs, meta_loss):
    problem, theta, episode, _ = case(hidden, n_outputs, meta_loss)
    assert_energy_theta_grad(problem, theta, episode)


@pytest.mark.parametrize("activation", ["relu", "logistic", "sin"])
def test_theta_grad_with_other_activations(activation):
    problem, theta, episode, _ = case((6, 5), 2, activation=activation)
    assert_energy_theta_grad(problem, theta, episode)


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_theta_grad_with_a_narrow_factor(meta_loss):
    mask = np.zeros((11, 3), bool)
    mask[:4] = np.tri(4, 3, dtype=bool)
    mask[7:, 2] = True
    problem, theta, episode, batch = case((7,), 2, meta_loss, mask=mask)
    assert batch.a_query.shape == (2, 4, 6, 3)
    assert_energy_theta_grad(problem, theta, episode)


@pytest.mark.parametrize(("hidden", "n_outputs", "meta_loss"), GRID)
def test_loss_phi_grad_is_torchs(hidden, n_outputs, meta_loss):
    problem, theta, episode, batch = case(hidden, n_outputs, meta_loss)
    phi = random_phi(problem, batch)
    exact = augmented_gradient(problem, theta, episode, phi, 1.0)
    exact -= augmented_gradient(problem, theta, episode, phi, 0.0)
    found = problem.loss_phi_grad(phi, theta, batch)
    assert_allclose(found, exact, rtol=1e-10, atol=1e-10 * abs(exact).max())


@pytest.mark.parametrize(("hidden", "n_outputs", "meta_loss"), GRID)
def test_loss_curvature_is_the_derivative_of_the_gradient(hidden, n_outputs, meta_loss):
    problem, theta, _, batch = case(hidden, n_outputs, meta_loss)
    phi, direction = random_phi(problem, batch), random_phi(problem, batch, seed=1)
    # The loss is quadratic in phi: a difference of any width is the derivative.
    exact = problem.loss_phi_grad(phi + direction, theta, batch)
    exact -= problem.loss_phi_grad(phi, theta, batch)
    found = problem.loss_curvature(direction, phi, theta, batch)
    assert_allclose(found, exact, rtol=1e-9, atol=1e-11)
    assert ((direction * found).sum(-1) >= 0).all()


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_meta_gradient_through_the_solve_is_that_of_finite_differences(meta_loss):
    # The oracle of the other tests, held against something that knows no calculus.
    problem, theta, episode, _ = case((7,), 2, meta_loss)
    exact, _ = autograd_meta_gradient(problem, theta, episode)
    differences = theta.zeros_like()
    for i in range(len(theta.vector)):
        sides = []
        for step in (1e-5, -1e-5):
            moved = theta.copy()
            moved.vector[i] += step
            sides.append(solved_loss(problem, moved, episode))
        differences.vector[i] = (sides[0] - sides[1]) / 2e-5
    differences["factor"][...] *= problem.factor_mask
    assert relative_error(differences.vector, exact.vector) < 1e-7


def test_terms_with_only_energies_do_not_know_of_the_loss():
    problem, theta, episode, batch = case((7,), 2)
    phi = random_phi(problem, batch)
    terms = [Term(phi, np.ones(4), None)]
    found = problem.theta_grad(terms, theta, batch)
    other = dataclasses.replace(episode, y_query=episode.y_query + 5.0)
    same = problem.theta_grad(terms, theta, problem.embed(theta, other))
    np.testing.assert_array_equal(found.vector, same.vector)


def test_entries_outside_the_factors_mask_have_no_gradient():
    problem, theta, _, batch = case((7,))
    phi = random_phi(problem, batch)
    grad = problem.theta_grad([Term(phi, np.ones(4), np.ones(4))], theta, batch)
    assert (grad["factor"][:, ~problem.factor_mask] == 0).all()
    assert (grad["factor"][:, problem.factor_mask] != 0).all()


# --- what energy and loss mean


@pytest.mark.parametrize("hidden", BODIES)
def test_energy_is_the_negative_log_joint_density_up_to_a_constant(hidden):
    problem, theta, episode, batch = case(hidden, 3)
    constants = []
    for seed in range(3):
        phi = random_phi(problem, batch, seed)
        total = np.zeros(4)
        for o, t, (z, y, w), _, noise in groups_of(problem, theta, episode, batch):
            mean = z @ (theta["omega"][o] + theta["factor"][o] @ phi[o, t])
            total[t] -= stats.norm.logpdf(y, mean, np.sqrt(noise / w)).sum()
            total[t] -= stats.norm.logpdf(phi[o, t]).sum()
        constants.append(total - problem.energy(phi, theta, batch))
    assert_allclose(constants[1], constants[0], rtol=1e-10)
    assert_allclose(constants[2], constants[0], rtol=1e-10)


@pytest.mark.parametrize(("hidden", "n_outputs"), [(h, m) for h in BODIES for m in (1, 3)])
def test_log_predictive_loss_is_that_of_the_conditional_gaussian(hidden, n_outputs):
    problem, theta, episode, batch = case(hidden, n_outputs)
    expected, predicted = np.zeros(4), problem.predict(theta, episode)
    for o, t, support, query, noise in groups_of(problem, theta, episode, batch):
        (z, y, w), (z_query, y_query, w_query) = support, query
        covariance = theta["factor"][o] @ theta["factor"][o].T
        gain = z_query @ covariance @ z.T @ np.linalg.inv(z @ covariance @ z.T + np.diag(noise / w))
        mean = z_query @ theta["omega"][o] + gain @ (y - z @ theta["omega"][o])
        joint = z_query @ covariance @ z_query.T - gain @ z @ covariance @ z_query.T
        density = stats.norm.logpdf(y_query, mean, np.sqrt(joint.diagonal() + noise))
        expected[t] -= np.average(density, weights=w_query)
        assert_allclose(predicted[0][o, t], mean, rtol=1e-9, atol=1e-9)
        assert_allclose(predicted[1][o, t], joint.diagonal() + noise, rtol=1e-9)
    phi = closed_form(problem, theta, batch).phi
    assert_allclose(problem.loss(phi, theta, batch), expected, rtol=1e-9)


def test_loss_is_half_the_mean_squared_error():
    problem, theta, episode, batch = case((7,), 3, "loss")
    phi = random_phi(problem, batch)
    expected = np.zeros(4)
    for o, t, _, (z, y, w), _ in groups_of(problem, theta, episode, batch):
        error = y - z @ (theta["omega"][o] + theta["factor"][o] @ phi[o, t])
        expected[t] += 0.5 * np.average(error**2, weights=w)
    assert_allclose(problem.loss(phi, theta, batch), expected, rtol=1e-12)


@pytest.mark.parametrize("hidden", BODIES)
def test_the_free_phase_is_where_the_energys_gradient_vanishes(hidden):
    problem, theta, episode, batch = case(hidden, 3)
    phi = batch.system.u
    assert abs(augmented_gradient(problem, theta, episode, phi, 0.0)).max() < 1e-11


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_least_squares_is_the_augmented_energy(meta_loss):
    problem, theta, episode, batch = case((7,), 3, meta_loss)
    phi = random_phi(problem, batch)
    for beta in (0.0, 0.7, -0.1, np.array([0.0, 0.5, -0.2, 3.0])):
        found = problem.least_squares(theta, batch, beta).gradient(phi)
        exact = augmented_gradient(problem, theta, episode, phi, beta)
        assert_allclose(found, exact, rtol=1e-10, atol=1e-10)


# --- padding, weights, and odd episodes


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_padding_leaves_no_trace(meta_loss):
    problem, theta, episode, batch = case((7,), 2, meta_loss)

    def spoil(array, weight):
        # x has features last, y has outputs first.
        mask = weight == 0
        return np.where(mask[..., None] if array.shape[:2] == mask.shape else mask, 3.0, array)

    other = dataclasses.replace(
        episode,
        x_support=spoil(episode.x_support, episode.w_support),
        y_support=spoil(episode.y_support, episode.w_support),
        x_query=spoil(episode.x_query, episode.w_query),
        y_query=spoil(episode.y_query, episode.w_query),
    )
    assert (other.x_support != episode.x_support).any()
    assert (other.y_query != episode.y_query).any()
    phi = random_phi(problem, batch)
    terms = [Term(phi, np.ones(4), np.ones(4))]
    changed = problem.embed(theta, other)
    for name in ("energy", "loss", "loss_phi_grad"):
        before = getattr(problem, name)(phi, theta, batch)
        assert_allclose(getattr(problem, name)(phi, theta, changed), before, rtol=1e-11)
    before = problem.theta_grad(terms, theta, batch).vector
    after = problem.theta_grad(terms, theta, changed).vector
    assert_allclose(after, before, rtol=1e-10, atol=1e-11)


def test_a_support_row_of_weight_two_is_two_rows():
    problem, theta, episode, _ = case((7,), 2)
    twice = dataclasses.replace(episode, w_support=2 * episode.w_support)
    repeated = dataclasses.replace(
        episode,
        x_support=np.tile(episode.x_support, (1, 2, 1)),
        y_support=np.tile(episode.y_support, 2),
        w_support=np.tile(episode.w_support, 2),
    )
    batches = [problem.embed(theta, e) for e in (twice, repeated)]
    phi = random_phi(problem, batches[0])
    energies = [problem.energy(phi, theta, b) for b in batches]
    assert_allclose(energies[0], energies[1], rtol=1e-12)
    grads = [problem.theta_grad([Term(phi, np.ones(4), np.ones(4))], theta, b) for b in batches]
    assert_allclose(grads[0].vector, grads[1].vector, rtol=1e-9, atol=1e-11)


def test_only_the_proportions_of_query_weights_count():
    problem, theta, episode, batch = case((7,), 2)
    other = dataclasses.replace(episode, w_query=3 * episode.w_query)
    phi = random_phi(problem, batch)
    changed = problem.embed(theta, other)
    expected = problem.loss(phi, theta, batch)
    assert_allclose(problem.loss(phi, theta, changed), expected, rtol=1e-13)


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_without_support_the_prior_predicts(meta_loss):
    problem = head_problem((7,), 2, meta_loss)
    theta = random_theta(problem)
    episode = random_episode(problem, n_support=2)
    episode = dataclasses.replace(
        episode,
        x_support=episode.x_support[:, :0],
        y_support=episode.y_support[:, :, :0],
        w_support=episode.w_support[:, :0],
    )
    batch = problem.embed(theta, episode)
    phi = closed_form(problem, theta, batch).phi
    assert (phi == 0).all()
    if meta_loss == "log_predictive":
        z = batch.z.reshape(4, 6, -1)
        spread = ((z @ theta["factor"][1]) ** 2).sum(-1)
        assert_allclose(batch.v_query[1], spread + problem.noise(theta)[1])
    assert_energy_theta_grad(problem, theta, episode)


@pytest.mark.parametrize("meta_loss", META_LOSSES)
def test_a_query_without_weight_costs_nothing(meta_loss):
    problem, theta, episode, _ = case((7,), 2, meta_loss)
    w_query = episode.w_query.copy()
    w_query[1] = 0
    batch = problem.embed(theta, dataclasses.replace(episode, w_query=w_query))
    loss = problem.loss(batch.system.u, theta, batch)
    assert loss[1] == 0
    assert np.isfinite(loss).all()


def test_noise_has_a_floor_and_its_gradient_knows():
    problem, theta, episode, batch = case((), 2)
    theta["log_noise"][...] = [-9.5, -40.0]
    variance = problem.noise(theta)
    assert_allclose(variance, [np.exp(-19) + NOISE_FLOOR, NOISE_FLOOR])
    phi = closed_form(problem, theta, problem.embed(theta, episode)).phi
    assert np.isfinite(phi).all()
    graph = {name: torch.tensor(a, requires_grad=True) for name, a in theta.items()}
    energy = problem.energy(torch.tensor(phi), graph, problem.embed(graph, tensor_episode(episode)))
    energy.sum().backward()
    batch = problem.embed(theta, episode)
    grad = problem.theta_grad([Term(phi, np.ones(4), None)], theta, batch)
    assert_allclose(grad["log_noise"], graph["log_noise"].grad.numpy(), rtol=1e-9, atol=1e-15)
    assert grad["log_noise"][0] != 0


def test_without_a_hidden_layer_theta_is_that_of_a_mixed_model():
    assert head_problem().shapes == {"omega": (1, 4), "factor": (1, 4, 4), "log_noise": (1,)}
    assert list(head_problem((7,)).shapes)[:2] == ["weight_0", "bias_0"]
