"""The meta-step of `benchmarks.speed.meta_step` in JAX, differentiated through the solve.

Written for speed, as a user of JAX would write it for this model alone: the query rows are read
with the coefficients omega + L u of their task, and the systems are solved in the dual.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Read when JAX starts: one thread, as for numpy.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from skcml.episodes import Episode
from skcml.outer_loop import TINY_LOSS
from skcml.problems.head import HeadProblem

jax.config.update("jax_enable_x64", True)

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8


def loss(theta: dict[str, Any], data: Sequence[Any], problem: HeadProblem) -> Any:
    """Return half the mean squared error of the query rows of solved tasks."""
    x_support, y_support, x_query, y_query = data
    n_tasks, n_support, n_inputs = x_support.shape
    x = jnp.concatenate([x_support, x_query], axis=1).reshape(-1, n_inputs)
    h = x
    for i in range(len(problem.body.hidden_layer_sizes)):
        h = jnp.tanh(h @ theta[f"weight_{i}"] + theta[f"bias_{i}"])
    z = jnp.concatenate([jnp.ones_like(x), x, h], axis=1).reshape(n_tasks, -1, h.shape[1] + 2)
    factor = jnp.where(problem.factor_mask, theta["factor"][0], 0.0)
    noise = problem.noise_floor + jnp.exp(2 * theta["log_noise"][0])
    a = z[:, :n_support] @ factor
    residual = y_support[0] - z[:, :n_support] @ theta["omega"][0]
    root = jnp.linalg.cholesky(noise * jnp.eye(n_support) + a @ a.mT)
    dual = cho_solve((root, True), residual[..., None])[..., 0]
    u = jnp.einsum("tsp,ts->tp", a, dual)
    coefficients = theta["omega"][0] + u @ factor.T
    error = y_query[0] - jnp.einsum("tqk,tk->tq", z[:, n_support:], coefficients)
    return 0.5 * jnp.mean(error**2)


def steppers(
    problem: HeadProblem, start: Mapping[str, np.ndarray], rate: float
) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """Return a state, one step of Adam on the loss's logarithm, and a scan over many of them."""

    def step(state: Any, data: Any) -> tuple[Any, Any]:
        theta, first, second, count = state
        value, grad = jax.value_and_grad(loss)(theta, data, problem)
        grad = jax.tree.map(lambda g: g / jnp.maximum(value, TINY_LOSS), grad)
        count = count + 1
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, grad)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, grad)
        size, root = rate / (1 - BETA_1**count), jnp.sqrt(1 - BETA_2**count)
        theta = jax.tree.map(
            lambda t, m, v: t - size * m / (jnp.sqrt(v) / root + TINY), theta, first, second
        )
        return (theta, first, second, count), value

    theta = {name: jnp.asarray(array) for name, array in start.items()}
    zeros = jax.tree.map(jnp.zeros_like, theta)
    state = theta, zeros, zeros, jnp.asarray(0.0)
    return state, jax.jit(step), jax.jit(lambda state, data: jax.lax.scan(step, state, data))


def arrays(episode: Episode) -> tuple[np.ndarray, ...]:
    """Return what of an episode without weights the loss reads."""
    return episode.x_support, episode.y_support, episode.x_query, episode.y_query


def contestants(
    problem: HeadProblem, theta: Mapping[str, np.ndarray], episodes: Sequence[Episode], rate: float
) -> dict[str, Callable[[], object]]:
    """Return functions that take one step on each episode."""
    state, step, scan = steppers(problem, theta, rate)
    data = [arrays(episode) for episode in episodes]
    stacked = tuple(np.stack(parts) for parts in zip(*data, strict=True))

    def one_by_one() -> None:
        now = state
        for part in data:
            now, _ = step(now, part)
        jax.block_until_ready(now)

    return {
        "JAX jit": one_by_one,
        "JAX jit + scan": lambda: jax.block_until_ready(scan(state, stacked)),
    }
