"""Learning from many tasks: what is believed, on data whose truth is known."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.likelihoods import Bernoulli, Categorical, Poisson
from skcml.selection import folds as folds_module
from skcml.selection import learn, members
from skcml.selection.families import ClassesOrCounts
from skcml.selection.folds import n_folds
from skcml.selection.held_out import HeldOut
from skcml.selection.learning import snapshot
from skcml.selection.members import (
    head_problem,
    linear_theta,
)
from skcml.selection.mixture import IntervalShape
from skcml.solvers.newton import newton
from tests.builders import (
    Recorder,
    fit_mixed,
    learn_options,
    linear_problem,
    linear_tasks,
    sinusoid_tasks,
)

NETWORK = {"hidden_layer_sizes": (12,), "meta_learning_rate": 0.03, "meta_max_iter": 120}
LINEAR_ONLY = {"meta_max_iter": 0}
# Enough of a network for structures to be compared.
ONE_STEP = {"meta_max_iter": 1, "hidden_layer_sizes": (2,)}


def run(tasks, validation=None, seed=0, progress=None, **changes):
    return learn(tasks, validation, learn_options(**changes), np.random.default_rng(seed), progress)


def standardized(tasks):
    return dataclasses.replace(tasks, y=(tasks.y - tasks.y.mean(0)) / tasks.y.std(0))


def arrays_of(learned):
    """Return the bits of all that was learned."""
    arrays = [part for m in (learned.known, learned.unseen) for part in (m.weights, m.shape.ratio)]
    for h in learned.members.values():
        arrays += [*h.theta.values(), h.omega, h.factor, h.noise]
    return [array.tobytes() for array in arrays]


# --- on data whose truth is known


def test_linear_data_are_left_to_the_mixed_model():
    tasks = standardized(linear_tasks(n_tasks=120, sizes=(6, 14)))
    learned = run(tasks)
    gain = learned.gain
    assert list(gain) == ["pooled", "per_task", "mixed_model", "final"]
    assert gain["final"] < 1.01 * gain["mixed_model"]
    assert gain["mixed_model"] < 0.7 * gain["pooled"]
    assert gain["mixed_model"] < 0.5 * gain["per_task"]


def test_data_that_are_not_linear_are_left_to_the_networks():
    learned = run(sinusoid_tasks(220), **NETWORK)
    assert learned.known.share("networks")[0] > 0.95
    assert learned.members["networks"].n_heads == len(learned.histories) == n_folds(220) == 3
    best = min(learned.gain[name] for name in ("pooled", "per_task", "mixed_model"))
    assert learned.gain["final"] < 0.7 * best


def test_each_output_has_a_verdict_of_its_own():
    tasks = sinusoid_tasks(220)
    rng = np.random.default_rng(1)
    slopes = np.repeat(rng.normal(size=220), tasks.sizes)[:, None]
    straight = slopes * tasks.X + 0.1 * rng.normal(size=tasks.y.shape)
    learned = run(
        standardized(dataclasses.replace(tasks, y=np.hstack([straight, tasks.y]))), **NETWORK
    )
    assert learned.known.weights.shape == (4, 2)
    assert_allclose(learned.known.weights.sum(0), 1.0)
    assert learned.known.share("networks")[1] > 0.95
    assert np.diff(learned.known.share("mixed_model")) < -0.2
    assert learned.members["mixed_model"].omega.shape == (1, 2, 2)
    assert learned.members["networks"].omega.shape[:2] == (3, 2)
    assert len(learned.mixed) == 2
    assert learned.known.shape.ratio.shape[0] == 2


def structured(factor, n_tasks=300, seed=0):
    omega = np.concatenate([[1.0], np.linspace(-1, 1, len(factor) - 1)])
    tasks = linear_tasks(
        seed=seed, n_tasks=n_tasks, sizes=(6, 12), omega=omega, factor=factor, noise=0.5
    )
    return standardized(tasks)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_structure_is_found_from_many_groups(monkeypatch, seed):
    direction = 0.6 * np.linspace(1.0, -1.0, 6)[:, None]
    together = np.hstack([direction, 0.1 * np.eye(6)])
    learned = run(structured(together, seed=seed), **ONE_STEP)
    assert learned.mixed[0].structure == "full"
    apart = np.diag([0.8] + [0.6] * 5)
    learned = run(structured(apart, seed=seed), **ONE_STEP)
    assert learned.mixed[0].structure == "diagonal"
    factor = learned.members["mixed_model"].factor[0, 0]
    off_diagonal = factor - np.diag(factor.diagonal())
    assert abs(off_diagonal).max() < 1e-6
    # The floor of the variances makes structures tie where only intercepts vary.
    monkeypatch.setattr(members, "SPREAD_FLOOR", 1e-4)
    learned = run(structured(np.diag([0.8] + [0.0] * 5), seed=seed), **ONE_STEP)
    assert learned.mixed[0].structure == "intercept"
    assert (learned.mixed[0].factor[1:, 1:] == 0).all()


def test_the_floor_of_variances_costs_little_where_only_intercepts_vary(monkeypatch):
    tasks = structured(np.diag([0.8] + [0.0] * 5))
    with_floor = run(tasks, **ONE_STEP).gain["mixed_model"]
    monkeypatch.setattr(members, "SPREAD_FLOOR", 1e-4)
    assert with_floor < 1.005 * run(tasks, **ONE_STEP).gain["mixed_model"]


def groups_by_chance(kind, n_tasks=14, size=6, n_columns=6, seed=0):
    """Return tasks whose group says nothing, of few rows for as many columns."""
    rng = np.random.default_rng(seed)
    n_rows = n_tasks * size
    X = rng.normal(size=(n_rows, n_columns))
    effects = rng.normal(size=(n_columns, 1))
    if kind == "numbers":
        y = X @ effects + rng.normal(size=(n_rows, 1))
        y = (y - y.mean()) / y.std()
    elif kind == "classes":
        y = (X @ effects + rng.logistic(size=(n_rows, 1)) > 0).astype(float)
    else:
        y = rng.poisson(np.exp(0.3 * X @ effects)).astype(float)
    codes = np.repeat(np.arange(n_tasks), size)
    return TaskRows.from_codes(X, y, np.ones(n_rows), codes, n_tasks)


FAMILIES = {
    "numbers": {},
    "classes": {"family": ClassesOrCounts(Bernoulli()), "solver": newton},
    "counts": {"family": ClassesOrCounts(Poisson()), "solver": newton},
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_where_groups_mean_nothing_the_pooled_model_is_no_better(kind):
    quick = {"n_shots": (1, 4), "prior_covariance": "diagonal"} | ONE_STEP
    learned = run(groups_by_chance(kind, seed=1), **FAMILIES[kind], **quick)
    assert learned.gain["final"] < 1.01 * learned.gain["pooled"]
    assert learned.gain["final"] < 1.01 * learned.gain["mixed_model"]


def test_a_group_with_many_rows_may_contradict_groups_that_did_not_differ():
    learned = run(groups_by_chance("numbers"), **ONE_STEP)
    assert learned.mixed[0].structure == "none"
    rng = np.random.default_rng(1)
    X = rng.normal(size=(5_000, 6))
    y = 2.0 + X[:, :1]
    rows = TaskRows(X, y, np.ones(5_000), np.array([0, 5_000]))
    posterior = learned.members["mixed_model"].adapt(rows)
    omega = posterior.coefficients[0, 0, 0]
    assert_allclose(omega, [2.0, 1.0, *np.zeros(5)], atol=0.1)


def test_a_diagonal_prior_has_no_correlations():
    learned = run(structured(0.5 * np.ones((3, 1)), n_tasks=40), prior_covariance="diagonal")
    assert learned.mixed[0].structure in ("diagonal", "intercept", "none")
    mask = np.eye(learned.members["networks"].factor.shape[-1], dtype=bool)
    assert (learned.members["networks"].factor[..., ~mask] == 0).all()
    assert (learned.members["networks"].factor[..., mask] != 0).all()


def test_intervals_of_gaussian_data_are_gaussian():
    learned = run(standardized(linear_tasks(n_tasks=1_000, sizes=(6, 14))), **LINEAR_ONLY)
    assert_allclose(learned.known.shape.ratio, 1.0, atol=0.06)


def wave_classes(n_tasks, seed=0):
    """Return tasks with a 1 where a sine wave of the task is above zero."""
    tasks = sinusoid_tasks(n_tasks, 24, noise=0.3, seed=seed)
    return dataclasses.replace(tasks, y=(tasks.y > 0).astype(float))


def test_classes_are_learned_as_numbers_are():
    family = ClassesOrCounts(Bernoulli())
    learned = run(
        wave_classes(150),
        **NETWORK,
        family=family,
        solver=newton,
        meta_loss="loss",
        n_shots=(4, 12),
    )
    assert learned.known.share("networks")[0] > 0.8
    assert learned.gain["final"] < 0.9 * min(learned.gain["pooled"], learned.gain["mixed_model"])
    new, rows = wave_classes(60, seed=5), np.arange(24 * 60)
    support = rows % 24 < 10
    codes = rows // 24
    seen = TaskRows.from_codes(new.X[support], new.y[support], np.ones(600), codes[support], 60)
    heads = learned.members["networks"]
    p, _ = heads.adapt(seen).predict(new.X[~support], codes[~support])
    found = log_loss(new.y[~support, 0], p.mean(0)[0])
    assert found < 0.8 * log_loss(new.y[~support, 0], np.full((~support).sum(), new.y.mean()))


def test_several_classes_have_one_verdict():
    tasks = standardized(linear_tasks(n_tasks=20, sizes=(6, 12)))
    thirds = np.digitize(tasks.y[:, 0], [-0.5, 0.5])
    tasks = dataclasses.replace(tasks, y=np.eye(3)[thirds])
    family = ClassesOrCounts(Categorical())
    tasks, judges = tasks.subset(np.arange(14)), tasks.subset(np.arange(14, 20))
    learned = run(tasks, judges, family=family, solver=newton, meta_loss="loss", meta_max_iter=5)
    assert learned.known.weights.shape == learned.unseen.weights.shape == (4, 1)
    assert len(learned.mixed) == 3
    assert learned.gain["mixed_model"] < learned.gain["pooled"]


# --- what is learned from what


@pytest.mark.parametrize("n_steps", [0, 1])
def test_the_linear_model_is_that_of_all_groups(n_steps):
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, meta_max_iter=n_steps)
    expected = fit_mixed(tasks, learned.mixed[0].structure, reml=n_steps == 0)
    assert_array_equal(learned.mixed[0].factor, expected[0].factor)
    problem = linear_problem(2, 1)
    theta = linear_theta(problem, expected, reml=n_steps == 0)
    assert_array_equal(learned.members["mixed_model"].factor[0], theta["factor"])
    assert_array_equal(learned.members["mixed_model"].omega[0, 0], expected[0].omega)
    if n_steps == 0:
        assert learned.mixed[0].structure == "full"


def test_the_users_own_tasks_judge_alone():
    tasks = standardized(linear_tasks(n_tasks=80))
    validation = linear_tasks(seed=1, n_tasks=30, sizes=(9, 9))
    validation = dataclasses.replace(validation, y=validation.y / 2)
    learned = run(tasks, validation, seed=4, **LINEAR_ONLY)
    seed = np.random.default_rng(4).spawn(1)[0]
    held_out = HeldOut.draw(validation, (1, 8), "random", seed)
    problem = linear_problem(2, 1)
    theta = linear_theta(problem, learned.mixed, reml=True)
    mean = held_out.densities(problem, theta).mean[0]
    expected = np.sqrt(np.average((held_out.y - mean)[0] ** 2, weights=held_out.weight))
    assert learned.gain["mixed_model"] == pytest.approx(expected, rel=1e-12)
    assert learned.gain["final"] == pytest.approx(expected, rel=1e-12)
    # A network is stopped by them, once.
    (history,) = run(tasks, validation).histories
    assert len(history["validation_loss"]) == 3


def test_who_judges_decides():
    # Where there is nothing to predict the modest are right, among sinusoids the network is.
    tasks, waves = sinusoid_tasks(150), sinusoid_tasks(40, seed=2)
    noise = np.random.default_rng(3).normal(size=waves.y.shape)
    weights = [
        run(tasks, judges, **NETWORK, early_stopping=False).known.share("networks")[0]
        for judges in (dataclasses.replace(waves, y=noise), waves)
    ]
    assert weights[0] < 0.5
    assert weights[1] > 0.9


def test_without_early_stopping_all_steps_are_run_once_and_nobody_judges():
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, early_stopping=False, meta_max_iter=7)
    (history,) = learned.histories
    assert len(history["loss"]) == history["best_step"] == 7
    assert history["validation_loss"] == []
    assert learned.gain is None
    assert_array_equal(learned.known.weights, [[0.0], [0.0], [0.0], [1.0]])
    assert_array_equal(learned.unseen.weights, [[0.0], [0.0], [1.0], [0.0]])
    assert learned.members["networks"].n_heads == 1
    assert_array_equal(learned.known.shape.ratio, IntervalShape.gaussian(1).ratio)
    assert learned.mixed[0].structure == "full"


def test_without_early_stopping_the_users_tasks_judge_the_last_step():
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, linear_tasks(seed=1, n_tasks=10), early_stopping=False, meta_max_iter=7)
    (history,) = learned.histories
    assert len(history["loss"]) == history["best_step"] == 7
    assert history["validation_loss"] == []
    assert list(learned.gain) == ["pooled", "per_task", "mixed_model", "final"]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_without_steps_there_is_the_mixed_model_only(early_stopping):
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, early_stopping=early_stopping, **LINEAR_ONLY)
    assert list(learned.members) == ["mixed_model", "pooled"]
    assert learned.histories == []
    assert_array_equal(learned.known.weights, [[0.0], [0.0], [1.0], [0.0]])
    assert_array_equal(learned.unseen.weights, [[0.0], [0.0], [1.0], [0.0]])
    if early_stopping:
        assert learned.gain["final"] == learned.gain["mixed_model"]
    else:
        assert learned.gain is None


@pytest.mark.parametrize("sizes", [[2, 1], [2, 2], [9, 1, 1, 1], [2, 9, 2], [1, 2, 1, 2, 1, 2, 40]])
def test_a_few_groups_of_a_few_rows_are_enough(sizes):
    tasks = linear_tasks(n_tasks=1, sizes=(sum(sizes),) * 2)
    tasks = dataclasses.replace(tasks, starts=np.cumsum([0, *sizes]))
    learned = run(tasks, meta_max_iter=3)
    usable = sum(size > 1 for size in sizes)
    assert len(learned.histories) == (usable if usable > 1 else 1)
    assert (learned.gain is None) == (usable < 2)
    for heads in learned.members.values():
        mean, variance = heads.adapt(tasks).predict(tasks.X, np.zeros(len(tasks.X), int))
        assert np.isfinite(mean).all()
        assert (variance > 0).all()
    assert_allclose(learned.known.weights.sum(0), 1.0)


def test_a_single_split_serves_many_groups(monkeypatch):
    monkeypatch.setattr(folds_module, "FOLDS", ())
    learned = run(sinusoid_tasks(150), **NETWORK)
    assert learned.members["networks"].n_heads == len(learned.histories) == 1
    assert learned.known.share("networks")[0] > 0.9
    assert learned.gain["final"] < 0.8 * learned.gain["mixed_model"]


# --- the same again


def test_the_same_seed_learns_the_same_bits():
    tasks = standardized(linear_tasks(n_tasks=6))
    first, second, other = (run(tasks, seed=seed, meta_max_iter=5) for seed in (0, 0, 1))
    assert arrays_of(first) == arrays_of(second) != arrays_of(other)
    assert first.gain == second.gain


def test_processes_learn_the_same_bits():
    tasks = sinusoid_tasks(60)
    one, two = (run(tasks, n_jobs=n_jobs, meta_max_iter=5) for n_jobs in (None, 2))
    assert "networks" in one.members
    assert arrays_of(one) == arrays_of(two)
    assert one.gain == two.gain
    assert one.histories == two.histories


# --- progress


def test_progress_is_told_of_each_fold_and_each_step():
    tasks = standardized(linear_tasks(n_tasks=60))
    recorder = Recorder()
    # With it, folds stay in this process.
    learned = run(tasks, progress=recorder, n_jobs=2, meta_max_iter=5)
    assert len(recorder.mixed) == len(learned.histories) == n_folds(60) == 5
    for steps in recorder.steps:
        assert [step for step, _ in steps] == [1, 2, 3, 4, 5]
    assert arrays_of(learned) == arrays_of(run(tasks, meta_max_iter=5))


def test_progress_may_end_a_descent():
    recorder = Recorder(stop_at=2)
    learned = run(standardized(linear_tasks(n_tasks=12)), progress=recorder)
    assert [len(history["loss"]) for history in learned.histories] == [2] * 10


@pytest.mark.parametrize("prior", ["full", "diagonal"])
def test_a_snapshot_predicts_as_the_network_it_holds(prior):
    tasks = standardized(linear_tasks(n_tasks=12))
    tasks = dataclasses.replace(tasks, y=np.hstack([tasks.y, -tasks.y]))
    recorder, options = Recorder(), learn_options(prior_covariance=prior, meta_max_iter=10)
    learn(tasks, None, options, np.random.default_rng(0), recorder)
    theta = recorder.steps[0][9][1]
    taken = snapshot(recorder.mixed[0], theta, options)
    assert (taken.known.share("networks") == 1.0).all()
    assert (taken.unseen.share("mixed_model") == 1.0).all()
    assert taken.gain is None
    assert taken.mixed[0].structure == prior
    X, codes = np.random.default_rng(1).normal(size=(8, 2)), np.arange(8)
    problem = head_problem(2, 2, options)
    expected = Heads.stack(problem, [theta]).adapt(tasks).predict(X, codes)
    predicted = taken.members["networks"].adapt(tasks).predict(X, codes)
    for found, wanted in zip(predicted, expected, strict=True):
        assert_array_equal(found, wanted)
    linear = linear_problem(2, 2)
    stack = Heads.stack(linear, [linear_theta(linear, recorder.mixed[0])])
    assert_array_equal(taken.members["mixed_model"].factor, stack.factor)
    assert_array_equal(taken.members["mixed_model"].omega, stack.omega)
    assert_array_equal(taken.known.shape.ppf(np.array([0.1])), IntervalShape.gaussian(2).ppf([0.1]))
