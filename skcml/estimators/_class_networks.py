"""Which network is learned from a pool of classes, if one is asked for."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from skcml.estimators._bodies import body_of, module_of, task_network_of
from skcml.estimators._meta_options import ADAPTING, LAYERS, TRAINING, layer_sizes, solver_of
from skcml.likelihoods import Categorical
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import TaskMLP
from skcml.selection.class_networks import BodyOfPrototypes, ClassNetwork, NetworkOfClasses
from skcml.solvers.newton_cg import newton_cg


def class_network_of(estimator: BaseEstimator, n_features: int) -> ClassNetwork | None:
    """Return the network that is learned from a pool of classes, if one is asked for."""
    if estimator.model == "head":
        if estimator.body is None:
            return None
        return BodyOfPrototypes(PrototypeBodyProblem(body_of(estimator)), newton_cg, newton_cg)
    problem: Any
    if estimator.body is None:
        sizes = layer_sizes(estimator.hidden_layer_sizes)
        network: Any = TaskMLP(n_features, 1, sizes, estimator.activation, LAYERS[estimator.model])
        problem = ProximalProblem(network, Categorical(), estimator.strength, is_tied=True)
    else:
        from skcml.problems.on_torch import OnTorch

        network = task_network_of(estimator, module_of(estimator), 1)
        problem = ProximalProblem(network, Categorical(), estimator.strength, is_tied=True)
        problem = OnTorch(problem, device=estimator.device, dtype="float32")
    return NetworkOfClasses(
        problem,
        solver_of(estimator, problem, TRAINING, compile=estimator.compile),
        solver_of(estimator, problem, ADAPTING),
    )
