"""The verdict: what is believed, on data whose truth is known."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.heads import Heads
from skcml.mixed_model import CompressedGroups
from skcml.selection import folds as folds_module
from skcml.selection import learn, members
from skcml.selection.folds import Judgement, n_folds
from skcml.selection.held_out import HeldOut
from skcml.selection.members import fit_mixed, head_problem, linear_problem, linear_theta
from skcml.selection.mixture import Densities, IntervalShape, moments
from skcml.selection.verdict import best_structure, judge, member_weights, snapshot
from tests.builders import Recorder, learn_options, linear_tasks, sinusoid_tasks

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
    heads = [learned.linear] + ([] if learned.networks is None else [learned.networks])
    arrays = [learned.weights, learned.shape.ratio]
    for h in heads:
        arrays += [*h.theta.values(), h.omega, h.factor, h.noise]
    return [array.tobytes() for array in arrays]


def judgement(y, linear, network, *, variance=1.0, group=None, structures=("full",)):
    """Return a judgement of one output, with constant variances; predictions of 9 for baselines."""
    y = np.asarray(y, dtype=float)[None]

    def densities(mean):
        mean = np.broadcast_to(np.asarray(mean, dtype=float), y.shape)[None]
        return Densities(mean, np.full(mean.shape, variance))

    group = np.arange(y.shape[1]) if group is None else group
    return Judgement(
        y=y,
        weight=np.ones(y.shape[1]),
        group=group,
        n_groups=group.max() + 1,
        linear={name: densities(linear) for name in structures},
        network=None if network is None else densities(network),
        pooled=np.full(y.shape, 9.0),
        per_task=np.full(y.shape, 9.0),
    )


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
    assert learned.weights[1, 0] > 0.95
    assert learned.networks.n_heads == len(learned.histories) == n_folds(220) == 3
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
    assert learned.weights.shape == (2, 2)
    assert_allclose(learned.weights.sum(0), 1.0)
    assert learned.weights[1, 1] > 0.95
    assert learned.weights[0, 0] > learned.weights[0, 1] + 0.2
    assert learned.linear.omega.shape == (1, 2, 2)
    assert learned.networks.omega.shape[:2] == (3, 2)
    assert len(learned.mixed) == 2
    assert learned.shape.ratio.shape[0] == 2


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
    assert learned.structure == "full"
    apart = np.diag([0.8] + [0.6] * 5)
    learned = run(structured(apart, seed=seed), **ONE_STEP)
    assert learned.structure == "diagonal"
    off_diagonal = learned.linear.factor[0, 0] - np.diag(learned.linear.factor[0, 0].diagonal())
    assert abs(off_diagonal).max() < 1e-6
    # The floor of the variances makes structures tie where only intercepts vary.
    monkeypatch.setattr(members, "SPREAD_FLOOR", 1e-4)
    learned = run(structured(np.diag([0.8] + [0.0] * 5), seed=seed), **ONE_STEP)
    assert learned.structure == "intercept"
    assert (learned.mixed[0].factor[1:, 1:] == 0).all()


def test_the_floor_of_variances_costs_little_where_only_intercepts_vary(monkeypatch):
    tasks = structured(np.diag([0.8] + [0.0] * 5))
    with_floor = run(tasks, **ONE_STEP).gain["mixed_model"]
    monkeypatch.setattr(members, "SPREAD_FLOOR", 1e-4)
    assert with_floor < 1.005 * run(tasks, **ONE_STEP).gain["mixed_model"]


def test_a_diagonal_prior_has_no_correlations():
    learned = run(structured(0.5 * np.ones((3, 1)), n_tasks=40), prior_covariance="diagonal")
    assert learned.structure in ("diagonal", "intercept")
    mask = np.eye(learned.networks.factor.shape[-1], dtype=bool)
    assert (learned.networks.factor[..., ~mask] == 0).all()
    assert (learned.networks.factor[..., mask] != 0).all()


def test_intervals_of_gaussian_data_are_gaussian():
    learned = run(standardized(linear_tasks(n_tasks=1_000, sizes=(6, 14))), **LINEAR_ONLY)
    assert_allclose(learned.shape.ratio, 1.0, atol=0.06)


# --- what is learned from what


@pytest.mark.parametrize("n_steps", [0, 1])
def test_the_linear_model_is_that_of_all_groups(n_steps):
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, meta_max_iter=n_steps)
    groups = CompressedGroups.from_tasks(tasks)
    expected = fit_mixed(groups, 1, learned.structure, reml=n_steps == 0)
    assert_array_equal(learned.mixed[0].factor, expected[0].factor)
    problem = linear_problem(2, 1)
    theta = linear_theta(problem, expected)
    assert_array_equal(learned.linear.factor[0], theta["factor"])
    assert_array_equal(learned.linear.omega[0, 0], expected[0].omega)
    if n_steps == 0:
        assert learned.structure == "full"


def test_the_users_own_tasks_judge_alone():
    tasks = standardized(linear_tasks(n_tasks=80))
    validation = linear_tasks(seed=1, n_tasks=30, sizes=(9, 9))
    validation = dataclasses.replace(validation, y=validation.y / 2)
    learned = run(tasks, validation, seed=4, **LINEAR_ONLY)
    seed = np.random.default_rng(4).spawn(1)[0]
    held_out = HeldOut.draw(validation, (1, 8), "random", seed)
    problem = linear_problem(2, 1)
    theta = linear_theta(problem, learned.mixed)
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
        run(tasks, judges, **NETWORK, early_stopping=False).weights[1, 0]
        for judges in (dataclasses.replace(waves, y=noise), waves)
    ]
    assert weights[0] < 0.5
    assert weights[1] > 0.95


def test_without_early_stopping_all_steps_are_run_once_and_nobody_judges():
    tasks = standardized(linear_tasks(n_tasks=40))
    learned = run(tasks, early_stopping=False, meta_max_iter=7)
    (history,) = learned.histories
    assert len(history["loss"]) == history["best_step"] == 7
    assert history["validation_loss"] == []
    assert learned.gain is None
    assert_array_equal(learned.weights, [[0.0], [1.0]])
    assert learned.networks.n_heads == 1
    assert_array_equal(learned.shape.ratio, IntervalShape.gaussian(1).ratio)
    assert learned.structure == "full"


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
    assert learned.networks is None
    assert learned.histories == []
    assert_array_equal(learned.weights, [[1.0], [0.0]])
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
    for heads in (learned.linear, learned.networks):
        if heads is not None:
            mean, variance = heads.adapt(tasks).predict(tasks.X, np.zeros(len(tasks.X), int))
            assert np.isfinite(mean).all()
            assert (variance > 0).all()
    assert_allclose(learned.weights.sum(0), 1.0)


# --- the same again


def test_the_same_seed_learns_the_same_bits():
    tasks = standardized(linear_tasks(n_tasks=6))
    first, second, other = (run(tasks, seed=seed, meta_max_iter=5) for seed in (0, 0, 1))
    assert arrays_of(first) == arrays_of(second) != arrays_of(other)
    assert first.gain == second.gain


def test_processes_learn_the_same_bits():
    tasks = sinusoid_tasks(60)
    one, two = (run(tasks, n_jobs=n_jobs, meta_max_iter=5) for n_jobs in (None, 2))
    assert one.networks is not None
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
    assert_array_equal(taken.weights, [[0.0, 0.0], [1.0, 1.0]])
    assert taken.gain is None
    assert taken.structure == prior
    X, codes = np.random.default_rng(1).normal(size=(8, 2)), np.arange(8)
    problem = head_problem(2, 2, options)
    expected = Heads.stack(problem.body, [theta]).adapt(tasks).predict(X, codes)
    for found, wanted in zip(taken.networks.adapt(tasks).predict(X, codes), expected, strict=True):
        assert_array_equal(found, wanted)
    linear = linear_problem(2, 2)
    stack = Heads.stack(linear.body, [linear_theta(linear, recorder.mixed[0])])
    assert_array_equal(taken.linear.factor, stack.factor)
    assert_array_equal(taken.linear.omega, stack.omega)
    assert_array_equal(taken.shape.ppf(np.array([0.1])), IntervalShape.gaussian(2).ppf([0.1]))


# --- from judgements to a verdict


def test_the_structure_with_the_best_held_out_score_is_chosen():
    def scored(full, diagonal, n):
        # A density is worse by half the squared error.
        parts = judgement(np.zeros(n), 0.0, None, structures=("full", "diagonal"))
        errors = {"full": full, "diagonal": diagonal}
        for name, error in errors.items():
            parts.linear[name] = Densities(np.full((1, 1, n), error), np.ones((1, 1, n)))
        return parts

    assert best_structure([scored(1.0, 2.0, 5)], ("full", "diagonal")) == "full"
    assert best_structure([scored(2.0, 1.0, 5)], ("full", "diagonal")) == "diagonal"
    # A fold counts by its groups.
    folds = [scored(1.0, 2.0, 5), scored(2.0, 1.0, 6)]
    assert best_structure(folds, ("full", "diagonal")) == "diagonal"
    assert best_structure(folds[::-1], ("full", "diagonal")) == "diagonal"
    # A tie goes to the richer one; without a judge the richest is taken.
    assert best_structure([scored(1.0, 1.0, 5)], ("full", "diagonal")) == "full"
    assert best_structure([], ("diagonal", "intercept")) == "diagonal"


def test_without_a_network_the_linear_model_has_all_the_weight():
    rng = np.random.default_rng(0)
    folds = [judgement(np.zeros(5), 1.0, None), judgement(np.zeros(5), 1.0, None)]
    assert_array_equal(member_weights(folds, "full", rng), [[1.0], [0.0]])
    gain, _ = judge(folds, "full", rng)
    assert gain == {"pooled": 9.0, "per_task": 9.0, "mixed_model": 1.0, "final": 1.0}


def test_no_group_has_a_say_in_its_own_verdict():
    # In the first fold the network is right, in the second the linear model: each fold is
    # predicted with the weights of the other, and so wrongly.
    rng = np.random.default_rng(0)
    folds = [judgement(np.zeros(50), 4.0, 0.0), judgement(np.zeros(50), 0.0, 4.0)]
    gain, _ = judge(folds, "full", rng)
    assert gain["final"] == pytest.approx(4.0)
    assert gain["mixed_model"] == pytest.approx(np.sqrt(8.0))
    # All weights together are undecided.
    assert_allclose(member_weights(folds, "full", rng), 0.5, atol=0.15)
    # Alone, a fold can but judge itself.
    gain, _ = judge(folds[:1], "full", rng)
    assert gain["final"] == pytest.approx(0.0, abs=1e-12)


def test_groups_of_two_folds_are_not_the_same_groups():
    # 2 groups in each fold; as one, their rows would be weighed together.
    rng = np.random.default_rng
    group = np.repeat([0, 1], 25)
    folds = [
        judgement(np.zeros(50), 1.0, 0.0, group=group),
        judgement(np.zeros(50), 0.0, 1.0, group=group),
    ]
    spread = [member_weights(folds, "full", rng(s))[0, 0] for s in range(10)]
    joined = judgement(
        np.zeros(100),
        np.repeat([1.0, 0.0], 50),
        np.repeat([0.0, 1.0], 50),
        group=np.repeat([0, 1, 2, 3], 25),
    )
    same = [member_weights([joined], "full", rng(s))[0, 0] for s in range(10)]
    assert_allclose(spread, same)


def test_errors_are_standardised_by_the_mixtures_own_moments():
    # Two members that disagree: their mixture knows that it does not know.
    rng = np.random.default_rng(0)
    y = rng.choice([-2.0, 2.0], 3_000) + rng.normal(size=3_000)
    fold = judgement(y, -2.0, 2.0)
    _, shape = judge([fold], "full", rng)
    weights = member_weights([fold], "full", rng)
    assert_allclose(weights, 0.5, atol=0.05)
    mean, variance = moments(np.array([[[-2.0]], [[2.0]]]), np.ones((2, 1, 1)), weights)
    z = abs((y - mean.item()) / np.sqrt(variance.item()))
    assert shape.ppf(np.array([0.95])).item() == pytest.approx(np.quantile(z, 0.9), rel=0.03)


def test_gains_are_root_mean_squared_errors_over_groups():
    fold = judgement([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], None)
    fold = dataclasses.replace(fold, weight=np.array([1.0, 0.5, 0.5]))
    gain, _ = judge([fold], "full", np.random.default_rng(0))
    assert gain["mixed_model"] == pytest.approx(np.sqrt((1 + 2 + 4.5) / 2))
    # Outputs count the same: an average, not a sum.
    both = dataclasses.replace(
        fold,
        y=np.zeros((2, 3)),
        linear={"full": Densities(np.array([[[1.0] * 3, [7.0] * 3]]), np.ones((1, 2, 3)))},
    )
    gain, shape = judge([both], "full", np.random.default_rng(0))
    assert gain["mixed_model"] == gain["final"] == pytest.approx(5.0)
    assert shape.ratio.shape[0] == 2


def test_a_single_split_serves_many_groups(monkeypatch):
    monkeypatch.setattr(folds_module, "FOLDS", ())
    learned = run(sinusoid_tasks(150), **NETWORK)
    assert learned.networks.n_heads == len(learned.histories) == 1
    assert learned.weights[1, 0] > 0.95
    assert learned.gain["final"] < 0.8 * learned.gain["mixed_model"]
