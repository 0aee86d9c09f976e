"""The methods of the few-shot benchmark: each takes a task and returns query probabilities.

Columns are in the sorted order of the task's classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from benchmarks.episodes.protocol import Learner, Pool, Task, draw_tasks, evaluate

CS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
TEMPERATURES = (0.3, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 60, 100)
TUNING_TASKS = 100


def skcml(pool: Pool) -> tuple[Learner, float]:
    """Meta-fit CMLClassifier on the pool; return it as a learner, and the seconds it took."""
    from skcml import CMLClassifier

    estimator = CMLClassifier(random_state=0)
    start = time.perf_counter()
    estimator.meta_fit(pool.X, pool.y)
    seconds = time.perf_counter() - start
    return lambda task: estimator.fit(task.X, task.y).predict_proba(task.X_query), seconds


def logistic(C: float, mean: np.ndarray | float = 0.0, scale: np.ndarray | float = 1.0) -> Learner:
    """Logistic regression on the support rows.

    C = 1 is `LogisticRegression()` as it comes, which is the one whose time is compared. With a
    large C the solver stops far from the minimum at its default tolerance.
    """

    def learner(task: Task) -> np.ndarray:
        model = LogisticRegression(C=C, tol=1e-4 if C == 1 else 1e-6, max_iter=5000)
        model.fit((task.X - mean) / scale, task.y)
        return model.predict_proba((task.X_query - mean) / scale)

    return learner


def logistics(prefix: str = "C =", **scaling: np.ndarray) -> dict[str, Learner]:
    """Logistic regression with every C of `CS`."""
    return {f"{prefix} {C}": logistic(C, **scaling) for C in CS}


def cosine(task: Task) -> np.ndarray:
    """Cosine of each query row to each class mean."""
    means = _class_means(task)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return task.X_query @ means.T / np.linalg.norm(task.X_query, axis=1, keepdims=True)


def distance(task: Task) -> np.ndarray:
    """Minus the squared distance of each query row to each class mean, but for a constant."""
    means = _class_means(task)
    return 2 * task.X_query @ means.T - np.sum(means**2, axis=1)


def nearest_mean(
    similarity: Callable[[Task], np.ndarray], pool: Pool, n_ways: int, n_shots: int, n_queries: int
) -> Learner:
    """Softmax of temperature x similarity; the temperature is tuned on meta-training classes."""
    tasks = draw_tasks(pool.X, pool.y, n_ways, n_shots, n_queries, TUNING_TASKS, seed=1)

    def at(temperature: float) -> Learner:
        return lambda task: softmax(temperature * similarity(task), axis=1)

    scores = evaluate({str(t): at(t) for t in TEMPERATURES}, tasks)
    return at(min(TEMPERATURES, key=lambda t: scores[str(t)].log_loss))


def _class_means(task: Task) -> np.ndarray:
    """Mean support row of each class, in sorted order of the classes."""
    return np.stack([task.X[task.y == c].mean(axis=0) for c in np.unique(task.y)])
