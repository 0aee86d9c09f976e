"""Time of one inner Adam step of networks of which every weight is a task's own, beside JAX.

25 sinusoid tasks of 10 support rows, tanh networks, float64, one thread, CPU time. All contestants
descend the same energy from the same start by the same rule, and must be at the same place after a
few steps. What belongs to a solve and not to a step (the start, its gradient, the conversions) is
spread over the steps. JAX is optional: without it its lines are left out.

OMP_NUM_THREADS=1 python -m benchmarks.speed.inner_step
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from skcml.arrays import to_numpy
from skcml.datasets import make_sinusoid_tasks
from skcml.episodes import Episode
from skcml.likelihoods import SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, TaskMLP
from skcml.solvers.adam import Adam

N_TASKS, N_SUPPORT, N_STEPS = 25, 10, 200
# So small that energies fall at first: ours return the best place, JAX the last one.
RATE = 3e-4
# Steps after which contestants are compared, and by how much they may differ.
FEW_STEPS, SAME = 10, 1e-10

# From a number of steps to the parameters of each task, and to nothing else.
Run = Callable[[int], np.ndarray]


class Setting(NamedTuple):
    """Networks and their tasks."""

    problem: ProximalProblem
    theta: MetaParams
    episode: Episode


def setting(hidden: Sequence[int]) -> Setting:
    """Return networks near their start, with tasks."""
    problem = ProximalProblem(TaskMLP(1, 1, tuple(hidden), "tanh", Dense()), SquaredError())
    theta, rng = MetaParams(problem.shapes), np.random.default_rng(0)
    problem.initialize(theta, rng)
    theta["omega"][...] += 0.1 * rng.normal(size=theta["omega"].shape)
    X, y, _ = make_sinusoid_tasks(N_TASKS, N_SUPPORT, random_state=0)
    x = (X / X.std()).reshape(N_TASKS, N_SUPPORT, 1)
    y = (y / y.std()).reshape(1, N_TASKS, N_SUPPORT)
    weight = np.ones((N_TASKS, N_SUPPORT))
    return Setting(problem, theta, Episode(x, y, weight, x[:, :1], y[..., :1], weight[:, :1]))


def ours(problem: Any, theta: MetaParams, episode: Episode, *, compile: bool) -> Run:
    """Return a descent by the package's own solver."""
    batch = problem.embed(theta, episode)

    def run(n_steps: int) -> np.ndarray:
        solver = Adam(n_steps, RATE, tol=0.0, compile=compile)
        return to_numpy(solver(problem, theta, batch).phi[0])

    return run


class Perceptron(torch.nn.Module):
    """The built-in network as a module of the user's own: inputs and last hidden layer."""

    def __init__(self, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = (1, *hidden)
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(*pair) for pair in zip(sizes, hidden, strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return torch.cat([x, h], -1)


def body(hidden: Sequence[int], like: Setting) -> tuple[OnTorch, MetaParams, np.ndarray]:
    """Return the same networks by a module, and where its parameters are among the built-in."""
    problem = OnTorch(
        ProximalProblem(
            ModuleNetwork(Perceptron(hidden).double(), 1, input_shape=(1,)), SquaredError()
        )
    )
    place, start = [], 0
    for n_in, n_out in like.problem.network.fast.values():
        block = np.arange(start, start + n_in * n_out).reshape(n_in, n_out)
        start += n_in * n_out
        is_head = start == len(like.theta["omega"])
        place += [block.ravel()] if is_head else [block[1:].T.ravel(), block[0]]
    order = np.concatenate(place)
    theta = MetaParams(problem.shapes)
    theta["omega"][...] = like.theta["omega"][order]
    theta["log_strength"][...] = like.theta["log_strength"][order]
    return problem, theta, order


def contestants(hidden: Sequence[int]) -> dict[str, Run]:
    """Return descents by name, the reference first."""
    given = setting(hidden)
    problem, theta, order = body(hidden, given)

    def by_module(*, compile: bool) -> Run:
        run = ours(problem, theta, given.episode, compile=compile)
        return lambda n_steps: run(n_steps)[:, np.argsort(order)]

    entries: dict[str, Run] = {}
    if importlib.util.find_spec("jax") is not None:
        from benchmarks.speed import inner_step_jax

        entries["JAX, jit and scan"] = inner_step_jax.descent(*given, RATE)
    return entries | {
        "built-in network": ours(*given, compile=False),
        "built-in network, compile=True": ours(*given, compile=True),
        "the same as a body": by_module(compile=False),
        "the same as a body, compile=True": by_module(compile=True),
    }


def check_same(entries: dict[str, Run]) -> None:
    """Refuse contestants that are not at the same place after a few steps."""
    known, *others = entries
    expected = entries[known](FEW_STEPS)
    for name in others:
        apart = abs(entries[name](FEW_STEPS) - expected).max()
        if not apart <= SAME:
            raise ValueError(f"After {FEW_STEPS} steps {name} is {apart:.1e} away from {known}.")


def measure(entries: dict[str, Run], n_steps: int, repeats: int) -> np.ndarray:
    """Return microseconds of a step, (repeats, n_entries), of runs that take turns."""
    seconds = np.empty((repeats, len(entries)))
    for repeat in range(-1, repeats):  # rows of the warm-up are written over
        for column, run in enumerate(entries.values()):
            start = time.process_time()
            run(n_steps)
            seconds[max(repeat, 0), column] = time.process_time() - start
    return seconds / n_steps * 1e6


def report(names: Sequence[str], microseconds: np.ndarray, first_call: Sequence[float]) -> None:
    """Print medians, and medians of the ratio to the first."""
    ratios = np.median(microseconds / microseconds[:, :1], axis=0)
    times = np.median(microseconds, axis=0)
    print(f"| what | us | over {names[0]} | first call, s |\n|---|---|---|---|")
    for name, time_of, ratio, first in zip(names, times, ratios, first_call, strict=True):
        print(f"| {name} | {time_of:.0f} | {ratio:.2f} | {first:.1f} |")


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", nargs="+", default=["40,40", "8"], metavar="SIZES")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=N_STEPS)
    chosen = parser.parse_args()
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # so that all is compiled anew
        for sizes in chosen.hidden:
            compare(sizes, chosen.steps, chosen.repeats)


def one_core() -> None:
    """Keep to one core, before JAX counts them."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def compare(sizes: str, n_steps: int, repeats: int) -> None:
    """Print a table for networks of these hidden layers."""
    entries = contestants([int(size) for size in sizes.split(",")])
    first_call = []
    for run in entries.values():
        start = time.perf_counter()
        run(1)
        first_call.append(time.perf_counter() - start)
    check_same(entries)
    print(f"\nhidden layers {sizes}\n")
    report(list(entries), measure(entries, n_steps, repeats), first_call)


if __name__ == "__main__":
    main()
