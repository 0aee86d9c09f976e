"""Problems as torch sees them: derivatives, what is gathered, and the largest curvature."""

import numpy as np
import pytest
import torch

from skcml.rules.autograd import Graph, largest_curvature, leaf, tensor
from tests.rules import CASES, network_case


def graph_at(name, seed=0):
    problem, solver, theta, episode = CASES[name]()
    graph = Graph.of(problem, theta, episode)
    phi = solver(problem, theta, problem.embed(theta, episode)).phi
    rng = np.random.default_rng(seed)
    return graph, tensor(phi + 0.1 * rng.normal(size=phi.shape)), (problem, theta, episode)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_written_by_hand(name):
    graph, phi, (problem, theta, episode) = graph_at(name)
    batch = problem.embed(theta, episode)
    _, slope = problem.augmented(phi.numpy(), theta, batch, 0.0)
    np.testing.assert_allclose(graph.slope(leaf(phi)).detach(), slope, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(graph.loss(phi).detach(), problem.loss(phi.numpy(), theta, batch))
    v = np.random.default_rng(1).normal(size=phi.shape)
    found = graph.curvature(phi)(tensor(v))
    around = [problem.augmented(phi.numpy() + s * v, theta, batch, 0.0)[1] for s in (1e-5, -1e-5)]
    np.testing.assert_allclose(found, (around[0] - around[1]) / 2e-5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_largest_curvature_is_that_in_the_metric_of_the_prior(name):
    graph, phi, _ = graph_at(name)
    curve = graph.curvature(phi)
    shape = phi.shape[0], phi.shape[2]
    n = int(np.prod(shape))
    basis = np.eye(n).reshape(n, shape[0], 1, shape[1])
    columns = [
        graph.solve_prior(curve(tensor(np.broadcast_to(b, phi.shape)))).detach().numpy()
        for b in basis
    ]
    matrices = np.stack(columns, -1).swapaxes(0, 1).reshape(phi.shape[1], n, n)
    exact = abs(np.linalg.eigvals(matrices)).max(-1)
    rough, pushed = largest_curvature(graph, phi)
    assert (rough.numpy() < (1 + 1e-9) * exact).all()
    assert (rough.numpy() > 0.8 * exact).all()
    fine, _ = largest_curvature(graph, phi, pushed, n_iter=500)
    np.testing.assert_allclose(fine, exact, rtol=1e-4)


def test_what_is_not_learned_gathers_nothing():
    problem, _, theta, episode = network_case(strength="fixed")
    graph = Graph.of(problem, theta, episode)
    found = graph.gather(graph.energy(graph.start() + 1.0).sum())
    assert (found["log_strength"] == 0).all()
    assert (found["omega"] != 0).any()


def test_tensors_are_copies_in_double_precision():
    array = np.ones(3, np.float32)
    copy = tensor(array)
    copy += 1
    assert copy.dtype == torch.float64
    assert (array == 1).all()
    assert (tensor(torch.ones(2, requires_grad=True)) == 1).all()
