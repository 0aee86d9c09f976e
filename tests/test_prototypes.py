"""A softmax over classes near their mean rows: energy, loss, derivatives, and the rule on top."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from skcml.episodes import Episode
from skcml.problems.base import ConvexProblem, InnerProblem, Term
from skcml.problems.prototypes import PrototypeProblem, unit_rows
from skcml.rules.contrastive import Contrastive
from skcml.solvers.newton_cg import newton_cg
from tests.asserts import (
    assert_follows,
    assert_mean_over_tasks,
    assert_order_does_not_matter,
)
from tests.builders import map_episode, relative_error
from tests.class_tasks import PROBLEM, class_episode, oracle, prior_means, random_phi

THETA = PrototypeProblem.constants(3.0, 0.2)
# Fewer rows than columns, as many, and more.
WIDTHS = pytest.mark.parametrize("d", [20, 7, 2])
ACCURACY = {"tangent": 1e-6, "symmetric": 1e-4, "second_order": 1e-4, "forward": 1e-2}


def solved(episode, theta=THETA):
    batch = PROBLEM.embed(theta, episode)
    return newton_cg(PROBLEM, theta, batch).phi, batch


def solved_weights(episode, theta=THETA):
    phi, batch = solved(episode, theta)
    return PROBLEM.weights(phi, theta, batch)


def as_tensor(theta):
    return torch.tensor(theta.vector)


def implicit_gradient(episode, theta):
    """Differentiate the mean query loss of the solved tasks in W, by the implicit function theorem.

    Returns
    -------
    ndarray of shape (2,)
    """
    W = solved_weights(episode, theta)
    parts = []
    for t in range(len(W)):
        energy, loss = oracle(episode, t)
        at, variable = torch.tensor(W[t]), torch.tensor(theta.vector)
        size = at.numel()
        slope = torch.func.grad(energy)
        hessian = torch.func.jacrev(slope)(at, variable).reshape(size, size)
        mixed = torch.func.jacrev(slope, argnums=1)(at, variable).reshape(size, 2)
        push = torch.func.grad(loss)(at, variable).reshape(size)
        parts.append(-mixed.T @ torch.linalg.solve(hessian, push))
    return torch.stack(parts).mean(0).numpy()


def test_the_problem_follows_the_interfaces():
    for protocol in (InnerProblem, ConvexProblem):
        assert_follows(PROBLEM, protocol)
    assert isinstance(PROBLEM, ConvexProblem)
    assert not PROBLEM.is_quadratic
    assert_allclose(np.exp(THETA.vector), [3.0, 0.2])
    assert PROBLEM.constants(0.0, 1.0)["log_scale"] == -np.inf


# --- energy and loss


@WIDTHS
def test_energy_and_loss_are_those_of_the_weights(d):
    episode = class_episode(d=d)
    batch = PROBLEM.embed(THETA, episode)
    phi = random_phi(batch)
    W = PROBLEM.weights(phi, THETA, batch)
    for t in range(3):
        energy, loss = oracle(episode, t)
        at = torch.tensor(W[t]), as_tensor(THETA)
        assert PROBLEM.energy(phi, THETA, batch)[t] == pytest.approx(energy(*at).item())
        assert PROBLEM.loss(phi, THETA, batch)[t] == pytest.approx(loss(*at).item())


@WIDTHS
def test_weights_at_zero_are_the_scaled_prior_means(d):
    episode = class_episode(d=d)
    batch = PROBLEM.embed(THETA, episode)
    W = PROBLEM.weights(0 * batch.means, THETA, batch)
    for t in range(3):
        assert_allclose(W[t], 3.0 * prior_means(episode, t), atol=1e-12)


def test_prior_means_are_one_long_and_longer_for_classes_of_fewer_rows():
    x = np.ones((1, 6, 3)) * np.array([1.0, 2.0, -1.0])
    y = np.eye(3)[[0, 0, 0, 0, 1, 2]].T[:, None]
    weight = np.array([[1.0, 1, 1, 1, 1, 0]])
    episode = Episode(x, y, weight, x[:, :0], y[..., :0], weight[:, :0])
    lengths = np.linalg.norm(PROBLEM.embed(THETA, episode).means, axis=-1)[:, 0]
    # Of 4 and of 1 rows, two in the geometric mean; of none.
    assert_allclose(lengths, [2.0**-0.3, 2.0**0.3, 0.0], atol=1e-12)


@pytest.mark.parametrize("d", [20, 3])
def test_rows_that_cancel_have_no_mean(d):
    x = np.ones((1, 7, d)) * np.arange(1, d + 1)
    # Their sum is 3e-17.
    x[:, :4] *= np.array([0.1, 0.2, -0.3, 0.0])[:, None]
    y = np.repeat(np.eye(2), [4, 3], axis=0).T[:, None]
    rows = x, y, np.ones((1, 7))
    means = PROBLEM.embed(THETA, Episode(*rows, *rows)).means
    assert (means[0] == 0).all()
    assert np.linalg.norm(means[1]) == pytest.approx((3 / np.sqrt(4 * 3)) ** -0.3)


def test_probabilities_are_those_of_the_weights():
    episode = class_episode()
    batch = PROBLEM.embed(THETA, episode)
    phi = random_phi(batch)
    logits = torch.tensor(episode.x_query @ PROBLEM.weights(phi, THETA, batch).swapaxes(1, 2))
    expected = torch.softmax(logits, -1).numpy()
    found = PROBLEM.probabilities(phi, THETA, batch)
    assert_allclose(np.moveaxis(found, 0, -1), expected)


def test_a_query_without_weight_costs_nothing():
    episode = class_episode()
    nothing = dataclasses.replace(episode, w_query=0 * episode.w_query)
    batch = PROBLEM.embed(THETA, nothing)
    assert (PROBLEM.loss(random_phi(batch), THETA, batch) == 0).all()


# --- derivatives in phi and in theta


def slope_of_energy(phi, theta, batch):
    return PROBLEM.augmented(phi, theta, batch, 0.0)[1]


def curve_of_energy(direction, phi, theta, batch):
    return PROBLEM.expand(phi, theta, batch, 0.0).curvature(direction)


@WIDTHS
def test_gradients_agree_with_finite_differences(d):
    batch = PROBLEM.embed(THETA, class_episode(d=d))
    phi, step = random_phi(batch), 1e-6 * random_phi(batch, 1)
    for value, gradient in (
        (PROBLEM.energy, slope_of_energy),
        (PROBLEM.loss, PROBLEM.loss_phi_grad),
    ):
        change = value(phi + step, THETA, batch) - value(phi - step, THETA, batch)
        expected = 2 * (step * gradient(phi, THETA, batch)).sum((0, 2))
        assert_allclose(change, expected, rtol=1e-6)


@WIDTHS
def test_curvatures_agree_with_finite_differences(d):
    batch = PROBLEM.embed(THETA, class_episode(d=d))
    phi, direction = random_phi(batch), random_phi(batch, 1)
    for gradient, curvature in (
        (slope_of_energy, curve_of_energy),
        (PROBLEM.loss_phi_grad, PROBLEM.loss_curvature),
    ):
        up, down = (gradient(phi + h * direction, THETA, batch) for h in (1e-6, -1e-6))
        found = curvature(direction, phi, THETA, batch)
        assert_allclose(found, (up - down) / 2e-6, atol=1e-7)


@pytest.mark.parametrize("beta", [0.0, 0.4, np.array([0.0, 0.3, -0.1])])
def test_the_expansion_is_that_of_the_augmented_energy(beta):
    batch = PROBLEM.embed(THETA, class_episode())
    phi, direction = random_phi(batch), random_phi(batch, 1)
    found = PROBLEM.expand(phi, THETA, batch, beta)
    beta = np.broadcast_to(beta, 3)
    at = phi, THETA, batch
    assert_allclose(found.value, PROBLEM.energy(*at) + beta * PROBLEM.loss(*at))
    slopes = slope_of_energy(*at), PROBLEM.loss_phi_grad(*at)
    assert_allclose(found.gradient, slopes[0] + beta[:, None] * slopes[1])
    bends = curve_of_energy(direction, *at), PROBLEM.loss_curvature(direction, *at)
    assert_allclose(found.curvature(direction), bends[0] + beta[:, None] * bends[1])


@WIDTHS
def test_the_theta_gradient_agrees_with_finite_differences(d):
    batch = PROBLEM.embed(THETA, class_episode(d=d))
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(2, 2, 3))
    terms = [
        Term(random_phi(batch), weights[0, 0], None),
        Term(random_phi(batch, 1), weights[1, 0], weights[1, 1]),
        Term(random_phi(batch, 2), None, weights[0, 1]),
    ]

    def total(theta):
        value = 0.0
        for phi, energy, loss in terms:
            value += 0 if energy is None else energy @ PROBLEM.energy(phi, theta, batch)
            value += 0 if loss is None else loss @ PROBLEM.loss(phi, theta, batch)
        return value

    grad = PROBLEM.theta_grad(terms, THETA, batch)
    assert grad.shapes == THETA.shapes
    for index in range(2):
        up, down = THETA.copy(), THETA.copy()
        up.vector[index] += 1e-6
        down.vector[index] -= 1e-6
        slope = (total(up) - total(down)) / 2e-6
        assert grad.vector[index] == pytest.approx(slope, rel=1e-6)


# --- the rule


@WIDTHS
@pytest.mark.parametrize("scheme", ACCURACY)
def test_schemes_agree_with_the_implicit_gradient(d, scheme):
    episode = class_episode(d=d)
    found = Contrastive(scheme)(PROBLEM, newton_cg, THETA, episode)
    assert found.n_left_out == 0
    assert relative_error(found.theta.vector, implicit_gradient(episode, THETA)) < ACCURACY[scheme]


def test_the_implicit_gradient_agrees_with_finite_differences():
    episode = class_episode()
    exact = implicit_gradient(episode, THETA)
    for index in range(2):
        losses = []
        for h in (1e-5, -1e-5):
            theta = THETA.copy()
            theta.vector[index] += h
            phi, batch = solved(episode, theta)
            losses.append(PROBLEM.loss(phi, theta, batch).mean())
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(exact[index], abs=1e-8)


def test_order_does_not_matter_to_the_rule():
    episode = class_episode()
    assert_order_does_not_matter(Contrastive(), PROBLEM, newton_cg, THETA, episode, rtol=1e-6)
    assert_mean_over_tasks(Contrastive(), PROBLEM, newton_cg, THETA, episode, rtol=1e-6)


# --- the minimum


@WIDTHS
def test_the_minimum_is_that_of_the_energy_of_the_weights(d):
    episode = class_episode(d=d)
    W = solved_weights(episode)
    for t in range(3):
        slope = torch.func.grad(oracle(episode, t)[0])(torch.tensor(W[t]), as_tensor(THETA))
        assert abs(slope).max() < 1e-7


@WIDTHS
def test_without_a_scale_it_is_logistic_regression(d):
    episode = class_episode(d=d)
    W = solved_weights(episode, PROBLEM.constants(0.0, 0.2))
    for t in range(3):
        model = LogisticRegression(C=1 / 0.2, fit_intercept=False, tol=1e-10, max_iter=10_000)
        model.fit(episode.x_support[t], episode.y_support[:, t].argmax(0), episode.w_support[t])
        assert_allclose(W[t], model.coef_, atol=1e-6)


def test_a_weight_of_two_is_a_row_twice():
    episode = class_episode()
    weight = np.ones((3, 7))
    weight[:, :2] = 2
    once = dataclasses.replace(episode, w_support=weight)
    twice = dataclasses.replace(
        episode,
        x_support=np.concatenate([episode.x_support, episode.x_support[:, :2]], 1),
        y_support=np.concatenate([episode.y_support, episode.y_support[..., :2]], 2),
        w_support=np.ones((3, 9)),
    )
    assert_allclose(solved_weights(once), solved_weights(twice), atol=1e-7)


def test_permuted_classes_have_permuted_weights():
    episode, order = class_episode(), [2, 0, 1]
    permuted = map_episode(lambda name, a: a[order] if name[0] == "y" else a, episode)
    assert_allclose(solved_weights(permuted), solved_weights(episode)[:, order], atol=1e-7)


def test_permuted_rows_have_the_same_weights():
    episode, order = class_episode(), np.random.default_rng(0).permutation(7)
    permuted = dataclasses.replace(
        episode,
        x_support=episode.x_support[:, order],
        y_support=episode.y_support[..., order],
        w_support=episode.w_support[:, order],
    )
    assert_allclose(solved_weights(permuted), solved_weights(episode), atol=1e-7)


def test_a_class_without_rows_is_the_least_likely_where_others_have_theirs():
    episode = class_episode(noise=0.1)
    absent = episode.w_support * (1 - episode.y_support[2])
    episode = dataclasses.replace(episode, w_support=absent)
    phi, batch = solved(episode)
    assert (batch.means[2] == 0).all()
    p = PROBLEM.probabilities(phi, THETA, batch)
    others = episode.y_query[2] == 0
    assert (p[2][others] < p.max(0)[others]).all()


def test_repeated_and_dependent_rows_do_no_harm():
    episode = class_episode(d=20)
    x = episode.x_support.copy()
    x[:, 1] = x[:, 0]
    x[:, 2] = 0
    x[:, 4] = x[:, 3] - 2 * x[:, 0]
    episode = dataclasses.replace(episode, x_support=x)
    W = solved_weights(episode)
    for t in range(3):
        slope = torch.func.grad(oracle(episode, t)[0])(torch.tensor(W[t]), as_tensor(THETA))
        assert abs(slope).max() < 1e-7


def test_a_prior_that_costs_more_than_nothing_is_not_where_to_start():
    episode = class_episode(noise=0.1)
    good = PROBLEM.embed(THETA, episode)
    assert (PROBLEM.start(THETA, good) == 0).all()
    # Half of the rows say otherwise.
    y = np.concatenate([episode.y_support, episode.y_support[[1, 2, 0]]], axis=-1)
    torn = dataclasses.replace(
        episode,
        x_support=np.tile(episode.x_support, (1, 2, 1)),
        y_support=y,
        w_support=np.tile(episode.w_support, (1, 2)),
    )
    theta = PROBLEM.constants(100.0, 1e-3)
    batch = PROBLEM.embed(theta, torn)
    W = PROBLEM.weights(PROBLEM.start(theta, batch), theta, batch)
    assert_allclose(W, 0, atol=1e-9)


@pytest.mark.parametrize("size", [1e-200, 1e-60, 1.0, 1e60, 1e200])
def test_unit_rows_are_one_long_whatever_their_size(size):
    x = np.random.default_rng(0).normal(size=(5, 3))
    rows = unit_rows(np.vstack([size * x, np.zeros(3)]))
    assert_allclose(rows[:5], x / np.linalg.norm(x, axis=1)[:, None])
    assert (rows[5] == 0).all()
    assert unit_rows(np.empty((2, 0))).shape == (2, 0)
