"""The scorer that is meant, if users say nothing a proper one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skcml.model_selection._scoring import read_scorer

Scorer = Callable[..., float]


def scorer_of(estimator: Any, scoring: Any) -> tuple[Scorer, str]:
    """Return the scorer that is meant, and its name.

    Parameters
    ----------
    estimator : estimator
        After `meta_fit`.
    scoring : str, callable or None
        None is a proper score: of numbers the root mean squared error, of counts the deviance, of
        shared classes the log loss; of exchangeable classes the accuracy.
    """
    if scoring is None:
        scoring = _default_scoring(estimator)
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return read_scorer(estimator, scoring), name


def _default_scoring(estimator: Any) -> str:
    setting = getattr(estimator, "class_setting_", None)
    if setting is not None:
        return "accuracy" if setting == "exchangeable" else "neg_log_loss"
    is_of_counts = estimator.loss == "poisson"
    return "neg_mean_poisson_deviance" if is_of_counts else "neg_root_mean_squared_error"
