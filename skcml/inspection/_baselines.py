"""What meta-learning is compared with, as estimators that stand beside the one that learned.

They are made of what `meta_fit` has kept, so that no row that it has seen is needed again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skcml.estimators._meta_state import GroupsState
from skcml.estimators._pool import PoolState
from skcml.inspection._learned import working_copy
from skcml.selection.baselines import alone_heads
from skcml.selection.mixture import Mixture

# Held so firmly, the weights of a class are those of its mean row.
FIRM = 1e8
# The logarithm of a scale of the class mean that is next to nothing.
NO_MEAN = -50.0


def baselines(estimator: Any) -> dict[str, Any]:
    """Return the baselines of an estimator that has learned, by the names of ``meta_gain_``.

    They are clones, not adapted. "pooled" is never to be adapted: its prior is what it says.

    Returns
    -------
    dict of str to estimator
        Of groups "mixed_model" (unless it is all there is), "per_task" and "pooled"; of
        exchangeable classes "class_mean" and "per_task", or none where a network took their place.
    """
    state = estimator._meta
    if isinstance(state, PoolState):
        return {} if state.learned.network is not None else _of_classes(estimator, state)
    learned = state.learned
    n_scores = learned.known.weights.shape[1]
    simple = {name: learned.members[name] for name in ("mixed_model", "pooled")}
    learned = replace(learned, members=simple)
    linear, pooled = (Mixture.of_one(name, n_scores) for name in ("mixed_model", "pooled"))
    found = {}
    if (state.learned.known.share("mixed_model") < 1).any():
        found["mixed_model"] = _with(estimator, replace(learned, known=linear, unseen=linear))
    n_outputs, likelihood = len(learned.mixed), learned.members["mixed_model"].likelihood
    alone = alone_heads(len(state.scaling.x_mean), n_outputs, likelihood)
    members = {"mixed_model": alone}
    alone_only = replace(learned, members=members, known=linear, unseen=linear)
    # The penalty is that of `meta_gain_`, whatever the strength of the prior.
    found["per_task"] = _with(estimator, alone_only).set_params(prior_strength=1.0)
    found["pooled"] = _with(estimator, replace(learned, known=linear, unseen=pooled))
    return found


def _with(estimator: Any, learned: Any) -> Any:
    """Return a copy that has learned something else."""
    copy = working_copy(estimator)
    state: GroupsState | PoolState = copy._meta
    vars(copy).update(replace(state, learned=learned).attributes())
    return copy


def _of_classes(estimator: Any, state: PoolState) -> dict[str, Any]:
    """Return the two ends between which the model of exchangeable classes stands."""
    theta = state.learned.theta.copy()
    theta["log_scale"][:] = NO_MEAN
    return {
        "class_mean": working_copy(estimator).set_params(prior_strength=FIRM),
        "per_task": _with(estimator, replace(state.learned, theta=theta)),
    }
