"""A user's module as the network of each task."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skcml.likelihoods import Categorical, SquaredError
from skcml.problems.jacobian import Gathered, Jacobian
from skcml.problems.meta_params import MetaParams
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.task_network import TaskNetwork
from skcml.rules.contrastive import Contrastive
from tests.asserts import assert_follows
from tests.builders import relative_error, take_tasks
from tests.module_cases import (
    EXACT,
    HIDDEN,
    LAYERS,
    N_INPUTS,
    N_OUTPUTS,
    QUICK,
    convolution,
    episode_of,
    implicit_gradient,
    mlp_problem,
    perceptron,
    problem_of,
    theta_of,
    with_padding,
)

IMAGE = (1, 4, 4)
N_PIXELS = 16


def image_problem(layer="dense", norm=nn.BatchNorm2d, bias=True, **more):
    return problem_of(convolution(norm, bias=bias), layer, input_shape=IMAGE, **more)


def image_case(layer="dense", strength=4.0, norm=nn.BatchNorm2d, bias=True, **more):
    problem = image_problem(layer, norm, bias, **more)
    return problem, theta_of(problem, strength), episode_of(N_PIXELS)


def solved(problem, theta, episode):
    """Return phi of each task, numpy, and the statistics of its support."""
    batch = problem.embed(theta, episode)
    phi = QUICK(problem, theta, batch).phi
    return phi.numpy(), problem.statistics(phi, theta, batch)


# --- the same perceptron as the built-in one


def from_mlp(theta, layer):
    """Return the meta-parameters of `TaskMLP` as those of a module that is the same network."""
    problem = problem_of(perceptron(), layer)
    mlp, network = mlp_problem(layer).network, problem.problem.network
    found = MetaParams(problem.shapes)

    def parts(name):
        values, start = {}, 0
        for key, shape in mlp.fast.items():
            values[key] = theta[name][start : start + np.prod(shape)].reshape(shape)
            start += np.prod(shape)
        return values

    def as_module(weights):
        """Return rows of biases and weights by the module's names, as it lays them out."""
        values = {}
        for i in range(len(HIDDEN)):
            weight = weights[f"weight_{i}"]
            values[f"layers.{i}.weight"], values[f"layers.{i}.bias"] = weight[1:].T, weight[0]
        return values

    if layer == "modulated":
        for name, value in as_module(theta).items():
            found[f"body.{name}"][...] = value
    for name in ("omega", "log_strength"):
        own = parts(name)
        if layer == "dense":
            values = {f"body.{key}": value for key, value in as_module(own).items()}
        else:
            values = {f"gain.layers.{i}.weight": own[f"gain_{i}"] for i in range(len(HIDDEN))}
            values |= {f"shift.layers.{i}.bias": own[f"shift_{i}"] for i in range(len(HIDDEN))}
        values["head"] = own["head"]
        found[name][...] = np.concatenate([values[key].ravel() for key in network.fast])
    return problem, found


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


@pytest.mark.parametrize("layer", LAYERS)
def test_derivatives_are_those_of_the_built_in_network(layer):
    mlp = OnTorch(mlp_problem(layer))
    theta, episode = theta_of(mlp), episode_of()
    problem, same = from_mlp(theta, layer)
    rng = np.random.default_rng(5)
    rows, cotangent = torch.tensor(episode.x_support), torch.tensor(rng.normal(size=(3, 5, 3, 2)))
    weights = torch.tensor(rng.normal(size=(3, 5, 3)))
    pulls = []
    for one, at in ((problem, same), (mlp, theta)):
        batch = one.embed(at, episode)
        network = one.problem.network
        out, tape = network.forward(one.start(at, batch)[0], batch.theta, rows)
        pulls.append((out, *network.pull(tape, cotangent)))
    (ours, fast, slow), (theirs, their_fast, their_slow) = pulls
    assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)

    def as_ours(vector):
        moved = theta.zeros_like()
        moved["omega"][...] = vector
        return torch.tensor(from_mlp(moved, layer)[1]["omega"])

    for rows in (None, weights):
        expected = torch.stack([as_ours(v) for v in their_fast.transposed(rows)])
        assert_allclose(fast.transposed(rows), expected, rtol=1e-10, atol=1e-12)
    direction = torch.tensor(rng.normal(size=(3, len(same["omega"]))))
    dense, expected = (
        fast.dense(),
        torch.stack([torch.stack([as_ours(v) for v in task]) for task in their_fast.dense()]),
    )
    assert_allclose(dense, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(fast.dense(slice(1, 2)), expected[1:2], rtol=1e-10, atol=1e-12)
    assert_allclose(
        fast.times(direction).reshape(3, -1), (dense @ direction[..., None])[..., 0], atol=1e-10
    )
    scale = torch.tensor(rng.uniform(0.5, 2, size=len(same["omega"])))
    assert_allclose(fast.gram(scale), (dense * scale) @ (dense * scale).mT, atol=1e-10)
    if layer == "modulated":
        moved = theta.zeros_like()
        for name, total in their_slow.summed().items():
            moved[name][...] = total.numpy()
        _, expected = from_mlp(moved, layer)
        for name, total in slow.summed().items():
            assert_allclose(total, expected[name], rtol=1e-10, atol=1e-12)


def test_interfaces():
    network = ModuleNetwork(perceptron(), 2, input_shape=(N_INPUTS,))
    assert_follows(network, TaskNetwork)
    out, tape = network.forward(torch.zeros(1, 59).double(), {}, torch.ones(1, 2, 3).double())
    fast, slow = network.pull(tape, torch.ones(1, 2, 1, 2).double())
    assert out.shape == (1, 2, 2)
    assert_follows(fast, Jacobian)
    assert_follows(slow, Gathered)


def test_memory_budget_changes_nothing(monkeypatch):
    problem, theta, episode = image_case(norm=lambda n: nn.GroupNorm(1, n))
    expected = Contrastive("tangent")(problem, QUICK, theta, episode)
    monkeypatch.setattr("skcml.problems.module_jacobian.BUDGET", 4000)
    found = Contrastive("tangent")(problem, QUICK, theta, episode)
    assert_allclose(found.theta.vector, expected.theta.vector, rtol=1e-6, atol=1e-12)


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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d, lambda n: nn.GroupNorm(1, n)])
def test_jacobians_of_images(norm, bias):
    problem, theta, episode = image_case("modulated", norm=norm, bias=bias)
    batch = problem.embed(theta, episode)
    inside = problem.problem
    phi = problem.start(theta, batch)
    jacobian, _ = inside._roots(phi, batch.theta, inside._support(batch.rows))
    dense = jacobian.dense()
    rng = np.random.default_rng(2)
    direction = torch.tensor(rng.normal(size=phi.shape[1:]))
    rows = torch.tensor(rng.normal(size=(3, 5, N_OUTPUTS)))
    along = (dense @ direction[..., None])[..., 0]
    assert_allclose(jacobian.times(direction).reshape(3, -1), along, atol=1e-12)
    back = (dense.mT @ rows.reshape(3, -1, 1))[..., 0]
    assert_allclose(jacobian.transposed(rows), back, atol=1e-12)


def test_statistics_are_those_of_torch_in_training():
    module = nn.Sequential(nn.BatchNorm1d(N_INPUTS)).double()
    problem = problem_of(module)
    theta, episode = theta_of(problem), episode_of()
    theta["omega"][: 2 * N_INPUTS] = [1, 1, 1, 0, 0, 0]
    theta["omega"][2 * N_INPUTS :] = np.eye(4)[:, 1:3].ravel()
    batch = problem.embed(theta, episode)
    phi = problem.start(theta, batch)
    inside = problem.problem
    out, _ = inside._eta(phi, batch.theta, inside._support(batch.rows))
    expected = copy.deepcopy(module).train()(batch.rows.x_support[1]).detach()
    assert_allclose(out[:, 1].T, expected[:, :2], rtol=1e-12)
    # Of tasks with weights, as if rows were repeated.
    weight = episode.w_support[-1][:, None] / episode.w_support[-1].sum()
    x = episode.x_support[-1]
    mean = (weight * x).sum(0)
    var = (weight * (x - mean) ** 2).sum(0)
    assert_allclose(out[:, -1].T, ((x - mean) / np.sqrt(var + 1e-5))[:, :2], rtol=1e-10)


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


def test_names_of_gains_and_shifts():
    module = nn.Sequential(
        nn.ConvTranspose1d(2, 3, 1), nn.BatchNorm1d(3), nn.PReLU(), nn.Conv1d(3, 4, 1, bias=False)
    )
    network = ModuleNetwork(module, 2, "modulated", input_shape=(2, 5))
    assert network.slow == {
        "body.0.weight": (2, 3, 1),
        "body.0.bias": (3,),
        "body.3.weight": (4, 3, 1),
    }
    assert network.fast == {
        "gain.0.weight": (3,),
        "shift.0.bias": (3,),
        "body.1.weight": (3,),
        "body.1.bias": (3,),
        "body.2.weight": (1,),
        "gain.3.weight": (4,),
        "head": (21, 2),
    }
    frozen = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 4))
    network = ModuleNetwork(frozen, 2, input_shape=(2,))
    assert list(network.fast) == ["body.1.weight", "body.1.bias", "head"]


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


def test_global_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    image_problem()
    assert (torch.get_rng_state() == state).all()


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.layer = function, nn.Linear(N_INPUTS, 4)

    def forward(self, x):
        return self.function(self.layer(x))


def halve_in_place(x):
    x[x > 0] /= 2  # for which vmap has no rule
    return x


@pytest.mark.parametrize(
    ("module", "error", "sentence"),
    [
        (lambda x: x, TypeError, "body must be a torch.nn.Module, and is a function"),
        (nn.ReLU(), ValueError, "body has no parameters"),
        (nn.LazyLinear(3), ValueError, "without a shape"),
        (nn.Linear(5, 2), ValueError, r"body cannot take rows of shape \(3,\)"),
        (Lambda(lambda z: z.sum()), ValueError, "a row of outputs for each row"),
        (Lambda(lambda z: z[:2]), ValueError, r"for 4 it gave \(2, 4\)"),
        (Lambda(lambda z: (z, z)), ValueError, "for 4 it gave tuple"),
        (Lambda(lambda z: z[:, :0]), ValueError, "at least one number"),
        (Lambda(lambda z: z > 0), ValueError, "as floats"),
        (Lambda(lambda z: z + torch.rand_like(z)), ValueError, "must not draw numbers"),
        (Lambda(lambda z: z - z.mean(0)), ValueError, "depend on the other rows"),
        (Lambda(halve_in_place), ValueError, "cannot be run for several tasks at once"),
    ],
)
def test_refusals(module, error, sentence):
    with pytest.raises(error, match=sentence):
        ModuleNetwork(module, 2, input_shape=(N_INPUTS,))


def test_unknown_layer():
    with pytest.raises(ValueError, match="layer='sparse' is none of 'dense', 'modulated'"):
        ModuleNetwork(perceptron(), 2, "sparse", input_shape=(N_INPUTS,))


def test_dropout_is_switched_off_with_a_sentence():
    module = nn.Sequential(nn.Linear(N_INPUTS, 4), nn.Dropout(0.5))
    with pytest.warns(UserWarning, match="Dropout in body is switched off"):
        ModuleNetwork(module, 2, input_shape=(N_INPUTS,))
    assert module[1].training


def test_outputs_of_one_number_may_come_without_an_axis():
    network = ModuleNetwork(Lambda(lambda z: z.sum(-1)), 2, input_shape=(N_INPUTS,))
    assert network.fast["head"] == (2, 2)


def test_tied_parameters_are_one():
    layer = nn.Linear(N_INPUTS, N_INPUTS)
    network = ModuleNetwork(nn.Sequential(layer, nn.Tanh(), layer), 2, input_shape=(N_INPUTS,))
    assert list(network.fast) == ["body.0.weight", "body.0.bias", "head"]
