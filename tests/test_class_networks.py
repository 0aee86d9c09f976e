"""Which network is learned from a pool of classes."""

import pytest
import torch

from skcml import CMLClassifier
from skcml.estimators._class_networks import class_network_of
from skcml.problems.on_torch import OnTorch
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, Modulated
from skcml.selection.class_networks import BodyOfPrototypes, NetworkOfClasses
from skcml.solvers.adam import Adam
from skcml.solvers.gauss_newton import GaussNewton


def asked(**params):
    estimator = CMLClassifier(**params)
    estimator.n_features_in_ = 4
    return class_network_of(estimator, 4)


def test_a_head_without_a_body_has_none():
    assert asked() is None


def test_a_head_on_a_body_has_prototypes_in_its_outputs():
    network = asked(body=torch.nn.Linear(4, 3))
    assert isinstance(network, BodyOfPrototypes)
    assert isinstance(network.problem, PrototypeBodyProblem)
    assert network.problem.body.n_features == 1 + 3


@pytest.mark.parametrize(("model", "layer"), [("synaptic", Dense), ("modulatory", Modulated)])
def test_the_other_models_have_a_network_with_one_head_for_all_classes(model, layer):
    network = asked(model=model, hidden_layer_sizes=(5,), activation="relu", strength="layer")
    assert isinstance(network, NetworkOfClasses)
    problem = network.problem
    assert isinstance(problem, ProximalProblem)
    assert (problem.is_tied, problem.strength) == (True, "layer")
    assert isinstance(problem.network.layer, layer)
    assert (problem.network.hidden_layer_sizes, problem.network.activation) == ((5,), "relu")
    assert network.solver == GaussNewton(10, 1e-2)
    assert network.fit_solver == GaussNewton(50, 1e-6)


def test_a_module_runs_on_torch_and_solvers_are_those_asked_for():
    network = asked(
        model="modulatory", body=lambda: torch.nn.Linear(4, 3), solver="adam", inner_max_iter=7
    )
    assert isinstance(network.problem, OnTorch)
    assert network.problem.network.slow
    assert network.solver == network.fit_solver == Adam(max_iter=7)
