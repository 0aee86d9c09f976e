"""A problem on torch tensors, against the same problem in numpy."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.likelihoods import Categorical, Poisson, SquaredError
from skcml.problems.base import CurvedProblem, InnerProblem, SmoothProblem, Term
from skcml.problems.meta_params import MetaParams
from skcml.problems.on_torch import OnTorch
from skcml.rules.contrastive import Contrastive
from skcml.solvers.gauss_newton import GaussNewton
from tests.asserts import assert_follows
from tests.builders import relative_error
from tests.module_cases import EXACT, LAYERS, N_OUTPUTS, episode_of, mlp_problem, theta_of

COSTS = {"squared": SquaredError(), "categorical": Categorical(), "poisson": Poisson()}


def case(layer="dense", cost="squared", strength="synapse"):
    problem = mlp_problem(layer, COSTS[cost], strength)
    return problem, theta_of(problem, 2.0), episode_of(cost=COSTS[cost])


def same(found, expected, rtol=1e-11):
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float64
    assert_allclose(found.numpy(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("protocol", [InnerProblem, SmoothProblem])
def test_it_is_a_problem(protocol):
    assert_follows(OnTorch(mlp_problem()), protocol)
    assert isinstance(OnTorch(mlp_problem()), CurvedProblem)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cost", COSTS)
def test_every_method_gives_what_numpy_gives(layer, cost):
    problem, theta, episode = case(layer, cost)
    wrapped = OnTorch(problem)
    ours, theirs = wrapped.embed(theta, episode), problem.embed(theta, episode)
    rng = np.random.default_rng(1)
    start = problem.start(theta, theirs)
    same(wrapped.start(theta, ours), start)
    phi, direction = start + 0.1 * rng.normal(size=start.shape), rng.normal(size=start.shape)
    t_phi, t_direction = torch.tensor(phi), torch.tensor(direction)
    for name in ("energy", "loss", "loss_phi_grad"):
        same(getattr(wrapped, name)(t_phi, theta, ours), getattr(problem, name)(phi, theta, theirs))
    same(
        wrapped.loss_curvature(t_direction, t_phi, theta, ours),
        problem.loss_curvature(direction, phi, theta, theirs),
    )
    same(wrapped.solve_prior(t_direction, theta), problem.solve_prior(direction, theta))
    for beta in (0.0, 0.02, np.array([0.0, 0.01, -0.01])):
        t_beta = torch.tensor(beta) if np.ndim(beta) else beta
        for found, expected in zip(
            wrapped.augmented(t_phi, theta, ours, t_beta),
            problem.augmented(phi, theta, theirs, beta),
            strict=True,
        ):
            same(found, expected)
        same(
            wrapped.curvature_inverse(t_phi, theta, ours, t_beta)(t_direction),
            problem.curvature_inverse(phi, theta, theirs, beta)(direction),
            rtol=1e-9,
        )


@pytest.mark.parametrize("strength", ["fixed", "layer", "synapse"])
@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_come_back_as_meta_params(layer, strength):
    problem, theta, episode = case(layer, strength=strength)
    wrapped = OnTorch(problem)
    assert wrapped.shapes == problem.shapes
    ours, theirs = wrapped.embed(theta, episode), problem.embed(theta, episode)
    phi = problem.start(theta, theirs) + 0.1
    weight = np.array([0.5, -1.0, 2.0])
    terms = [Term(phi, weight, None), Term(phi + 0.2, 2 * weight, -weight)]
    expected = problem.theta_grad(terms, theta, theirs)
    tensors = [Term(*(None if a is None else torch.tensor(a) for a in term)) for term in terms]
    found = wrapped.theta_grad(tensors, theta, ours)
    assert isinstance(found, MetaParams)
    assert_allclose(found.vector, expected.vector, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scheme", ["tangent", "symmetric"])
def test_the_rule_gives_what_numpy_gives(layer, scheme):
    problem, theta, episode = case(layer, "categorical")
    rule = Contrastive(scheme, 0.01)
    ours = rule(OnTorch(problem), EXACT, theta, episode)
    theirs = rule(problem, EXACT, theta, episode)
    assert ours.n_left_out == theirs.n_left_out == 0
    assert_allclose(ours.loss, theirs.loss, rtol=1e-9)
    assert relative_error(ours.theta.vector, theirs.theta.vector) < 1e-5
    assert isinstance(ours.theta, MetaParams)


def test_automatic_strengths_and_the_limit_of_nudges_run_on_tensors():
    problem, theta, episode = case()
    ours = Contrastive("symmetric")(OnTorch(problem), EXACT, theta, episode)
    theirs = Contrastive("tangent")(problem, EXACT, theta, episode)
    assert_allclose(ours.loss, theirs.loss, rtol=1e-9)
    assert np.isfinite(ours.theta.vector).all()


@pytest.mark.parametrize(("scheme", "layer"), [("tangent", "modulated"), ("symmetric", "dense")])
def test_half_the_precision_gives_half_of_the_digits(scheme, layer):
    problem, theta, episode = case(layer, "categorical")
    solver = GaussNewton(max_iter=30, tol=1e-6)
    rough = Contrastive(scheme)(OnTorch(problem, dtype="float32"), solver, theta, episode)
    exact = Contrastive(scheme)(problem, EXACT, theta, episode)
    assert rough.theta.vector.dtype == np.float64
    assert_allclose(rough.loss, exact.loss, rtol=1e-4)
    assert relative_error(rough.theta.vector, exact.theta.vector) < 0.02


def test_predictions_are_numpy():
    problem, theta, episode = case()
    wrapped = OnTorch(problem, dtype="float32")
    phi = problem.start(theta, episode)
    found = wrapped.outputs(phi, theta, episode.x_query)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    assert found.shape == (N_OUTPUTS, *episode.w_query.shape)
    assert_allclose(found, problem.outputs(phi, theta, episode.x_query), rtol=1e-4, atol=1e-5)
    assert wrapped.statistics(torch.tensor(phi), theta, wrapped.embed(theta, episode)).size == 0


def test_theta_and_episode_stay_as_they_are():
    problem, theta, episode = case("modulated")
    before = theta.vector.copy()
    for array in vars(episode).values():
        array.setflags(write=False)
    theta.vector.setflags(write=False)
    Contrastive()(OnTorch(problem), EXACT, theta, episode)
    assert (theta.vector == before).all()


def test_it_is_quadratic_if_what_is_inside_is():
    assert OnTorch(mlp_problem()).is_quadratic is False
