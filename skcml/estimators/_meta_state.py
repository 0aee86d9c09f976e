"""What `meta_fit` leaves behind, and what may change afterwards."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcml.episodes import TaskRows
from skcml.estimators._adapting import adapt_learned
from skcml.estimators._scaling import Scaling
from skcml.heads import Heads
from skcml.selection import Learned

# Parameters that `fit` itself reads, and those that it does not even look at.
READ_BY_FIT = frozenset({"prior_strength", "solver"})
UNREAD_BY_FIT = frozenset({"random_state", "n_jobs", "verbose"})


@dataclass(frozen=True)
class MetaState:
    """The result of `meta_fit`.

    Attributes
    ----------
    learned : Learned
    scaling : Scaling
    params : dict of str to object
        All parameters that may not change unseen, as they were.
    is_flat : bool
        Whether y came with one dimension.
    n_groups, n_rows : int
        What it was learned from.
    """

    learned: Learned
    scaling: Scaling
    params: dict[str, Any]
    is_flat: bool
    n_groups: int
    n_rows: int


def state_attributes(state: MetaState) -> dict[str, Any]:
    """Return the attributes that `meta_fit` sets: after it, an estimator predicts the prior."""
    learned, scaling = state.learned, state.scaling
    n_features, n_outputs = len(scaling.x_mean), len(scaling.y_mean)
    nothing = TaskRows(
        np.empty((0, n_features)), np.empty((0, n_outputs)), np.empty(0), np.zeros(1, dtype=int)
    )
    return {
        "_meta": state,
        "_group_column": state.params["group_column"],
        "_adapted": adapt_learned(
            state.learned,
            scaling,
            nothing,
            None,
            prior_strength=state.params["prior_strength"],
            is_flat=state.is_flat,
        ),
        "meta_params_": {
            **{name: _arrays(heads) for name, heads in learned.members.items()},
            "weights": learned.known.weights.copy(),
            "prior_weights": learned.unseen.weights.copy(),
        },
        "meta_history_": deepcopy(learned.histories),
        "n_meta_iter_": max((len(h["loss"]) for h in learned.histories), default=0),
        "meta_gain_": None if learned.gain is None else dict(learned.gain),
    }


def _arrays(heads: Heads) -> dict[str, np.ndarray]:
    """Return copies: a change of what users see is no change of what predicts."""
    parts = {**heads.theta, "omega": heads.omega, "factor": heads.factor, "noise": heads.noise}
    return {name: array.copy() for name, array in parts.items()}


def watched_params(estimator: BaseEstimator) -> dict[str, Any]:
    """Return a copy of the parameters that `check_params` compares later."""
    names = estimator._get_param_names()
    return {name: deepcopy(getattr(estimator, name)) for name in names if name not in UNREAD_BY_FIT}


def check_params(estimator: BaseEstimator, state: MetaState) -> None:
    """Raise if a parameter that shaped what was learned has changed since, or one is bad."""
    is_new = False
    for name, value in state.params.items():
        current = getattr(estimator, name)
        if current is value or np.array_equal(current, value):
            continue
        is_new = True
        if name not in READ_BY_FIT:
            raise ValueError(
                f"{name} was {value!r} when meta_fit was called and is {current!r} now. It shaped "
                "what was learned, so fit cannot follow it: call meta_fit again, or set it back. "
                "Between meta_fit and fit only "
                f"{', '.join(sorted(READ_BY_FIT | UNREAD_BY_FIT))} may change."
            )
    if is_new:  # what was good for meta_fit need not be validated again
        estimator._validate_params()
