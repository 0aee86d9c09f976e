"""Modules, and problems and episodes for them."""

import dataclasses

import numpy as np
import torch
from torch import nn

from skcml.episodes import Episode
from skcml.likelihoods import Categorical, SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, Modulated, TaskMLP
from skcml.solvers.gauss_newton import GaussNewton
from tests.builders import tensor_episode, tensors

N_INPUTS, N_OUTPUTS, HIDDEN = 3, 2, (4, 5)
EXACT, QUICK = GaussNewton(max_iter=60, tol=1e-8), GaussNewton(max_iter=3)
LAYERS = {"dense": Dense(), "modulated": Modulated()}
IMAGE, N_PIXELS = (1, 4, 4), 16


class Lambda(nn.Module):
    """A linear layer, and a function of its outputs."""

    def __init__(self, function):
        super().__init__()
        self.function, self.layer = function, nn.Linear(N_INPUTS, 4)

    def forward(self, x):
        return self.function(self.layer(x))


class Perceptron(nn.Module):
    """The built-in body: inputs and last hidden layer."""

    def __init__(self):
        super().__init__()
        sizes = (N_INPUTS, *HIDDEN)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, HIDDEN, strict=False))

    def forward(self, x):
        h = x
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return torch.cat([x, h], -1)


def perceptron(seed=0):
    torch.manual_seed(seed)
    return Perceptron().double()


def convolution(norm=nn.BatchNorm2d, seed=0, bias=True):
    """A small convolutional network for rows of shape (1, 4, 4), with 8 outputs."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=bias), norm(2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()
    ).double()


def problem_of(module, layer="dense", n_outputs=N_OUTPUTS, cost=None, strength="synapse", **more):
    more = {"input_shape": (N_INPUTS,)} | more
    network = ModuleNetwork(module, n_outputs, layer, **more)
    return OnTorch(ProximalProblem(network, cost or SquaredError(), strength))


def mlp_problem(layer="dense", cost=None, strength="synapse"):
    network = TaskMLP(N_INPUTS, N_OUTPUTS, HIDDEN, "tanh", LAYERS[layer])
    return ProximalProblem(network, cost or SquaredError(), strength)


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


def image_case(layer="dense", strength=4.0, norm=nn.BatchNorm2d, bias=True, **more):
    problem = problem_of(convolution(norm, bias=bias), layer, input_shape=IMAGE, **more)
    return problem, theta_of(problem, strength), episode_of(N_PIXELS)


def episode_of(n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, cost=None, seed=0, sizes=(3, 5, 4)):
    """Draw tasks, support rows and query rows; the first task has padding in both."""
    n_tasks, n_support, n_query = sizes
    rng = np.random.default_rng([seed, 7])
    w_support, w_query = np.ones((n_tasks, n_support)), np.ones((n_tasks, n_query))
    w_support[0, -2:], w_query[0, -1:] = 0, 0
    w_support[-1] *= rng.uniform(0.5, 2, n_support)

    def draw(n_rows):
        if isinstance(cost, Categorical):
            which = rng.integers(n_outputs, size=(n_tasks, n_rows))
            return np.moveaxis(np.eye(n_outputs)[which], -1, 0)
        return rng.normal(size=(n_outputs, n_tasks, n_rows))

    return Episode(
        rng.normal(size=(n_tasks, n_support, n_inputs)),
        draw(n_support),
        w_support,
        rng.normal(size=(n_tasks, n_query, n_inputs)),
        draw(n_query),
        w_query,
    )


def theta_of(problem, strength=0.0, seed=0):
    """Return the start, with a head that is not zero and strengths about that of the logarithm."""
    rng = np.random.default_rng([seed, 3])
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, rng)
    theta["omega"][...] += 0.3 * rng.normal(size=theta["omega"].shape)
    theta["log_strength"][...] = strength + 0.3 * rng.normal(size=theta["log_strength"].shape)
    return theta


def implicit_gradient(problem, solver, theta, episode):
    """Differentiate the mean query loss at a minimum, by torch and the implicit function theorem.

    A Newton step from the minimum leaves it where it is, and has its derivative in theta.
    """
    minimum = solver(problem, theta, problem.embed(theta, episode)).phi
    graph, inside = tensors(theta), problem.problem
    batch = inside.embed(graph, tensor_episode(episode))
    phi = minimum.clone().requires_grad_()
    (slope,) = torch.autograd.grad(inside.energy(phi, graph, batch).sum(), phi, create_graph=True)
    flat = slope.reshape(-1)
    rows = [torch.autograd.grad(s, phi, retain_graph=True)[0].reshape(-1) for s in flat]
    hessian = torch.stack(rows)
    assert (torch.linalg.eigvalsh(hessian) > 0).all()
    moved = phi.detach() - torch.linalg.solve(hessian, flat).reshape(phi.shape)
    inside.loss(moved, graph, batch).mean().backward()
    grad = MetaParams(problem.shapes)
    for name, tensor in graph.items():
        if tensor.grad is not None:  # the scatter of numbers is in neither energy nor loss
            grad[name][...] = tensor.grad.numpy()
    return grad


def with_padding(episode, n_rows=3):
    """Add rows of weight zero, with numbers of their own, to support and query."""
    rng = np.random.default_rng(11)

    def pad(name, array):
        axis = {"x": 1, "y": 2, "w": 1}[name[0]]
        shape = list(array.shape)
        shape[axis] = n_rows
        extra = np.zeros(shape) if name[0] == "w" else 10 * rng.normal(size=shape)
        return np.concatenate([array, extra], axis)

    return dataclasses.replace(episode, **{n: pad(n, a) for n, a in vars(episode).items()})
