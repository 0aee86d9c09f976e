"""An estimator that has learned, as the functions of this package take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from skcml.estimators._base import BaseCML
from skcml.estimators._inputs import is_whole
from skcml.estimators._meta_state import MetaState, check_params
from skcml.estimators._naming import naming
from skcml.pipeline import Pipeline
from skcml.pipeline._frozen import Step, transformed


class Learned(NamedTuple):
    """What has learned, and what it is shown of a user's rows.

    Attributes
    ----------
    estimator : CMLRegressor or CMLClassifier
        As a user passed it, or the last step of a pipeline.
    state : MetaState
        What it has learned.
    steps : list of (str, transformer)
        The steps before it.
    """

    estimator: Any
    state: MetaState
    steps: list[Step]

    def rows(self, X: Any, name: str = "X") -> Any:
        """Return what the transformers make of a user's rows, which errors call by this name."""
        if not self.steps:
            return X
        with naming(name):
            return transformed(self.steps, X)


def last_step(
    estimator: Any, check: Callable[[Pipeline], None] = Pipeline._check_fit
) -> tuple[Any, list[Step]]:
    """Return the last step of a pipeline, or of one inside it, and all steps before it.

    Parameters
    ----------
    estimator : object
        What is no pipeline is its own last step.
    check : callable
        Raises for a pipeline that is not to be taken: by default, for one whose `fit` would adapt
        to other columns than the last step has learned from.
    """
    steps: list[Step] = []
    while isinstance(estimator, Pipeline):
        check(estimator)
        steps += estimator.steps[:-1]
        estimator = estimator.steps[-1][1]
    return estimator, steps


def what_learned(estimator: Any, caller: str, purpose: str) -> Learned:
    """Return what has learned, or say what an estimator lacks.

    Parameters
    ----------
    estimator : object
        As a user passed it.
    caller : str
        What errors are from.
    purpose : str
        Completes "This estimator has not learned yet, so that there is no ...".
    """
    last, steps = last_step(estimator)
    if not isinstance(last, BaseCML):
        kind = type(last).__name__
        raise TypeError(
            f"{caller} is about CMLRegressor and CMLClassifier; got "
            f"{'a pipeline that ends in' if last is not estimator else 'an estimator of type'} "
            f"{kind}. Instead of scikit-learn's pipeline take that of skcml.pipeline, or pass the "
            "last step, and rows as the steps before it give them; of a search pass "
            "best_estimator_."
        )
    state: MetaState | None = getattr(last, "_meta", None)
    if state is None:
        raise ValueError(
            f"This {type(estimator).__name__} has not learned yet, so that there {purpose}: call "
            "meta_fit first."
        )
    check_params(last, state)
    return Learned(last, state, steps)


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
