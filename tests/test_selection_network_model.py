"""Networks for each task: where they start, how their scatter is calibrated, what they predict."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.episodes import Episode
from skcml.estimators._meta_options import LAYERS
from skcml.likelihoods import Bernoulli, Poisson, SquaredError
from skcml.random_effects import MixedModel
from skcml.selection.families import ClassesOrCounts
from skcml.selection.held_out import HeldOut
from skcml.selection.members import train_network
from skcml.selection.network_model import (
    HIDDEN_STRENGTH,
    HIDDEN_STRENGTH_OF_RATES,
    SPREAD_FLOOR,
    NetworkModel,
)
from skcml.solvers.gauss_newton import GaussNewton
from tests.builders import fit_mixed, learn_options, sinusoid_tasks
from tests.task_networks import TO_THE_END, task_theta

KINDS, HIDDEN = sorted(LAYERS), [(), (4,), (3, 2)]


def options_of(hidden=(4,), **changes):
    solvers = {"solver": GaussNewton(10, 1e-2), "fit_solver": TO_THE_END, "meta_loss": "loss"}
    return learn_options(hidden_layer_sizes=hidden, **solvers | changes)


def mixed_models(n_columns=3, n_outputs=2, noise=0.1):
    """Return mixed models, one with an effect that does not vary."""
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(n_columns, n_columns)))
    factor[-1] = 0
    return [
        MixedModel(rng.normal(size=n_columns), factor, noise * (1 + output), "full", 1)
        for output in range(n_outputs)
    ]


def started(kind, hidden=(4,), strength="synapse", mixed=None, **changes):
    """Return options, problem and meta-parameters of a network of two inputs and two outputs."""
    model, options = NetworkModel(LAYERS[kind], strength), options_of(hidden, **changes)
    mixed = mixed or mixed_models()
    problem = model.problem(2, len(mixed), options)
    return model, options, problem, model.start(problem, mixed, np.random.default_rng(0))


def head_strengths(problem, theta):
    """Return the strengths of the head, (n_features, n_outputs)."""
    shape = problem.network.fast["head"]
    return problem.pull.strengths(theta)[-np.prod(shape) :].reshape(shape)


# --- the start


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_the_prior_predicts_the_fixed_part_of_the_mixed_model(kind, hidden):
    model, options, problem, theta = started(kind, hidden)
    x = np.random.default_rng(1).normal(size=(6, 2))
    mean, _ = model.stack(problem, [theta], options).prior.predict(x, np.full(6, -1))
    z = np.column_stack([np.ones(6), x])
    expected = [z @ mixed.omega for mixed in mixed_models()]
    assert_allclose(mean[0], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_strengths_of_inputs_start_as_noise_over_variance(kind):
    _, _, problem, theta = started(kind)
    found = head_strengths(problem, theta)
    for output, mixed in enumerate(mixed_models()):
        variance = (mixed.factor @ mixed.factor.T).diagonal()
        assert_allclose(found[:2, output], mixed.noise / variance[:2])
        # An effect that does not vary is held, not frozen.
        assert_allclose(found[2, output], 3 / SPREAD_FLOOR**2)
    # Hidden features have the same, whatever the noise.
    assert_allclose(found[3:], HIDDEN_STRENGTH)
    others = problem.pull.strengths(theta)[: -found.size]
    assert_array_equal(others, np.ones(len(others)))


def test_hidden_features_of_rates_start_with_a_strength_of_their_own():
    family = ClassesOrCounts(Bernoulli())
    _, _, problem, theta = started("synaptic", family=family, mixed=mixed_models(n_outputs=1))
    assert_allclose(head_strengths(problem, theta)[3:], HIDDEN_STRENGTH_OF_RATES)


@pytest.mark.parametrize("strength", ["layer", "fixed"])
def test_a_layer_has_the_geometric_mean_of_strengths(strength):
    _, _, problem, theta = started("synaptic", strength=strength)
    _, _, fine, each = started("synaptic")
    assert len(theta["log_strength"]) == len(problem.network.fast)
    expected = np.exp(np.log(head_strengths(fine, each)).mean())
    assert_allclose(head_strengths(problem, theta), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_a_network_without_hidden_layer_is_the_mixed_model(kind):
    # With a diagonal covariance, the posterior mean is known.
    factor = np.diag([0.5, 1.0, 0.7])
    mixed = [MixedModel(np.array([1.0, -1.0, 0.5]), factor, 0.2, "diagonal", 1)]
    _, _, problem, theta = started(kind, (), mixed=mixed)
    rows = np.random.default_rng(2).normal(size=(5, 3))
    x, y = rows[:, :2], rows[:, 2]
    episode = Episode(
        x[None], y[None, None], np.ones((1, 5)), x[None], y[None, None], np.zeros((1, 5))
    )
    found = TO_THE_END(problem, theta, episode)
    z = np.column_stack([np.ones(5), x])
    precision = np.linalg.inv(factor @ factor.T)
    move = np.linalg.solve(z.T @ z / 0.2 + precision, z.T @ (y - z @ mixed[0].omega) / 0.2)
    assert_allclose(found.phi[0, 0], mixed[0].omega + move, rtol=1e-5)


# --- calibration


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_finds_the_power_law_of_the_scatter(kind):
    model, options, problem, theta = started(kind)
    theta["omega"][...] = task_theta(problem)["omega"]
    networks, rng = model.stack(problem, [theta], options), np.random.default_rng(3)
    level, power, episodes = np.array([-0.5, -2.0]), np.array([-0.9, -0.2]), []
    for n_rows in (1, 2, 4, 8):
        x, y = rng.normal(size=(3, n_rows + 6, 2)), rng.normal(size=(2, 3, n_rows + 6))
        weight = np.append(np.ones((3, n_rows)), rng.uniform(0.5, 2, (3, 6)), axis=1)
        weight[1, -1] = 0
        cut = (slice(None), slice(n_rows)), (slice(None), slice(n_rows, None))
        support, query = ((x[c], y[(slice(None), *c)], weight[c]) for c in cut)
        phi = networks.solver(problem, theta, Episode(*support, *support[:2], 0 * support[2])).phi
        # Errors all of the size that the law says, of either sign.
        size = np.exp(0.5 * (level + power * np.log1p(n_rows)))
        sign = rng.choice([-1.0, 1.0], (2, 3, 6))
        exact = problem.outputs(phi, theta, query[0]) + size[:, None, None] * sign
        episodes.append(Episode(*support, query[0], exact, query[2]))
    model.calibrate(problem, theta, options, episodes)
    assert_allclose(theta["log_scatter"], np.column_stack([level, power]), atol=1e-6)


def test_what_has_no_noise_needs_no_calibration_and_draws_no_episode():
    family = ClassesOrCounts(Poisson())
    model, options, problem, theta = started("synaptic", family=family)
    before = theta.vector.copy()

    def episodes():
        raise AssertionError("an episode was drawn")
        yield

    model.calibrate(problem, theta, options, episodes())
    assert_array_equal(theta.vector, before)


def test_a_cost_is_that_of_the_family():
    model = NetworkModel(LAYERS["synaptic"])
    assert isinstance(model.problem(2, 1, options_of()).cost, SquaredError)
    family = ClassesOrCounts(Bernoulli())
    assert model.problem(2, 1, options_of(family=family)).cost is family.likelihood


# --- predictions


@pytest.mark.parametrize("kind", KINDS)
def test_densities_are_those_of_the_query_rows_in_order(kind):
    model, options = NetworkModel(LAYERS[kind]), options_of((3,))
    problem = model.problem(1, 1, options)
    theta = model.start(problem, mixed_models(2, 1), np.random.default_rng(0))
    theta["log_scatter"][...] = [-1.0, -0.4]
    held = HeldOut.draw(sinusoid_tasks(6, 7), (1, 4), "random", np.random.default_rng(0))
    found = model.densities(problem, theta, options, held)
    assert found.mean.shape == found.variance.shape == (1, *held.y.shape)
    assert np.isfinite(found.log_density(held.y)).all()
    means, variances = [], []
    for e in held.episodes:
        phi = TO_THE_END(problem, theta, problem.embed(theta, e)).phi
        means.append(problem.outputs(phi, theta, e.x_query)[:, e.w_query > 0])
        n_rows = np.repeat(e.w_support.sum(1), (e.w_query > 0).sum(1))
        variances.append(np.exp(-1.0) * (1 + n_rows) ** -0.4)
    assert_allclose(found.mean[0], np.concatenate(means, axis=1), rtol=1e-5, atol=1e-7)
    assert_allclose(found.variance[0, 0], np.concatenate(variances))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_bodies_make_the_features_of_the_prior(kind, hidden):
    model, _, problem, _ = started(kind, hidden)
    thetas = [task_theta(problem, seed) for seed in range(2)]
    x = np.random.default_rng(0).normal(size=(5, 2))
    for theta, (body, params) in zip(thetas, model.bodies(problem, thetas), strict=True):
        _, tape = problem.network.forward(theta["omega"][None], theta, x[None])
        z = np.broadcast_to(body.forward(params, x)[0], (1, *tape.z.shape[1:]))
        assert_allclose(z, tape.z, rtol=1e-12)


# --- learning


@pytest.mark.parametrize("kind", ["synaptic"])
def test_training_makes_a_network_better_on_tasks_it_has_not_seen(kind):
    tasks = sinusoid_tasks(60, seed=0)
    held = HeldOut.draw(sinusoid_tasks(40, seed=1), (4, 8), "random", np.random.default_rng(5))
    model = NetworkModel(LAYERS[kind])
    options = options_of(model=model, meta_max_iter=40, meta_batch_size=16)
    problem, mixed = model.problem(1, 1, options), fit_mixed(tasks, "full")
    rng = np.random.default_rng(0)
    theta, history = train_network(problem, mixed, tasks, held, options, rng)
    assert history.best_step > 0
    assert min(history.validation_loss) < history.validation_loss[0]
    densities = model.densities(problem, theta, options, held)
    squares = (held.y - densities.mean[0]) ** 2 / densities.variance[0]
    assert np.average(squares[0], weights=held.weight) == pytest.approx(1.0, abs=0.3)
