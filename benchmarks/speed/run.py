"""Speed of `fit` and `predict`: one 5-shot task against `Ridge`, and 100 000 groups at once.

OMP_NUM_THREADS=1 python -m benchmarks.speed.run
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge

from skcml import CMLRegressor


def grouped_data(
    n_groups: int, n_rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shuffled rows of groups that share a curve and vary in its height."""
    groups = np.repeat(np.arange(n_groups), n_rows)
    X = rng.normal(size=(len(groups), 10))
    y = np.sin(2 * X[:, 0]) * rng.normal(size=n_groups)[groups] + X[:, 1]
    y += 0.3 * rng.normal(size=len(X))
    order = rng.permutation(len(X))
    return X[order], y[order], groups[order]


def microseconds(function: Callable[[], object], repeats: int = 500) -> float:
    """Return the median duration of a call."""
    for _ in range(50):
        function()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations) * 1e6)


def resident() -> tuple[float, float]:
    """Return resident memory now and at its peak since `reset_peak`, in GiB (Linux)."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    now, peak = (int(lines[key].split()[0]) / 2**20 for key in ("VmRSS", "VmHWM"))
    return now, peak


def reset_peak() -> None:
    """Forget the peak of resident memory (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def one_task(
    est: CMLRegressor, X: np.ndarray, y: np.ndarray, query: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time fit and predict of one task, with and without std, and of Ridge, in turn."""
    ridge = Ridge()
    calls = (
        lambda: est.fit(X, y).predict(query),
        lambda: est.fit(X, y).predict(query, return_std=True),
        lambda: ridge.fit(X, y).predict(query),
    )
    times = np.array([[microseconds(call) for call in calls] for _ in range(5)])
    return times[:, 0], times[:, 1], times[:, 2]


def main() -> None:
    """Print two tables."""
    rng = np.random.default_rng(0)
    print("| learned from | networks | skcml, us | Ridge, us | ratio | ratio with return_std |")
    print("|---|---|---|---|---|---|")
    for n_groups in (50, 150, 500, 3000):
        X, y, groups = grouped_data(n_groups, 10, rng)
        est = CMLRegressor(random_state=0).meta_fit(X, y, groups=groups)
        ours, with_std, theirs = one_task(est, X[:5], y[:5], X[5:10])
        networks = est.meta_params_["networks"]
        n_networks = 0 if networks is None else len(networks["omega"])
        print(
            f"| {n_groups} groups | {n_networks} | {np.median(ours):.0f} | {np.median(theirs):.0f} "
            f"| {np.median(ours / theirs):.2f} | {np.median(with_std / theirs):.2f} |"
        )
    X, y, groups = grouped_data(100_000, 5, rng)
    start = time.process_time()
    est = CMLRegressor(random_state=0).meta_fit(X, y, groups=groups)
    print(f"\n100 000 groups x 5 rows x 10 features: meta_fit {time.process_time() - start:.1f} s")
    print("| fit, s | predict, s | both, s | memory above the data, GiB |\n|---|---|---|---|")
    for _ in range(3):
        est.fit(X[:5], y[:5])
        reset_peak()
        before, _ = resident()
        start = time.perf_counter()
        est.fit(X, y, groups=groups)
        middle = time.perf_counter()
        est.predict(X, groups=groups)
        end = time.perf_counter()
        memory = resident()[1] - before
        print(f"| {middle - start:.2f} | {end - middle:.2f} | {end - start:.2f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
