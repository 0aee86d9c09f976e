"""Networks in use: what each makes of tasks, and predicts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.episodes import Episode, TaskRows
from skcml.estimators._meta_options import LAYERS
from skcml.likelihoods import Bernoulli, Categorical, Poisson
from skcml.solvers.base import InnerSolution
from skcml.task_networks import TaskNetworks
from tests.task_networks import rows_of, stack_of, task_problem

# Empty ones, ones that are padded to a common length, and some in chunks of their own.
SIZES = (3, 0, 5, 4, 12, 1, 0)
HIDDEN = [(), (4,), (3, 2)]
KINDS = sorted(LAYERS)


@pytest.fixture(params=KINDS)
def stack(request):
    return stack_of(task_problem(request.param))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_many_tasks_are_adapted_to_as_one_by_one(kind, hidden):
    stack, tasks = stack_of(task_problem(kind, hidden, n_outputs=2)), rows_of(SIZES, n_outputs=2)
    together = stack.adapt(tasks)
    assert together.phi.shape == (len(SIZES) + 1, 2, *stack.members[0]["omega"].shape)
    for task, size in enumerate(SIZES):
        alone = stack.adapt(tasks.subset(np.array([task])))
        assert_allclose(together.phi[task], alone.phi[0], rtol=1e-5, atol=1e-7)
        assert together.n_rows[task] == pytest.approx(alone.n_rows[0])
        if size == 0:
            assert_array_equal(together.phi[task], together.phi[-1])


def test_what_is_found_is_a_minimum(stack):
    tasks, problem = rows_of((6,)), stack.problem
    found = stack.adapt(tasks)
    x, y, weight = tasks.X[None], tasks.y.T[:, None], tasks.weight[None]
    batch = Episode(x, y, weight, x, y, 0 * weight)
    for m, member in enumerate(stack.members):
        value, gradient = problem.augmented(found.phi[None, :1, m], member, batch, 0.0)
        before, slope = problem.augmented(member["omega"][None, None], member, batch, 0.0)
        assert value < before
        assert np.linalg.norm(gradient) <= 1e-6 * np.linalg.norm(slope)


def test_a_weight_is_a_number_of_rows(stack):
    tasks = rows_of((4, 2))
    weight = np.array([1, 2, 3, 1, 2, 1])
    rows = np.repeat(np.arange(6), weight)
    weighted = TaskRows(tasks.X, tasks.y, weight.astype(float), tasks.starts)
    repeated = TaskRows(tasks.X[rows], tasks.y[rows], np.ones(10), np.array([0, 7, 10]))
    once, twice = stack.adapt(weighted), stack.adapt(repeated)
    assert_allclose(once.phi, twice.phi, rtol=1e-5, atol=1e-7)
    assert_array_equal(once.n_rows, [7, 3, 0])
    assert_array_equal(once.n_rows, twice.n_rows)


def test_without_a_task_there_is_the_prior(stack):
    prior = stack.prior
    assert prior is stack.prior
    assert prior.phi.shape[0] == 1
    assert_array_equal(prior.n_rows, [0])
    x = rows_of((5,)).X
    mean, variance = prior.predict(x, np.full(5, -1))
    for m, member in enumerate(stack.members):
        assert_array_equal(prior.phi[0, m], member["omega"])
        expected = stack.problem.outputs(member["omega"][None, None], member, x[None])
        assert_allclose(mean[m], expected[:, 0])
    assert_allclose(variance, np.exp(-1.0))


def test_rows_of_tasks_may_come_in_any_order(stack):
    found = stack.adapt(rows_of(SIZES))
    x, rng = rows_of((40,), seed=1).X, np.random.default_rng(0)
    codes = rng.integers(-1, len(SIZES), 40)
    mean, variance = found.predict(x, codes)
    assert mean.shape == variance.shape == (2, 1, 40)
    order = rng.permutation(40)
    shuffled = found.predict(x[order], codes[order])
    assert_allclose(shuffled[0], mean[..., order], rtol=1e-12)
    assert_allclose(shuffled[1], variance[..., order], rtol=1e-12)
    for row in range(40):
        alone = found.predict(x[row : row + 1], codes[row : row + 1])
        assert_allclose(alone[0][..., 0], mean[..., row], rtol=1e-10)
    for m, member in enumerate(stack.members):
        out = stack.problem.outputs(found.phi[None, codes, m], member, x[:, None])
        assert_allclose(mean[m], out[..., 0], rtol=1e-10)


def test_no_row_is_no_prediction(stack):
    mean, variance = stack.adapt(rows_of((3,))).predict(np.empty((0, 2)), np.empty(0, dtype=int))
    assert mean.shape == variance.shape == (2, 1, 0)


def test_scatter_shrinks_with_the_weight_of_a_tasks_rows(stack):
    found = stack.adapt(rows_of((3, 8)))
    x = rows_of((3,), seed=1).X
    _, variance = found.predict(x, np.array([0, 1, -1]))
    expected = np.exp(-1.0) * (1 + found.n_rows) ** -0.4
    assert_allclose(variance[:, 0], np.tile(expected, (2, 1)))
    mean, nothing = found.predict(x, np.array([0, 1, -1]), variance=False)
    assert nothing is None
    assert_array_equal(mean, found.predict(x, np.array([0, 1, -1]))[0])


@pytest.mark.parametrize("cost", [Poisson(), Bernoulli(), Categorical()])
@pytest.mark.parametrize("kind", KINDS)
def test_means_of_counts_and_classes_say_how_far_they_scatter(kind, cost):
    n_outputs = 3 if isinstance(cost, Categorical) else 1
    problem = task_problem(kind, cost=cost, n_outputs=n_outputs)
    tasks = rows_of((4, 6), n_outputs=n_outputs)
    hot = np.eye(3)[tasks.y.argmax(1)] if n_outputs == 3 else (tasks.y > 0).astype(float)
    tasks = TaskRows(tasks.X, hot, tasks.weight, tasks.starts)
    mean, variance = stack_of(problem).adapt(tasks).predict(tasks.X, np.arange(10) // 5)
    assert (mean > 0).all()
    assert_allclose(variance, mean if isinstance(cost, Poisson) else mean * (1 - mean))
    if n_outputs == 3:
        assert_allclose(mean.sum(1), 1.0)


def test_a_stack_is_its_members_one_by_one(stack):
    tasks = rows_of(SIZES)
    together = stack.adapt(tasks)
    assert stack.n_heads == 2
    for m, member in enumerate(stack.members):
        alone = TaskNetworks(stack.problem, stack.solver, [member])
        assert alone.n_heads == 1
        assert_array_equal(alone.adapt(tasks).phi[:, 0], together.phi[:, m])


def test_more_precision_holds_tasks_at_the_prior(stack):
    tasks, before = rows_of((6,)), [member.vector.copy() for member in stack.members]
    assert stack.with_precision(1.0) is stack

    def moved(networks):
        phi = networks.adapt(tasks).phi
        return np.linalg.norm(phi[0] - phi[-1], axis=-1)

    weak, plain, strong = (moved(stack.with_precision(f)) for f in (0.1, 1.0, 1e9))
    assert (weak > plain).all()
    assert (strong < 1e-6).all()
    changed = stack.with_precision(3.0).members
    for member, old, new in zip(stack.members, before, changed, strict=True):
        assert_array_equal(member.vector, old)
        assert_allclose(stack.problem.pull.strengths(new), 3 * stack.problem.pull.strengths(member))
        assert_array_equal(new["omega"], member["omega"])


def test_a_task_that_cannot_be_solved_has_the_prior(stack):
    def poor(problem, theta, batch):
        # The second of three tasks comes to nothing.
        phi = np.full((1, 3, len(theta["omega"])), 7.0)
        phi[:, 1] = np.nan
        usable = np.array([True, False, True])
        return InnerSolution(phi, np.zeros(3), 1, usable, usable, lambda direction: direction)

    found = TaskNetworks(stack.problem, poor, stack.members).adapt(rows_of((3, 3, 3)))
    assert (found.phi[[0, 2]] == 7.0).all()
    assert_array_equal(found.phi[1], found.phi[-1])
    assert_array_equal(found.solved, [True, False, True, True])
    assert_array_equal(found.subset(np.array([1])).solved, [False, True])


def test_values_beyond_floats_fall_back_to_the_prior(stack):
    tasks = rows_of((3, 3))
    tasks.y[:3] *= 1e200
    with np.errstate(all="ignore"):
        found = stack.adapt(tasks)
    assert_array_equal(found.phi[0], found.phi[-1])
    assert (found.phi[1] != found.phi[-1]).any()
    assert np.isfinite(found.predict(tasks.X, np.arange(6) // 3)[0]).all()


def test_arrays_are_copies_stacked_over_networks(stack):
    arrays = stack.arrays()
    assert list(arrays) == list(stack.problem.shapes)
    for name, array in arrays.items():
        assert_array_equal(array, [member[name] for member in stack.members])
        array[...] = np.nan
    assert all(np.isfinite(member.vector).all() for member in stack.members)


def test_a_subset_is_the_same_tasks_bit_for_bit(stack):
    found = stack.adapt(rows_of(SIZES))
    assert found.n_tasks == len(SIZES)
    chosen = np.array([4, 1, 0])
    subset = found.subset(chosen)
    assert subset.n_tasks == 3
    x = rows_of((8,), seed=1).X
    codes = np.array([0, 1, 2, -1, 2, 2, 0, 1])
    some = subset.predict(x, codes)
    every = found.predict(x, np.append(chosen, -1)[codes])
    for ours, theirs in zip(some, every, strict=True):
        assert_array_equal(ours, theirs)
    assert found.subset(chosen[:0]).n_tasks == 0
