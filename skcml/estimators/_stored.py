"""A fitted estimator as JSON and arrays, and back.

What is kept are the parameters, what the estimator knows of X, what `meta_fit` learned and what
`fit` has made of it. All other attributes follow from what was learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from skcml.estimators._adapted import Adapted
from skcml.estimators._adapted_classes import AdaptedClasses
from skcml.estimators._bodies import check_device, module_of, shape_of_rows
from skcml.estimators._body_params import is_body_param, without_body_params
from skcml.estimators._card import fitted_tasks
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._meta_state import GroupsState, MetaState, watched_params
from skcml.estimators._parts import PARTS
from skcml.estimators._pool import PoolState
from skcml.estimators._updated import Updated
from skcml.persistence import Decoder, Encoder, fits
from skcml.problems.functional_module import FunctionalModule
from skcml.problems.module_weights import outputs_of, weights_of, with_weights

# Attributes beside what was learned and adapted, and their types.
ATTRIBUTES = {
    "n_features_in_": int,
    "feature_names_in_": np.ndarray,
    "classes_": np.ndarray,
    "_row_shape": tuple[int, ...] | None,
    "_group_column": str | int | None,
}
Config = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


def encoded(estimator: Any) -> tuple[Config, dict[str, np.ndarray]]:
    """Return an estimator as JSON, and its arrays.

    Raises
    ------
    NotFittedError
        If there is nothing to keep.
    ValueError
        If a parameter is not what it may be.
    TypeError
        If a parameter or a label is of a type that is not kept.
    """
    meta, adapted = getattr(estimator, "_meta", None), fitted_tasks(estimator)
    if meta is None and adapted is None:
        raise NotFittedError(
            f"This {type(estimator).__name__} has learned nothing yet: call meta_fit, or fit, "
            "before save_pretrained."
        )
    estimator._validate_params()  # as it is when it is loaded
    params = estimator.get_params(deep=False)
    body, seed = params.pop("body"), params["random_state"]
    if not isinstance(seed, (Integral, type(None))):
        raise TypeError(
            f"random_state={seed!r} cannot be saved: set it to an integer, or to None, by "
            "set_params. It decides nothing more, unless meta_fit is called again."
        )
    attributes = {name: vars(estimator)[name] for name in ATTRIBUTES if name in vars(estimator)}
    encoder = Encoder(PARTS, {FunctionalModule: "body"})
    config = {
        "params": _encoded_items(encoder, params, "params."),
        "attributes": _encoded_items(encoder, attributes, ""),
        "meta": encoder.encode(_without_body(meta), "meta"),
        "adapted": _encoded_tasks(encoder, adapted),
    }
    function = encoder.given("body")
    if body is not None and function is None:  # held-out groups did not want it
        function = _function(estimator, module_of(estimator))
    config["body"] = None
    if body is not None:
        kept = {"weights": weights_of(function), "outputs": outputs_of(function)}
        config["body"] = _encoded_items(encoder, kept, "body.")
    return config, encoder.arrays


def bare(kind: Any, config: Config, arrays: Arrays, device: str | None) -> Any:
    """Return an estimator with its parameters and what it knows of X.

    Parameters
    ----------
    kind : type
        Its class.
    config : dict
        As `encoded` gave it.
    arrays : dict of str to ndarray
    device : str or None
        Where torch runs a body; None is where it did.
    """
    decoder = Decoder(PARTS, arrays)
    params = without_body_params(_decoded_items(decoder, config, "params"))
    _check_names(params, kind)
    if device is not None:
        params["device"] = device
    estimator = kind(**params)
    estimator._validate_params()
    for name, node in _items(config, "attributes"):
        if name not in ATTRIBUTES:
            raise ValueError(f"an attribute {name!r:.60} is nothing that is kept")
        setattr(estimator, name, decoder.decode(node, name, ATTRIBUTES[name]))
    return estimator


def arguments_of_body(config: Config, arrays: Arrays) -> dict[str, Any]:
    """Return the parameters ``body__...``, by their whole names."""
    params = _decoded_items(Decoder(PARTS, arrays), config, "params")
    return {name: value for name, value in params.items() if is_body_param(name)}


def kept_of_body(config: Config, arrays: Arrays) -> dict[str, Any]:
    """Return what was kept of a body, as `with_weights` takes it."""
    kept = _decoded_items(Decoder(PARTS, arrays), config, "body")
    if not (
        set(kept) == {"weights", "outputs"}
        and fits(kept["weights"], dict[str, np.ndarray])
        and fits(kept["outputs"], np.ndarray)
    ):
        raise ValueError("what it has of a body are not its weights and outputs")
    return kept


def body_like(estimator: Any, body: Any, arguments: dict[str, Any], kept: dict[str, Any]) -> Any:
    """Return a copy of a user's network with the weights that were kept.

    A class or function is called with the arguments that it was called with before.
    """
    from torch import nn

    check_device(estimator.device)
    if not callable(body):
        raise TypeError(
            "body must be a torch.nn.Module, or a class or function that makes one; got "
            f"{body!r:.100}."
        )
    if not isinstance(body, nn.Module):
        body = module_of(
            type(estimator)(body=body, random_state=estimator.random_state, **arguments)
        )
    shape, transductive = shape_of_rows(estimator), estimator.transductive
    return with_weights(body, **kept, input_shape=shape, transductive=transductive)


def restore(estimator: Any, config: Config, arrays: Arrays) -> None:
    """Give an estimator, with its body, what was learned and adapted."""
    decoder = Decoder(PARTS, arrays, {"body": estimator.body}, {"device": estimator.device})
    meta = decoder.decode(config.get("meta"), "meta", GroupsState | PoolState | None)
    hint = Adapted | AdaptedClasses | Updated | None
    adapted = decoder.decode(config.get("adapted"), "adapted", hint)
    if meta is None and adapted is None:
        raise ValueError("nothing has been learned")
    of_fit = {name: vars(estimator)[name] for name in ATTRIBUTES if name in vars(estimator)}
    if meta is not None:
        vars(estimator).update(_with_params(meta, estimator, config).attributes())
    vars(estimator).update(of_fit)
    if adapted is not None:
        estimator._adapted = adapted
    _try_out(estimator)


def _without_body(meta: Any) -> Any:
    """Return what was learned without the parameters that a body brings back itself."""
    if meta is None:
        return None
    params = without_body_params(meta.params)
    return replace(meta, params={name: params[name] for name in params if name != "body"})


def _with_params(meta: Any, estimator: Any, config: Config) -> MetaState:
    """Return what was learned, with the parameters of which the file does not know."""
    _check_names(meta.params, type(estimator))
    now = watched_params(estimator)
    new = {name: value for name, value in now.items() if name not in config["params"]}
    params = {**meta.params, **new, "device": now["device"]}
    state: MetaState = replace(meta, params=params)
    return state


def _try_out(estimator: Any) -> None:
    """Predict rows of zeros: of the last task that is known, and of one that is not."""
    n_columns = estimator.n_features_in_ - (estimator._group_column is not None)
    adapted: Any = getattr(estimator, "_adapted", None)
    meta: Any = getattr(estimator, "_meta", None)
    if isinstance(adapted, Updated):
        adapted = adapted.adapted_to(np.arange(adapted.n_tasks)[-1:])
    if isinstance(adapted, Adapted):
        n_known, codes = len(adapted.scaling.x_mean), [len(adapted.seen) - 1, -1]
    else:
        n_known, codes = len(meta.learned.transform.center), [0, 0]
    if n_columns != n_known:
        raise ValueError(f"n_features_in_ says {n_columns} features, and there are {n_known}")
    X = np.zeros((2, n_columns))
    if isinstance(adapted, AdaptedClasses):
        if len(estimator.classes_) != adapted.n_classes:
            raise ValueError(f"classes_ are not the {adapted.n_classes} classes that there are")
        codes = [task for task, labels in enumerate(adapted.labels) if len(labels)][-1:] * 2
    elif adapted is None and meta.learned.network is None:
        # Exchangeable classes of which there are none yet. To adapt a network may take long.
        targets = Targets(1, True, np.array([0, 1]))
        adapted = meta.adapt(Rows(X, np.array([[0], [1]]), None, None, targets), 1.0)
    if adapted is not None:
        with np.errstate(all="ignore"):
            adapted.predict(X, np.array(codes), variance=True)


def _function(estimator: Any, module: Any) -> FunctionalModule:
    return FunctionalModule(module, shape_of_rows(estimator), transductive=estimator.transductive)


def _check_names(params: Mapping[str, Any], kind: Any) -> None:
    unknown = sorted(set(params) - set(kind._get_param_names()))
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no parameter {unknown[0]!r:.60}; a later version of skcml may"
        )


def _encoded_items(encoder: Encoder, items: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: encoder.encode(value, f"{prefix}{name}") for name, value in items.items()}


def _encoded_tasks(encoder: Encoder, adapted: Any) -> Any:
    """Return what was adapted as JSON; labels of groups may be of any type."""
    try:
        return encoder.encode(adapted, "adapted")
    except TypeError as error:
        labels = "adapted.groups.labels"
        if not str(error).startswith(labels):
            raise
        raise TypeError(
            f"{str(error).replace(labels, 'groups', 1)} Pass such labels to fit, or save "
            "clone(estimator), which is adapted to nothing."
        ) from error


def _decoded_items(decoder: Decoder, config: Config, name: str) -> dict[str, Any]:
    return {key: decoder.decode(node, f"{name}.{key}") for key, node in _items(config, name)}


def _items(config: Config, name: str) -> Any:
    if not isinstance(config.get(name), dict):
        raise ValueError(f"its entry {name!r} is {config.get(name)!r:.60}, and no dict")
    return config[name].items()
