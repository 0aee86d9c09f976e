"""A grid: every solver on every problem that it can take, with a minimum that is known.

Known from the closed form, from Newton's method to the last digit, or, for networks of each task,
from where torch finds no gradient left.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.solvers.adam import Adam
from skcml.solvers.base import InnerSolver
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.lbfgs import LBFGS
from skcml.solvers.newton import newton
from skcml.solvers.newton_cg import newton_cg
from skcml.solvers.sgd import SGD
from tests.asserts import assert_follows, augmented_gradient
from tests.builders import (
    glm_episode,
    glm_problem,
    head_problem,
    proximal_episode,
    proximal_problem,
    proximal_theta,
    random_episode,
    random_theta,
    take_tasks,
    tensor_episode,
)
from tests.class_tasks import PROBLEM, class_episode

# Each with the steps that it needs to get there.
SOLVERS = {
    "gauss_newton": GaussNewton(max_iter=100, tol=1e-8),
    "lbfgs": LBFGS(max_iter=2000, tol=1e-8, history_size=20),
    "sgd": SGD(max_iter=5000, learning_rate=0.01, tol=1e-5),
    "adam": Adam(max_iter=5000, learning_rate=0.01, tol=1e-4),
}
FIRST_ORDER = {"sgd", "adam"}


class Case(NamedTuple):
    problem: Any
    theta: Any
    episode: Any

    def batch(self):
        return self.problem.embed(self.theta, self.episode)

    def solve(self, solver, beta=0.0, init=None):
        return solver(self.problem, self.theta, self.batch(), beta, init)

    def gradient_norm(self, phi, beta=0.0):
        gradient = self.problem.augmented(phi, self.theta, self.batch(), beta)[1]
        return np.sqrt((gradient**2).sum((0, 2)))


def head_case(**options):
    problem = head_problem(n_outputs=2)
    return Case(problem, random_theta(problem), random_episode(problem, **options))


def glm_case(kind):
    problem = glm_problem(kind)
    return Case(problem, random_theta(problem), glm_episode(problem))


def proximal_case(layer="dense", kind="squared_error", log_strength=1.5, **options):
    """Pull so much that a task has one minimum near its start."""
    problem = proximal_problem(layer, kind, hidden=(7,))
    theta = proximal_theta(problem, log_strength=log_strength)
    return Case(problem, theta, proximal_episode(problem, **options))


HEADS = {
    "ridge": (head_case, closed_form),
    **{k: (lambda k=k: glm_case(k), newton) for k in ("bernoulli", "categorical", "poisson")},
    "prototypes": (
        lambda: Case(PROBLEM, PROBLEM.constants(3.0, 0.5), class_episode()),
        newton_cg,
    ),
}
NETWORKS = [
    (layer, kind)
    for layer in ("dense", "modulated")
    for kind in ("squared_error", "bernoulli", "categorical", "poisson")
]
BETAS = pytest.mark.parametrize("beta", [0.0, 0.3, -0.02], ids=str)
EACH = pytest.mark.parametrize("name", SOLVERS)


@EACH
def test_they_follow_the_interface(name):
    assert_follows(SOLVERS[name], InnerSolver)
    with pytest.raises(dataclasses.FrozenInstanceError):
        SOLVERS[name].tol = 0.1


@pytest.mark.parametrize("name", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("head", HEADS)
@BETAS
def test_heads_end_at_the_known_minimum(name, head, beta):
    make, exact = HEADS[head]
    case, solver = make(), SOLVERS[name]
    known = case.solve(exact, beta).phi
    found = case.solve(solver, beta)
    assert found.converged.all()
    assert found.usable.all()
    assert found.solve_h is None
    assert_allclose(found.phi, known, atol=1e-6 if name == "lbfgs" else 2e-3)
    assert_allclose(found.grad_norm, case.gradient_norm(found.phi, beta), atol=1e-12)


@pytest.mark.parametrize(("layer", "kind"), NETWORKS)
@BETAS
def test_networks_end_where_torch_finds_no_gradient(layer, kind, beta):
    case, phi = proximal_case(layer, kind), {}
    scale = case.gradient_norm(case.problem.start(case.theta, case.batch()), beta)
    for name, solver in SOLVERS.items():
        if name in FIRST_ORDER and kind in ("bernoulli", "poisson"):
            continue
        found = case.solve(solver, beta)
        left = augmented_gradient(case.problem, case.theta, case.episode, found.phi, beta)
        norms = np.sqrt((left**2).sum((0, 2)))
        assert (norms <= 1.01 * solver.tol * scale).all()
        assert_allclose(found.grad_norm, norms, atol=1e-10)
        assert found.converged.all()
        assert found.usable.all()
        phi[name] = found.phi
    assert_allclose(phi["lbfgs"], phi["gauss_newton"], atol=1e-5)
    for name in FIRST_ORDER & set(phi):
        assert_allclose(phi[name], phi["gauss_newton"], atol=2e-2)


@pytest.mark.parametrize("kind", ["squared_error", "categorical"])
@pytest.mark.parametrize(("n_support", "hidden"), [(4, (7,)), (40, (3,))])
def test_solve_h_inverts_the_curvature_at_the_end(kind, n_support, hidden):
    problem = proximal_problem("dense", kind, hidden=hidden)
    case = Case(problem, proximal_theta(problem), proximal_episode(problem, n_support=n_support))
    beta = np.array([0.0, 0.2, -0.01, 0.0])
    found = case.solve(GaussNewton(max_iter=3), beta)
    direction = np.random.default_rng(0).normal(size=found.phi.shape)
    inverse = problem.curvature_inverse(found.phi, case.theta, case.batch(), beta)
    assert_array_equal(found.solve_h(direction), inverse(direction))
    assert_array_equal(found.solve_h(0 * direction), 0)


# --- starts


@EACH
def test_a_task_that_is_solved_stays_and_a_good_start_saves_steps(name):
    case, solver = proximal_case(), SOLVERS[name]
    free = case.solve(solver)
    again = case.solve(solver, init=free.phi)
    assert again.n_iter == 0
    assert again.converged.all()
    assert_array_equal(again.phi, free.phi)
    # One solved task among others.
    mixed = case.problem.start(case.theta, case.batch()).copy()
    mixed[:, 1] = free.phi[:, 1]
    found = case.solve(solver, init=mixed)
    assert_array_equal(found.phi[:, 1], free.phi[:, 1])
    assert found.converged.all()
    nudged = case.solve(solver, 1e-3, init=free.phi)
    assert nudged.n_iter < free.n_iter
    assert nudged.converged.all()


@EACH
def test_what_it_starts_from_is_not_changed(name):
    case = proximal_case()
    start = case.problem.start(case.theta, case.batch())
    before = start.copy()
    case.solve(SOLVERS[name], init=start)
    assert_array_equal(start, before)


@EACH
@pytest.mark.parametrize("max_iter", [0, 1, 5])
def test_it_takes_no_more_steps_than_allowed_and_says_where_it_is(name, max_iter):
    case = proximal_case()
    found = case.solve(dataclasses.replace(SOLVERS[name], max_iter=max_iter))
    assert found.n_iter == max_iter
    assert not found.converged.any()
    assert_allclose(found.grad_norm, case.gradient_norm(found.phi), atol=1e-12)
    batch = case.batch()
    start = case.problem.start(case.theta, batch)
    values = (case.problem.energy(phi, case.theta, batch) for phi in (found.phi, start))
    assert np.less_equal(*values).all()


# --- batches


@EACH
def test_each_task_is_solved_as_if_it_were_alone(name):
    case, solver = proximal_case(log_strength=0.5), SOLVERS[name]
    beta = np.array([0.0, 0.3, -0.02, 1.0])
    found, atol = case.solve(solver, beta), 1e-5 if name in FIRST_ORDER else 1e-6
    for t in range(4):
        alone = case._replace(episode=take_tasks(case.episode, [t])).solve(solver, beta[t])
        assert_allclose(found.phi[:, t], alone.phi[:, 0], atol=atol)


@EACH
def test_a_task_without_weight_stays_at_its_start(name):
    case = proximal_case()
    case.episode.w_support[2] = 0.0
    found = case.solve(SOLVERS[name])
    assert_array_equal(found.phi[0, 2], case.theta["omega"])
    assert found.converged.all()
    assert found.usable.all()
    assert found.grad_norm[2] == 0


@EACH
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e200])
def test_a_task_that_is_no_number_does_not_spoil_the_others(name, poison):
    case, solver = proximal_case(), SOLVERS[name]
    clean = case.solve(solver)
    y = case.episode.y_support.copy()
    y[:, 1, 0] = poison
    broken = case._replace(episode=dataclasses.replace(case.episode, y_support=y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = broken.solve(solver)
    others = [0, 2, 3]
    assert_allclose(found.phi[:, others], clean.phi[:, others], atol=1e-7)
    assert found.usable[others].all()
    assert found.converged[others].all()
    assert not found.converged[1]
    assert np.isfinite(found.phi).all()


@EACH
def test_a_start_that_is_no_number_does_not_spoil_the_others(name):
    case, solver = proximal_case(), SOLVERS[name]
    init = case.problem.start(case.theta, case.batch()).copy()
    init[:, 3] = np.nan
    found = case.solve(solver, init=init)
    assert found.usable.tolist() == [True, True, True, False]
    assert_allclose(found.phi[:, :3], case.solve(solver).phi[:, :3], atol=1e-7)


# --- nudges away


@EACH
@pytest.mark.parametrize("layer", ["dense", "modulated"])
def test_a_nudge_beyond_the_limit_is_not_usable_and_never_nan(name, layer):
    case = proximal_case(layer)
    solver = dataclasses.replace(SOLVERS[name], max_iter=1000)
    free = case.solve(solver)
    beta = np.array([0.0, -1e3, -0.02, -1e2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = case.solve(solver, beta, init=free.phi)
    assert found.usable.tolist() == [True, False, True, False]
    assert found.converged.tolist() == [True, False, True, False]
    assert np.isfinite(found.phi[:, [0, 2]]).all()
    assert not np.isnan(found.phi).any()


# --- tensors


@EACH
def test_tensors_end_where_arrays_end(name):
    case, solver = proximal_case(), SOLVERS[name]
    beta = np.array([0.0, 0.3, -0.02, 0.1])
    expected = case.solve(solver, beta)
    theta = {key: torch.tensor(array) for key, array in case.theta.items()}
    batch = case.problem.embed(theta, tensor_episode(case.episode))
    found = solver(case.problem, theta, batch, torch.tensor(beta))
    for part in (found.phi, found.grad_norm, found.converged, found.usable):
        assert isinstance(part, torch.Tensor)
    assert found.converged.all()
    assert_allclose(found.phi, expected.phi, atol=1e-5)
    if found.solve_h is not None:
        solved = found.solve_h(found.phi).numpy()
        assert_allclose(solved, expected.solve_h(expected.phi), atol=1e-5)
