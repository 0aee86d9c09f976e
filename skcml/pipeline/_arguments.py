"""Which arguments of a pipeline's methods go to which step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn import get_config
from sklearn.frozen import FrozenEstimator

from skcml.pipeline._frozen import Step


def is_routing() -> bool:
    """Return whether scikit-learn's metadata routing decides."""
    return bool(get_config()["enable_metadata_routing"])


def given(**params: Any) -> dict[str, Any]:
    """Return the arguments that were passed: a step need not know the others."""
    return {name: value for name, value in params.items() if value is not None}


def addressed(params: dict[str, Any], steps: Sequence[Step]) -> dict[str, Any]:
    """Address parameters of `fit` to the last step if they are addressed to none.

    Parameters
    ----------
    params : dict
        ``scale__sample_weight`` is addressed to the step "scale".
    steps : sequence of (str, estimator)
        At least one. Those that are frozen or None take no parameters.
    """
    if is_routing():
        return params
    names = [name for name, _ in steps]
    found = {k if "__" in k else f"{names[-1]}__{k}": v for k, v in params.items()}
    if unknown := [key for key in found if key.partition("__")[0] not in names]:
        raise ValueError(
            f"{unknown[0]} names no step of the pipeline; what comes before the two "
            f"underscores must be one of {names}."
        )
    why = {name: "None, and takes no parameters" for name, t in steps if t is None} | {
        name: "frozen, and takes no parameters at fit; pass them to meta_fit, if it learns there"
        for name, t in steps[:-1]
        if isinstance(t, FrozenEstimator)
    }
    for key in found:
        if (name := key.partition("__")[0]) in why:
            raise ValueError(f"{key} was passed, but {name!r} of steps is {why[name]}.")
    return found
