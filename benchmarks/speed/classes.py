"""Speed of CMLClassifier: one 5-way 5-shot task beside LogisticRegression, and 20 000 groups.

OMP_NUM_THREADS=1 python -m benchmarks.speed.classes
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.speed.run import reset_peak, resident
from skcml import CMLClassifier

N_REPETITIONS, N_WARM_UP = 300, 50
N_WAYS, N_SHOTS, N_QUERIES = 5, 5, 10


def class_rows(
    n_classes: int, n_rows: int, n_columns: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors around a centre for each class, and the classes, numbered from 0."""
    y = np.repeat(np.arange(n_classes), n_rows)
    X = rng.normal(size=(n_classes, n_columns))[y] + rng.normal(size=(len(y), n_columns))
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def grouped_rows(
    n_groups: int, n_rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shuffled rows of groups whose log-odds share slopes and vary in their height."""
    groups = rng.permutation(np.repeat(np.arange(n_groups), n_rows))
    X = rng.normal(size=(len(groups), 5))
    log_odds = X[:, 0] - X[:, 1] + 1.5 * rng.normal(size=n_groups)[groups]
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return X, y, groups


def one_task(rng: np.random.Generator) -> None:
    """Print the time of fit and predict_proba of one task of new classes."""
    # the last classes are the new ones; rows of a class stand together
    n_known, n_rows = 100, 40
    X, y = class_rows(n_known + N_WAYS, n_rows, 384, rng)
    known, place = y < n_known, np.tile(np.arange(n_rows), n_known + N_WAYS)
    support = ~known & (place < N_SHOTS)
    query = X[~known & (place >= N_SHOTS) & (place < N_SHOTS + N_QUERIES)]
    start = time.perf_counter()
    est = CMLClassifier(random_state=0).meta_fit(X[known], y[known])
    print(f"{n_known} classes x {n_rows} rows: meta_fit {time.perf_counter() - start:.1f} s\n")

    logistic = LogisticRegression()
    seconds = np.empty((N_REPETITIONS, 2))
    for repetition in range(-N_WARM_UP, N_REPETITIONS):
        # in turn, so that other work on the machine slows both; warm-up rows are written over
        for column, model in enumerate((est, logistic)):
            start = time.perf_counter()
            model.fit(X[support], y[support]).predict_proba(query)
            seconds[max(repetition, 0), column] = time.perf_counter() - start
    ours, theirs = np.median(seconds, axis=0) * 1e6
    print("| 5-way 5-shot, 384 columns | skcml, us | LogisticRegression, us | ratio |")
    print(f"|---|---|---|---|\n| | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")


def many_groups(rng: np.random.Generator) -> None:
    """Print time and memory of one fit and one predict_proba of 20 000 groups."""
    X, y, groups = grouped_rows(500, 20, rng)
    start = time.perf_counter()
    est = CMLClassifier(random_state=0).meta_fit(X, y, groups=groups)
    print(f"\n500 groups x 20 rows x 5 columns: meta_fit {time.perf_counter() - start:.1f} s")

    print("\n20 000 groups x 5 rows x 5 columns\n")
    print("| fit, s | predict_proba, s | both, s | memory above the data, GiB |\n|---|---|---|---|")
    small = X[:5], y[:5]
    X, y, groups = grouped_rows(20_000, 5, rng)
    for _ in range(3):
        est.fit(*small)  # forget the groups of the last round
        reset_peak()
        before, _ = resident()
        start = time.perf_counter()
        est.fit(X, y, groups=groups)
        middle = time.perf_counter()
        est.predict_proba(X, groups=groups)
        end = time.perf_counter()
        memory = resident()[1] - before
        print(f"| {middle - start:.2f} | {end - middle:.2f} | {end - start:.2f} | {memory:.2f} |")


def main() -> None:
    """Print both tables."""
    rng = np.random.default_rng(0)
    one_task(rng)
    many_groups(rng)


if __name__ == "__main__":
    main()
