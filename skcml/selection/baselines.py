"""The simple things that meta-learning must not be worse than, on the same held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.likelihoods import Likelihood
from skcml.problems.head import NOISE_FLOOR
from skcml.problems.mlp import MLPBody
from skcml.random_effects import MixedModel
from skcml.selection.held_out import HeldOut
from skcml.selection.mixture import Densities
from skcml.selection.models import FixedBody
from skcml.selection.ridge import FLAT, ridge_heads

# Prior standard deviation of a single group's logit or log rate. With a flat prior, three rows
# without an event would say that there is never one.
WEAK = 2.5


def pooled_heads(
    tasks: TaskRows,
    likelihood: Likelihood | None = None,
    bodies: Sequence[FixedBody] | None = None,
) -> Heads:
    """Return one ridge (or logistic) regression on all rows, whatever their group.

    It is linear in the inputs, or in the features of networks' bodies, one regression for each. As
    a head it has no prior factor: no row can change what it says of a group.
    """
    n_outputs = tasks.y.shape[1]
    everything = TaskRows(tasks.X, tasks.y, tasks.weight, np.array([0, len(tasks.X)]))
    codes = np.zeros(len(tasks.X), dtype=int)
    pooled = []
    for body, theta in bodies or [(MLPBody(tasks.X.shape[1]), {})]:
        posterior = ridge_heads(body, n_outputs, 1.0, likelihood, theta).adapt(everything)
        omega = posterior.coefficients[0]
        heads = replace(posterior.heads, omega=omega, factor=np.zeros((*omega.shape, 0)))
        if likelihood is None:
            mean, _ = posterior.predict(tasks.X, codes, variance=False)
            squares = (tasks.weight * (tasks.y.T - mean[0]) ** 2).sum(-1)
            # The trace of I - H^-1 counts the coefficients that the rows have settled.
            settled = (posterior.directions**2).sum((0, 1, 3))
            noise = squares / np.maximum(tasks.weight.sum() - settled, 1.0)
            heads = replace(heads, noise=np.maximum(noise, NOISE_FLOOR)[None])
        pooled.append(heads)
    return Heads.concatenate(pooled)


def pooled_mixed_model(tasks: TaskRows, likelihood: Likelihood | None = None) -> list[MixedModel]:
    """Return the pooled model as a mixed model of which nothing varies between groups."""
    pooled = pooled_heads(tasks, likelihood)
    omega = pooled.omega[0]
    noise = pooled.noise[0] if likelihood is None else np.ones(len(omega))
    nothing = np.zeros((omega.shape[1],) * 2)
    return [
        MixedModel(mean, nothing, float(variance), "none", 0)
        for mean, variance in zip(omega, noise, strict=True)
    ]


def prior_densities(heads: Heads, held_out: HeldOut) -> Densities:
    """Predict held-out rows by heads that know nothing of their groups."""
    x = held_out.x
    return Densities(*heads.prior.predict(x, np.full(len(x), -1)), heads.likelihood)


def alone_heads(n_inputs: int, n_outputs: int, likelihood: Likelihood | None = None) -> Heads:
    """Return a ridge (or logistic) regression that is to see the rows of one group alone."""
    scale = FLAT if likelihood is None else WEAK
    return ridge_heads(MLPBody(n_inputs), n_outputs, 1.0, likelihood, intercept_scale=scale)


def per_task_mean(held_out: HeldOut, likelihood: Likelihood | None = None) -> np.ndarray:
    """Predict by a ridge (or logistic) regression on each group's support rows alone.

    Returns
    -------
    ndarray of shape (n_outputs, n_rows)
    """
    parts = []
    for e in held_out.episodes:
        n_tasks = len(e.w_query)
        support, query = e.w_support > 0, e.w_query > 0
        y = np.moveaxis(e.y_support[:, support], 0, -1)
        support_codes, query_codes = np.nonzero(support)[0], np.nonzero(query)[0]
        tasks = TaskRows.from_codes(
            e.x_support[support], y, e.w_support[support], support_codes, n_tasks
        )
        heads = alone_heads(e.x_query.shape[-1], len(e.y_query), likelihood)
        mean, _ = heads.adapt(tasks).predict(e.x_query[query], query_codes, variance=False)
        parts.append(mean[0])
    return np.concatenate(parts, axis=1)
