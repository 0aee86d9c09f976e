"""Sinusoids, 10 shots: mean squared error against seconds of `meta_fit` on one core.

Amplitude 0.1 to 5, phase 0 to pi, x in [-5, 5]; 10 query rows in training; 500 held-out tasks of
50 query rows. The peer is a Bayesian last layer learned by back-propagation through its log
predictive density (ALPaCA; Harrison, Sharma and Pavone, WAFR 2018), written in torch with the same
body, batches and learning rate.

    OMP_NUM_THREADS=1 python -m benchmarks.sinusoid.run --seconds 20 60
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from skcml import CMLRegressor
from skcml.datasets import make_sinusoid_tasks

N_SHOTS, N_QUERIES, BATCH = 10, 10, 25
HELD_OUT_TASKS, HELD_OUT_QUERIES = 500, 50


def skcml_steps(n_steps: int, meta_loss: str, seed: int) -> tuple[float, float]:
    """Return seconds of `meta_fit` and held-out error after a number of meta-steps."""
    X, y, groups = make_sinusoid_tasks(40_000, N_SHOTS + N_QUERIES, random_state=seed)
    est = CMLRegressor(
        hidden_layer_sizes=(40, 40),
        n_shots=N_SHOTS,
        n_queries=N_QUERIES,
        meta_batch_size=BATCH,
        meta_max_iter=n_steps,
        meta_loss=meta_loss,
        early_stopping=False,
        random_state=seed,
    )
    start = time.process_time()
    est.meta_fit(X, y, groups=groups)
    seconds = time.process_time() - start
    X, y, groups, support = held_out()
    est.fit(X[support], y[support], groups=groups[support])
    error = est.predict(X[~support], groups=groups[~support]) - y[~support]
    return seconds, float(np.mean(error**2))


def held_out() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of held-out tasks, and which are support."""
    per_task = N_SHOTS + HELD_OUT_QUERIES
    X, y, groups = make_sinusoid_tasks(HELD_OUT_TASKS, per_task, random_state=10_000)
    return X, y, groups, np.tile(np.arange(per_task) < N_SHOTS, HELD_OUT_TASKS)


class LastLayer(torch.nn.Module):
    """ALPaCA: a body, and a Gaussian posterior over its last layer, tasks in a batch."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(1, width),
            torch.nn.Tanh(),
            torch.nn.Linear(width, width),
            torch.nn.Tanh(),
        )
        self.mean = torch.nn.Parameter(torch.zeros(width + 1))
        self.factor = torch.nn.Parameter(torch.eye(width + 1))
        self.log_noise = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, xq: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return predictive mean and variance of query rows, (n_tasks, n_queries)."""
        z, zq = self._features(x), self._features(xq)
        noise = torch.exp(2 * self.log_noise) + 1e-8
        a, aq = z @ self.factor.tril(), zq @ self.factor.tril()
        gram = a @ a.mT + noise * torch.eye(a.shape[1])
        root = torch.linalg.cholesky(gram)
        v = torch.linalg.solve_triangular(root, a @ aq.mT, upper=False)
        r = torch.linalg.solve_triangular(root, (y - z @ self.mean)[..., None], upper=False)
        mean = zq @ self.mean + (v.mT @ r)[..., 0]
        return mean, noise + ((aq**2).sum(-1) - (v**2).sum(-2)).clamp(min=0)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x[..., None])
        return torch.cat([torch.ones_like(h[..., :1]), h], dim=-1)


def alpaca(seconds: float, seed: int) -> tuple[float, float, int]:
    """Train for about ``seconds``; the learning rate falls along a cosine of spent time."""
    torch.manual_seed(seed)
    model = LastLayer().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(seed)
    start, steps = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        optimizer.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + np.cos(np.pi * spent / seconds))
        X, y, _ = make_sinusoid_tasks(
            BATCH, N_SHOTS + N_QUERIES, random_state=int(rng.integers(2**31))
        )
        x, y = (torch.from_numpy(a.reshape(BATCH, -1)) for a in (X, y / 2.0))
        mean, variance = model(x[:, :N_SHOTS], y[:, :N_SHOTS], x[:, N_SHOTS:])
        loss = torch.mean(torch.log(variance) + (y[:, N_SHOTS:] - mean) ** 2 / variance)
        optimizer.zero_grad()
        loss.backward()
        if all(torch.isfinite(p.grad).all() for p in model.parameters()):
            optimizer.step()
        steps += 1
    X, y, _, _ = held_out()
    x, y = (torch.from_numpy(a.reshape(HELD_OUT_TASKS, -1)) for a in (X, y / 2.0))
    with torch.no_grad():
        mean, _ = model(x[:, :N_SHOTS], y[:, :N_SHOTS], x[:, N_SHOTS:])
    error = float(torch.mean((2.0 * (mean - y[:, N_SHOTS:])) ** 2))
    return time.process_time() - start, error, steps


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[20.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    skcml_steps(10, "loss", 0)  # imports and first calls are not counted
    print("| method | seconds asked | seconds | meta-steps | mean squared error, by seed |")
    print("|---|---|---|---|---|")
    for budget in args.seconds:
        for name, meta_loss in (("skcml", "log_predictive"), ('skcml, "loss"', "loss")):
            trial, _ = skcml_steps(1000, meta_loss, 0)
            once, _ = skcml_steps(1, meta_loss, 0)
            n_steps = max(int(0.95 * (budget - once) / (trial - once) * 999), 1)
            runs = [skcml_steps(n_steps, meta_loss, seed) for seed in args.seeds]
            _row(name, budget, [r[0] for r in runs], n_steps, [r[1] for r in runs])
        runs = [alpaca(budget, seed) for seed in args.seeds]
        _row("ALPaCA", budget, [r[0] for r in runs], runs[0][2], [r[1] for r in runs])


def _row(name: str, budget: float, seconds: list[float], steps: int, errors: list[float]) -> None:
    listed = ", ".join(f"{error:.1e}" for error in errors)
    print(f"| {name} | {budget:.0f} | {np.median(seconds):.1f} | {steps} | {listed} |", flush=True)


if __name__ == "__main__":
    main()
