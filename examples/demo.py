"""The main job on a real table: learn from many groups, adapt to new ones from three rows each.

The table holds the ultrafiltration rate of 20 dialyzers, each measured at seven transmembrane
pressures (Vonesh and Carter, Biometrics 1992). Three times, another 30 % of the dialyzers are held
out: the others are learned from, and each held-out one is adapted to from three of its rows and
judged on the other four. Prints a table and writes a picture::

    python examples/demo.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skcml import CMLRegressor
from skcml.datasets import load_grouped

HELD_OUT, N_SHOTS = 0.3, 3
QUANTILES = [0.05, 0.25, 0.75, 0.95]  # the ends of the 90 % and of the 50 % interval
POOLED, PER_GROUP = "ridge, all groups as one", "ridge, each group alone"
MIXED, CUBIC = "linear mixed model", "the same, cubic terms by hand"
LEARNED = "CMLRegressor"
HEADINGS = ("method", "RMSE (mL/hr)", "in 90 % interval", "learn (s)", "adapt, predict (ms)")
BLUE, GREY, INK, ORANGE = "#1f6fb4", "#8a8a8a", "#222222", "#c8500a"


class Rows(NamedTuple):
    """Rows of the table: what predicts, what is predicted (mL/hr), and whose they are."""

    X: pd.DataFrame
    y: pd.Series
    groups: pd.Series

    def where(self, mask: pd.Series) -> Rows:
        return Rows(self.X[mask], self.y[mask], self.groups[mask])


class Split(NamedTuple):
    """Rows to learn from, and the support and query rows of the held-out groups."""

    train: Rows
    support: Rows
    query: Rows


class Result(NamedTuple):
    """What a method makes of a split; `quantiles` has the shape (n_query, 4)."""

    mean: np.ndarray
    quantiles: np.ndarray
    learn_seconds: float
    adapt_seconds: float


def main(picture: str | Path = "demo.png", n_splits: int = 3, **settings: Any) -> list[list[str]]:
    """Compare the methods, print a table and draw the last method on the last split.

    ``settings`` are parameters of the last method. Returns the cells of the table.
    """
    table = load_grouped("Dialyzer")
    rows = Rows(table.data, table.target, table.groups)
    linear: dict[str, Any] = {"hidden_layer_sizes": (), "meta_max_iter": 0}
    estimators = {
        POOLED: CMLRegressor(),  # without meta_fit it is ridge regression
        PER_GROUP: CMLRegressor(),
        MIXED: CMLRegressor(random_state=0, **linear),
        CUBIC: CMLRegressor(random_state=0, **linear),
        LEARNED: CMLRegressor(random_state=0, **settings),
    }
    splits = split_groups(rows, n_splits)
    print(f"{table.DESCR}\n")
    print(
        f"Splits: {n_splits}. Groups held out in each: {splits[0].query.groups.nunique()}. Rows of "
        f"each to adapt to: {N_SHOTS}; the others are to be predicted. Learning takes a minute.\n",
        flush=True,
    )
    cells = []
    for name, estimator in estimators.items():
        data = splits
        if name == CUBIC:
            data = split_groups(rows._replace(X=cubic_terms(rows.X)), n_splits)
        cells.append([name, *summary(data, [run(name, estimator, split) for split in data])])
    print_table([list(HEADINGS), *cells])
    figure = draw(estimators[LEARNED], estimators[MIXED], splits[-1])
    figure.savefig(picture, dpi=150)
    plt.close(figure)
    print(f"\nPicture of the last split: {picture}")
    return cells


def split_groups(rows: Rows, n_splits: int) -> list[Split]:
    """Hold out other groups in each split, and draw the rows that the methods may see of them."""
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(rows.groups.unique())
    n_held_out = round(HELD_OUT * len(shuffled))
    splits = []
    for first in range(0, n_splits * n_held_out, n_held_out):
        held_out = rows.groups.isin(shuffled[first : first + n_held_out])
        order = pd.Series(rng.random(len(held_out)), held_out.index)
        support = held_out & (order.groupby(rows.groups).rank() <= N_SHOTS)
        parts = (~held_out, support, held_out & ~support)
        splits.append(Split(*(rows.where(part) for part in parts)))
    return splits


def cubic_terms(X: pd.DataFrame) -> pd.DataFrame:
    """Powers of the pressure and their products with QB: what one adds after a look at a plot."""
    terms = {
        f"pressure^{power} QB^{other}": X["pressure"] ** power * X["QB"] ** other
        for power in range(4)
        for other in range(2)
        if power + other
    }
    return pd.DataFrame(terms)


def run(name: str, estimator: CMLRegressor, split: Split) -> Result:
    """Learn from the training groups, adapt to the held-out ones, predict their query rows."""
    train, support, query = split
    groups = None if name == POOLED else query.groups
    start = time.perf_counter()
    if name == POOLED:
        estimator.fit(train.X, train.y)
    elif name != PER_GROUP:
        estimator.meta_fit(train.X, train.y, groups=train.groups)
    learned = time.perf_counter()
    if name != POOLED:
        estimator.fit(support.X, support.y, groups=support.groups)
    mean = estimator.predict(query.X, groups=groups)
    adapted = time.perf_counter()
    quantiles = estimator.predict_quantiles(query.X, QUANTILES, groups=groups)
    return Result(mean, quantiles, learned - start, adapted - learned)


def summary(splits: list[Split], results: list[Result]) -> list[str]:
    """Return error, coverage and times of a method, over all splits."""
    y = np.concatenate([split.query.y for split in splits])
    mean = np.concatenate([result.mean for result in results])
    low, *_, high = np.concatenate([result.quantiles for result in results]).T
    return [
        f"{np.sqrt(np.mean((y - mean) ** 2)):.2f}",
        f"{np.mean((low <= y) & (y <= high)):.0%}",
        f"{np.mean([result.learn_seconds for result in results]):.2f}",
        f"{1e3 * np.mean([result.adapt_seconds for result in results]):.1f}",
    ]


def print_table(lines: list[list[str]]) -> None:
    """Print cells in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        pairs = list(zip(line, widths, strict=True))
        print("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in pairs[1:])]))
        if number == 0:
            print("  ".join("-" * width for width in widths))


def draw(learned: CMLRegressor, mixed: CMLRegressor, split: Split) -> Figure:
    """Draw what each held-out group is predicted to do, and what it does."""
    flow = split.support.X["QB"].groupby(split.support.groups).first().sort_values(kind="stable")
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.2), sharex=True, sharey=True)
    for ax, (group, qb) in zip(axes.flat, flow.items(), strict=True):
        draw_group(ax, learned, mixed, split, group, qb)
    for ax in axes[-1]:
        ax.set_xlabel("transmembrane pressure (dmHg)")
    for ax in axes[:, 0]:
        ax.set_ylabel("ultrafiltration rate (mL/hr)")
    title = f"Dialyzers that were never seen, adapted to from {N_SHOTS} rows each"
    figure.suptitle(title, fontsize=15, color=INK)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    return figure


def draw_group(
    ax: Axes, learned: CMLRegressor, mixed: CMLRegressor, split: Split, group: int, qb: float
) -> None:
    """Draw a group's rows, its adapted prediction and the prior, which is any unseen group's."""
    pressure = np.linspace(0.1, 3.1, 121)
    grid = pd.DataFrame({"pressure": pressure, "QB": qb})
    mine, unseen = np.full(len(grid), group), np.full(len(grid), -1)

    low, *_, high = learned.predict_quantiles(grid, QUANTILES, groups=unseen).T
    ax.fill_between(pressure, low, high, color=GREY, alpha=0.18, lw=0, label="before any row: 90 %")
    mean = learned.predict(grid, groups=unseen)
    ax.plot(pressure, mean, color=GREY, lw=1.5, label="before any row: mean")

    low, lower, upper, high = learned.predict_quantiles(grid, QUANTILES, groups=mine).T
    ax.fill_between(pressure, low, high, color=BLUE, alpha=0.22, lw=0, label="adapted: 90 %")
    ax.fill_between(pressure, lower, upper, color=BLUE, alpha=0.45, lw=0, label="adapted: 50 %")
    mean = learned.predict(grid, groups=mine)
    ax.plot(pressure, mean, color=BLUE, lw=2.2, label="adapted: mean")
    line = mixed.predict(grid, groups=mine)
    ax.plot(pressure, line, color=INK, lw=1, ls=(0, (4, 3)), label="linear mixed model, adapted")

    for name, rows, fill in (
        ("adapted to", split.support, ORANGE),
        ("held back", split.query, "white"),
    ):
        shown = rows.where(rows.groups == group)
        style = {"mfc": fill, "mec": ORANGE, "mew": 1.6, "ms": 7, "zorder": 5}
        ax.plot(shown.X["pressure"], shown.y, "o", label=f"rows {name}", **style)
    ax.set_title(f"dialyzer {group}, blood flow {qb:.0f} dL/min", fontsize=10.5, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#e8e8e8", lw=0.8)
    ax.set_axisbelow(True)


if __name__ == "__main__":
    main()
