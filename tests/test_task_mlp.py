"""Networks of each task: the function, its derivatives, and where it starts."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.problems.mlp import ACTIVATIONS, MLPBody
from skcml.problems.proximal import TaskNetwork
from skcml.problems.task_mlp import Layer, TaskMLP, draw_weight
from tests.asserts import assert_follows
from tests.builders import LAYERS

KINDS = pytest.mark.parametrize("layer", LAYERS)
DEPTHS = pytest.mark.parametrize("hidden", [(), (7,), (6, 5)])
X = np.random.default_rng(0).normal(size=(4, 5, 3))


def network(layer, hidden=(7,), activation="tanh", n_outputs=2):
    return TaskMLP(3, n_outputs, tuple(hidden), activation, LAYERS[layer])


def draw(net, n_tasks=4, seed=0):
    """Draw phi and slow parameters, all of them away from their starts."""
    rng = np.random.default_rng(seed)
    n_params = sum(n_in * n_out for n_in, n_out in net.fast.values())
    phi = 0.6 * rng.normal(size=(n_tasks, n_params))
    return phi, {name: rng.normal(size=shape) for name, shape in net.slow.items()}


def body_and_head(net, phi, slow, t):
    """Return the outputs of a task, by the built-in body and the task's head."""
    body = MLPBody(net.n_inputs, net.hidden_layer_sizes, net.activation)
    ends = np.cumsum([n_in * n_out for n_in, n_out in net.fast.values()])
    pieces = np.split(phi[t], ends)[:-1]
    parts = {k: p.reshape(s) for (k, s), p in zip(net.fast.items(), pieces, strict=True)}
    theta = {}
    for i in range(len(net.hidden_layer_sizes)):
        weight, shift = {**slow, **parts}[f"weight_{i}"], 0.0
        if f"gain_{i}" in parts:
            weight, shift = weight * parts[f"gain_{i}"], parts[f"shift_{i}"][0]
        theta[f"weight_{i}"], theta[f"bias_{i}"] = weight[1:], weight[0] + shift
    return body.forward(theta, X[t])[0] @ parts["head"]


@KINDS
def test_they_follow_the_interfaces(layer):
    assert_follows(LAYERS[layer], Layer)
    assert_follows(network(layer), TaskNetwork)


@KINDS
@DEPTHS
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_are_those_of_the_built_in_body_with_a_head(layer, hidden, activation):
    net = network(layer, hidden, activation)
    phi, slow = draw(net)
    out, _ = net.forward(phi, slow, X)
    assert out.shape == (4, 5, 2)
    for t in range(4):
        assert_allclose(out[t], body_and_head(net, phi, slow, t), atol=1e-12)


@KINDS
@DEPTHS
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_are_those_of_torch(layer, hidden, activation):
    net = network(layer, hidden, activation)
    phi, slow = draw(net)
    graph = {name: torch.tensor(array, requires_grad=True) for name, array in slow.items()}
    tensor = torch.tensor(phi, requires_grad=True)
    cotangent = np.random.default_rng(1).normal(size=(4, 5, 3, 2))
    _, tape = net.forward(phi, slow, X)
    fast, shared = net.pull(tape, cotangent)
    out, _ = net.forward(tensor, graph, torch.tensor(X))
    functions = (torch.tensor(cotangent) * out[:, :, None]).sum(-1)
    functions.sum().backward(retain_graph=True)
    assert_allclose(fast.transposed(), tensor.grad.numpy(), atol=1e-10)
    if slow:
        for name, total in shared.summed().items():
            assert_allclose(total, graph[name].grad.numpy(), atol=1e-10)
    # And row by row, for one of them.
    tensor.grad = None
    functions[2, 3, 1].backward()
    assert_allclose(fast.dense()[2, 3 * 3 + 1], tensor.grad[2].numpy(), atol=1e-12)


@KINDS
@DEPTHS
def test_what_is_a_tasks_own_and_what_is_slow(layer, hidden):
    net = network(layer, hidden)
    assert list(net.fast)[-1] == "head"
    assert net.fast["head"] == (4 + (hidden[-1] if hidden else 0), 2)
    weights = {f"weight_{i}" for i in range(len(hidden))}
    assert weights == (set(net.slow) if layer == "modulated" else set(net.fast) - {"head"})


@KINDS
def test_a_start_has_a_head_of_zero_and_leaves_units_as_they_are(layer):
    net = network(layer, (7, 5))
    drawn = net.draw(np.random.default_rng(0))
    assert {k: a.shape for k, a in drawn.items()} == {**net.slow, **net.fast}
    assert_array_equal(drawn["head"], 0)
    for name, array in drawn.items():
        if name.startswith(("gain", "shift")):
            assert_array_equal(array, 1.0 if name.startswith("gain") else 0.0)


def test_first_weights_are_wide_and_deeper_ones_are_glorots():
    first = draw_weight(0, 4, 1000, np.random.default_rng(0))
    deeper = draw_weight(1, 4, 1000, np.random.default_rng(0))
    assert first.shape == deeper.shape == (5, 1000)
    assert_allclose([abs(first[0]).max(), abs(first[1:]).max()], [2.0, 1.0], rtol=0.01)
    assert_allclose(abs(deeper).max(), np.sqrt(6 / 1004), rtol=0.01)
