"""Time of one meta-step, beside JAX and beside the matrix products alone.

25 sinusoid tasks of 10 + 10 rows, tanh body, full prior covariance, squared error, float64, one
thread, CPU time. JAX is optional: without it its lines are left out.

OMP_NUM_THREADS=1 python -m benchmarks.speed.meta_step
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np

from skcml.datasets import make_sinusoid_tasks
from skcml.episodes import EpisodeSampler, TaskRows
from skcml.outer_loop import OuterOptions, meta_train
from skcml.problems.head import LOSS_NOISE_FLOOR, HeadProblem
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.rules.contrastive import Contrastive
from skcml.solvers.closed_form import closed_form

N_TASKS, N_SUPPORT, N_QUERY = 25, 10, 10
N_STEPS = 100
RATE = 1e-2


def head(width: int) -> tuple[HeadProblem, MetaParams]:
    """Return the inner problem and where its meta-parameters start."""
    body = MLPBody(1, (width, width))
    mask = np.tri(body.n_features, dtype=bool)
    problem = HeadProblem(body, mask, 1, "loss", LOSS_NOISE_FLOOR)
    theta = MetaParams(problem.shapes)
    body.initialize(theta, np.random.default_rng(0))
    theta["factor"][...] = 0.3 * np.eye(body.n_features)
    theta["log_noise"][...] = -2.0
    return problem, theta


def sampler() -> EpisodeSampler:
    """Return what draws episodes of sinusoid tasks."""
    n_rows = N_SUPPORT + N_QUERY
    X, y, groups = make_sinusoid_tasks(4000, n_rows, random_state=0)
    tasks = TaskRows.from_codes(X / X.std(), y[:, None] / y.std(), np.ones(len(y)), groups, 4000)
    return EpisodeSampler(
        tasks,
        n_shots=(N_SUPPORT, N_SUPPORT),
        n_queries=N_QUERY,
        support="random",
        batch_size=N_TASKS,
        rng=np.random.default_rng(1),
    )


def products(width: int, *, of_rows: bool) -> Callable[[], None]:
    """Return the matrix products of one step: what remains when all else costs nothing.

    The way back through the head is one of all rows with the prior factor where the gradient is
    automatic, and one of three phases of each task with it where it is a contrast.
    """
    rng = np.random.default_rng(0)
    n_rows, k = N_TASKS * (N_SUPPORT + N_QUERY), width + 2
    x, h = rng.normal(size=(n_rows, 1)), rng.normal(size=(n_rows, width))
    z, factor, omega = (rng.normal(size=shape) for shape in ((n_rows, k), (k, k), k))
    first, second = rng.normal(size=(1, width)), rng.normal(size=(width, width))
    a = rng.normal(size=(N_TASKS, N_SUPPORT, k))
    square = rng.normal(size=(N_TASKS, N_SUPPORT, N_SUPPORT))
    u, phases = rng.normal(size=(N_TASKS, k, 1)), rng.normal(size=(N_TASKS, 3, k))
    pulls = rng.normal(size=(N_TASKS, N_SUPPORT, 3))
    flat = phases.reshape(-1, k)

    def run() -> None:
        _ = x @ first, h @ second, z @ factor, z @ omega  # the body and the head, forward
        _ = a @ a.mT, square @ a, a.mT @ (a @ u)  # each task's system
        for _side in "support", "query":
            _ = a @ phases.mT, pulls.mT @ a, pulls @ phases
        back = z if of_rows else flat
        _ = back @ factor.T, back.T @ back  # the head, backward
        _ = h.T @ h, h @ second.T, x.T @ h  # the body, backward

    return run


def contestants(width: int) -> dict[str, Callable[[], object]]:
    """Return functions that take `N_STEPS` steps each, by name."""
    problem, theta = head(width)
    source, rule = sampler(), Contrastive()
    options = OuterOptions(N_STEPS, RATE, log_objective=True)
    episodes = [source.draw() for _ in range(N_STEPS)]
    bare, automatic = (products(width, of_rows=of_rows) for of_rows in (False, True))
    entries: dict[str, Callable[[], object]] = {
        "meta-step": lambda: meta_train(problem, closed_form, rule, source, theta, options),
        "rule alone": lambda: [rule(problem, closed_form, theta, e) for e in episodes],
        "draw alone": lambda: [source.draw() for _ in range(N_STEPS)],
        "its matrix products alone": lambda: [bare() for _ in range(N_STEPS)],
        "those of automatic differentiation": lambda: [automatic() for _ in range(N_STEPS)],
    }
    if importlib.util.find_spec("jax") is not None:
        from benchmarks.speed import meta_step_jax

        entries |= meta_step_jax.contestants(problem, theta, episodes, RATE)
    return entries


def main() -> None:
    """Print a table for each width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[40, 256])
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    for width in chosen.widths:
        entries = contestants(width)
        seconds = np.empty((chosen.repeats, len(entries)))
        for repeat in range(-1, chosen.repeats):
            # in turn, so that other work on the machine slows all; warm-up rows are written over
            for column, run in enumerate(entries.values()):
                start = time.process_time()
                run()
                seconds[max(repeat, 0), column] = time.process_time() - start
        report(width, list(entries), seconds / N_STEPS * 1e6)


def report(width: int, names: list[str], microseconds: np.ndarray) -> None:
    """Print medians, and medians of the ratio of a meta-step to each."""
    ratios = np.median(microseconds[:, :1] / microseconds, axis=0)
    print(f"\nbody {width}-{width}\n\n| what | us | meta-step over it |\n|---|---|---|")
    for name, time_of, ratio in zip(names, np.median(microseconds, axis=0), ratios, strict=True):
        print(f"| {name} | {time_of:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
