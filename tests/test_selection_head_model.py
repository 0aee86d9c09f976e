"""`model="head"` as a kind of network: what is calibrated after a descent, and its bodies."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.episodes import EpisodeSampler
from skcml.heads import Heads
from skcml.random_effects import MixedModel
from skcml.selection.head_model import HeadModel, bodies_of
from skcml.selection.held_out import HeldOut
from skcml.selection.members import linear_theta, train_network
from tests.builders import (
    fit_mixed,
    learn_options,
    linear_problem,
    linear_tasks,
    random_theta,
    sinusoid_tasks,
)


def train(tasks, **changes):
    """Train a head on tasks of one input and one output; return problem and theta."""
    options = learn_options(hidden_layer_sizes=(12,), meta_learning_rate=0.03, **changes)
    problem = HeadModel().problem(1, 1, options)
    mixed, rng = fit_mixed(tasks, "full"), np.random.default_rng(0)
    return problem, train_network(problem, mixed, tasks, None, options, rng)[0]


def test_a_squared_loss_is_calibrated_afterwards(monkeypatch):
    # A squared loss does not see the scale of prior and noise, only their ratio.
    changes = {"meta_loss": "loss", "meta_max_iter": 150}
    tasks = sinusoid_tasks(300, seed=0)
    held = HeldOut.draw(sinusoid_tasks(300, seed=1), (1, 8), "random", np.random.default_rng(5))
    problem, theta = train(tasks, **changes)
    densities = HeadModel().densities(problem, theta, learn_options(), held)
    squares = (held.y - densities.mean[0]) ** 2 / densities.variance[0]
    assert np.average(squares[0], weights=held.weight) == pytest.approx(1.0, abs=0.15)
    monkeypatch.setattr(HeadModel, "calibrate", lambda *args: None)
    _, before = train(tasks, **changes)
    plain = held.densities(problem, before)
    assert_allclose(densities.mean, plain.mean, rtol=1e-9, atol=1e-9)
    ratio = densities.variance / plain.variance
    assert_allclose(ratio, ratio.mean(), rtol=1e-6)
    assert abs(np.log(ratio.mean())) > 0.1


def test_calibration_finds_the_scale_of_each_output():
    # The truth, but for the scale of each output's prior and noise.
    tasks = linear_tasks(n_tasks=400, sizes=(6, 12), noise=0.3)
    tasks = dataclasses.replace(tasks, y=np.hstack([tasks.y, tasks.y]))
    problem = dataclasses.replace(linear_problem(2, 2), meta_loss="loss")
    truth = MixedModel(np.array([1.0, -2.0, 0.5]), 0.5 * np.eye(3), 0.09, "full", 1)
    theta = linear_theta(problem, [truth, truth])
    for output, scale in enumerate((9.0, 0.01)):
        theta["factor"][output] *= np.sqrt(scale)
        theta["log_noise"][output] += 0.5 * np.log(scale)
    rng = np.random.default_rng(0)
    drawn = {"n_shots": (1, 8), "n_queries": None, "support": "random", "batch_size": 200}
    sampler = EpisodeSampler(tasks, rng=rng, **drawn)
    options = learn_options(meta_loss="loss")
    HeadModel().calibrate(problem, theta, options, [sampler.draw() for _ in range(10)])
    assert_allclose(problem.noise(theta), 0.09, rtol=0.1)
    for output in range(2):
        factor = theta["factor"][output]
        assert_allclose(factor @ factor.T, 0.25 * np.eye(3), atol=0.025)


def test_a_predictive_density_needs_no_calibration_and_draws_no_episode():
    problem = linear_problem(2, 1)
    theta = random_theta(problem)
    before = theta.vector.copy()

    def episodes():
        raise AssertionError("an episode was drawn")
        yield

    HeadModel().calibrate(problem, theta, learn_options(), episodes())
    assert_array_equal(theta.vector, before)


def test_bodies_make_the_features_of_the_stack():
    problem = HeadModel().problem(3, 2, learn_options(hidden_layer_sizes=(4, 3)))
    thetas = [random_theta(problem, seed) for seed in range(2)]
    stack = HeadModel().stack(problem, thetas, learn_options())
    assert isinstance(stack, Heads)
    X = np.random.default_rng(0).normal(size=(5, 3))
    for m, (body, params) in enumerate(HeadModel().bodies(problem, thetas)):
        assert_array_equal(body.forward(params, X)[0][0], stack.features(X)[m, 0])
    assert bodies_of(problem, thetas[0])[0] is problem.body
