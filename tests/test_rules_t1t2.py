"""T1-T2: its closed form, where it is exact, and that it leads downhill."""

import dataclasses

import numpy as np
import pytest

from skcml.rules.contrastive import Contrastive
from skcml.rules.t1t2 import T1T2
from tests.builders import relative_error, tensor_episode, tensors
from tests.rules import CASES, exact_gradient, network_case


@pytest.mark.parametrize("name", CASES)
def test_it_is_exact_without_support_rows(name):
    problem, solver, theta, episode = CASES[name]()
    episode = dataclasses.replace(episode, w_support=0 * episode.w_support)
    found = T1T2()(problem, solver, theta, episode).theta.vector
    exact = exact_gradient(problem, solver, theta, episode).vector
    assert relative_error(found, exact) < (1e-9 if problem.is_quadratic else 1e-6)
    contrastive = Contrastive("tangent")(problem, solver, theta, episode).theta.vector
    assert relative_error(found, contrastive) < 1e-9


def test_the_derivatives_of_synapses_are_local():
    # With g = dL/dphi, that in omega is g, and that in log lambda is -(phi - omega) g.
    problem, solver, theta, episode = network_case(hidden=(), log_strength=1.0)
    batch = problem.embed(theta, episode)
    phi = solver(problem, theta, batch).phi
    g = problem.loss_phi_grad(phi, theta, batch)
    found = T1T2()(problem, solver, theta, episode)
    expected = -(g * (phi - theta["omega"])).mean((0, 1))
    assert relative_error(found.theta["omega"], g.mean((0, 1))) < 1e-10
    assert relative_error(found.theta["log_strength"], expected) < 1e-8
    assert found.loss == pytest.approx(problem.loss(phi, theta, batch).mean(), rel=1e-12)


def test_a_whitened_head_has_the_identity_for_the_inverse():
    problem, solver, theta, episode = CASES["ridge"]()
    batch = problem.embed(theta, episode)
    phi = solver(problem, theta, batch).phi
    v = problem.loss_phi_grad(phi, theta, batch)
    graph, moved = tensors(theta), tensors({"phi": phi})["phi"]
    torch_batch = problem.embed(graph, tensor_episode(episode))
    # E(phi - v) - E(phi) + |v|^2-terms without theta: quadratic, hence two points are enough.
    plus, minus = (
        problem.energy(moved.detach() + s * moved.new_tensor(v), graph, torch_batch)
        for s in (0.5, -0.5)
    )
    total = (problem.loss(moved.detach(), graph, torch_batch) - (plus - minus)).mean()
    total.backward()
    found = T1T2()(problem, solver, theta, episode).theta
    for name in ("omega", "log_noise"):
        assert relative_error(found[name], graph[name].grad.numpy()) < 1e-9


def test_with_equal_strengths_it_leads_downhill_in_each_task():
    for seed in range(5):
        problem, solver, theta, episode = network_case(hidden=(), strength="fixed", seed=seed)
        theta["log_strength"][...] = -2.0
        for t in range(4):
            one = episode.subset(np.array([t]))
            exact = exact_gradient(problem, solver, theta, one).vector
            found = T1T2()(problem, solver, theta, one).theta.vector
            assert found @ exact > 0
            assert np.linalg.norm(found) > np.linalg.norm(exact)
