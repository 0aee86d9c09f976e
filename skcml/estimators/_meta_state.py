"""What `meta_fit` leaves behind, and what may change afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcml.episodes import TaskRows
from skcml.estimators._adapting import adapt_learned
from skcml.estimators._scaling import Scaling
from skcml.heads import Heads
from skcml.selection import Learned

# Parameters that `fit` reads, or that change nothing that was learned.
MAY_CHANGE = frozenset({"prior_strength", "solver", "random_state", "n_jobs", "verbose"})


@dataclass(frozen=True)
class MetaState:
    """The result of `meta_fit`.

    Attributes
    ----------
    learned : Learned
    scaling : Scaling
    params : dict of str to object
        The parameters that shaped it, as they were.
    n_groups, n_rows : int
        What it was learned from.
    """

    learned: Learned
    scaling: Scaling
    params: dict[str, Any]
    n_groups: int
    n_rows: int


def state_attributes(state: MetaState, prior_strength: float, is_flat: bool) -> dict[str, Any]:
    """Return the attributes that `meta_fit` sets: after it, an estimator predicts the prior."""
    learned, scaling = state.learned, state.scaling
    n_features, n_outputs = len(scaling.x_mean), len(scaling.y_mean)
    nothing = TaskRows(
        np.empty((0, n_features)), np.empty((0, n_outputs)), np.empty(0), np.zeros(1, dtype=int)
    )
    return {
        "_meta": state,
        "_adapted": adapt_learned(
            state.learned,
            scaling,
            nothing,
            None,
            prior_strength=prior_strength,
            is_flat=is_flat,
        ),
        "meta_params_": {
            "mixed_model": _arrays(learned.linear),
            "networks": None if learned.networks is None else _arrays(learned.networks),
            "weights": learned.weights,
        },
        "meta_history_": learned.histories,
        "n_meta_iter_": max((len(h["loss"]) for h in learned.histories), default=0),
        "meta_gain_": learned.gain,
    }


def _arrays(heads: Heads) -> dict[str, np.ndarray]:
    return {**heads.theta, "omega": heads.omega, "factor": heads.factor, "noise": heads.noise}


def shaping_params(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that shape `meta_fit`."""
    return {
        name: value
        for name in _names(type(estimator))
        if name not in MAY_CHANGE
        for value in [getattr(estimator, name)]
    }


def refuse_changes(estimator: BaseEstimator, state: MetaState) -> None:
    """Raise if a parameter that shaped what was learned has changed since."""
    for name, value in state.params.items():
        current = getattr(estimator, name)
        if current is not value and not _same(current, value):
            raise ValueError(
                f"{name} was {value!r} when meta_fit was called and is {current!r} now. It shaped "
                "what was learned, so fit cannot follow it: call meta_fit again, or set it back. "
                f"Between meta_fit and fit only {', '.join(sorted(MAY_CHANGE))} may change."
            )


def _names(cls: type[BaseEstimator]) -> list[str]:
    names: list[str] = cls._get_param_names()
    return names


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(np.array_equal(a, b))
    except (TypeError, ValueError):
        return bool(a == b)
