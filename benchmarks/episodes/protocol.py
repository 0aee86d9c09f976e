"""Few-shot classification: the data, the tasks drawn from them, and the scores of a method.

A task has a few classes, a few support rows of each to learn from, and query rows of the same
classes to be judged on. Its classes were not among those of meta-training.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

N_BINS = 15


class Pool(NamedTuple):
    """Rows of meta-training classes, and rows of the other classes."""

    X: np.ndarray
    y: np.ndarray
    X_new: np.ndarray
    y_new: np.ndarray


class Task(NamedTuple):
    """Support rows with their classes, and query rows with theirs."""

    X: np.ndarray
    y: np.ndarray
    X_query: np.ndarray
    y_query: np.ndarray


class Score(NamedTuple):
    """Scores of a method over tasks; `milliseconds` is the median time of a task."""

    log_loss: float
    accuracy: float
    calibration_error: float
    milliseconds: float


Learner = Callable[[Task], np.ndarray]


def clinc_pools() -> dict[str, Pool]:
    """CLINC150, new domains and new intents of known domains; empty without SKCML_DATA."""
    folder = os.environ.get("SKCML_DATA")
    if folder is None:
        return {}
    with np.load(Path(folder) / "clinc150.npz", allow_pickle=False) as arrays:
        X, y, domain = (arrays[name] for name in ("embedding", "intent", "domain"))
    X, y, intents = X.astype(np.float64), y.astype(int), np.arange(len(domain))
    place = np.empty_like(intents)  # of an intent within its domain
    for d in np.unique(domain):
        place[domain == d] = np.arange(np.sum(domain == d))
    return {
        "new domains": _halves(X, y, intents[domain % 2 == 0]),
        "new intents of known domains": _halves(X, y, intents[place % 2 == 0]),
    }


def digits_pools() -> dict[str, Pool]:
    """Digits of scikit-learn, pixels in [0, 1], half of the classes new; and the reverse."""
    X, y = load_digits(return_X_y=True)
    return {
        "5 to 9 after 0 to 4": _halves(X / 16, y, np.arange(5)),
        "0 to 4 after 5 to 9": _halves(X / 16, y, np.arange(5, 10)),
    }


def draw_tasks(
    X: np.ndarray, y: np.ndarray, n_ways: int, n_shots: int, n_queries: int, n_tasks: int, seed: int
) -> list[Task]:
    """Draw tasks with `n_shots` support and `n_queries` query rows of each of `n_ways` classes.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.episodes.protocol import draw_tasks
    >>> X, y = np.arange(12.0).reshape(-1, 1), np.repeat([3, 5, 7], 4)
    >>> task = draw_tasks(X, y, n_ways=2, n_shots=1, n_queries=2, n_tasks=1, seed=0)[0]
    >>> task.X.shape, task.X_query.shape, np.unique(task.y).tolist()
    ((2, 1), (4, 1), [5, 7])
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(y)
    rows_of = {c: np.flatnonzero(y == c) for c in classes.tolist()}
    tasks = []
    for _ in range(n_tasks):
        drawn = [
            rng.choice(rows_of[c], n_shots + n_queries, replace=False)
            for c in rng.choice(classes, n_ways, replace=False).tolist()
        ]
        support = np.concatenate([rows[:n_shots] for rows in drawn])
        query = np.concatenate([rows[n_shots:] for rows in drawn])
        tasks.append(Task(X[support], y[support], X[query], y[query]))
    return tasks


def evaluate(learners: dict[str, Learner], tasks: list[Task]) -> dict[str, Score]:
    """Score every learner on every task; learners take turns, so that times can be compared."""
    found: dict[str, list[tuple[np.ndarray, float]]] = {name: [] for name in learners}
    for task in tasks:
        for name, learner in learners.items():
            start = time.perf_counter()
            probabilities = learner(task)
            found[name].append((probabilities, time.perf_counter() - start))
    truth = np.concatenate([np.searchsorted(np.unique(task.y), task.y_query) for task in tasks])
    return {
        name: _score(
            np.concatenate([probabilities for probabilities, _ in results]),
            truth,
            1000 * float(np.median([seconds for _, seconds in results])),
        )
        for name, results in found.items()
    }


def _score(probabilities: np.ndarray, truth: np.ndarray, milliseconds: float) -> Score:
    """Score probabilities (n_rows, n_classes); all tasks have equally many rows."""
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    given = np.clip(probabilities[np.arange(len(truth)), truth], 1e-15, 1.0)
    # sum over bins of |rows that are right - sum of their top probabilities|, over all rows
    bins = np.minimum((top * N_BINS).astype(int), N_BINS - 1)
    gaps = np.abs(np.bincount(bins, weights=right - top))
    return Score(
        float(-np.mean(np.log(given))),
        float(np.mean(right)),
        float(gaps.sum() / len(truth)),
        milliseconds,
    )


def _halves(X: np.ndarray, y: np.ndarray, known: np.ndarray) -> Pool:
    """Rows of the known classes, and the others."""
    mine = np.isin(y, known)
    return Pool(X[mine], y[mine], X[~mine], y[~mine])
