"""How strong a nudge is best, by itself; what it is good for is in test_inspection_theory.py."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.rules.contrastive import LARGEST_SHARE, Contrastive
from skcml.rules.strength import (
    automatic_strength,
    conjugate_gradients,
    nudge_limit,
    nudge_reach,
)
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.lbfgs import LBFGS
from tests.builders import (
    head_problem,
    proximal_episode,
    proximal_problem,
    proximal_theta,
    random_episode,
    random_theta,
    tensor_episode,
)


def head_case():
    problem = head_problem((7,), 2)
    return problem, random_theta(problem), random_episode(problem)


def network_case():
    problem = proximal_problem()
    return problem, proximal_theta(problem, log_strength=2.0), proximal_episode(problem)


def reach_of(problem, theta, episode, solver):
    batch = problem.embed(theta, episode)
    free = solver(problem, theta, batch)
    slope = problem.loss_phi_grad(free.phi, theta, batch)
    return nudge_reach(problem, theta, batch, free, slope)


def test_at_the_reach_the_minimum_has_left_its_way():
    problem, theta, episode = head_case()
    batch = problem.embed(theta, episode)
    free = closed_form(problem, theta, batch)
    slope = problem.loss_phi_grad(free.phi, theta, batch)
    way = -free.solve_h(slope)
    bent = free.solve_h(problem.loss_curvature(way, free.phi, theta, batch))
    # Both as seen along the way, in the metric of H.
    expected = (way * slope).sum((0, -1)) / (bent * slope).sum((0, -1))
    reach = reach_of(problem, theta, episode, closed_form)
    assert_allclose(reach, expected, rtol=1e-9)
    assert (reach >= nudge_limit(problem, theta, batch, free, n_iter=2000) * (1 - 1e-6)).all()


@pytest.mark.parametrize(
    ("case", "exact"), [(head_case, closed_form), (network_case, GaussNewton(50, 1e-8))]
)
def test_differences_of_gradients_tell_about_the_same_as_a_factor(case, exact):
    rough, fine = (reach_of(*case(), solver) for solver in (LBFGS(500, 1e-8), exact))
    assert_allclose(rough, fine, rtol=0.3)


def test_torch_gives_what_numpy_gives():
    problem, theta, episode = head_case()
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    ours = reach_of(problem, theta, episode, LBFGS())
    assert_allclose(reach_of(problem, graph, tensor_episode(episode), LBFGS()), ours, rtol=1e-6)


def strength_of(order, tol, problem, theta, episode):
    batch = problem.embed(theta, episode)
    free = LBFGS(500, tol)(problem, theta, batch)
    return automatic_strength(order, problem, theta, batch, free)


@pytest.mark.parametrize("order", [1, 2])
def test_strength_follows_the_tolerance_and_not_luck(order):
    case = network_case()
    strengths = [strength_of(order, tol, *case) for tol in (1e-5, 1e-8)]
    assert_allclose(strengths[0] / strengths[1], 1e3 ** (1 / (1 + order)), rtol=0.1)


def test_symmetric_phases_keep_away_from_the_limit():
    problem, theta, episode = head_case()
    batch = problem.embed(theta, episode)
    free = LBFGS(500, 0.1)(problem, theta, batch)
    limit = nudge_limit(problem, theta, batch, free)
    case = problem, theta, batch, free, limit
    forward, symmetric = (Contrastive().strength(s, *case) for s in ("forward", "symmetric"))
    assert (forward > LARGEST_SHARE * limit).any()  # it has no such phase
    assert (symmetric <= LARGEST_SHARE * limit).all()


def test_a_task_that_failed_and_one_without_slope_have_a_strength():
    problem, theta, episode = head_case()
    batch = problem.embed(theta, episode)
    free = LBFGS()(problem, theta, batch)
    phi, usable = free.phi.copy(), free.usable.copy()
    phi[:, 1], usable[1] = np.nan, False
    batch = dataclasses.replace(batch, w_query=batch.w_query * (np.arange(4) != 2)[:, None])
    spoiled = dataclasses.replace(free, phi=phi, usable=usable)
    found = automatic_strength(2, problem, theta, batch, spoiled)
    assert (found > 0).all()
    assert np.isfinite(found).all()
    expected = automatic_strength(2, problem, theta, batch, free)
    assert_allclose(found[[0, 3]], expected[[0, 3]], rtol=1e-9)


def test_conjugate_gradients_solve_and_stop_where_it_is_not_convex():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 5, 5))
    matrices = roots @ roots.mT + np.eye(5)
    matrices[1] = -matrices[1]
    target = rng.normal(size=(1, 2, 5))

    def curve(direction):
        return (matrices @ direction[0][..., None])[None, ..., 0]

    found = conjugate_gradients(curve, lambda direction: direction, target)
    left = np.linalg.norm(curve(found) - target, axis=-1) / np.linalg.norm(target, axis=-1)
    assert left[0, 0] < 0.3
    assert_allclose(found[:, 1], target[:, 1])  # what the prior says
