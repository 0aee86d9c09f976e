r"""Omniglot: characters of alphabets never seen, 5 ways, 1 shot, with a convolutional body.

From the root of the repository, with the folder of ``omniglot_*_28.npz`` in SKCML_DATA::

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 \
        python -m benchmarks.omniglot.run --model prototypes --seconds 300

Background alphabets, with rotations by 90 degrees as further characters, are learned from;
evaluation alphabets, unrotated, are the test. The network is that of Vinyals et al. (2016): four
blocks of 3x3 convolution, batch normalisation, ReLU and max-pooling. Batch normalisation knows the
support rows alone. Seconds are of CPU time, all threads together: threads that spin while they wait
spend most of it where other work goes on beside.

- prototypes: classes near the mean of their rows in the body's outputs; the body is learned.
- synaptic: every weight is the task's own, pulled to its consolidated value.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from skcml.episodes import Episode
from skcml.likelihoods import Categorical
from skcml.outer_loop import OuterOptions, meta_train
from skcml.problems.meta_params import MetaParams
from skcml.problems.module_body import ModuleBody
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.proximal import ProximalProblem
from skcml.rules.contrastive import Contrastive
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.newton_cg import newton_cg

SIDE, N_DRAWERS, N_WAYS, N_QUERIES = 28, 20, 5, 15
WARM_UP = 5  # steps by which the time of a step is measured


class Characters:
    """Draws episodes; called a sampler by `meta_train`."""

    def __init__(self, part: str, *, rotate: bool, seed: int) -> None:
        folder = Path(os.environ["SKCML_DATA"])
        with np.load(folder / f"omniglot_{part}_28.npz", allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["char_id"]
        images = images[np.argsort(labels, kind="stable")]
        self.images = images.reshape(-1, N_DRAWERS, SIDE, SIDE)
        self.rotate = rotate
        self.rng = np.random.default_rng(seed)
        self.set(n_tasks=1, n_ways=N_WAYS, n_shots=1, n_queries=N_QUERIES)

    def set(self, n_tasks: int, n_ways: int, n_shots: int, n_queries: int) -> None:
        """Say of what size episodes are."""
        self.sizes = n_tasks, n_ways, n_shots, n_queries

    def draw(self) -> Episode:
        """Draw characters for each task, and drawings of each."""
        n_tasks, n_ways, n_shots, n_queries = self.sizes
        rows = np.stack([self._task(n_ways, n_shots + n_queries) for _ in range(n_tasks)])
        support, query = np.split(rows, [n_shots], axis=2)
        return Episode(
            *(self._part(support, n_tasks, n_ways)), *(self._part(query, n_tasks, n_ways))
        )

    def _task(self, n_ways: int, n_rows: int) -> np.ndarray:
        rows = []
        for character in self.rng.choice(len(self.images), n_ways, replace=False):
            drawn = self.images[character][self.rng.permutation(N_DRAWERS)[:n_rows]]
            if self.rotate:
                drawn = np.rot90(drawn, self.rng.integers(4), axes=(1, 2))
            rows.append(drawn.reshape(n_rows, -1) / 255)
        return np.stack(rows)

    @staticmethod
    def _part(x: np.ndarray, n_tasks: int, n_ways: int) -> tuple[np.ndarray, ...]:
        n_each = x.shape[2]
        y = np.repeat(np.eye(n_ways), n_each, axis=1)[:, None]
        shape = (n_tasks, n_ways * n_each)
        return x.reshape(*shape, -1), np.broadcast_to(y, (n_ways, *shape)), np.ones(shape)


def network(n_filters: int) -> Any:
    """Return the four blocks."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in in (1, n_filters, n_filters, n_filters):
        layers += [nn.Conv2d(n_in, n_filters, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_filters), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


class Prototypes:
    """Classes near their mean rows, in a learned space."""

    learning_rate = 3e-3
    sizes = (4, 10, 1, 2)

    def __init__(self, n_filters: int) -> None:
        self.problem = PrototypeBodyProblem(
            ModuleBody(network(n_filters), input_shape=(1, SIDE, SIDE))
        )
        self.solver = newton_cg

    def logits(self, theta: MetaParams, episode: Episode) -> np.ndarray:
        """Return something that is largest for the most probable class, (C, n_tasks, Q)."""
        batch = self.problem.embed(theta, episode)
        return self.problem.probabilities(newton_cg(self.problem, theta, batch).phi, theta, batch)


class Synaptic:
    """Every weight is the task's own."""

    learning_rate = 3e-3
    sizes = (4, N_WAYS, 1, 5)

    def __init__(self, n_filters: int) -> None:
        module = ModuleNetwork(network(n_filters), N_WAYS, input_shape=(1, SIDE, SIDE))
        self.problem = OnTorch(ProximalProblem(module, Categorical(), "layer"), dtype="float32")
        self.solver = GaussNewton(max_iter=4, tol=1e-3)

    def logits(self, theta: MetaParams, episode: Episode) -> np.ndarray:
        """Return something that is largest for the most probable class, (C, n_tasks, Q)."""
        batch = self.problem.embed(theta, episode)
        phi = self.solver(self.problem, theta, batch).phi
        statistics = self.problem.statistics(phi, theta, batch)
        return self.problem.outputs(phi.numpy(), theta, episode.x_query, statistics)


MODELS = {"prototypes": Prototypes, "synaptic": Synaptic}


def learn(model: Any, sampler: Characters, seconds: float) -> tuple[MetaParams, str]:
    """Meta-learn for so many seconds; return the meta-parameters, and what happened."""
    theta = MetaParams(model.problem.shapes)
    model.problem.initialize(theta, np.random.default_rng(0))
    sampler.set(*model.sizes)
    parts = (model.problem, model.solver, Contrastive("tangent"), sampler)
    options = OuterOptions(WARM_UP, model.learning_rate)
    for _ in range(2):  # the first time is spent on loading libraries
        begin = time.process_time()
        meta_train(*parts, theta, options)
    n_steps = int(WARM_UP * seconds / (time.process_time() - begin))
    begin = time.process_time()

    def show(step: int, at: MetaParams, history: Any) -> bool:
        spent = time.process_time() - begin
        if step % 50 == 0:
            print(f"step {step} of {n_steps}, {spent:.0f} s: {np.mean(history.loss[-50:]):.3f}")
        return spent > seconds

    theta, history = meta_train(
        *parts, theta, OuterOptions(n_steps, model.learning_rate), on_step=show
    )
    spent = time.process_time() - begin
    return theta, f"{len(history.loss)} steps, {spent:.0f} s, {history.n_left_out} tasks left out"


def accuracy(model: Any, theta: MetaParams, n_episodes: int) -> np.ndarray:
    """Return the accuracy of each test episode."""
    sampler = Characters("evaluation", rotate=False, seed=1)
    sampler.set(10, N_WAYS, 1, N_QUERIES)
    found = []
    for _ in range(n_episodes // 10):
        episode = sampler.draw()
        right = model.logits(theta, episode).argmax(0) == episode.y_query.argmax(0)
        found += right.mean(-1).tolist()
    return np.array(found)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run, print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="prototypes")
    parser.add_argument("--seconds", type=float, default=300, help="of CPU time, to learn")
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--episodes", type=int, default=500, help="of the test")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    model = MODELS[chosen.model](chosen.filters)
    theta, what = learn(model, Characters("background", rotate=True, seed=0), chosen.seconds)
    scores = accuracy(model, theta, chosen.episodes)
    error = 1.96 * scores.std() / len(scores) ** 0.5
    print(f"{chosen.model}: {what}")
    print(f"5-way 1-shot accuracy: {scores.mean():.3f} +- {error:.3f} ({len(scores)} episodes)")


if __name__ == "__main__":
    main()
