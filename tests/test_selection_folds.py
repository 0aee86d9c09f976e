"""Folds of groups: who is learned from, who is held out, and what is predicted there."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.outer_loop import History
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import STRUCTURES
from skcml.selection import folds as module
from skcml.selection.baselines import (
    per_task_mean,
    pooled_heads,
    pooled_mixed_model,
    prior_densities,
)
from skcml.selection.folds import (
    Fold,
    learn_fold,
    look_of_others,
    n_descents,
    n_folds,
    some_tasks,
    split_tasks,
)
from skcml.selection.head_model import bodies_of
from skcml.selection.held_out import HeldOut
from skcml.selection.members import (
    head_problem,
    linear_theta,
)
from tests.builders import (
    Recorder,
    counting_tasks,
    fit_mixed,
    learn_options,
    linear_problem,
    linear_tasks,
    sinusoid_tasks,
)


def split(tasks, validation=None, seed=0, **changes):
    return split_tasks(tasks, validation, learn_options(**changes), np.random.default_rng(seed))


def groups_of(tasks):
    """Return the numbers of the tasks, which `counting_tasks` wrote into the first feature."""
    return tasks.X[tasks.starts[:-1], 0].astype(int).tolist()


# --- how many


@pytest.mark.parametrize(
    ("n_tasks", "expected"),
    [(2, 2), (5, 5), (10, 10), (59, 10), (60, 5), (199, 5), (200, 3), (1999, 3), (2000, 1)],
)
def test_the_number_of_folds_follows_the_number_of_groups(n_tasks, expected):
    assert n_folds(n_tasks) == expected
    options = learn_options()
    assert n_descents(n_tasks, False, options) == expected
    assert n_descents(n_tasks, True, options) == 1
    assert n_descents(n_tasks, False, dataclasses.replace(options, early_stopping=False)) == 1
    assert n_descents(n_tasks, False, dataclasses.replace(options, meta_max_iter=0)) == 0


@pytest.mark.parametrize("n_tasks", [2, 7, 61, 205])
def test_as_many_splits_as_descents(n_tasks):
    assert len(split(counting_tasks([3] * n_tasks))) == n_descents(n_tasks, False, learn_options())


# --- who


@pytest.mark.parametrize("n_tasks", [2, 3, 11, 61, 205])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_group_is_held_out_once_and_learned_from_otherwise(n_tasks, seed):
    sizes = np.random.default_rng(seed).integers(1, 6, n_tasks)
    sizes[:2] = 2
    tasks = counting_tasks(sizes)
    seen = []
    for train, held in split(tasks, seed=seed):
        assert sorted(groups_of(train) + groups_of(held)) == list(range(n_tasks))
        assert len(held.X) + len(train.X) == len(tasks.X)
        for part in (train, held):
            # The rows of the group, all of them, in their order.
            for t, group in enumerate(groups_of(part)):
                rows = part.y[part.starts[t] : part.starts[t + 1], 0]
                assert_array_equal(rows, np.arange(*tasks.starts[group : group + 2]))
        seen += groups_of(held)
    # Groups of one row are learned from only.
    assert sorted(seen) == np.flatnonzero(sizes > 1).tolist()


def test_folds_are_of_equal_size_and_follow_the_seed():
    tasks = counting_tasks([3] * 63)
    held = [[groups_of(h) for _, h in split(tasks, seed=seed)] for seed in (0, 0, 1)]
    assert sorted(map(len, held[0])) == [12, 12, 13, 13, 13]
    assert held[0] == held[1] != held[2]
    assert held[0][0] != list(range(13))


@pytest.mark.parametrize(
    ("fraction", "cap", "expected"), [(0.2, 100, 8), (0.01, 100, 1), (0.5, 7, 7), (0.999, 100, 39)]
)
def test_a_single_split_holds_out_a_share_but_never_all(monkeypatch, fraction, cap, expected):
    monkeypatch.setattr(module, "FOLDS", ())
    monkeypatch.setattr(module, "MAX_HELD_OUT", cap)
    ((train, held),) = split(counting_tasks([3] * 40), validation_fraction=fraction)
    assert held.n_tasks == expected
    assert sorted(groups_of(train) + groups_of(held)) == list(range(40))


def test_the_users_own_tasks_are_the_only_judge():
    tasks, validation = counting_tasks([3] * 40), counting_tasks([4, 4])
    for early_stopping in (True, False):
        ((train, held),) = split(tasks, validation, early_stopping=early_stopping)
        assert train is tasks
        assert held is validation


@pytest.mark.parametrize("sizes", [[3], [3, 1, 1], [5] * 40])
def test_nobody_is_held_out_where_nobody_is_to_be_or_can_be(sizes):
    tasks = counting_tasks(sizes)
    ((train, held),) = split(tasks, early_stopping=len(sizes) < 4)
    assert train is tasks
    assert held is None


def test_a_mixed_model_before_a_network_needs_only_some_tasks(monkeypatch):
    monkeypatch.setattr(module, "MAX_MIXED", 10)
    tasks, rng = counting_tasks([3] * 40), np.random.default_rng(0)
    chosen = groups_of(some_tasks(tasks, learn_options(), rng))
    assert len(set(chosen)) == 10
    assert chosen == sorted(chosen)
    assert some_tasks(tasks, learn_options(meta_max_iter=0), rng) is tasks
    few = counting_tasks([3] * 10)
    assert some_tasks(few, learn_options(), rng) is few


# --- what


def two_parts(n_outputs=2):
    tasks = linear_tasks(n_tasks=40, sizes=(2, 12))
    rng = np.random.default_rng(9)
    extra = np.sin(2 * tasks.X[:, :1]) + 0.1 * rng.normal(size=tasks.y.shape)
    y = np.hstack([tasks.y, extra])[:, :n_outputs]
    tasks = dataclasses.replace(tasks, y=y, weight=rng.uniform(0.5, 2, len(y)))
    return tasks.subset(np.arange(28)), tasks.subset(np.arange(28, 40))


def both_held_out(held):
    """Return the held-out groups with and without support rows, as `learn_fold` draws them."""
    rng = np.random.default_rng(3)
    return [HeldOut.draw(held, n_shots, "random", rng) for n_shots in ((1, 8), (0, 0))]


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("prior", ["full", "diagonal"])
@pytest.mark.parametrize("n_steps", [0, 1])
def test_a_judgement_is_made_by_models_of_the_other_groups(n_outputs, prior, n_steps):
    train, held = two_parts(n_outputs)
    options = learn_options(meta_max_iter=n_steps, prior_covariance=prior)
    fold = learn_fold(train, held, options, np.random.default_rng(3))
    assert (fold.theta is None) == (fold.history is None) == (n_steps == 0)
    assert_array_equal(fold.per_task, per_task_mean(both_held_out(held)[0]))
    for found, held_out in zip((fold.known, fold.unseen), both_held_out(held), strict=True):
        check_judgement(found, held_out, train, options)


def check_judgement(found, held_out, train, options):
    n_outputs, reml = train.y.shape[1], options.is_reml
    assert_array_equal(found.y, held_out.y)
    assert_array_equal(found.weight, held_out.weight)
    assert_array_equal(found.group, held_out.group)
    assert found.n_groups == 12
    pooled = prior_densities(pooled_heads(train), held_out)
    assert_array_equal(found.pooled.mean, pooled.mean)
    assert_array_equal(found.pooled.variance, pooled.variance)
    # Without meta-steps, the mixed model is a REML fit of the richest structure.
    structures = STRUCTURES[options.prior_covariance == "diagonal" :]
    assert tuple(found.linear) == (structures[:1] if reml else (*structures, "none"))
    problem = linear_problem(2, n_outputs)
    for structure, densities in found.linear.items():
        theta = linear_theta(problem, fit_mixed(train, structure, reml=reml), reml=reml)
        expected = held_out.densities(problem, theta)
        assert_array_equal(densities.mean, expected.mean)
        assert_array_equal(densities.variance, expected.variance)
        log_density = expected.log_density(held_out.y)[0].mean(0)
        score = np.average(log_density, weights=held_out.weight)
        assert found.score(structure) == pytest.approx(score, rel=1e-12)
        members = found.members(structure)
        assert list(members) == ["pooled", "mixed_model"]  # a network is judged later
        assert members["mixed_model"] is densities
        assert members["pooled"] is found.pooled


def test_a_network_starts_from_the_best_mixed_model():
    train, held = two_parts()
    recorder, options = Recorder(), learn_options()
    fold = learn_fold(train, held, options, np.random.default_rng(3), recorder)
    best = max(STRUCTURES, key=fold.known.score)
    expected = fit_mixed(train, best)
    (mixed,) = recorder.mixed
    for model, other in zip(mixed, expected, strict=True):
        assert_array_equal(model.factor, other.factor)
        assert_array_equal(model.omega, other.omega)
    assert [step for step, _ in recorder.steps[0]] == list(range(1, len(fold.history.loss) + 1))


def test_where_nothing_differs_a_network_starts_at_the_pooled_model_but_may_vary(monkeypatch):
    monkeypatch.setattr(module, "MARGIN", 0.0)
    tasks = linear_tasks(3, n_tasks=24, sizes=(3, 6), factor=np.zeros((3, 1)), noise=2.0)
    train, held = tasks.subset(np.arange(12)), tasks.subset(np.arange(12, 24))
    recorder = Recorder()
    fold = learn_fold(train, held, learn_options(), np.random.default_rng(3), recorder)
    assert max(fold.known.linear, key=fold.known.score) == "none"
    ((start,),) = recorder.mixed
    (pooled,) = pooled_mixed_model(train)
    assert_array_equal(start.omega, pooled.omega)
    varying = fit_mixed(train, max(STRUCTURES, key=fold.known.score))[0]
    assert_array_equal(start.factor, varying.factor)
    assert varying.factor.any()


def test_a_network_is_judged_as_it_was_at_a_look():
    train, held = two_parts()
    options = learn_options(meta_max_iter=60)
    fold = learn_fold(train, held, options, np.random.default_rng(3))
    problem = head_problem(2, 2, options)
    known, strangers = both_held_out(held)
    for index in (0, 2):
        theta = MetaParams(problem.shapes, fold.history.states[index])
        judged = fold.judged(index, options)
        assert judged.theta is fold.theta
        network = known.densities(problem, theta)
        assert_array_equal(judged.known.network.mean, network.mean)
        assert_array_equal(judged.known.network.variance, network.variance)
        bodies = [bodies_of(problem, theta)]
        pooled = prior_densities(pooled_heads(train, bodies=bodies), strangers)
        assert_array_equal(judged.unseen.pooled_networks.mean, pooled.mean)
        assert list(judged.known.members("full")) == ["pooled", "mixed_model", "networks"]
        assert list(judged.unseen.members("full")) == ["pooled", "pooled_networks", "mixed_model"]


def with_curve(*losses):
    history = History(validation_loss=list(losses), states=[np.zeros(1)] * len(losses))
    return Fold(None, history, None)


def test_the_look_at_which_a_network_is_judged_is_chosen_by_the_other_folds():
    folds = [with_curve(3, 0, 3), with_curve(3, 2, 1), with_curve(3, 3, 1)]
    assert look_of_others(folds[0], folds) == 2
    assert look_of_others(folds[2], folds) == 1
    # What ended early stays as it ended; a look that the fold never had is none of its own.
    folds = [with_curve(3, 0, 0, 0), with_curve(3, 1), with_curve(3, 3, 1, 1)]
    assert look_of_others(folds[1], folds) == 1
    assert look_of_others(folds[0], folds) == 2
    # Alone, a fold can but choose itself; without a network there is nothing to choose.
    assert look_of_others(folds[0], folds[:1]) == 1
    assert look_of_others(Fold(None, None, None), folds) == 0
    assert look_of_others(with_curve(), folds) == 0


def test_held_out_rows_are_not_learned_from(monkeypatch):
    # But for the choice of the structure, and of the best step.
    monkeypatch.setattr(module, "structures_for", lambda *args, **kwargs: ("full",))
    train, held = two_parts()
    other = dataclasses.replace(held, X=held.X[::-1].copy(), y=-held.y)
    recorders = [Recorder(), Recorder()]
    judgements = [
        learn_fold(train, part, learn_options(), np.random.default_rng(3), recorder).known
        for part, recorder in zip((held, other), recorders, strict=True)
    ]
    assert (judgements[0].y != judgements[1].y).any()
    (first,), (second,) = (recorder.mixed for recorder in recorders)
    assert [m.factor.tobytes() for m in first] == [m.factor.tobytes() for m in second]
    (first,), (second,) = (recorder.steps for recorder in recorders)
    assert len(first) == len(second) == 40
    for (_, theta), (_, same) in zip(first, second, strict=True):
        assert theta.vector.tobytes() == same.vector.tobytes()


def test_unjudged_the_richest_structure_is_the_start():
    train, _ = two_parts()
    recorder = Recorder()
    fold = learn_fold(train, None, learn_options(), np.random.default_rng(3), recorder)
    assert fold.known is fold.unseen is fold.per_task is None
    assert len(fold.history.loss) == 40
    expected = fit_mixed(train, "full")
    for model, other in zip(recorder.mixed[0], expected, strict=True):
        assert_array_equal(model.factor, other.factor)


def test_without_a_task_to_split_there_is_no_network():
    tasks = linear_tasks(n_tasks=40, sizes=(1, 1))
    held = linear_tasks(seed=1, n_tasks=5)
    recorder = Recorder()
    fold = learn_fold(tasks, held, learn_options(), np.random.default_rng(0), recorder)
    assert fold.theta is fold.history is None
    assert fold.known.network is fold.unseen.network is None
    assert recorder.mixed == []
    for densities in fold.known.linear.values():
        assert np.isfinite(densities.log_density(fold.known.y)).all()


def test_a_network_learns_what_the_mixed_model_cannot():
    tasks = sinusoid_tasks(200)
    options = learn_options(
        hidden_layer_sizes=(12,), meta_max_iter=120, meta_learning_rate=0.03, n_shots=(4, 8)
    )
    fold = learn_fold(
        tasks.subset(np.arange(150)),
        tasks.subset(np.arange(150, 200)),
        options,
        np.random.default_rng(0),
    )
    j = fold.judged(look_of_others(fold, [fold]), options).known
    linear = min(np.average((j.y - d.mean[0])[0] ** 2, weights=j.weight) for d in j.linear.values())
    network = np.average((j.y - j.network.mean[0])[0] ** 2, weights=j.weight)
    assert network < 0.3 * linear
    assert_allclose(fold.history.validation_loss[-1], min(fold.history.validation_loss), atol=0.1)
