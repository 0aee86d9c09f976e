"""The simple things, against scikit-learn's ridge regression on the same rows."""

import dataclasses

import numpy as np
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from skcml.selection import held_out as module
from skcml.selection.baselines import per_task_mean, pooled_mean
from skcml.selection.held_out import HeldOut
from tests.builders import linear_tasks


def case(monkeypatch):
    """Return training tasks and held-out ones, with weights, two outputs and several pieces."""
    monkeypatch.setattr(module, "MAX_GROUPS", 4)
    rng = np.random.default_rng(0)
    tasks = linear_tasks(n_tasks=24, sizes=(2, 30))
    second = np.sin(tasks.X.sum(1, keepdims=True))
    weight = rng.uniform(0.5, 2.0, len(tasks.X))
    tasks = dataclasses.replace(tasks, y=np.hstack([tasks.y, second]), weight=weight)
    train, held = tasks.subset(np.arange(14)), tasks.subset(np.arange(14, 24))
    return train, HeldOut.draw(held, (1, 8), "random", rng)


def test_pooled_is_one_ridge_regression_on_all_training_rows(monkeypatch):
    train, held_out = case(monkeypatch)
    reference = Ridge(1.0).fit(train.X, train.y, train.weight)
    X = np.concatenate([e.x_query[e.w_query > 0] for e in held_out.episodes])
    found = pooled_mean(train, held_out)
    assert found.shape == held_out.y.shape
    assert_allclose(found, reference.predict(X).T, atol=1e-5)


def test_per_task_is_a_ridge_regression_on_each_support(monkeypatch):
    _, held_out = case(monkeypatch)
    expected = []
    for e in held_out.episodes:
        for t in range(len(e.w_query)):
            support, query = e.w_support[t] > 0, e.w_query[t] > 0
            reference = Ridge(1.0).fit(
                e.x_support[t, support], e.y_support[:, t, support].T, e.w_support[t, support]
            )
            expected.append(reference.predict(e.x_query[t, query]).T)
    found = per_task_mean(held_out)
    assert found.shape == held_out.y.shape
    assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-4)
