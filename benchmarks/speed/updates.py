"""Speed of `partial_fit`: one row for one group, of many that are known.

OMP_NUM_THREADS=1 python -m benchmarks.speed.updates
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.speed.run import grouped_data
from skcml import CMLRegressor

REPEATS = 300


def milliseconds(call: Callable[[int], object], repeats: int = REPEATS) -> float:
    """Return the median processor time of a call, which gets a number."""
    durations = []
    for number in range(repeats):
        start = time.process_time()
        call(number)
        durations.append(time.process_time() - start)
    return 1e3 * float(np.median(durations))


def times(est: CMLRegressor, n_groups: int, rng: np.random.Generator) -> list[float]:
    """Return seconds of fit and of the first row after it, and milliseconds of later calls."""
    X, y, groups = grouped_data(n_groups, 5, rng)
    start = time.process_time()
    est.fit(X, y, groups=groups)
    middle = time.process_time()
    est.partial_fit(X[:1], y[:1], groups=groups[:1])
    end = time.process_time()
    rows = rng.integers(len(X), size=(REPEATS, 1))
    known = milliseconds(lambda i: est.partial_fit(X[rows[i]], y[rows[i]], groups=groups[rows[i]]))
    new = milliseconds(lambda i: est.partial_fit(X[:1], y[:1], groups=[-1 - i]), 30)
    predict = milliseconds(
        lambda i: est.predict(X[rows[i]], groups=groups[rows[i]], return_std=True)
    )
    return [middle - start, end - middle, known, new, predict]


def main() -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    X, y, groups = grouped_data(4000, 10, rng)
    est = CMLRegressor(random_state=0).meta_fit(X, y, groups=groups)
    print("| groups | fit, s | first row, s | a row, ms | of a new group, ms | predict, ms |")
    print("|---|---|---|---|---|---|")
    for n_groups in (100, 10_000, 100_000):
        fit, first, known, new, predict = times(est, n_groups, rng)
        print(
            f"| {n_groups} | {fit:.3f} | {first:.3f} | {known:.2f} | {new:.1f} | {predict:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
