"""Sinusoids, 10 shots: each model under each rule of the meta-gradient, at equal CPU seconds.

The protocol is that of `benchmarks.sinusoid.run`. ``noisy`` sinusoids have noise of standard
deviation 0.3; of ``two_families`` every other task is a line with slope and intercept in [-3, 3].
Errors are from the curve without noise. A run is kept in ``--out`` as one line of JSON and not
done again, so that a benchmark that was cut short goes on where it was; the tables are of all runs
in that file.

    OMP_NUM_THREADS=1 python -m benchmarks.sinusoid.models --seconds 20 60 --rules contrastive
    OMP_NUM_THREADS=1 python -m benchmarks.sinusoid.models --models modulatory --rules all
    OMP_NUM_THREADS=1 python -m benchmarks.sinusoid.models --tasks noisy two_families
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.sinusoid.maml import learn_maml
from benchmarks.sinusoid.run import BATCH, HELD_OUT_QUERIES, HELD_OUT_TASKS, N_QUERIES, N_SHOTS
from skcml import CMLRegressor
from skcml.datasets import make_sinusoid_tasks

KINDS = ("sinusoids", "noisy", "two_families")
MODELS = ("head", "modulatory", "synaptic")
# "maml" is no rule of the estimator: see `benchmarks.sinusoid.maml`.
RULES = (
    "contrastive",
    "implicit",
    "neumann",
    "t1t2",
    "unrolled",
    "truncated",
    "first_order",
    "reptile",
    "maml",
)
ONLY_SYNAPTIC = {"reptile", "maml"}
N_TASKS, HELD_OUT_SEED, NOISE = 40_000, 10_000, 0.3
# First steps are slower than later ones: a run that ended long before its time is done again.
FAIR, TRIES = 0.75, 3
Tasks = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What is learned, and how."""

    tasks: str
    model: str
    rule: str


@dataclass(frozen=True)
class Run(Setting):
    """One line of the file of results."""

    asked: float
    seed: int
    steps: int
    seconds: float
    error: float

    @property
    def setting(self) -> Setting:
        """Return what was run, whatever the seed."""
        return Setting(self.tasks, self.model, self.rule)

    @property
    def is_fair(self) -> bool:
        """Tell whether it had its time; if not, it says at least how long a step takes."""
        return self.seconds > FAIR * self.asked


def make_tasks(kind: str, n_tasks: int, n_rows: int, seed: int, noise: float = 0.0) -> Tasks:
    """Return X, y and groups; noise leaves tasks and inputs as they are."""
    if kind == "noisy":
        return make_sinusoid_tasks(n_tasks, n_rows, noise=noise, random_state=seed)
    X, y, groups = make_sinusoid_tasks(n_tasks, n_rows, random_state=seed)
    if kind == "two_families":
        slope, intercept = np.random.default_rng(seed).uniform(-3, 3, (2, n_tasks))[:, groups]
        y = np.where(groups % 2, slope * X[:, 0] + intercept, y)
    return X, y, groups


def learn(setting: Setting, n_steps: int, seed: int) -> tuple[float, Callable[[], float]]:
    """Return seconds of `meta_fit` and, to be called, the error on held-out tasks."""
    X, y, groups = make_tasks(setting.tasks, N_TASKS, N_SHOTS + N_QUERIES, seed, NOISE)
    if setting.rule == "maml":
        return learn_maml(X, y, groups, n_steps, seed, held_out(setting.tasks))
    est = CMLRegressor(
        model=setting.model,
        rule=setting.rule,
        hidden_layer_sizes=(40, 40),
        n_shots=N_SHOTS,
        n_queries=N_QUERIES,
        meta_batch_size=BATCH,
        meta_max_iter=n_steps,
        early_stopping=False,
        random_state=seed,
    )
    start = time.process_time()
    est.meta_fit(X, y, groups=groups)
    return time.process_time() - start, lambda: error_of(est, *held_out(setting.tasks))


def held_out(kind: str) -> tuple[np.ndarray, ...]:
    """Return X, y, y without noise, groups, and which rows are support."""
    per_task = N_SHOTS + HELD_OUT_QUERIES
    X, y, groups = make_tasks(kind, HELD_OUT_TASKS, per_task, HELD_OUT_SEED, NOISE)
    curve = make_tasks(kind, HELD_OUT_TASKS, per_task, HELD_OUT_SEED)[1]
    return X, y, curve, groups, np.tile(np.arange(per_task) < N_SHOTS, HELD_OUT_TASKS)


def error_of(
    est: CMLRegressor,
    X: np.ndarray,
    y: np.ndarray,
    curve: np.ndarray,
    groups: np.ndarray,
    support: np.ndarray,
) -> float:
    """Return the mean squared error on query rows."""
    est.fit(X[support], y[support], groups=groups[support])
    error = est.predict(X[~support], groups=groups[~support]) - curve[~support]
    return float(np.mean(error**2))


def steps_within(seconds: float, setting: Setting, done: list[Run]) -> int:
    """Return how many meta-steps take so long: the learning rate falls to zero at the last."""
    known = [r.seconds / r.steps for r in done if r.setting == setting]
    if known:
        return max(round(seconds / known[-1]), 1)
    once, n_more, spent = learn(setting, 1, 0)[0], 2, 0.0
    while spent < seconds / 20:
        n_more *= 2
        spent = learn(setting, 1 + n_more, 0)[0] - once
    return max(round((seconds - once) * n_more / spent), 1)


def planned(args: argparse.Namespace) -> list[tuple[Setting, float, int]]:
    """Return settings, seconds and seeds, seed by seed: what is cut short is still a table."""
    return [
        (Setting(tasks, model, rule), seconds, seed)
        for seconds in args.seconds
        for seed in args.seeds
        for tasks in args.tasks
        for rule in (RULES if args.rules == ["all"] else args.rules)
        for model in args.models
        if rule not in ONLY_SYNAPTIC or model == "synaptic"
    ]


def tables(done: list[Run]) -> str:
    """Return one table for each kind of tasks and budget: error by seed, and meta-steps."""
    lines: list[str] = []
    for tasks, asked in dict.fromkeys((r.tasks, r.asked) for r in done):
        here = [r for r in done if (r.tasks, r.asked) == (tasks, asked)]
        models = [model for model in MODELS if any(r.model == model for r in here)]
        lines += ["", f"**{tasks}, {asked:.0f} s**", "", "| rule | " + " | ".join(models) + " |"]
        lines.append("|---" * (1 + len(models)) + "|")
        for rule in dict.fromkeys(r.rule for r in here):
            cells = [_cell([r for r in here if (r.rule, r.model) == (rule, m)]) for m in models]
            lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(runs: list[Run]) -> str:
    """Return errors by seed, and the seconds and meta-steps of the median run."""
    if not runs:
        return "–"
    errors = ", ".join(f"{r.error:.1e}" for r in sorted(runs, key=lambda r: r.seed))
    steps, seconds = (np.median([getattr(r, name) for r in runs]) for name in ("steps", "seconds"))
    return f"{errors} ({steps:.0f} steps, {seconds:.0f} s)"


def run(setting: Setting, asked: float, seed: int, done: list[Run]) -> Run:
    """Learn for about the seconds asked, and judge."""
    n_steps = steps_within(asked, setting, done)
    seconds, error = learn(setting, n_steps, seed)
    return Run(
        **asdict(setting), asked=asked, seed=seed, steps=n_steps, seconds=seconds, error=error()
    )


def main() -> None:
    """Run what is not in the file yet, and print its tables."""
    args = parse_args()
    torch.set_num_threads(1)
    # A rule that leaves tasks out, or a descent that has not settled, shows in the error.
    warnings.simplefilter("ignore")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.touch()
    done = [Run(**json.loads(line)) for line in args.out.read_text().splitlines()]
    learn(Setting("sinusoids", "head", "contrastive"), 2, 0)  # first calls are not counted
    for planned_run in planned(args):
        for _ in range(TRIES):
            if planned_run in [(r.setting, r.asked, r.seed) for r in done if r.is_fair]:
                break
            done.append(run(*planned_run, done))
            with args.out.open("a") as file:
                file.write(json.dumps(asdict(done[-1])) + "\n")
    print(tables([r for r in done if r.is_fair]))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[20.0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--rules", nargs="+", default=["contrastive"], choices=[*RULES, "all"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", default=KINDS[:1], choices=KINDS)
    parser.add_argument("--out", type=Path, default=Path("build/sinusoid_models.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
