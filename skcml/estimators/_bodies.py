"""A user's own network: its module, and its rows of any rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

# As `ModuleNetwork` calls what a task has of its own.
MODULE_LAYERS = {"synaptic": "dense", "modulatory": "modulated"}


def body_of(estimator: BaseEstimator) -> Any:
    """Return the user's module as the body of a head."""
    from skcml.problems.module_body import ModuleBody

    check_device(estimator.device)
    return ModuleBody(
        module_of(estimator.body),
        input_shape=shape_of_rows(estimator),
        transductive=estimator.transductive,
        device=estimator.device,
    )


def head_body_of(estimator: BaseEstimator) -> Any:
    """Return the body of heads that are adapted to groups; they keep nothing of a group's rows."""
    body = body_of(estimator)
    if body.n_statistics:
        raise ValueError(
            "body has batch normalisation, whose statistics of a group's rows a linear head does "
            "not keep: use LayerNorm or GroupNorm in it, or model='synaptic' or 'modulatory'."
        )
    return body


def task_network_of(estimator: BaseEstimator, n_outputs: int) -> Any:
    """Return the user's module as a network of which each task has its own."""
    from skcml.problems.module_network import ModuleNetwork

    check_device(estimator.device)
    return ModuleNetwork(
        module_of(estimator.body),
        n_outputs,
        MODULE_LAYERS[estimator.model],
        input_shape=shape_of_rows(estimator),
        transductive=estimator.transductive,
    )


def module_of(body: Any) -> Any:
    """Return a module, made by a class or another function without arguments if need be."""
    from torch import nn

    if isinstance(body, nn.Module):
        return body
    advice = (
        "body must be a torch.nn.Module, or a class or function that makes one without arguments "
        f"(functools.partial binds them); got {body!r:.100}"
    )
    try:
        made = body()
    except TypeError as error:
        raise TypeError(f"{advice}: {error}.") from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"{advice}.")
    return made


def check_device(device: str) -> None:
    """Refuse a device on which torch cannot put a number."""
    import torch

    try:
        torch.zeros(1, device=device)
    except Exception as error:
        reason = str(error).split(chr(10))[0]
        raise ValueError(
            f"device={device!r} cannot be used by torch here ({reason}); choose 'cpu', or a device "
            "that torch finds."
        ) from error


def shape_of_rows(estimator: BaseEstimator) -> tuple[int, ...]:
    """Return the shape of a row as it was passed, without the group column."""
    shape = getattr(estimator, "_row_shape", None)
    return shape or (estimator.n_features_in_ - (estimator.group_column is not None),)


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
