"""Truncated Newton steps: the minimum, the inverse of the curvature, and how far they got."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcml.episodes import Episode
from skcml.problems.prototypes import PrototypeProblem, unit_rows
from skcml.rules.strength import nudge_limit
from skcml.solvers import newton_cg as module
from skcml.solvers.base import InnerSolver
from skcml.solvers.newton_cg import conjugate_gradients, newton_cg
from tests.asserts import assert_follows
from tests.builders import take_tasks
from tests.class_tasks import PROBLEM, class_episode, random_phi

THETA = PrototypeProblem.constants(3.0, 0.2)
WIDTHS = pytest.mark.parametrize("d", [20, 7, 2])


def norm(array):
    return np.sqrt((array**2).sum((0, 2)))


def spectral_task(seed=0, n=6):
    """Return symmetric matrices, one per task, and what applies them."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(2, n, n))
    return np.eye(n) + a @ a.mT


def apply(matrices):
    return lambda x: (matrices @ x[0][..., None])[None, ..., 0]


def test_it_follows_the_interface():
    assert_follows(newton_cg, InnerSolver)


@WIDTHS
@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_it_ends_at_the_minimum_and_says_how_near(d, beta):
    batch = PROBLEM.embed(THETA, class_episode(d=d))
    found = newton_cg(PROBLEM, THETA, batch, beta)
    left = PROBLEM.augmented(found.phi, THETA, batch, 0.0)[1]
    left = left + beta * PROBLEM.loss_phi_grad(found.phi, THETA, batch)
    start = PROBLEM.expand(PROBLEM.start(THETA, batch), THETA, batch, beta).gradient
    assert (norm(left) <= 1e-8 * np.maximum(norm(start), 1)).all()
    assert_allclose(found.grad_norm, norm(left), atol=1e-12)
    assert found.usable.all()
    assert found.usable.dtype == bool


@WIDTHS
def test_solve_h_inverts_the_curvature(d):
    batch = PROBLEM.embed(THETA, class_episode(d=d))
    found = newton_cg(PROBLEM, THETA, batch)
    direction = random_phi(batch)
    pushed = PROBLEM.expand(found.phi, THETA, batch, 0.0).curvature(direction)
    assert_allclose(found.solve_h(pushed), direction, atol=1e-8)
    assert (found.solve_h(0 * direction) == 0).all()


def test_a_nudge_away_from_the_target_works_while_there_is_a_minimum():
    batch = PROBLEM.embed(THETA, class_episode())
    free = newton_cg(PROBLEM, THETA, batch)
    limit = nudge_limit(PROBLEM, THETA, batch, free)
    pushed = newton_cg(PROBLEM, THETA, batch, -0.5 * limit, init=free.phi)
    assert pushed.usable.all()
    assert (PROBLEM.loss(pushed.phi, THETA, batch) > PROBLEM.loss(free.phi, THETA, batch)).all()


def test_each_task_is_solved_as_if_it_were_alone():
    episode, strengths = class_episode(), np.array([0.0, 0.5, -0.05])
    found = newton_cg(PROBLEM, THETA, PROBLEM.embed(THETA, episode), strengths)
    for t, beta in enumerate(strengths):
        batch = PROBLEM.embed(THETA, take_tasks(episode, [t]))
        one = newton_cg(PROBLEM, THETA, batch, float(beta))
        assert_allclose(found.phi[:, t], one.phi[:, 0], atol=1e-7)


def test_a_good_start_saves_steps():
    batch = PROBLEM.embed(THETA, class_episode())
    free = newton_cg(PROBLEM, THETA, batch)
    assert newton_cg(PROBLEM, THETA, batch, init=free.phi).n_iter <= 1
    again = newton_cg(PROBLEM, THETA, batch, 1e-3, init=free.phi)
    assert again.n_iter < newton_cg(PROBLEM, THETA, batch, 1e-3).n_iter


def test_what_did_not_converge_is_said(monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 1)
    theta = PROBLEM.constants(3.0, 1e-4)
    batch = PROBLEM.embed(theta, class_episode(d=20))
    found = newton_cg(PROBLEM, theta, batch)
    assert found.n_iter == 1
    assert not found.usable.any()
    assert_allclose(found.grad_norm, norm(PROBLEM.augmented(found.phi, theta, batch, 0.0)[1]))


# --- hostile tasks


def hostile_episode(kind, size, d):
    """Return tasks that are torn (the same rows in several classes), mixed or far apart."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 4, d))
    x = np.repeat(means, 3, axis=1) + (3.0 if kind == "mixed" else 0.1) * rng.normal(
        size=(3, 12, d)
    )
    if kind == "torn":
        x[:, 1::2] = x[:, ::2]
    y = np.broadcast_to(np.repeat(np.eye(4), 3, axis=1)[:, None], (4, 3, 12))
    x, weight = size * unit_rows(x), np.ones((3, 12))
    return Episode(x, y, weight, x, y, weight)


@pytest.mark.parametrize("kind", ["mixed", "torn", "apart"])
@pytest.mark.parametrize("d", [6, 30])
@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_hostile_constants_are_solved(kind, d, size):
    for constants in product((0.0, 1.0, 30.0, 1e3), (1e-6, 1e-3, 1.0, 1e6)):
        theta = PROBLEM.constants(*constants)
        batch = PROBLEM.embed(theta, hostile_episode(kind, size, d))
        assert newton_cg(PROBLEM, theta, batch).usable.all(), constants


@pytest.mark.parametrize("kind", ["mixed", "torn", "apart"])
@pytest.mark.parametrize("d", [6, 30])
def test_huge_rows_give_finite_weights_and_an_honest_verdict(kind, d):
    for constants in product((0.0, 1.0, 1e3), (1e-6, 1.0, 1e6)):
        theta = PROBLEM.constants(*constants)
        batch = PROBLEM.embed(theta, hostile_episode(kind, 1e6, d))
        found = newton_cg(PROBLEM, theta, batch)
        assert np.isfinite(found.phi).all()
        left = norm(PROBLEM.augmented(found.phi, theta, batch, 0.0)[1])
        start = norm(PROBLEM.augmented(PROBLEM.start(theta, batch), theta, batch, 0.0)[1])
        assert_allclose(found.grad_norm, left, rtol=1e-6, atol=1e-9)
        assert (found.usable == (left <= module.USABLE * np.maximum(start, 1))).all()
        # Rows in general position are far apart, however many classes there are.
        assert found.usable.all() or d == 6 or kind == "torn"


# --- conjugate gradients


def test_conjugate_gradients_solve_each_task():
    matrices = spectral_task()
    target = np.random.default_rng(1).normal(size=(1, 2, 6)) * np.array([[1e200], [1e-200]])
    exact = np.linalg.solve(matrices, target[0][..., None])[..., 0]
    found = conjugate_gradients(apply(matrices), target, 1e-12, 100)[0]
    assert_allclose(found[0], exact[0], rtol=1e-8)
    assert_allclose(found[1], exact[1], rtol=1e-8)


def test_conjugate_gradients_end_at_the_tolerance_of_each_task():
    matrices, target = spectral_task(), np.ones((1, 2, 6))
    found = conjugate_gradients(apply(matrices), target, np.array([0.5, 1e-9]), 100)
    left = norm(apply(matrices)(found) - target) / norm(target)
    assert 1e-3 < left[0] <= 0.5
    assert left[1] <= 1e-9


def test_conjugate_gradients_rest_where_there_is_no_curvature():
    matrices = np.stack([-np.eye(6), spectral_task()[1]])
    found = conjugate_gradients(apply(matrices), np.ones((1, 2, 6)), 1e-10, 100)
    assert (found[0, 0] == 0).all()
    assert_allclose(found[0, 1], np.linalg.solve(matrices[1], np.ones(6)), rtol=1e-8)


def test_a_nudge_beyond_the_limit_stays_finite_and_is_not_called_converged():
    theta = PROBLEM.constants(3.0, 0.01)
    batch = PROBLEM.embed(theta, class_episode())
    found = newton_cg(PROBLEM, theta, batch, -1e3)
    assert np.isfinite(found.phi).all()
    assert not found.usable.any()
    # What is stuck is given up.
    assert found.n_iter < module.MAX_STEPS
    left = PROBLEM.expand(found.phi, theta, batch, -1e3).gradient
    assert_allclose(found.grad_norm, norm(left))


def test_a_task_for_which_no_length_will_do_stays_where_it_was(monkeypatch):
    monkeypatch.setattr(module, "MAX_HALVINGS", 1)
    theta = PROBLEM.constants(30.0, 1e-3)
    batch = PROBLEM.embed(theta, hostile_episode("mixed", 1.0, 6))
    found = newton_cg(PROBLEM, theta, batch)
    start = PROBLEM.start(theta, batch)
    stays = (found.phi == start).all((0, 2))
    assert stays.any()
    assert not found.usable[stays].any()
    falls = PROBLEM.energy(found.phi, theta, batch) < PROBLEM.energy(start, theta, batch)
    assert (falls == ~stays).all()
    assert_allclose(found.grad_norm, norm(PROBLEM.augmented(found.phi, theta, batch, 0.0)[1]))
