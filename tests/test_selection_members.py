"""The linear mixed model as a head, and networks that start from it."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.problems.head import NOISE_FLOOR
from skcml.random_effects import STRUCTURES, MixedModel
from skcml.selection.held_out import HeldOut
from skcml.selection.members import (
    HIDDEN_SCALE,
    LOW_RANK,
    SPREAD_FLOOR,
    factor_mask,
    head_problem,
    linear_theta,
    start_network,
    structures_for,
    train_network,
)
from skcml.selection.options import FULL_UP_TO
from tests.builders import (
    fit_mixed,
    learn_options,
    linear_problem,
    sinusoid_tasks,
)

WIDE = (FULL_UP_TO,)  # more features than that, with the inputs


def random_mixed(n_columns, n_outputs=2, seed=0, noise=0.1):
    """Return mixed models whose variances are well above the floor."""
    rng = np.random.default_rng(seed)
    return [
        MixedModel(
            rng.normal(size=n_columns),
            np.tril(0.3 * rng.normal(size=(n_columns, n_columns))) + 0.5 * np.eye(n_columns),
            noise * (1 + output),
            "full",
            1,
        )
        for output in range(n_outputs)
    ]


def problem_of(hidden=(8,), prior_covariance="full", n_inputs=3, n_outputs=2, **changes):
    options = learn_options(hidden_layer_sizes=hidden, prior_covariance=prior_covariance, **changes)
    return head_problem(n_inputs, n_outputs, options)


def score(held_out, densities):
    """Return the mean over groups of the mean log density of their query rows."""
    log_density = densities.log_density(held_out.y)[0].mean(0)
    return np.average(log_density, weights=held_out.weight)


def covariance(theta, output=0):
    return theta["factor"][output] @ theta["factor"][output].T


def train(tasks, held_out=None, seed=0, on_step=None, **changes):
    """Train a network on tasks of one input and one output; return problem, theta and history."""
    options = learn_options(**{"hidden_layer_sizes": (12,), "meta_learning_rate": 0.03} | changes)
    problem = head_problem(1, 1, options)
    mixed = fit_mixed(tasks, "full")
    rng = np.random.default_rng(seed)
    theta, history = train_network(problem, mixed, tasks, held_out, options, rng, on_step)
    return problem, theta, history


def judge(tasks, seed=5):
    return HeldOut.draw(tasks, (1, 8), "random", np.random.default_rng(seed))


# --- structures and layouts


def test_structures_that_are_worth_a_try():
    assert structures_for(4, "full") == (*STRUCTURES, "none")
    assert structures_for(4, "diagonal") == ("diagonal", "intercept", "none")
    assert structures_for(FULL_UP_TO, "full") == (*STRUCTURES, "none")
    assert structures_for(FULL_UP_TO + 1, "full") == ("diagonal", "intercept", "none")
    assert structures_for(1, "full") == ("intercept", "none")
    # Whoever asks for a REML fit gets the one that was asked for.
    assert structures_for(4, "full", reml=True) == ("full",)
    assert structures_for(4, "diagonal", reml=True) == ("diagonal",)


@pytest.mark.parametrize("n_features", [1, 5, FULL_UP_TO])
def test_a_full_factor_is_triangular(n_features):
    assert_array_equal(factor_mask(n_features, "full"), np.tril(np.ones((n_features,) * 2)))


@pytest.mark.parametrize("n_features", [1, 5, FULL_UP_TO + 1])
def test_a_diagonal_factor_is_diagonal(n_features):
    assert_array_equal(factor_mask(n_features, "diagonal"), np.eye(n_features))


def test_a_wide_factor_is_a_diagonal_beside_a_low_rank():
    n_features = FULL_UP_TO + 1
    mask = factor_mask(n_features, "full")
    assert mask.shape == (n_features, n_features + LOW_RANK)
    assert_array_equal(mask[:, :n_features], np.eye(n_features))
    assert mask[:, n_features:].all()


def test_problems_have_the_layout_that_was_asked_for():
    problem = problem_of((8, 5), "diagonal", activation="sin", meta_loss="loss")
    assert problem.body.hidden_layer_sizes == (8, 5)
    assert problem.body.activation == "sin"
    assert (problem.n_outputs, problem.meta_loss) == (2, "loss")
    assert_array_equal(problem.factor_mask, np.eye(1 + 3 + 5))
    linear = linear_problem(3, 2)
    assert linear.shapes == {"omega": (2, 4), "factor": (2, 4, 4), "log_noise": (2,)}
    assert linear.meta_loss == "log_predictive"


# --- the mixed model


@pytest.mark.parametrize("n_inputs", [1, 3, 20])
@pytest.mark.parametrize("hidden", [(), (8,)])
def test_a_full_factor_keeps_the_mixed_model(n_inputs, hidden):
    n = 1 + n_inputs
    mixed = random_mixed(n)
    problem = problem_of(hidden, n_inputs=n_inputs)
    theta = linear_theta(problem, mixed)
    for output, model in enumerate(mixed):
        sigma = covariance(theta, output)
        assert_allclose(sigma[:n, :n], model.factor @ model.factor.T, rtol=1e-7, atol=1e-9)
        assert_array_equal(theta["omega"][output, :n], model.omega)
        assert_allclose(problem.noise(theta)[output], model.noise, rtol=1e-12)
        assert (sigma[n:] == 0).all()
        assert (sigma[:, n:] == 0).all()
        assert (theta["omega"][output, n:] == 0).all()
    assert (theta["factor"][:, ~problem.factor_mask] == 0).all()


@pytest.mark.parametrize("n_inputs", [1, 3, LOW_RANK - 1])
def test_a_wide_factor_keeps_the_mixed_model_up_to_its_rank(n_inputs):
    n = 1 + n_inputs
    mixed = random_mixed(n)
    theta = linear_theta(problem_of(WIDE, n_inputs=n_inputs), mixed)
    for output, model in enumerate(mixed):
        sigma = covariance(theta, output)
        assert_allclose(sigma[:n, :n], model.factor @ model.factor.T, rtol=1e-7, atol=1e-9)


def test_a_wide_factor_keeps_all_variances_and_what_correlation_it_can():
    n = 2 * LOW_RANK
    # As many directions as the low rank holds, and independent variances.
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(
        (lambda b: b @ b.T + 0.3 * np.eye(n))(rng.normal(size=(n, LOW_RANK - 4)))
    )
    model = MixedModel(np.zeros(n), factor, 0.1, "full", 1)
    theta = linear_theta(problem_of(WIDE, n_inputs=n - 1, n_outputs=1), [model])
    sigma, expected = covariance(theta)[:n, :n], factor @ factor.T
    assert_allclose(sigma.diagonal(), expected.diagonal(), rtol=1e-8)
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert (abs(sigma - expected) / scale).max() < 0.1
    assert (abs(expected - np.diag(expected.diagonal())) / scale).max() > 0.5


def test_a_diagonal_factor_keeps_the_variances():
    mixed = random_mixed(4)
    theta = linear_theta(problem_of((8,), "diagonal"), mixed)
    for output, model in enumerate(mixed):
        expected = np.diag((model.factor @ model.factor.T).diagonal())
        assert_allclose(covariance(theta, output)[:4, :4], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("hidden", "prior"), [((8,), "full"), ((8,), "diagonal"), (WIDE, "full")])
def test_no_variance_is_below_the_floor(hidden, prior):
    sigma = np.array([[1.0, 0.0, 2e-3], [0.0, 0.0, 0.0], [2e-3, 0.0, 1e-5]])
    noise = 0.5
    factor = np.zeros((3, 3))
    factor[0, 0], factor[2, 0] = 1.0, 2e-3
    factor[2, 2] = np.sqrt(1e-5 - 4e-6)
    assert_allclose(factor @ factor.T, sigma)
    problem = problem_of(hidden, prior, n_inputs=2, n_outputs=1)
    theta = linear_theta(problem, [MixedModel(np.zeros(3), factor, noise, "full", 1)])
    found = covariance(theta)[:3, :3]
    floor = SPREAD_FLOOR**2 / 3 * noise
    assert_allclose(found.diagonal(), [1.0, floor, floor], rtol=1e-8)
    if prior == "full":
        assert_allclose(found[0, 2], 2e-3, rtol=1e-6)
    assert (np.linalg.eigvalsh(found) > 0).all()
    # A REML fit is left as it is.
    plain = linear_theta(problem, [MixedModel(np.zeros(3), factor, noise, "full", 1)], reml=True)
    assert_allclose(covariance(plain)[:3, :3].diagonal(), sigma.diagonal(), rtol=1e-8)


@pytest.mark.parametrize("noise", [1e-12, NOISE_FLOOR, 2 * NOISE_FLOOR])
def test_noise_is_at_least_its_floor(noise):
    model = dataclasses.replace(random_mixed(4, 1)[0], noise=noise)
    problem = linear_problem(3, 1)
    theta = linear_theta(problem, [model])
    assert np.isfinite(theta.vector).all()
    expected = max(noise, NOISE_FLOOR)
    assert_allclose(problem.noise(theta)[0], expected, rtol=1e-3)


# --- the start of a network


@pytest.mark.parametrize("prior", ["full", "diagonal"])
@pytest.mark.parametrize("hidden", [(8,), (8, 5), WIDE])
def test_a_network_starts_at_the_mixed_models_mean(hidden, prior):
    mixed = random_mixed(4)
    problem = problem_of(hidden, prior)
    theta = start_network(problem, mixed, np.random.default_rng(0))
    X = np.random.default_rng(1).normal(size=(20, 3))
    nothing = TaskRows(np.empty((0, 3)), np.empty((0, 2)), np.empty(0), np.zeros(1, int))
    posterior = Heads.stack(problem, [theta]).adapt(nothing)
    mean, _ = posterior.predict(X, np.full(20, -1))
    expected = [model.omega[0] + X @ model.omega[1:] for model in mixed]
    assert_allclose(mean[0], expected, rtol=1e-13)
    # Its hidden features are there, and a group may use them.
    first = problem.body.n_linear
    z, _ = problem.body.forward(theta, X)
    assert (z[:, first:].std(0) > 0).all()
    diagonal = np.arange(first, problem.body.n_features)
    assert (theta["factor"][:, diagonal, diagonal] == HIDDEN_SCALE).all()
    assert (theta["factor"][:, ~problem.factor_mask] == 0).all()


def test_a_networks_linear_part_starts_at_the_mixed_models_covariance():
    mixed = random_mixed(4)
    full = start_network(problem_of((8,)), mixed, np.random.default_rng(0))
    for output, model in enumerate(mixed):
        sigma = model.factor @ model.factor.T
        assert_allclose(covariance(full, output)[:4, :4], sigma, rtol=1e-7, atol=1e-9)
        assert_array_equal(covariance(full, output)[:4, 4:], 0)
    # With a low rank next to it: no entry of that may be zero, or it would have no gradient.
    wide = start_network(problem_of(WIDE), mixed, np.random.default_rng(0))
    assert (wide["factor"][..., -LOW_RANK:] != 0).all()
    for output, model in enumerate(mixed):
        sigma = model.factor @ model.factor.T
        assert_allclose(covariance(wide, output)[:4, :4], sigma, atol=0.15)


def test_the_start_follows_the_seed():
    starts = [
        start_network(problem_of(), random_mixed(4), np.random.default_rng(s)) for s in (0, 1)
    ]
    again = start_network(problem_of(), random_mixed(4), np.random.default_rng(0))
    assert again.vector.tobytes() == starts[0].vector.tobytes()
    assert (starts[0]["weight_0"] != starts[1]["weight_0"]).all()


# --- training


@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
def test_training_makes_a_network_better_on_tasks_it_has_not_seen(meta_loss):
    tasks, held = sinusoid_tasks(300, seed=0), judge(sinusoid_tasks(300, seed=1))
    problem, theta, history = train(tasks, meta_loss=meta_loss, meta_max_iter=150)
    mixed = fit_mixed(tasks, "full")
    start = start_network(problem, mixed, np.random.default_rng(0))
    linear = held.densities(linear_problem(1, 1), linear_theta(linear_problem(1, 1), mixed))
    errors, scores = [], []
    for densities in (linear, held.densities(problem, start), held.densities(problem, theta)):
        errors.append(np.average((held.y - densities.mean[0])[0] ** 2, weights=held.weight))
        scores.append(score(held, densities))
    assert errors[2] < 0.35 * min(errors[:2])
    assert scores[2] > max(scores[:2]) + 0.5
    assert len(history.loss) == history.best_step == 150


@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
def test_the_same_seed_trains_the_same_bits(meta_loss):
    tasks, held = sinusoid_tasks(40), judge(sinusoid_tasks(20, seed=1))
    results = [train(tasks, held, seed, meta_loss=meta_loss) for seed in (0, 0, 1)]
    (_, first, history), (_, second, other), (_, third, _) = results
    assert first.vector.tobytes() == second.vector.tobytes()
    assert history == other
    assert [s.tobytes() for s in history.states] == [s.tobytes() for s in other.states]
    assert (first.vector != third.vector).any()


def test_held_out_tasks_choose_the_best_step():
    tasks, held = sinusoid_tasks(40), judge(sinusoid_tasks(20, seed=1))
    states = {}
    problem, theta, history = train(
        tasks, held, on_step=lambda step, theta, history: states.update({step: theta.copy()})
    )
    assert history.validation_step == [0, 20, 40]
    assert history.best_step == history.validation_step[np.argmin(history.validation_loss)]
    assert history.best_step > 0
    assert_array_equal(theta.vector, states[history.best_step].vector)
    found = score(held, held.densities(problem, theta))
    assert -found == pytest.approx(min(history.validation_loss))


def test_without_early_stopping_held_out_tasks_are_not_looked_at():
    tasks, held = sinusoid_tasks(40), judge(sinusoid_tasks(20, seed=1))
    _, theta, history = train(tasks, held, early_stopping=False)
    _, same, _ = train(tasks, None)
    assert history.validation_step == []
    assert len(history.loss) == history.best_step == 40
    assert_array_equal(theta.vector, same.vector)


def test_tasks_of_one_row_are_left_out():
    tasks = sinusoid_tasks(40)
    # The first row of the first twenty tasks by itself; they count for the mixed model only.
    codes = np.repeat(np.arange(40), tasks.sizes)
    keep = (codes >= 20) | (np.arange(len(codes)) == tasks.starts[codes])
    some = TaskRows.from_codes(tasks.X[keep], tasks.y[keep], tasks.weight[keep], codes[keep], 40)
    assert (some.sizes[:20] == 1).all()
    _, theta, history = train(some)
    assert np.isfinite(theta.vector).all()
    assert np.isfinite(history.loss).all()
    assert history.n_left_out == history.n_skipped == 0


def test_few_groups_hold_a_network_near_its_start():
    # The same rows, of ten groups each as often as it takes: what they say is the same.
    few = sinusoid_tasks(10)
    many = few.subset(np.tile(np.arange(10), 100))
    distances = []
    for tasks in (few, many):
        options = learn_options(hidden_layer_sizes=(12,), meta_batch_size=10)
        problem = head_problem(1, 1, options)
        mixed = fit_mixed(few, "full")
        start = start_network(problem, mixed, np.random.default_rng(0))
        theta, _ = train_network(problem, mixed, tasks, None, options, np.random.default_rng(0))
        distances.append(np.linalg.norm(theta.vector - start.vector))
    assert distances[0] < 0.9 * distances[1]
