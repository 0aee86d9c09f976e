"""What an estimator is worth on one task: adapt to some of its rows, score the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring, log_loss
from sklearn.utils import _safe_indexing

Scorer = Callable[..., float]


@dataclass(frozen=True)
class Table:
    """Rows as a user passed them, so that names and labels stay what they are.

    Attributes
    ----------
    X : array-like or frame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    weight : ndarray of shape (n_samples,) or None
    """

    X: Any
    y: Any
    weight: np.ndarray | None = None

    def rows(self, place: np.ndarray) -> dict[str, Any]:
        """Return some rows, as `fit` and scorers take them."""
        chosen = {"X": _safe_indexing(self.X, place), "y": _safe_indexing(self.y, place)}
        return chosen if self.weight is None else chosen | {"sample_weight": self.weight[place]}


def score_task(
    estimator: Any, scorer: Scorer, table: Table, support: np.ndarray, query: np.ndarray
) -> float:
    """Adapt to the support rows of one task, and score its query rows.

    Parameters
    ----------
    estimator : estimator
        Changed by `fit`; without support rows it is taken as it is.
    scorer : callable
        From `scorer_of`.
    table : Table
    support, query : ndarray of int
        Places of rows.

    Returns
    -------
    float
        Not a number where the score is not defined on these rows.

    Raises
    ------
    TypeError, ValueError
        If the rows do not go with `fit`, or with the scorer.
    """
    if len(support):
        estimator.fit(**table.rows(support))
    asked = table.rows(query)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        try:
            return float(scorer(estimator, asked.pop("X"), asked.pop("y"), **asked))
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"scoring: the score of the query rows of a task failed ({error}); take a scorer "
                "for such outputs, which is defined on the rows of one task."
            ) from error


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
    if scoring == "neg_log_loss":
        return neg_log_loss, scoring
    if not isinstance(scoring, str) and not callable(scoring):
        raise TypeError(
            "scoring must be the name of one scorer, a callable (estimator, X, y) or None; got "
            f"{scoring!r}."
        )
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return check_scoring(estimator, scoring), name


def neg_log_loss(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return minus the log loss; the rows of a task need not hold every class."""
    probabilities = estimator.predict_proba(X)
    return -float(
        log_loss(y, probabilities, sample_weight=sample_weight, labels=estimator.classes_)
    )


def _default_scoring(estimator: Any) -> str:
    setting = getattr(estimator, "class_setting_", None)
    if setting is not None:
        return "accuracy" if setting == "exchangeable" else "neg_log_loss"
    is_of_counts = estimator.loss == "poisson"
    return "neg_mean_poisson_deviance" if is_of_counts else "neg_root_mean_squared_error"
