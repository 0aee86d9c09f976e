"""The simple things that meta-learning must not be worse than, on the same held-out episodes."""

from __future__ import annotations

import numpy as np

from skcml.episodes import TaskRows
from skcml.selection.held_out import HeldOut
from skcml.selection.ridge import ridge_heads


def pooled_mean(train: TaskRows, held_out: HeldOut) -> np.ndarray:
    """Predict by one ridge regression on all training rows, whatever their group.

    Returns
    -------
    ndarray of shape (n_outputs, n_rows)
    """
    everything = TaskRows(train.X, train.y, train.weight, np.array([0, len(train.X)]))
    posterior = ridge_heads(train.X.shape[1], train.y.shape[1]).adapt(everything)
    parts = []
    for e in held_out.episodes:
        x = e.x_query[e.w_query > 0]
        parts.append(posterior.predict(x, np.zeros(len(x), dtype=int), variance=False)[0][0])
    return np.concatenate(parts, axis=1)


def per_task_mean(held_out: HeldOut) -> np.ndarray:
    """Predict by a ridge regression on each group's support rows alone.

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
        heads = ridge_heads(e.x_query.shape[-1], len(e.y_query))
        mean, _ = heads.adapt(tasks).predict(e.x_query[query], query_codes, variance=False)
        parts.append(mean[0])
    return np.concatenate(parts, axis=1)
