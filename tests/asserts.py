"""Properties that every problem, every solver or every rule has; each takes the part to test."""

import inspect

import numpy as np
import torch
from numpy.testing import assert_allclose

from skcml.problems.base import Term
from tests.builders import (
    autograd_meta_gradient,
    gathered,
    implicit_meta_gradient,
    map_episode,
    relative_error,
    take_tasks,
    tensor_episode,
    tensors,
)


def assert_follows(thing, protocol):
    """Check that a part has the protocol's methods, with its parameters by name and order."""
    for name, method in inspect.getmembers(protocol, inspect.isfunction):
        if name.startswith("_") and name != "__call__":
            continue
        assert method.__qualname__.endswith(f".{name}")
        called = getattr(thing, name) if name != "__call__" else thing
        expected = [p for p in inspect.signature(method).parameters if p != "self"]
        assert list(inspect.signature(called).parameters) == expected


def assert_energy_theta_grad(problem, theta, episode, seed=0, rtol=1e-10):
    """Compare theta_grad, for arbitrary terms, with torch's gradient of energies and losses."""
    rng = np.random.default_rng([seed, 2])
    batch = problem.embed(theta, episode)
    shape = problem.start(theta, batch).shape
    phis = rng.normal(size=(3, *shape))
    weights = rng.normal(size=(3, 2, shape[1]))
    terms = [
        Term(phis[0], weights[0, 0], None),
        Term(phis[1], None, weights[1, 1]),
        Term(phis[2], weights[2, 0], weights[2, 1]),
    ]
    graph = tensors(theta)
    graph_batch = problem.embed(graph, tensor_episode(episode))
    total = 0.0
    for phi, energy, loss in terms:
        phi = torch.tensor(phi)
        if energy is not None:
            total = total + (torch.tensor(energy) * problem.energy(phi, graph, graph_batch)).sum()
        if loss is not None:
            total = total + (torch.tensor(loss) * problem.loss(phi, graph, graph_batch)).sum()
    total.backward()
    exact = gathered(problem, graph)
    grad = problem.theta_grad(terms, theta, batch)
    assert grad.shapes == theta.shapes
    for name in theta:
        scale = abs(exact[name]).max()
        assert_allclose(grad[name], exact[name], rtol=rtol, atol=rtol * scale, err_msg=name)


def augmented_gradient(problem, theta, episode, phi, beta):
    """Return torch's gradient of E + beta L in phi."""
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    batch = problem.embed(graph, tensor_episode(episode))
    phi = torch.tensor(phi, requires_grad=True)
    beta = torch.as_tensor(beta, dtype=torch.float64)
    energy, loss = problem.energy(phi, graph, batch), problem.loss(phi, graph, batch)
    (energy + beta * loss).sum().backward()
    return phi.grad.numpy()


def assert_stationary(problem, solver, theta, episode, beta=0.0, tol=1e-10):
    """Check that a solver ends where torch finds no gradient left, and says how much is left."""
    batch = problem.embed(theta, episode)
    solution = solver(problem, theta, batch, beta)
    left = augmented_gradient(problem, theta, episode, solution.phi, beta)
    norms = np.sqrt((left**2).sum((0, -1)))
    assert solution.converged.all()
    assert (norms < tol).all()
    assert (abs(solution.grad_norm - norms) < tol).all()


def assert_solve_h_inverts_curvature(problem, solver, theta, episode, beta=0.0, rtol=1e-9):
    """Check that solve_h undoes the curvature, a difference of torch's gradients."""
    batch = problem.embed(theta, episode)
    solution = solver(problem, theta, batch, beta)
    direction = np.random.default_rng(3).normal(size=solution.phi.shape)
    step = (1.0 if problem.is_quadratic else 1e-5) * direction
    curved = augmented_gradient(problem, theta, episode, solution.phi + step, beta)
    curved -= augmented_gradient(problem, theta, episode, solution.phi - step, beta)
    curved *= 0.5 * direction / step
    assert_allclose(solution.solve_h(curved), direction, rtol=rtol, atol=rtol)


def assert_meta_gradient(rule, problem, solver, theta, episode, tol):
    """Compare a rule with torch's gradient through the solve."""
    through = autograd_meta_gradient if problem.is_quadratic else implicit_meta_gradient
    exact, loss = through(problem, theta, episode)
    found = rule(problem, solver, theta, episode)
    assert found.n_left_out == 0
    assert_allclose(found.loss, loss, rtol=1e-10 if problem.is_quadratic else 1e-7)
    assert relative_error(found.theta.vector, exact.vector) < tol


def assert_order_does_not_matter(rule, problem, solver, theta, episode, rtol=1e-7):
    """Check that neither the order of tasks nor that of rows changes a meta-gradient."""
    rng = np.random.default_rng(4)
    expected = rule(problem, solver, theta, episode)
    n_tasks, n_support = episode.w_support.shape
    rows = {
        "support": rng.permutation(n_support),
        "query": rng.permutation(episode.w_query.shape[1]),
    }

    def shuffle(name, array):
        return np.take(array, rows[name[2:]], axis=1 if name.startswith("x_") else -1)

    for other in (
        take_tasks(episode, rng.permutation(n_tasks)),
        map_episode(shuffle, episode),
    ):
        found = rule(problem, solver, theta, other)
        assert_allclose(found.loss, expected.loss, rtol=1e-12 if problem.is_quadratic else 1e-9)
        assert relative_error(found.theta.vector, expected.theta.vector) < rtol


def assert_mean_over_tasks(rule, problem, solver, theta, episode, rtol=1e-7):
    """Check that the meta-gradient of an episode is the mean of those of its tasks."""
    n_tasks = len(episode.w_support)
    parts = [rule(problem, solver, theta, take_tasks(episode, [t])) for t in range(n_tasks)]
    found = rule(problem, solver, theta, episode)
    mean = np.mean([part.theta.vector for part in parts], axis=0)
    assert relative_error(found.theta.vector, mean) < rtol
    rtol = 1e-12 if problem.is_quadratic else rtol
    assert_allclose(found.loss, np.mean([part.loss for part in parts]), rtol=rtol)


def assert_left_out(rule, problem, solver, theta, episode, task, rtol=1e-7):
    """Check that a rule takes no notice of a task, and counts it."""
    rest = np.delete(np.arange(len(episode.w_query)), task)
    found = rule(problem, solver, theta, episode)
    expected = rule(problem, solver, theta, take_tasks(episode, rest))
    assert (found.n_left_out, expected.n_left_out) == (1, 0)
    assert_allclose(found.loss, expected.loss, rtol=rtol)
    assert relative_error(found.theta.vector, expected.theta.vector) < rtol


def assert_linear_in_the_loss(rule, problem, doubled, solver, theta, episode, rtol=1e-7):
    """Check that a problem with twice the loss has twice the meta-gradient."""
    once, twice = (rule(p, solver, theta, episode) for p in (problem, doubled))
    assert_allclose(twice.loss, 2 * once.loss, rtol=1e-13)
    assert relative_error(twice.theta.vector, 2 * once.theta.vector) < rtol


def assert_only_the_learned_moves(rule, problem, solver, theta, episode):
    """Check that what is not learned has no gradient."""
    found = rule(problem, solver, theta, episode)
    for name, learned in problem.learned.items():
        assert (found.theta[name][..., ~learned] == 0).all()


def assert_inputs_are_left_alone(rule, problem, solver, theta, episode):
    """Check that a rule changes neither theta nor the episode, and is the same twice."""
    before, copy = theta.copy(), map_episode(lambda name, array: array.copy(), episode)
    first, second = (rule(problem, solver, theta, episode) for _ in range(2))
    np.testing.assert_array_equal(theta.vector, before.vector)
    map_episode(
        lambda name, array: np.testing.assert_array_equal(array, getattr(copy, name)), episode
    )
    np.testing.assert_array_equal(first.theta.vector, second.theta.vector)
