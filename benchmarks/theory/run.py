"""The theory of the contrastive rule, measured: bias, best strength, and memory.

Three problems: ridge heads on linear tasks, logistic heads on tasks of two classes, and a network
for each task on sinusoids, held strongly. Memory is that of one meta-step of `model="synaptic"`,
against the number of inner steps.

    python -m benchmarks.theory.run --plot theory.png memory.png
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.theory.problems import PROBLEMS
from skcml.datasets import make_sinusoid_tasks
from skcml.episodes import Episode
from skcml.inspection import MetaGradientErrorDisplay, meta_gradient_error
from skcml.likelihoods import SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, TaskMLP
from skcml.rules.contrastive import ORDER, Contrastive
from skcml.rules.unrolled import Unrolled
from skcml.solvers.adam import Adam
from skcml.solvers.sgd import SGD

TOLS, SEEDS = (1e-4, 1e-5, 1e-6), (0, 1, 2)
STEPS = (10, 30, 100, 300)


def errors() -> dict[str, Any]:
    """Print slopes, floors, exponents and the automatic strength beside the best."""
    print("| problem | scheme | slope | floor | exponent of the best beta | auto / best, worst |")
    print("|---|---|---|---|---|---|")
    kept = {}
    for name, case in PROBLEMS.items():
        draws = [meta_gradient_error(*case(), tols=TOLS, random_state=seed) for seed in SEEDS]
        tight = meta_gradient_error(*case(), tols=[1e-10], random_state=SEEDS[0])
        biased = tight.beta_limit * np.array([0.01, 0.04])
        bias = meta_gradient_error(*case(), betas=biased, tols=[1e-10], random_state=SEEDS[0])
        for scheme in ORDER:
            slope = np.diff(np.log(bias.error[scheme][0]))[0] / np.log(4)
            best = np.array([draw.best_beta[scheme] for draw in draws])
            exponent = np.log(best[:, 0] / best[:, -1]).mean() / np.log(TOLS[0] / TOLS[-1])
            ratio = np.array([draw.auto_error[scheme] / draw.best_error[scheme] for draw in draws])
            print(
                f"| {name} | {scheme} | {slope:.2f} | {tight.best_error[scheme][0]:.1e} | "
                f"{exponent:.2f} | {np.median(ratio):.1f}, {ratio.max():.1f} |",
                flush=True,
            )
        print(f"| {name} | tangent | | {tight.tangent_error[0]:.1e} | | |")
        kept[name] = draws[0]
    return kept


def memory() -> dict[str, list[float]]:
    """Print the peak memory of a meta-step in MiB, by the number of inner steps."""
    problem, theta, episode = _synapses()
    rule = Contrastive("symmetric")

    def contrastive(solver: Callable[[int], Any]) -> Callable[[int], float]:
        return lambda n: _numpy_peak(lambda: rule(problem, solver(n), theta, episode))

    def unrolled(n: int) -> float:
        step = Unrolled(n_steps=n, learning_rate=1e-3)
        return _saved_bytes(lambda: step(problem, Adam(), theta, episode))

    rows = {
        "contrastive, Adam": contrastive(lambda n: Adam(max_iter=n, tol=0.0)),
        "contrastive, SGD": contrastive(lambda n: SGD(max_iter=n, tol=0.0)),
        "unrolled": unrolled,
    }
    print(f"| rule | {' | '.join(f'{n} steps' for n in STEPS)} |")
    print(f"|{'---|' * (1 + len(STEPS))}")
    found = {}
    for name, measure in rows.items():
        measure(1)  # imports and first calls are not counted
        found[name] = [measure(n) / 2**20 for n in STEPS]
        print(f"| {name} | {' | '.join(f'{mib:.1f}' for mib in found[name])} |", flush=True)
    return found


def _synapses() -> tuple[ProximalProblem, MetaParams, Episode]:
    """Return networks of which every weight is adapted, at their start, with 25 sinusoids."""
    problem = ProximalProblem(TaskMLP(1, 1, (40, 40), "tanh", Dense()), SquaredError())
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, np.random.default_rng(0))
    X, y, _ = make_sinusoid_tasks(25, 20, random_state=0)
    x, y = X.reshape(25, 20, 1), y.reshape(1, 25, 20)
    one = np.ones((25, 10))
    return problem, theta, Episode(x[:, :10], y[..., :10], one, x[:, 10:], y[..., 10:], one)


def _numpy_peak(step: Callable[[], Any]) -> float:
    """Return the most bytes that numpy held above what was there before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak - before)


def _saved_bytes(step: Callable[[], Any]) -> float:
    """Return the bytes of distinct tensors that torch saved for the way back."""
    # Kept, so that no address is used twice. An array may be saved many times.
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return float(sum(storage.nbytes() for storage in saved.values()))


def draw(kept: dict[str, Any], found: dict[str, list[float]], paths: list[str]) -> None:
    """Draw errors and memory into two files."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(kept), figsize=(6 * len(kept), 5), layout="constrained")
    for ax, (name, result) in zip(axes, kept.items(), strict=True):
        MetaGradientErrorDisplay(result=result).plot(ax=ax)
        ax.set_title(name)
    figure.savefig(paths[0])
    figure, ax = plt.subplots(layout="constrained")
    for name, sizes in found.items():
        ax.loglog(STEPS, sizes, "o-", label=name)
    ax.set(xlabel="inner steps", ylabel="memory of a meta-step, MiB")
    ax.legend()
    figure.savefig(paths[1])


def main() -> None:
    """Print two tables; draw if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", nargs=2, metavar=("ERRORS", "MEMORY"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = memory()
    print()
    kept = errors()
    if args.plot:
        draw(kept, found, args.plot)


if __name__ == "__main__":
    main()
