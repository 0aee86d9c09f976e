"""A user's own network: its rows of any rank, and what is learned with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcml.estimators._meta_options import ADAPTING, LAYERS, TRAINING, layer_sizes, solver_of
from skcml.likelihoods import Categorical
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import TaskMLP
from skcml.selection.class_networks import BodyOfPrototypes, ClassNetwork, NetworkOfClasses
from skcml.solvers.newton_cg import newton_cg

# As `ModuleNetwork` calls what a task has of its own.
MODULE_LAYERS = {"synaptic": "dense", "modulatory": "modulated"}


def class_network_of(estimator: BaseEstimator, n_features: int) -> ClassNetwork | None:
    """Return the network that is learned from a pool of classes, if one is asked for."""
    if estimator.model == "head":
        if estimator.body is None:
            return None
        from skcml.problems.module_body import ModuleBody
        from skcml.problems.prototype_body import PrototypeBodyProblem

        body = ModuleBody(
            module_of(estimator.body),
            input_shape=shape_of_rows(estimator, n_features),
            transductive=estimator.transductive,
            device=estimator.device,
        )
        return BodyOfPrototypes(PrototypeBodyProblem(body), newton_cg, newton_cg)
    problem: Any = ProximalProblem(
        _task_network(estimator, n_features), Categorical(), estimator.strength, is_tied=True
    )
    if estimator.body is not None:
        from skcml.problems.on_torch import OnTorch

        problem = OnTorch(problem, device=estimator.device, dtype="float32")
    return NetworkOfClasses(
        problem, solver_of(estimator, problem, TRAINING), solver_of(estimator, problem, ADAPTING)
    )


def _task_network(estimator: BaseEstimator, n_features: int) -> Any:
    """Return a network of one output, of which each task has its own."""
    if estimator.body is None:
        sizes = layer_sizes(estimator.hidden_layer_sizes)
        return TaskMLP(n_features, 1, sizes, estimator.activation, LAYERS[estimator.model])
    from skcml.problems.module_network import ModuleNetwork

    return ModuleNetwork(
        module_of(estimator.body),
        1,
        MODULE_LAYERS[estimator.model],
        input_shape=shape_of_rows(estimator, n_features),
        transductive=estimator.transductive,
    )


def module_of(body: Any) -> Any:
    """Return a module, made by a class or another function without arguments if need be."""
    from torch import nn

    if isinstance(body, nn.Module):
        return body
    made = body() if callable(body) else None
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"body must be a torch.nn.Module, or a class or function that makes one without "
            f"arguments; got {body!r:.100}."
        )
    return made


def shape_of_rows(estimator: BaseEstimator, n_features: int) -> tuple[int, ...]:
    """Return the shape of a row as it was passed."""
    return getattr(estimator, "_row_shape", None) or (n_features,)


def flat_rows(estimator: BaseEstimator, X: Any, *, reset: bool, name: str) -> Any:
    """Return X with one row for each sample; of what rank rows are is learned here or checked.

    Without a body, X is returned as it came: rows of a higher rank are refused elsewhere.
    """
    if getattr(estimator, "body", None) is None or np.ndim(X) < 3:
        if reset:
            estimator._row_shape = None
        return X
    if estimator.group_column is not None:
        raise ValueError(
            f"{name} has {np.ndim(X)} dimensions, and group_column={estimator.group_column!r} is a "
            "column of a table: pass groups= instead."
        )
    X = np.asarray(X)
    shape = X.shape[1:]
    if reset:
        estimator._row_shape = shape
    elif estimator._row_shape is not None and shape != estimator._row_shape:
        raise ValueError(
            f"Rows of {name} have the shape {shape}, and those of meta_fit had "
            f"{estimator._row_shape}: pass rows of that shape."
        )
    return X.reshape(len(X), -1)
