"""A user's module as the body of a head."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skcml.likelihoods import Categorical, Poisson
from skcml.problems.context import Context
from skcml.problems.features import Body, row_context
from skcml.problems.glm_head import GLMHeadProblem
from skcml.problems.head import HeadProblem
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.problems.module_body import ModuleBody
from skcml.rules.contrastive import Contrastive
from skcml.solvers.closed_form import closed_form
from skcml.solvers.newton import newton
from tests.asserts import assert_energy_theta_grad, assert_follows, assert_meta_gradient
from tests.builders import relative_error, take_tasks
from tests.module_cases import (
    HIDDEN,
    IMAGE,
    N_INPUTS,
    N_OUTPUTS,
    N_PIXELS,
    convolution,
    episode_of,
    perceptron,
    with_padding,
)


def body_of(module, input_shape=(N_INPUTS,), dtype="float64", **more):
    return ModuleBody(module, input_shape=input_shape, dtype=dtype, **more)


def image_body(norm=nn.BatchNorm2d, **more):
    return body_of(convolution(norm, bias=False), IMAGE, **more)


def head_of(body, likelihood=None, n_outputs=N_OUTPUTS):
    mask = np.tril(np.ones((body.n_features, body.n_features), bool))
    if likelihood is None:
        return HeadProblem(body, mask, n_outputs)
    return GLMHeadProblem(body, mask, n_outputs, likelihood=likelihood)


def theta_of(problem, seed=0):
    rng = np.random.default_rng([seed, 3])
    theta = MetaParams(problem.shapes)
    problem.body.initialize(theta, rng)
    theta["omega"][...] = rng.normal(size=theta["omega"].shape)
    theta["factor"][...] = 0.5 * rng.normal(size=theta["factor"].shape) * problem.factor_mask
    return theta


def as_mlp(theta, problem):
    """Return the meta-parameters of a head on a module as those on the built-in body."""
    found = MetaParams(problem.shapes)
    for i in range(len(HIDDEN)):
        found[f"weight_{i}"][...] = theta[f"body.layers.{i}.weight"].T
        found[f"bias_{i}"][...] = theta[f"body.layers.{i}.bias"]
    for name in ("omega", "factor", "log_noise"):
        if name in theta:
            found[name][...] = theta[name]
    return found


# --- the same perceptron as the built-in one


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("likelihood", [None, Categorical()])
def test_heads_are_those_on_the_built_in_body_if_the_module_is(likelihood, dtype):
    problem = head_of(body_of(perceptron(), dtype=dtype), likelihood)
    mlp = head_of(MLPBody(N_INPUTS, HIDDEN), likelihood)
    theta, episode = theta_of(problem), episode_of(cost=likelihood)
    solver = closed_form if likelihood is None else newton
    ours = Contrastive("tangent")(problem, solver, theta, episode)
    theirs = Contrastive("tangent")(mlp, solver, as_mlp(theta, mlp), episode)
    tol = 1e-9 if dtype == "float64" else 2e-4
    assert_allclose(ours.loss, theirs.loss, rtol=tol)
    assert relative_error(as_mlp(ours.theta, mlp).vector, theirs.theta.vector) < tol
    for found, expected in zip(
        problem.predict(theta, episode), mlp.predict(as_mlp(theta, mlp), episode), strict=True
    ):
        assert found.dtype == np.float64
        assert_allclose(found, expected, rtol=tol, atol=tol)


def test_interface():
    body = body_of(perceptron())
    assert_follows(body, Body)
    assert (body.n_inputs, body.n_linear, body.n_features) == (3, 1, 1 + N_INPUTS + HIDDEN[-1])
    assert list(body.shapes) == [
        f"body.layers.{i}.{name}" for i in range(2) for name in ("weight", "bias")
    ]


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d, lambda n: nn.GroupNorm(1, n)])
def test_backward_is_torchs_and_adds(norm):
    body = image_body(norm) if norm else body_of(perceptron())
    theta, episode = MetaParams(body.shapes), episode_of(body.n_inputs)
    body.initialize(theta, np.random.default_rng(0))
    x = np.concatenate([a.reshape(-1, body.n_inputs) for a in (episode.x_support, episode.x_query)])
    context = Context(None, episode.w_support, episode.w_query)
    features, tape = body.forward(theta, x, context)
    cotangent = np.random.default_rng(1).normal(size=features.shape)
    grad = MetaParams(body.shapes)
    for _ in range(2):
        body.backward(theta, tape, cotangent, grad)
    graph = {name: torch.tensor(array, requires_grad=True) for name, array in theta.items()}
    same, _ = body.forward(graph, torch.tensor(x), context)
    (2 * same * torch.tensor(cotangent)).sum().backward()
    assert_allclose(features, same.detach(), rtol=1e-12, atol=1e-14)
    for name, tensor in graph.items():
        assert_allclose(grad[name], tensor.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("transductive", [False, True])
def test_the_rule_gives_the_gradient_through_the_solve(transductive):
    problem = head_of(image_body(transductive=transductive))
    theta, episode = theta_of(problem), episode_of(N_PIXELS)
    assert_energy_theta_grad(problem, theta, episode)
    assert_meta_gradient(Contrastive("tangent"), problem, closed_form, theta, episode, 1e-9)


# --- batch normalisation


@pytest.mark.parametrize("transductive", [False, True])
def test_padding_and_other_tasks_do_not_matter(transductive):
    problem = head_of(image_body(transductive=transductive))
    theta, episode = theta_of(problem), episode_of(N_PIXELS)
    expected = problem.predict(theta, episode)
    padded = problem.predict(theta, with_padding(episode))
    alone = [problem.predict(theta, take_tasks(episode, [t])) for t in range(3)]
    for i in range(2):
        real = episode.w_query > 0
        assert_allclose(padded[i][..., :4][:, real], expected[i][:, real], rtol=1e-9)
        assert_allclose(np.concatenate([a[i] for a in alone], 1), expected[i], rtol=1e-9)


def test_predictions_by_stored_statistics():
    body = image_body()
    problem = head_of(body)
    theta, episode = theta_of(problem), episode_of(N_PIXELS)
    statistics = body.statistics(theta, episode.x_support, episode.w_support)
    assert statistics.shape == (3, body.n_statistics)
    expected = problem.features(theta, episode).z[15:]
    x = episode.x_query.reshape(12, -1)
    assert_allclose(body.forward(theta, x, statistics)[0], expected, rtol=1e-10, atol=1e-14)
    # Each row with its own task's, in any order.
    order = np.random.default_rng(0).permutation(12)
    shuffled, _ = body.forward(theta, x[order], np.repeat(statistics, 4, axis=0)[order])
    assert_allclose(shuffled, expected[order], rtol=1e-10, atol=1e-14)


def test_a_body_without_batch_normalisation_keeps_nothing():
    body = body_of(perceptron())
    theta = MetaParams(body.shapes)
    episode = episode_of()
    assert body.statistics(theta, episode.x_support, episode.w_support).shape == (3, 0)


def test_an_exposure_counts_as_one_row_and_padding_as_none():
    weight, query = np.array([[2.0, 0.5, 0.0]]), np.array([[0.3, 0.0]])
    found = row_context(weight, query, Poisson())
    assert found.x is None
    assert (found.weight == [[1, 1, 0]]).all()
    assert (found.query == [[1, 0]]).all()
    assert (row_context(weight, query, None).weight == weight).all()


def test_rows_without_a_support_are_finite():
    body = image_body()
    theta = MetaParams(body.shapes)
    body.initialize(theta, np.random.default_rng(0))
    nothing = body.statistics(theta, np.empty((1, 0, N_PIXELS)), np.empty((1, 0)))
    x = np.random.default_rng(0).normal(size=(4, N_PIXELS))
    found = body.forward(theta, x, nothing)[0]
    assert np.isfinite(found).all()
    assert (found == body.forward(theta, x)[0]).all()


# --- the module


def test_the_module_is_not_touched_and_the_start():
    module = convolution()
    before = pickle.dumps(module.state_dict())
    problem = head_of(body_of(module, IMAGE))
    theta = theta_of(problem)
    for name, parameter in module.named_parameters():
        assert_allclose(theta[f"body.{name}"], parameter.detach())
    Contrastive()(problem, closed_form, theta, episode_of(N_PIXELS))
    assert pickle.dumps(module.state_dict()) == before
    assert all(p.grad is None for p in module.parameters())


def test_the_same_seed_gives_the_same_bits_and_so_does_a_pickle():
    problem = head_of(image_body())
    theta, episode = theta_of(problem), episode_of(N_PIXELS)
    first = Contrastive()(problem, closed_form, theta, episode).theta.vector
    again = Contrastive()(head_of(image_body()), closed_form, theta, episode).theta.vector
    pickled = pickle.loads(pickle.dumps(problem))
    assert (first == again).all()
    assert (first == Contrastive()(pickled, closed_form, theta, episode).theta.vector).all()


def test_a_frozen_module_has_nothing_to_learn_and_is_used():
    problem = head_of(body_of(perceptron().requires_grad_(False)))
    assert problem.body.shapes == {}
    theta, episode = theta_of(problem), episode_of()
    assert_meta_gradient(Contrastive(), problem, closed_form, theta, episode, 1e-9)


def test_refusals_are_those_of_the_network():
    with pytest.raises(TypeError, match=r"body must be a torch\.nn\.Module"):
        body_of(lambda x: x)
    with pytest.raises(ValueError, match=r"body cannot take rows of shape \(2,\)"):
        body_of(perceptron(), (2,))
