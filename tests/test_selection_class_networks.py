"""Networks that tell new classes apart."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.class_pool import ClassPool
from skcml.likelihoods import Categorical
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, TaskMLP
from skcml.rules.contrastive import Contrastive
from skcml.selection.class_networks import (
    BodyOfPrototypes,
    ClassNetwork,
    LearnedNetwork,
    NetworkOfClasses,
    learn_network,
)
from skcml.selection.constants import ClassOptions, go_on
from skcml.selection.held_out_classes import look_at_network
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.newton_cg import newton_cg
from tests.asserts import assert_follows

OPTIONS = ClassOptions(
    rule=Contrastive(), n_ways=(3,), n_shots=(1, 2), n_queries=3, meta_batch_size=3, meta_max_iter=3
)


def class_pool(n_classes=8, n_each=6, seed=0):
    """Return rows about a place of its own for each class."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_classes), n_each)
    x = rng.normal(size=(n_classes, 4))[codes] + 0.2 * rng.normal(size=(len(codes), 4))
    return ClassPool.from_codes(x, np.ones(len(x)), codes, n_classes, np.zeros(n_classes, int))


def prototypes():
    problem = PrototypeBodyProblem(MLPBody(4, (5,)))
    return BodyOfPrototypes(problem, newton_cg, newton_cg)


def networks():
    problem = ProximalProblem(TaskMLP(4, 1, (5,), "tanh", Dense()), Categorical(), is_tied=True)
    return NetworkOfClasses(problem, GaussNewton(), GaussNewton(50))


MAKES = [prototypes, networks]


def started(network, seed=0):
    theta = MetaParams(network.problem.shapes)
    network.problem.initialize(theta, np.random.default_rng(seed))
    return LearnedNetwork(network, theta)


def learn(network, judges=None, **changes):
    options = OPTIONS if not changes else ClassOptions(**{**vars(OPTIONS), **changes})
    rng = np.random.default_rng(0)
    return learn_network(network, class_pool(), judges, options, rng, lambda start: go_on)


@pytest.mark.parametrize("make", MAKES)
def test_networks_follow_the_interface(make):
    assert_follows(make(), ClassNetwork)


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_any_number_of_classes_is_told_apart(make, n_classes):
    learned = started(make())
    pool = class_pool(n_classes)
    codes = pool.codes
    task = learned.adapt(pool.X, codes, pool.weight, n_classes, 1.0)
    logits = learned.logits(task, pool.X)
    assert logits.shape == (len(codes), n_classes)
    assert (logits.argmax(1) == codes).mean() > 0.9
    # A row says the same by itself, and a class the same in another place.
    assert_allclose(learned.logits(task, pool.X[3:4]), logits[3:4], rtol=1e-9)
    order = np.roll(np.arange(n_classes), 1)
    moved = learned.adapt(pool.X, order[codes], pool.weight, n_classes, 1.0)
    assert_allclose(learned.logits(moved, pool.X)[:, order], logits, atol=1e-3)


@pytest.mark.parametrize("make", MAKES)
def test_a_factor_pulls_harder_and_changes_nothing_learned(make):
    learned = started(make())
    before, pool = learned.theta.vector.copy(), class_pool(3)
    args = (pool.X, pool.codes, pool.weight, 3)
    weak, strong = (learned.adapt(*args, factor) for factor in (1e-2, 1e6))
    assert abs(learned.logits(weak, pool.X)).max() > abs(learned.logits(strong, pool.X)).max()
    assert_array_equal(learned.theta.vector, before)


@pytest.mark.parametrize("make", MAKES)
def test_learning_moves_the_start_and_is_repeated_by_its_seed(make):
    network = make()
    found, history = learn(network)
    assert len(history.loss) == 3
    assert history.n_skipped == 0
    assert abs(found.theta.vector - started(network).theta.vector).max() > 1e-3
    again, _ = learn(make())
    assert_array_equal(again.theta.vector, found.theta.vector)


@pytest.mark.parametrize("make", MAKES)
def test_held_out_classes_end_it_and_judge_it(make):
    judges = class_pool(6, seed=1)
    found, history = learn(make(), judges, n_iter_no_change=1, meta_max_iter=60)
    assert history.validation_step[0] == 0
    assert history.best_step in history.validation_step
    losses = look_at_network(found, class_pool(), judges, OPTIONS, 3)["final"]
    assert losses.shape == (6,)
    assert (losses[np.isfinite(losses)] > 0).all()
    repeated = look_at_network(found, class_pool(), judges, OPTIONS, 3)["final"]
    assert_array_equal(repeated, losses)
