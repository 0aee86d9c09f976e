"""Adapting to the shown rows of tasks, and scoring the asked ones, task by task."""

from __future__ import annotations

import copy
import difflib
import inspect
import warnings
from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import clone, is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer, _PassthroughScorer
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.validation import _num_samples

from skcml.estimators._warnings import warn
from skcml.model_selection._parts import adapts_to_many, is_carried
from skcml.model_selection._rows import Table
from skcml.model_selection._tasks import Task

# What an estimator says of rows, each on its own, so that all tasks may be asked at once.
ROW_BY_ROW = frozenset({"predict", "predict_proba", "predict_log_proba", "decision_function"})
# What is to be told the group, if the estimator knows many.
OF_A_GROUP = ROW_BY_ROW | {"predict_quantiles", "score"}
# Of intervals over tasks.
CONFIDENCE = 0.95


def read_scorer(estimator: Any, scoring: Any) -> Any:
    """Return the scorer that is meant, or say which ones there are.

    Parameters
    ----------
    estimator : estimator
        What is to be scored.
    scoring : str, callable or None
        As of `sklearn.metrics.check_scoring`.
    """
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise TypeError(
            "scoring must be the name of one scorer, a callable (estimator, X, y) or None; got "
            f"{scoring!r}."
        )
    if isinstance(scoring, str) and scoring not in (names := get_scorer_names()):
        near = difflib.get_close_matches(scoring, names) or _usual(estimator)
        raise ValueError(
            f"scoring={scoring!r} is no scorer of scikit-learn, as {' or '.join(map(repr, near))}; "
            "sklearn.metrics.get_scorer_names() lists all."
        )
    scorer = check_scoring(estimator, scoring)
    asked = getattr(scorer, "_response_method", ())
    asked = (asked,) if isinstance(asked, str) else asked
    if asked and not any(hasattr(estimator, method) for method in asked):
        raise ValueError(
            f"scoring={scoring!r} asks for {' or '.join(asked)}, which {type(estimator).__name__} "
            f"has not: take another, as {' or '.join(map(repr, _usual(estimator)))}."
        )
    return scorer


def _usual(estimator: Any) -> list[str]:
    """Return names of scorers that go with an estimator."""
    if is_classifier(estimator):
        return ["neg_log_loss", "accuracy"]
    return ["neg_root_mean_squared_error", "r2"]


class Answers:
    """What an estimator says of the asked rows of several tasks, each method called once.

    Parameters
    ----------
    estimator : estimator
        Adapted to the tasks.
    X : array-like of n_rows
    groups : dict
        Group of each row, as a keyword, if the estimator is to be told.
    """

    def __init__(self, estimator: Any, X: Any, groups: dict[str, Any]) -> None:
        self.estimator, self.X, self.groups = estimator, X, groups
        self.found: dict[str, Any] = {}

    def of(self, method: str, rows: slice) -> Any:
        """Return what a method says of some rows."""
        if method not in self.found:
            self.found[method] = getattr(self.estimator, method)(self.X, **self.groups)
        return self.found[method][rows]


class OneTask:
    """An adapted estimator as a scorer sees it: one that knows a single task.

    Parameters
    ----------
    answers : Answers
    rows : slice
        Those of the task.
    X : array-like
        These rows; of other ones, the estimator is asked anew.
    """

    def __init__(self, answers: Answers, rows: slice, X: Any) -> None:
        self._answers, self._rows, self._X = answers, rows, X
        self.failure: Exception | None = None

    def __sklearn_tags__(self) -> Any:
        return get_tags(self._answers.estimator)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_answers" not in vars(self):  # while it is being copied
            raise AttributeError(name)
        value = getattr(self._answers.estimator, name)
        if name not in OF_A_GROUP:
            return value

        @wraps(value)
        def of_task(X: Any, *args: Any, **options: Any) -> Any:
            try:
                if X is self._X and name in ROW_BY_ROW and not (args or options):
                    return self._answers.of(name, self._rows)
                for key, codes in self._answers.groups.items():
                    options[key] = np.full(_num_samples(X), codes[self._rows][0])
                return value(X, *args, **options)
            except Exception as error:
                self.failure = error
                raise

        return of_task


def groups_of(table: Table, rows: np.ndarray) -> dict[str, Any]:
    """Return, as a keyword, the groups of some rows."""
    return {} if table.groups is None else {"groups": table.groups[0][rows]}


def score_tasks(
    estimator: Any, table: Table, tasks: Sequence[Task], n_shots: int, scorer: Any
) -> tuple[np.ndarray, Exception | None]:
    """Return the score of each task, nan where there is none, and why there is none.

    Parameters
    ----------
    estimator : estimator
        It has learned from other tasks, and is left as it is.
    table : Table
    tasks : sequence of Task
    n_shots : int
        Rows of each part of a task to adapt to; without any, the estimator predicts its prior.
    scorer : callable
        As of `sklearn.metrics.check_scoring`.
    """
    estimator = clone(estimator)
    if hasattr(estimator, "set_callbacks"):
        estimator.set_callbacks()  # they follow what is learned, not each task of a score
    scores, reason = np.full(len(tasks), np.nan), None
    at_once = adapts_to_many(estimator)
    tell = at_once and not is_carried(estimator)
    for start in range(0, len(tasks), len(tasks) if at_once else 1):
        batch = tasks[start:] if at_once else [tasks[start]]
        if n_shots:
            shown = np.concatenate([task.shown(n_shots) for task in batch])
            X, y, weight = table.take(shown)
            estimator.fit(X, y, **weight, **(groups_of(table, shown) if tell else {}))
        asked = np.concatenate([task.asked for task in batch])
        answers = Answers(
            estimator, _safe_indexing(table.X, asked), groups_of(table, asked) if tell else {}
        )
        stop = 0
        for number, task in enumerate(batch, start):
            first, stop = stop, stop + len(task.asked)
            X, y, weight = table.take(task.asked)
            view = OneTask(answers, slice(first, stop), X)
            try:
                scores[number] = _score(scorer, view, X, y, weight)
            except ValueError as error:
                if view.failure is error:  # the estimator cannot predict
                    raise
                reason = error  # the scorer cannot score
    if (infinite := np.isinf(scores)).any():
        label, score = tasks[infinite.argmax()].label, scores[infinite][0]
        raise ValueError(
            f"scoring gave {score} for the task {label}, with n_shots={n_shots}, of which there "
            "is no mean: make it give a finite number, or nan to leave the task out."
        )
    return scores, reason


def _score(scorer: Any, view: OneTask, X: Any, y: Any, weight: dict[str, Any]) -> float:
    """Return the score of one task."""
    if weight and not _takes_weights(scorer, view):
        weight = {}
    with warnings.catch_warnings():
        # A score that is not defined is counted, and all are told at once.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        score = _with_labels(scorer, view)(view, X, y, **weight)
    try:
        if isinstance(score, str):
            raise TypeError
        return float(score)
    except (TypeError, ValueError):
        raise TypeError(
            f"scoring must give one number for each task; got {score!r:.60} of type "
            f"{type(score).__name__}."
        ) from None


def _takes_weights(scorer: Any, view: OneTask) -> bool:
    """Whether a scorer weighs rows."""
    function = getattr(scorer, "_score_func", scorer)
    if isinstance(scorer, _PassthroughScorer):
        function = view.score
    return "sample_weight" in inspect.signature(function).parameters


def _with_labels(scorer: Any, view: OneTask) -> Any:
    """Tell a scorer of probabilities the classes, of which a task's rows need not hold each."""
    if not isinstance(scorer, _BaseScorer) or scorer._response_method == "predict":
        return scorer
    is_told = "labels" in scorer._kwargs
    if is_told or "labels" not in inspect.signature(scorer._score_func).parameters:
        return scorer
    scorer = copy.copy(scorer)
    scorer._kwargs = {**scorer._kwargs, "labels": view.classes_}
    return scorer


def warn_of_tasks_without_score(
    scores: np.ndarray, reason: Exception | None, scoring: Any, n_shots: int
) -> None:
    """Say that some tasks have no score; refuse a scorer that can score none."""
    n_lacking, n_tasks = int(np.isnan(scores).sum()), len(scores)
    if n_lacking == 0:
        return
    why = " (it gives nan)" if reason is None else f" ({reason})".replace(".)", ")")
    name = "the estimator's own score" if scoring is None else f"scoring={scoring!r}"
    if n_lacking == n_tasks:
        raise ValueError(
            f"{name} cannot be computed from the rows to predict of any of the {n_tasks} tasks, "
            f"with n_shots={n_shots}{why}: choose one that has a value for a few rows, as "
            "'neg_log_loss' or 'neg_mean_squared_error', or pass tasks with more rows."
        )
    warn(
        f"{name} cannot be computed from the rows to predict of {n_lacking} of {n_tasks} tasks"
        f"{why}; the mean is over the others.",
        UndefinedMetricWarning,
    )


def mean_and_interval(scores: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over tasks that have a score, and its 95 % interval by Student's t.

    With a single task there is no interval, and both ends are nan; with none, so is the mean.
    """
    found = scores[~np.isnan(scores)]
    mean = float(found.mean()) if len(found) else np.nan
    if len(found) < 2:
        return mean, np.nan, np.nan
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1) * stats.sem(found)
    return mean, mean - reach, mean + reach
