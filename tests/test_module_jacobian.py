"""Jacobians of a module by automatic differentiation, against torch's own of each row."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skcml.problems.context import Context
from skcml.problems.module_network import ModuleNetwork
from tests.module_cases import IMAGE, N_PIXELS, convolution

N_TASKS, N_ROWS, N_FUNCTIONS, N_OUTPUTS = 2, 3, 3, 2
NORMS = {
    "batch": nn.BatchNorm2d,
    "group": lambda n: nn.GroupNorm(1, n),
    "instance": nn.InstanceNorm2d,
}


def case_of(norm="batch", layer="modulated", bias=True):
    """Return derivatives of some functions of a convolution's rows, and what they are of."""
    network = ModuleNetwork(convolution(NORMS[norm], bias=bias), 2, layer, input_shape=IMAGE)
    rng = np.random.default_rng(0)
    drawn = network.draw(rng)
    start = np.concatenate([drawn[name].ravel() for name in network.fast])
    phi = torch.tensor(start + 0.3 * rng.normal(size=(N_TASKS, len(start))))
    slow = {name: torch.tensor(drawn[name]) for name in network.slow}
    x = torch.tensor(rng.normal(size=(N_TASKS, N_ROWS, N_PIXELS)))
    context = Context(None, x.new_tensor([[1, 1], [2, 1]]), x.new_ones(N_TASKS, N_ROWS - 2))
    cotangent = torch.tensor(rng.normal(size=(N_TASKS, N_ROWS, N_FUNCTIONS, N_OUTPUTS)))
    _, tape = network.forward(phi, slow, x, context)
    fast, shared = network.pull(tape, cotangent)

    def functions(phi, slow):
        out, _ = network.forward(phi, slow, x, context)
        return (cotangent * out[:, :, None]).sum(-1)

    return SimpleNamespace(fast=fast, shared=shared, functions=functions, phi=phi, slow=slow)


def by_torch(case):
    """Return the derivatives of each task's functions by its own parameters."""
    every = torch.autograd.functional.jacobian(lambda phi: case.functions(phi, case.slow), case.phi)
    return torch.stack([every[t, :, :, t].flatten(0, 1) for t in range(N_TASKS)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_jacobians_of_images(norm, bias):
    case = case_of(norm, bias=bias)
    matrix, rng = by_torch(case), np.random.default_rng(2)
    direction = torch.tensor(rng.normal(size=case.phi.shape))
    rows = torch.tensor(rng.normal(size=(N_TASKS, N_ROWS, N_FUNCTIONS)))
    assert_allclose(case.fast.dense(), matrix, atol=1e-12)
    along = (matrix @ direction[..., None])[..., 0]
    assert_allclose(case.fast.times(direction).flatten(1), along, atol=1e-12)
    back = (matrix.mT @ rows.flatten(1)[..., None])[..., 0]
    assert_allclose(case.fast.transposed(rows), back, atol=1e-12)
    assert_allclose(case.fast.transposed(), matrix.sum(1), atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_sums_over_tasks_are_the_gradient_by_slow_parameters(norm):
    case = case_of(norm)
    graph = {name: value.requires_grad_() for name, value in case.slow.items()}
    case.functions(case.phi, graph).sum().backward()
    summed = case.shared.summed()
    assert set(summed) == set(graph) == {"body.0.weight", "body.0.bias"}
    for name, total in summed.items():
        assert_allclose(total, graph[name].grad, atol=1e-12)


def test_nothing_is_summed_where_tasks_share_nothing():
    assert case_of(layer="dense").shared.summed() == {}


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_some_tasks_are_written_out_alone(norm):
    fast = case_of(norm).fast
    assert_allclose(fast.dense(slice(1, 2)), fast.dense()[1:], atol=1e-14)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_tasks_without_rows_have_a_matrix_without_rows(norm):
    fast = case_of(norm).fast
    nothing = dataclasses.replace(fast, cotangent=fast.cotangent[:, :0])
    n_params = fast.tape.phi.shape[1]
    assert nothing.dense().shape == (N_TASKS, 0, n_params)
    assert nothing.gram(torch.ones(n_params).double()).shape == (N_TASKS, 0, 0)


@pytest.mark.parametrize(("norm", "passes"), [("batch", N_TASKS), ("group", N_TASKS * N_ROWS)])
def test_memory_budget_changes_nothing_but_the_number_of_passes(norm, passes, monkeypatch):
    fast = case_of(norm).fast
    n_passes = []

    def counted(*args):
        n_passes.append(1)
        return fast.tape.run(*args)

    counting = dataclasses.replace(fast, tape=dataclasses.replace(fast.tape, run=counted))
    scale = torch.tensor(np.random.default_rng(1).uniform(0.5, 2, fast.tape.phi.shape[1]))
    expected = counting.gram(scale)
    assert len(n_passes) == 1
    monkeypatch.setattr("skcml.problems.module_jacobian.BUDGET", 1)
    assert_allclose(counting.gram(scale), expected, rtol=1e-12, atol=1e-14)
    assert len(n_passes) == 1 + passes
