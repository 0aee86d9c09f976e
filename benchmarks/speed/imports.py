"""How long ``from skcml import CMLRegressor`` takes, beside scikit-learn's linear models alone.

``python -m benchmarks.speed.imports`` starts an interpreter for each, in turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "pass": "pass",
    "sklearn.linear_model": "import sklearn.linear_model",
    "skcml": "from skcml import CMLRegressor",
}
REPEATS = 15


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main(repeats: int = REPEATS) -> dict[str, float]:
    """Print and return medians in seconds."""
    for statement in STATEMENTS.values():
        seconds(statement)  # what the first import compiles and reads from the disk
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(repeats):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    medians = {name: statistics.median(found) for name, found in times.items()}
    print("| imported | seconds |\n|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.3f} |")
    ratio = medians["skcml"] / medians["sklearn.linear_model"]
    print(f"\nskcml over sklearn.linear_model: {ratio:.2f}")
    return medians


if __name__ == "__main__":
    main()
