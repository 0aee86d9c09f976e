"""The descent of `benchmarks.speed.inner_step` in JAX, as its user would write it for this alone.

Parameters are weights and biases of each layer, which is faster than one vector of all: the energy
of a task, differentiated, over all tasks by vmap, Adam by hand, and a compiled scan over the steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

# Read when JAX starts: one thread, as for numpy.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
import jax.numpy as jnp

from skcml.episodes import Episode
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem

jax.config.update("jax_enable_x64", True)

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8


def energy(phi: Any, omega: Any, strength: Any, x: Any, y: Any) -> Any:
    """Return half the squared errors of a task's rows, and the pull to omega."""
    *layers, (weight, bias) = phi
    h = x
    for w, b in layers:
        h = jnp.tanh(h @ w + b)
    out = jnp.concatenate([x, h], axis=-1) @ weight + bias
    pull = jax.tree.map(lambda p, o, s: jnp.sum(s * (p - o) ** 2), phi, omega, strength)
    return 0.5 * jnp.sum((out[:, 0] - y) ** 2) + 0.5 * sum(jax.tree.leaves(pull))


@partial(jax.jit, static_argnames=("n_steps", "rate"))
def descend(omega: Any, strength: Any, x: Any, y: Any, *, n_steps: int, rate: float) -> Any:
    """Return the parameters of each task after so many steps."""
    slopes = jax.vmap(jax.value_and_grad(energy), (0, None, None, 0, 0))

    def step(state: Any, _: Any) -> tuple[Any, Any]:
        phi, first, second, count = state
        value, grad = slopes(phi, omega, strength, x, y)
        count = count + 1
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, grad)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, grad)
        size, root = rate / (1 - BETA_1**count), jnp.sqrt(1 - BETA_2**count)
        phi = jax.tree.map(
            lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + TINY), phi, first, second
        )
        return (phi, first, second, count), value

    phi = jax.tree.map(lambda o: jnp.broadcast_to(o, (len(x), *o.shape)), omega)
    zeros = jax.tree.map(jnp.zeros_like, phi)
    return jax.lax.scan(step, (phi, zeros, zeros, 0.0), length=n_steps)[0][0]


def descent(
    problem: ProximalProblem, theta: MetaParams, episode: Episode, rate: float
) -> Callable[[int], np.ndarray]:
    """Return a function from a number of steps to parameters, (n_tasks, n_params)."""

    def by_layer(vector: np.ndarray) -> list[tuple[Any, Any]]:
        parts, start = [], 0
        for n_in, n_out in problem.network.fast.values():
            part = jnp.asarray(vector[start : start + n_in * n_out].reshape(n_in, n_out))
            parts.append((part[1:], part[0]))
            start += n_in * n_out
        return parts

    omega, strength = by_layer(theta["omega"]), by_layer(problem.pull.strengths(theta))
    x, y = jnp.asarray(episode.x_support), jnp.asarray(episode.y_support[0])

    def run(n_steps: int) -> np.ndarray:
        phi = jax.block_until_ready(descend(omega, strength, x, y, n_steps=n_steps, rate=rate))
        rows = [np.concatenate([b[:, None], w], axis=1) for w, b in jax.tree.map(np.asarray, phi)]
        return np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)

    return run
