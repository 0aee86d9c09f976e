"""The built-in body and its gradient by hand, against torch."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import ACTIVATIONS, MLPBody
from tests.builders import tensors

DEPTHS = [(), (4,), (4, 5)]
MODULES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "logistic": torch.sigmoid,
    "sin": torch.sin,
}


def body_and_theta(hidden, activation="tanh", seed=0):
    body = MLPBody(3, hidden, activation)
    theta = MetaParams(body.shapes)
    body.initialize(theta, np.random.default_rng(seed))
    return body, theta


def test_every_activation_has_a_reference():
    assert set(MODULES) == set(ACTIVATIONS)


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_are_constant_inputs_and_last_layer(hidden, activation):
    body, theta = body_and_theta(hidden, activation)
    x = np.random.default_rng(1).normal(size=(8, 3))
    h = torch.tensor(x)
    for i in range(len(hidden)):
        weight, bias = (torch.tensor(theta[f"{name}_{i}"]) for name in ("weight", "bias"))
        h = MODULES[activation](torch.nn.functional.linear(h, weight.T, bias))
    features, _ = body.forward(theta, x)
    assert features.shape == (8, body.n_features)
    assert body.n_features == 4 + (hidden[-1] if hidden else 0)
    assert body.n_linear == 4
    assert (features[:, 0] == 1).all()
    assert (features[:, 1:4] == x).all()
    assert_allclose(features[:, 4:], h.numpy() if hidden else x[:, :0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_is_torchs(hidden, activation):
    body, theta = body_and_theta(hidden, activation)
    rng = np.random.default_rng(2)
    x, cotangent = rng.normal(size=(8, 3)), rng.normal(size=(8, body.n_features))
    grad = MetaParams(body.shapes)
    body.backward(theta, body.forward(theta, x)[1], cotangent, grad)
    graph = tensors(theta)
    features, _ = body.forward(graph, torch.tensor(x))
    if hidden:
        (features * torch.tensor(cotangent)).sum().backward()
    assert list(grad) == list(graph)
    for name in graph:
        assert_allclose(grad[name], graph[name].grad.numpy(), rtol=1e-12, atol=1e-12)


def test_backward_adds_to_what_is_there():
    body, theta = body_and_theta((4, 5))
    rng = np.random.default_rng(3)
    x, cotangent = rng.normal(size=(8, 3)), rng.normal(size=(8, body.n_features))
    tape = body.forward(theta, x)[1]
    once, twice = MetaParams(body.shapes), MetaParams(body.shapes)
    body.backward(theta, tape, cotangent, once)
    body.backward(theta, tape, cotangent, twice)
    body.backward(theta, tape, cotangent, twice)
    assert_allclose(twice.vector, 2 * once.vector, rtol=1e-14)


def test_constant_and_inputs_have_no_gradient():
    body, theta = body_and_theta((4,))
    grad = MetaParams(body.shapes)
    cotangent = np.zeros((8, body.n_features))
    cotangent[:, : body.n_linear] = 1.0
    body.backward(theta, body.forward(theta, np.ones((8, 3)))[1], cotangent, grad)
    assert (grad.vector == 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_torch_gives_what_numpy_gives(activation):
    body, theta = body_and_theta((4, 5), activation)
    x = np.random.default_rng(4).normal(size=(8, 3))
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    ours, theirs = body.forward(theta, x)[0], body.forward(graph, torch.tensor(x))[0]
    assert_allclose(theirs.numpy(), ours, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_large_inputs_stay_finite(activation):
    body, theta = body_and_theta((4,), activation)
    x = 1e4 * np.random.default_rng(5).normal(size=(8, 3))
    features, tape = body.forward(theta, x)
    grad = MetaParams(body.shapes)
    body.backward(theta, tape, np.ones_like(features), grad)
    assert np.isfinite(features).all()
    assert np.isfinite(grad.vector).all()


def test_shapes_name_each_layer():
    assert MLPBody(3, (4, 5)).shapes == {
        "weight_0": (3, 4),
        "bias_0": (4,),
        "weight_1": (4, 5),
        "bias_1": (5,),
    }
    assert MLPBody(3).shapes == {}


def test_initial_weights_follow_the_generator_within_their_bounds():
    _, theta = body_and_theta((50, 60), seed=7)
    _, same = body_and_theta((50, 60), seed=7)
    _, other = body_and_theta((50, 60), seed=8)
    np.testing.assert_array_equal(theta.vector, same.vector)
    assert (theta.vector != other.vector).all()
    glorot = np.sqrt(6 / (50 + 60))
    bounds = {"weight_0": 2 / np.sqrt(3), "bias_0": 2.0, "weight_1": glorot, "bias_1": glorot}
    for name, bound in bounds.items():
        assert 0.8 * bound < abs(theta[name]).max() < bound


@pytest.mark.parametrize("hidden", [(4,), (4, 5)])
def test_a_stack_of_bodies_sees_the_same_rows(hidden):
    body, first = body_and_theta(hidden, seed=0)
    _, second = body_and_theta(hidden, seed=1)
    x = np.random.default_rng(6).normal(size=(8, 3))
    stack = {name: np.stack([first[name], second[name]]) for name in body.shapes}
    for i in range(len(hidden)):
        stack[f"bias_{i}"] = stack[f"bias_{i}"][:, None]
    features, _ = body.forward(stack, x)
    assert features.shape == (2, 8, body.n_features)
    for found, theta in zip(features, (first, second), strict=True):
        assert_allclose(found, body.forward(theta, x)[0], rtol=1e-13)
