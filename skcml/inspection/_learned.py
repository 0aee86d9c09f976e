"""An estimator that has learned, as the functions of this package take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from skcml.estimators._base import BaseCML
from skcml.estimators._inputs import is_whole
from skcml.estimators._meta_state import MetaState, check_params


def learned_state(estimator: Any, caller: str, purpose: str) -> MetaState:
    """Return what an estimator has learned, or say what it lacks.

    Parameters
    ----------
    estimator : object
        As a user passed it.
    caller : str
        What errors are from.
    purpose : str
        Completes "This estimator has not learned yet, so that there is no ...".
    """
    if not isinstance(estimator, BaseCML):
        raise TypeError(
            f"{caller} is about CMLRegressor and CMLClassifier; got an estimator of type "
            f"{type(estimator).__name__}. Of a pipeline pass the last step, and rows as the steps "
            "before it give them; of a search best_estimator_."
        )
    state: MetaState | None = getattr(estimator, "_meta", None)
    if state is None:
        raise ValueError(
            f"This {type(estimator).__name__} has not learned yet, so that there {purpose}: call "
            "meta_fit first."
        )
    check_params(estimator, state)
    return state


def working_copy(estimator: Any) -> Any:
    """Return a copy that has learned the same, is not adapted, and is not followed by callbacks.

    It predicts the prior, and what is done to it is not done to the user's estimator.
    """
    copy = clone(estimator)
    vars(copy).pop("_skl_callbacks", None)
    return copy


def place_of_output(output: Any, names: Sequence[Any], what: str = "output") -> int:
    """Return which of several outputs is meant: by its name, or by its place.

    Parameters
    ----------
    output : object
        As a user passed it; None is the only one.
    names : sequence
        Of the outputs, or labels of classes.
    what : {"output", "class"}
    """
    known = list(names)
    if output is None and len(known) == 1:
        return 0
    for place, name in enumerate(known):
        if np.isscalar(output) and output == name:
            return place
    if what == "output" and is_whole(output) and int(output) < len(known):
        return int(output)
    allowed = known if what == "class" else range(len(known))
    raise ValueError(
        f"output={output!r} names no {what}: pass one of {', '.join(map(repr, allowed))}."
    )


def output_of(estimator: Any, output: Any, n_outputs: int) -> tuple[int, Any]:
    """Return the place of an output or a class, and its name; of two classes, the second's.

    Parameters
    ----------
    estimator : estimator
    output : object
        As a user passed it.
    n_outputs : int
        Columns of y, if they are numbers.
    """
    labels = getattr(estimator, "classes_", None)
    if labels is None:
        place = place_of_output(output, [f"y{place}" for place in range(n_outputs)])
        return place, f"y{place}" if n_outputs > 1 else "y"
    names = labels.tolist()
    if output is None and len(names) == 2:
        return 1, names[1]
    place = place_of_output(output, names, "class")
    return place, names[place]


def name_of(series: Any) -> str | None:
    """Return the name of a column that knows its own."""
    name = getattr(series, "name", None)
    return name if isinstance(name, str) and name else None
