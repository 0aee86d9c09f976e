"""A user's own network: its module, and its rows of any rank."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skcml.estimators._body_params import PREFIX, body_arguments

# As `ModuleNetwork` calls what a task has of its own.
MODULE_LAYERS = {"synaptic": "dense", "modulatory": "modulated"}


def body_of(estimator: BaseEstimator) -> Any:
    """Return the user's module as the body of a head."""
    from skcml.problems.module_body import ModuleBody

    check_device(estimator.device)
    return ModuleBody(
        module_of(estimator),
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


def task_network_of(estimator: BaseEstimator, module: Any, n_outputs: int) -> Any:
    """Return the module that `module_of` gave as a network of which each task has its own."""
    from skcml.problems.module_network import ModuleNetwork

    check_device(estimator.device)
    return ModuleNetwork(
        module,
        n_outputs,
        MODULE_LAYERS[estimator.model],
        input_shape=shape_of_rows(estimator),
        transductive=estimator.transductive,
    )


def module_of(estimator: BaseEstimator) -> Any:
    """Return the user's module; what a class or function draws is decided by ``random_state``."""
    from torch import nn

    body = estimator.body
    if isinstance(body, nn.Module):
        return body
    arguments = body_arguments(estimator)
    _check_arguments(body, arguments)
    seed = check_random_state(estimator.random_state).randint(2**31)
    call = ", ".join(f"{name}={value!r:.50}" for name, value in arguments.items())
    call = f"{_name_of(body)}({call})"
    try:
        with _torch_seed(seed):
            made = body(**arguments)
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"body could not be made by {call}, which raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(
            "body must be a torch.nn.Module, or a class or function that makes one; "
            f"{call} gave {made!r:.100}."
        )
    return made


def _check_arguments(body: Any, arguments: dict[str, Any]) -> None:
    """Refuse arguments that a class or function does not take, or does not get."""
    try:
        parameters = inspect.signature(body).parameters.values()
    except ValueError:  # it has none that Python could tell; calling it will
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes = [p.name for p in named]
    wrong = [name for name in arguments if name not in takes]
    if wrong and not any(p.kind == p.VAR_KEYWORD for p in parameters):
        allowed = f"it takes {_as_params(takes)}" if takes else "it takes none"
        raise TypeError(
            f"{_as_params(wrong)} cannot be passed to body: {_name_of(body)} has no such argument; "
            f"{allowed}."
        )
    lacking = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    if lacking:
        raise TypeError(
            f"body={_name_of(body)} cannot be called without {', '.join(lacking)}: pass "
            f"{_as_params(lacking)}, or a module as body."
        )


def _as_params(names: list[str]) -> str:
    return ", ".join(PREFIX + name for name in names)


def _name_of(body: Any) -> str:
    return str(getattr(body, "__name__", f"{body!r:.100}"))


@contextmanager
def _torch_seed(seed: int) -> Iterator[None]:
    """Draw from torch's generators as seeded, and leave them as they were."""
    import torch

    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count() if is_used else 0)):
        torch.manual_seed(seed)
        yield


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
