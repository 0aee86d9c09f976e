"""What every kind of network has, and what learning and estimators ask of what it makes."""

from inspect import signature

import numpy as np
import pytest

from skcml.heads import Heads, Posterior
from skcml.problems.task_mlp import Dense, Modulated
from skcml.selection.head_model import HeadModel
from skcml.selection.models import Model
from skcml.selection.network_model import NetworkModel
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.task_networks import NetworkPosterior, TaskNetworks
from tests.asserts import assert_follows
from tests.builders import fit_mixed, learn_options, sinusoid_tasks

MODELS = {
    "head": HeadModel(),
    "synaptic": NetworkModel(Dense()),
    "modulatory": NetworkModel(Modulated(), "layer"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def options_of(model):
    solver = closed_form if isinstance(model, HeadModel) else GaussNewton()
    return learn_options(
        model=model, hidden_layer_sizes=(3,), solver=solver, fit_solver=solver, meta_loss="loss"
    )


def test_every_model_follows_the_protocol(model):
    assert_follows(model, Model)


def test_networks_for_each_task_stand_in_for_heads():
    for mine, theirs in (
        (TaskNetworks.adapt, Heads.adapt),
        (TaskNetworks.with_precision, Heads.with_precision),
        (NetworkPosterior.predict, Posterior.predict),
    ):
        assert list(signature(mine).parameters) == list(signature(theirs).parameters)
    assert {"n_heads", "prior", "arrays"} <= set(dir(TaskNetworks)) & set(dir(Heads))


def test_every_model_starts_adapts_and_predicts(model):
    options, tasks = options_of(model), sinusoid_tasks(20)
    problem = model.problem(1, 1, options)
    mixed, rng = fit_mixed(tasks, "full"), np.random.default_rng(0)
    thetas = [model.start(problem, mixed, rng) for _ in range(2)]
    stack = model.stack(problem, thetas, options)
    assert stack.n_heads == 2
    posterior = stack.with_precision(2.0).adapt(tasks)
    mean, variance = posterior.predict(tasks.X[:7], np.array([0, 1, 2, -1, 3, 4, 0]))
    assert mean.shape == variance.shape == (2, 1, 7)
    assert (variance > 0).all()
    assert posterior.heads.n_heads == 2
    bodies = model.bodies(problem, thetas)
    assert [body.n_features for body, _ in bodies] == [5, 5]
    assert all(len(array) == 1 for _, params in bodies for array in params.values())


def test_the_same_seed_starts_at_the_same_bits(model):
    options, mixed = options_of(model), fit_mixed(sinusoid_tasks(20), "full")
    problem = model.problem(1, 1, options)
    first, second, third = (
        model.start(problem, mixed, np.random.default_rng(seed)).vector for seed in (0, 0, 1)
    )
    assert first.tobytes() == second.tobytes() != third.tobytes()
