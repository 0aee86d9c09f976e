"""Run the grouped classification benchmark and print its tables as markdown.

From the root of the repository::

    python -m benchmarks.grouped_classes.run --tables ohio bacteria --seeds 0 1

Set OMP_NUM_THREADS=1 where CPU times are to be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.grouped.run import cpu_seconds, is_installed, print_table
from benchmarks.grouped_classes.peers import METHODS, TWO_CLASSES_ONLY
from benchmarks.grouped_classes.protocol import TABLES, Score, score, split_table


class Result(NamedTuple):
    """One method on one split of one table; `cpu_seconds` is all it did, prediction included."""

    table: str
    seed: int
    method: str
    log_loss: float
    accuracy: float
    cpu_seconds: float


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="SEED")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    chosen = parser.parse_args(arguments)
    with contextlib.redirect_stdout(sys.stderr):  # GPBoost prints warnings
        results = run(chosen.tables, chosen.seeds, chosen.methods)
    if results:
        report(results)


def run(tables: Sequence[str], seeds: Sequence[int], methods: Sequence[str]) -> list[Result]:
    """Run every method on every split.

    A method whose software is not installed is left out, and one that fails on a table, or has
    two classes only where there are more, is nan there; failures are said on stderr.

    Examples
    --------
    >>> from benchmarks.grouped_classes.run import run
    >>> run(["bacteria"], [0], ["logistic"])[0].method
    'logistic'
    """
    small = split_table("bacteria", seed=0)
    methods = [method for method in methods if is_installed(method, METHODS[method], small)]
    results: list[Result] = []
    for table, seed in itertools.product(tables, seeds):
        split = split_table(table, seed)
        for method in methods:
            start = cpu_seconds()
            found = Score(np.nan, np.nan)
            if split.train.y.max() == 1 or method not in TWO_CLASSES_ONLY:
                try:
                    found = score(split.query, METHODS[method](*split))
                except Exception as error:  # a peer may fail in its own way: go on
                    print(f"{method} failed on {table}, seed {seed}: {error}", file=sys.stderr)
            results.append(Result(table, seed, method, *found, cpu_seconds() - start))
    return results


def report(results: list[Result]) -> None:
    """Print log-losses, accuracies, CPU times and the comparison of skcml with its best peer."""
    tables = list(dict.fromkeys(result.table for result in results))
    methods = list(dict.fromkeys(result.method for result in results))

    def means(field: str) -> np.ndarray:
        """Mean over splits, (n_tables, n_methods); nan where any split failed."""
        values = np.array([getattr(result, field) for result in results])
        # results come table by table, split by split
        return values.reshape(len(tables), -1, len(methods)).mean(axis=1)

    log_loss = means("log_loss")
    print_table("Log-loss, mean over splits", tables, methods, log_loss, "{:.3f}")
    print_table("Accuracy, mean over splits", tables, methods, means("accuracy"), "{:.3f}")
    seconds = np.where(np.isnan(log_loss), np.nan, means("cpu_seconds"))
    print_table("CPU seconds of a split", tables, methods, seconds, "{:.2f}")
    if "skcml" in methods and len(methods) > 1:
        _compare(tables, methods, log_loss)


def _compare(tables: list[str], methods: list[str], log_loss: np.ndarray) -> None:
    """Print the ratio of the log-loss of skcml to that of its best peer."""
    ours = methods.index("skcml")
    print("\nLog-loss of skcml over that of its best peer")
    for table, row in zip(tables, log_loss, strict=True):
        peers = [(row[j], methods[j]) for j in np.flatnonzero(np.isfinite(row)) if j != ours]
        if peers:
            best, name = min(peers)
            print(f"- {table}: {row[ours] / best:.3f} ({name})")


if __name__ == "__main__":
    main()
