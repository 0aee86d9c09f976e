"""Warnings that point at the line that users wrote."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning

# Whose lines users cannot change: ours, and those between a tool of scikit-learn and us.
NOT_THEIRS = frozenset({"joblib", "skcml", "sklearn"})


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is of none of the packages in `NOT_THEIRS`."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package(frame.f_globals) in NOT_THEIRS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_of_unsolved(solved: Sequence[bool] | np.ndarray) -> None:
    """Warn that the weights of tasks are not the minimum of their energy.

    Parameters
    ----------
    solved : sequence of bool
        Whether the solver came near the minimum, by task.
    """
    n_unsolved = len(solved) - int(np.sum(solved))
    if n_unsolved:
        warn(
            f"In {n_unsolved} of {len(solved)} task(s) the inner solver stopped where more than a "
            "hundredth of the energy's gradient is left, so that their weights are not near its "
            "minimum: raise inner_max_iter, or take another solver ('lbfgs', 'gauss_newton').",
            ConvergenceWarning,
        )


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
