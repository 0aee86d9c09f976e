"""A user's module as the network of each task."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skcml.likelihoods import Categorical, SquaredError
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.task_network import TaskNetwork
from skcml.rules.contrastive import Contrastive
from tests.asserts import assert_follows
from tests.builders import relative_error, take_tasks
from tests.module_cases import (
    EXACT,
    HIDDEN,
    IMAGE,
    LAYERS,
    N_INPUTS,
    N_PIXELS,
    QUICK,
    Lambda,
    convolution,
    episode_of,
    from_mlp,
    image_case,
    implicit_gradient,
    mlp_problem,
    perceptron,
    problem_of,
    theta_of,
    with_padding,
)


def solved(problem, theta, episode):
    """Return phi of each task, numpy, and the statistics of its support."""
    batch = problem.embed(theta, episode)
    phi = QUICK(problem, theta, batch).phi
    return phi.numpy(), problem.statistics(phi, theta, batch)


# --- the same perceptron as the built-in one


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cost", [SquaredError(), Categorical()])
def test_it_is_the_built_in_network_if_the_module_is(layer, cost):
    mlp = OnTorch(mlp_problem(layer, cost))
    theta, episode = theta_of(mlp, 2.0), episode_of(cost=cost)
    problem, same = from_mlp(theta, layer)
    problem = OnTorch(dataclasses.replace(problem.problem, cost=cost))
    ours, theirs = problem.embed(same, episode), mlp.embed(theta, episode)
    start = problem.start(same, ours)
    energies = (
        problem.energy(start, same, ours),
        mlp.energy(mlp.start(theta, theirs), theta, theirs),
    )
    assert_allclose(*energies, rtol=1e-12)
    found, expected = EXACT(problem, same, ours), EXACT(mlp, theta, theirs)
    assert_allclose(
        problem.outputs(found.phi, same, episode.x_query),
        mlp.outputs(expected.phi, theta, episode.x_query),
        atol=1e-8,
    )
    grad = Contrastive("tangent")(problem, EXACT, same, episode)
    reference = Contrastive("tangent")(mlp, EXACT, theta, episode)
    assert_allclose(grad.loss, reference.loss, rtol=1e-9)
    _, expected = from_mlp(reference.theta, layer)
    assert relative_error(grad.theta.vector, expected.vector) < 1e-6


def test_it_follows_the_interface():
    network = ModuleNetwork(perceptron(), 2, input_shape=(N_INPUTS,))
    assert_follows(network, TaskNetwork)
    out, _ = network.forward(torch.zeros(1, 59).double(), {}, torch.ones(1, 2, 3).double())
    assert out.shape == (1, 2, 2)


# --- convolutions and batch normalisation


@pytest.mark.parametrize(
    ("layer", "norm", "transductive"),
    [
        ("dense", nn.BatchNorm2d, False),
        ("modulated", nn.BatchNorm2d, True),
        ("modulated", lambda n: nn.GroupNorm(1, n), False),
    ],
)
def test_the_rule_gives_the_gradient_through_the_solve(layer, norm, transductive):
    problem, theta, episode = image_case(layer, 5.0, norm=norm, transductive=transductive)
    episode = take_tasks(episode, [0, 1])
    exact = implicit_gradient(problem, EXACT, theta, episode)
    found = Contrastive("symmetric", 0.05)(problem, EXACT, theta, episode)
    assert found.n_left_out == 0
    for name in theta:
        size = abs(exact.vector).max()  # a bias before a normalisation has no gradient
        assert_allclose(found.theta[name], exact[name], rtol=1e-3, atol=1e-4 * size, err_msg=name)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("transductive", [True, False])
def test_padding_does_not_matter(layer, transductive):
    problem, theta, episode = image_case(layer, transductive=transductive)
    expected = Contrastive("tangent")(problem, QUICK, theta, episode)
    found = Contrastive("tangent")(problem, QUICK, theta, with_padding(episode))
    assert_allclose(found.loss, expected.loss, rtol=1e-9)
    assert relative_error(found.theta.vector, expected.theta.vector) < 1e-6


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_query_rows_matter_to_each_other_only_transductively(dims):
    norm = {1: nn.BatchNorm1d(N_INPUTS), 2: nn.BatchNorm2d(1), 3: nn.BatchNorm3d(1)}[dims]
    shape = {1: (N_INPUTS,), 2: (1, N_INPUTS, 1), 3: (1, 1, N_INPUTS, 1)}[dims]
    module = nn.Sequential(norm, nn.Flatten(), nn.Linear(N_INPUTS, 4), nn.Tanh()).double()
    episode = episode_of()
    other = dataclasses.replace(episode, x_query=episode.x_query.copy())
    other.x_query[:, 0] += 1.0
    for transductive in (False, True):
        problem = problem_of(module, input_shape=shape, transductive=transductive)
        theta = theta_of(problem)
        inside, found = problem.problem, []
        for one in (episode, other):
            batch = problem.embed(theta, one)
            phi = problem.start(theta, batch)
            rows = inside._augmented(batch.rows, 0.1), inside._query(batch.rows)
            eta = [inside._eta(phi, batch.theta, r)[0].numpy() for r in rows]
            assert_allclose(eta[0][:, :, 5:], eta[1], rtol=1e-12)
            found.append(eta[0])
        # The support never sees the query.
        assert_allclose(found[0][..., :5], found[1][..., :5], rtol=1e-12)
        assert (found[0][..., 5] != found[1][..., 5]).all()
        assert (found[0][..., 6:] == found[1][..., 6:]).all() != transductive


@pytest.mark.parametrize("layer", LAYERS)
def test_predictions_by_stored_statistics(layer):
    problem, theta, episode = image_case(layer)
    phi, statistics = solved(problem, theta, episode)
    assert statistics.shape == (3, problem.problem.network.n_statistics)
    assert_allclose(statistics[:, 0], N_PIXELS * episode.w_support.sum(1))
    together = problem.outputs(phi, theta, episode.x_query, statistics)
    batch = problem.embed(theta, episode)
    inside = problem.problem
    expected = inside._eta(torch.tensor(phi), batch.theta, inside._query(batch.rows))[0]
    assert_allclose(together, expected, rtol=1e-10, atol=1e-12)
    alone = [
        problem.outputs(phi, theta, episode.x_query[:, i : i + 1], statistics) for i in range(4)
    ]
    assert_allclose(np.concatenate(alone, -1), together, rtol=1e-10, atol=1e-12)


def test_transductive_predictions_by_stored_statistics():
    problem, theta, episode = image_case(transductive=True)
    episode = take_tasks(episode, [1, 2])  # without padding
    phi, statistics = solved(problem, theta, episode)
    batch = problem.embed(theta, episode)
    inside = problem.problem
    expected = inside._eta(torch.tensor(phi), batch.theta, inside._query(batch.rows))[0]
    found = problem.outputs(phi, theta, episode.x_query, statistics)
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_a_task_with_one_row_or_none():
    problem, theta, episode = image_case()
    for n_rows in (1, 0):
        few = dataclasses.replace(
            episode,
            x_support=episode.x_support[:, :n_rows],
            y_support=episode.y_support[:, :, :n_rows],
            w_support=np.ones((3, n_rows)),
        )
        phi, statistics = solved(problem, theta, few)
        found = problem.outputs(phi, theta, episode.x_query, statistics)
        assert np.isfinite(found).all()
        assert abs(found).max() < 20
        assert np.isfinite(Contrastive()(problem, QUICK, theta, few).theta.vector).all()
    prior = problem.outputs(phi, theta, episode.x_query)
    assert_allclose(found, prior, rtol=1e-12)


# --- the module


def test_the_module_is_not_touched():
    module = convolution()
    before = pickle.dumps(module.state_dict())
    problem = problem_of(module, input_shape=IMAGE)
    Contrastive("tangent")(problem, QUICK, theta_of(problem, 4.0), episode_of(N_PIXELS))
    assert pickle.dumps(module.state_dict()) == before
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    assert isinstance(module[1], nn.BatchNorm2d)


@pytest.mark.parametrize("layer", LAYERS)
def test_it_starts_where_the_module_is(layer):
    module = perceptron()
    network = ModuleNetwork(module, 2, layer, input_shape=(N_INPUTS,))
    drawn = network.draw(np.random.default_rng(0))
    assert set(drawn) == {*network.fast, *network.slow}
    assert all(drawn[name].shape == shape for name, shape in (network.fast | network.slow).items())
    for name, parameter in module.named_parameters():
        assert_allclose(drawn[f"body.{name}"], parameter.detach())
    drawn["head"] = np.eye(1 + N_INPUTS + HIDDEN[-1])[:, 1:3]
    phi = torch.tensor(np.concatenate([drawn[name].ravel() for name in network.fast]))[None]
    slow = {name: torch.tensor(drawn[name]) for name in network.slow}
    x = torch.randn(1, 4, N_INPUTS).double()
    assert_allclose(network.forward(phi, slow, x)[0][0], module(x[0]).detach()[:, :2], rtol=1e-12)


def test_the_same_seed_gives_the_same_bits():
    results = []
    for _ in range(2):
        problem, theta, episode = image_case("modulated")
        results.append(Contrastive("tangent")(problem, QUICK, theta, episode).theta.vector)
    assert (results[0] == results[1]).all()


def test_it_survives_a_pickle():
    problem, theta, episode = image_case()
    again = pickle.loads(pickle.dumps(problem))
    phi, statistics = solved(problem, theta, episode)
    found = again.outputs(phi, theta, episode.x_query, statistics)
    assert (found == problem.outputs(phi, theta, episode.x_query, statistics)).all()


def halve_in_place(x):
    x[x > 0] /= 2  # for which vmap has no rule
    return x


def test_a_module_that_vmap_cannot_run_is_refused():
    with pytest.raises(ValueError, match="cannot be run for several tasks at once"):
        ModuleNetwork(Lambda(halve_in_place), 2, input_shape=(N_INPUTS,))


def test_unknown_layer():
    with pytest.raises(ValueError, match="layer='sparse' is none of 'dense', 'modulated'"):
        ModuleNetwork(perceptron(), 2, "sparse", input_shape=(N_INPUTS,))
