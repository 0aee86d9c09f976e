"""The simple things, against scikit-learn's ridge regression on the same rows."""

import dataclasses

import numpy as np
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from skcml.problems.head import NOISE_FLOOR
from skcml.selection import held_out as module
from skcml.selection.baselines import per_task_mean, pooled_densities, pooled_heads
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
    found = pooled_densities(train, held_out)
    assert found.mean.shape == found.variance.shape == (1, *held_out.y.shape)
    assert_allclose(found.mean[0], reference.predict(X).T, atol=1e-5)
    squares = (train.y - reference.predict(train.X)) ** 2
    noise = np.average(squares, axis=0, weights=train.weight)
    assert_allclose(found.variance[0], np.broadcast_to(noise[:, None], held_out.y.shape), rtol=1e-5)


def test_a_pooled_head_does_not_adapt(monkeypatch):
    train, _ = case(monkeypatch)
    heads = pooled_heads(train)
    posterior = heads.adapt(train)
    X, codes = train.X[:30], np.repeat([0, 3, -1], 10)
    mean, variance = posterior.predict(X, codes)
    prior, noise = heads.adapt(train.subset(np.arange(0))).predict(X, np.full(30, -1))
    assert_allclose(mean, prior, rtol=1e-12)
    assert_allclose(variance, noise, rtol=1e-12)


def test_noise_free_data_leave_a_floor(monkeypatch):
    train, _ = case(monkeypatch)
    flat = dataclasses.replace(train, y=np.zeros_like(train.y))
    assert (pooled_heads(flat).noise == NOISE_FLOOR).all()


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
