"""Run the grouped regression benchmark and print its tables as markdown.

From the root of the repository::

    python -m benchmarks.grouped.run --tables Oxboys Milk --seeds 0 1 --out results.csv

Set OMP_NUM_THREADS=1 where CPU times are to be compared.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.grouped.peers import LINEAR_MIXED_MODELS, METHODS
from benchmarks.grouped.protocol import COVERAGE, TABLES, Score, score, split_table


class Result(NamedTuple):
    """One method on one split of one table; `cpu_seconds` is all it did, prediction included."""

    table: str
    seed: int
    method: str
    rmse: float
    coverage: float
    cpu_seconds: float


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run, print.

    Examples
    --------
    >>> from benchmarks.grouped.run import main
    >>> main(["--tables", "sleepstudy", "--seeds", "0", "--methods", "ridge"])
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
    Root mean squared error, mean over splits
    ...
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="SEED")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--out", help="CSV file for the result of every split")
    chosen = parser.parse_args(arguments)

    results = run(chosen.tables, chosen.seeds, chosen.methods, chosen.out)
    if results:
        report(results)


def run(
    tables: Sequence[str], seeds: Sequence[int], methods: Sequence[str], out: str | None = None
) -> list[Result]:
    """Run every method on every split; rows of `out` are written as they come.

    A method whose software is not installed is left out, and one that fails on a table is nan
    there; both are said on stderr.

    Examples
    --------
    >>> from benchmarks.grouped.run import run
    >>> run(["sleepstudy"], [0], ["ridge"])[0].method
    'ridge'
    """
    small = split_table("sleepstudy", seed=0)
    methods = [method for method in methods if is_installed(method, METHODS[method], small)]
    results: list[Result] = []
    with open(out or os.devnull, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        for table, seed in itertools.product(tables, seeds):
            split = split_table(table, seed)
            for method in methods:
                start = cpu_seconds()
                try:
                    found = score(split.query, METHODS[method](*split))
                except Exception as error:  # a peer may fail in its own way: go on
                    print(f"{method} failed on {table}, seed {seed}: {error}", file=sys.stderr)
                    found = Score(np.nan, np.nan)
                results.append(Result(table, seed, method, *found, cpu_seconds() - start))
                writer.writerow(results[-1])
                file.flush()
    return results


def is_installed(method: str, call: Callable[..., object], split: Iterable[object]) -> bool:
    """Try a method on a small split, which also keeps its imports out of the CPU times."""
    try:
        call(*split)
    except ImportError as error:
        print(f"{method} is left out: {error}", file=sys.stderr)
        return False
    except Exception:  # it will fail again, and be reported, where it counts
        pass
    return True


def report(results: list[Result]) -> None:
    """Print errors, coverages, CPU times and the comparison of skcml with its peers.

    Examples
    --------
    >>> from benchmarks.grouped.run import report, run
    >>> report(run(["sleepstudy"], [0], ["ridge"]))  # doctest: +ELLIPSIS
    <BLANKLINE>
    Root mean squared error, mean over splits
    ...
    """
    tables = list(dict.fromkeys(result.table for result in results))
    methods = list(dict.fromkeys(result.method for result in results))

    def means(field: str) -> np.ndarray:
        """Mean over splits, (n_tables, n_methods); nan where any split failed."""
        cells = np.full((len(tables), len(methods)), np.nan)
        for i, table in enumerate(tables):
            for j, method in enumerate(methods):
                values = [
                    getattr(r, field) for r in results if (r.table, r.method) == (table, method)
                ]
                cells[i, j] = np.mean(values) if values else np.nan
        return cells

    errors, coverages = means("rmse"), means("coverage")
    print_table("Root mean squared error, mean over splits", tables, methods, errors, "{:.3f}")
    print_table(f"Coverage of the {COVERAGE:.0%} interval", tables, methods, coverages, "{:.3f}")
    print_table("CPU seconds of a split", tables, methods, means("cpu_seconds"), "{:.2f}")

    print(f"\nMean distance of the coverage from {COVERAGE}, over tables")
    for method, column in zip(methods, coverages.T, strict=True):
        if np.isfinite(column).any():
            print(f"- {method}: {np.nanmean(np.abs(column - COVERAGE)):.3f}")
    if "skcml" in methods:
        _compare(tables, methods, errors)


def _compare(tables: list[str], methods: list[str], errors: np.ndarray) -> None:
    """Print the ratios of the error of skcml to that of its best peers."""
    ours = errors[:, methods.index("skcml")]
    peers = [j for j, method in enumerate(methods) if method != "skcml"]
    linear = [j for j in peers if methods[j] in LINEAR_MIXED_MODELS]
    if not peers:
        return
    print("\nError of skcml over that of its best peer")
    for table, mine, row in zip(tables, ours, errors, strict=True):
        theirs = [(row[j], methods[j]) for j in peers if np.isfinite(row[j])]
        if theirs:
            best, name = min(theirs)
            print(f"- {table}: {mine / best:.3f} ({name})")
    # fmin leaves out a model that failed; a table where all did gives nan and is left out below
    ratios = ours / np.fmin.reduce(errors[:, linear], axis=1) if linear else np.array([])
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios):
        mean = np.exp(np.mean(np.log(ratios)))
        print(
            f"\nGeometric mean over {len(ratios)} tables of the error of skcml over that of the "
            f"best linear mixed model: {mean:.3f}"
        )


def print_table(
    title: str, tables: list[str], methods: list[str], cells: np.ndarray, form: str
) -> None:
    """Print a markdown table, a row for each table and a column for each method."""
    print(f"\n{title}\n")
    print(f"| table | {' | '.join(methods)} |")
    print(f"|{'---|' * (len(methods) + 1)}")
    for table, row in zip(tables, cells, strict=True):
        shown = ["–" if np.isnan(cell) else form.format(cell) for cell in row]
        print(f"| {table} | {' | '.join(shown)} |")


def cpu_seconds() -> float:
    """CPU time of this process and of the processes that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
