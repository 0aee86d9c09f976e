"""Classes near their mean rows in a learned space, against torch."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skcml.likelihoods import Categorical
from skcml.problems.base import Term
from skcml.problems.features import row_context
from skcml.problems.meta_params import MetaParams
from skcml.problems.module_body import ModuleBody
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.prototypes import PrototypeProblem, unit_rows
from skcml.rules.contrastive import Contrastive
from skcml.solvers.newton_cg import newton_cg
from tests.builders import relative_error
from tests.module_cases import N_INPUTS, convolution, episode_of, perceptron, with_padding

N_WAYS = 3


def case(norm=None, sizes=(3, 7, 6)):
    if norm is None:
        body = ModuleBody(perceptron(), input_shape=(N_INPUTS,), dtype="float64")
    else:
        body = ModuleBody(convolution(norm, bias=False), input_shape=(1, 4, 4), dtype="float64")
    problem = PrototypeBodyProblem(body)
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, np.random.default_rng(0))
    return problem, theta, episode_of(body.n_inputs, N_WAYS, Categorical(), sizes=sizes)


def features(problem, theta, episode):
    """Return the body's outputs of support and query rows, as torch sees them."""
    n_tasks, n_support = episode.w_support.shape
    x = np.concatenate([a.reshape(-1, a.shape[-1]) for a in (episode.x_support, episode.x_query)])
    context = row_context(episode.w_support, episode.w_query, None)
    z, _ = problem.body.forward(theta, torch.tensor(x), context)
    z = z[:, 1:] / z[:, 1:].norm(dim=-1, keepdim=True)
    cut = n_tasks * n_support
    return z[:cut].reshape(n_tasks, n_support, -1), z[cut:].reshape(n_tasks, -1, z.shape[-1])


def costs(problem, theta, episode, phi):
    """Return E and L of each task, as the docstrings of the modules write them."""
    support, query = features(problem, theta, episode)
    y = torch.tensor(episode.y_support * episode.w_support).swapaxes(0, 1)
    count = y.sum(-1, keepdim=True)
    present = 1.0 * (count > 0)
    mean = y @ support / torch.where(count > 0, count, 1.0)
    mean = mean / torch.where(count > 0, mean, 1.0).norm(dim=-1, keepdim=True)
    log_count = torch.log(torch.where(count > 0, count, 1.0))
    middle = log_count.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    scale = theta["log_scale"].exp() * torch.exp(-0.3 * (log_count - middle))
    weights = scale * mean + (-0.5 * theta["log_precision"]).exp() * phi.swapaxes(0, 1)

    def cost(z, y, weight):
        logits = (z @ weights.mT).log_softmax(-1)
        return -(weight * (torch.tensor(y).permute(1, 2, 0) * logits).sum(-1)).sum(-1)

    w_query = torch.tensor(episode.w_query / episode.w_query.sum(-1, keepdims=True))
    energy = cost(support, episode.y_support, torch.tensor(episode.w_support))
    return energy + 0.5 * (phi**2).sum((0, 2)), cost(query, episode.y_query, w_query)


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
def test_energy_loss_and_gradients_are_torchs(norm):
    problem, theta, episode = case(norm)
    batch = problem.embed(theta, episode)
    rng = np.random.default_rng(1)
    phis = rng.normal(size=(2, *problem.start(theta, batch).shape))
    coefficient = rng.normal(size=(2, 2, 3))
    graph = {name: torch.tensor(array, requires_grad=True) for name, array in theta.items()}
    total = 0.0
    for phi, (a, b) in zip(phis, coefficient, strict=True):
        energy, loss = costs(problem, graph, episode, torch.tensor(phi))
        assert_allclose(problem.energy(phi, theta, batch), energy.detach(), rtol=1e-10)
        assert_allclose(problem.loss(phi, theta, batch), loss.detach(), rtol=1e-10)
        total = total + (torch.tensor(a) * energy + torch.tensor(b) * loss).sum()
    total.backward()
    terms = [Term(phi, *pair) for phi, pair in zip(phis, coefficient, strict=True)]
    grad = problem.theta_grad(terms, theta, batch)
    for name, tensor in graph.items():
        scale = abs(grad.vector).max()
        assert_allclose(grad[name], tensor.grad, rtol=1e-8, atol=1e-10 * scale, err_msg=name)


def test_the_rule_gives_the_change_of_the_solved_loss():
    problem, theta, episode = case()

    def solved_loss(vector):
        at = MetaParams(problem.shapes, vector)
        batch = problem.embed(at, episode)
        return problem.loss(newton_cg(problem, at, batch).phi, at, batch).mean()

    found = Contrastive("tangent")(problem, newton_cg, theta, episode)
    direction = np.random.default_rng(2).normal(size=theta.vector.shape)
    step = 1e-5 * direction
    change = (solved_loss(theta.vector + step) - solved_loss(theta.vector - step)) / 2e-5
    assert_allclose(found.loss, solved_loss(theta.vector), rtol=1e-10)
    assert_allclose(found.theta.vector @ direction, change, rtol=1e-5)


def test_on_rows_of_unit_length_it_is_the_problem_without_a_body():
    problem, theta, _ = case()
    episode = episode_of(problem.body.n_features - 1, N_WAYS, Categorical(), sizes=(3, 12, 6))
    identity = nn.Sequential(nn.Linear(8, 8, bias=False))
    nn.init.eye_(identity[0].weight)
    problem = PrototypeBodyProblem(ModuleBody(identity, input_shape=(8,), dtype="float64"))
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, np.random.default_rng(0))
    plain = PrototypeProblem()
    rows = {name: unit_rows(getattr(episode, name)) for name in ("x_support", "x_query")}
    reference = plain.embed(theta, dataclasses.replace(episode, **rows))
    batch = problem.embed(theta, episode)
    found, expected = newton_cg(problem, theta, batch), newton_cg(plain, theta, reference)
    assert_allclose(
        problem.probabilities(found.phi, theta, batch),
        plain.probabilities(expected.phi, theta, reference),
        rtol=1e-7,
    )


def test_padding_does_not_matter():
    problem, theta, episode = case(nn.BatchNorm2d)
    expected = Contrastive("tangent")(problem, newton_cg, theta, episode)
    found = Contrastive("tangent")(problem, newton_cg, theta, with_padding(episode))
    assert_allclose(found.loss, expected.loss, rtol=1e-9)
    assert relative_error(found.theta.vector, expected.theta.vector) < 1e-6


def test_rows_of_zeros_have_no_direction_and_no_gradient():
    body = ModuleBody(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), input_shape=(2,), dtype="float64")
    problem = PrototypeBodyProblem(body)
    theta = MetaParams(problem.shapes)
    theta["body.0.bias"][...] = -1.0
    episode = episode_of(2, N_WAYS, Categorical())
    found = Contrastive("tangent")(problem, newton_cg, theta, episode)
    assert_allclose(found.loss, np.log(N_WAYS))
    assert (found.theta.vector == 0).all()
