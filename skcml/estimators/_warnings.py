"""Warnings that point at the line that users wrote."""

from __future__ import annotations

import sys
import warnings

# Whose lines users cannot change: ours, and those between a tool of scikit-learn and us.
NOT_THEIRS = frozenset({"joblib", "skcml", "sklearn"})


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is of none of the packages in `NOT_THEIRS`."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package(frame.f_globals) in NOT_THEIRS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
