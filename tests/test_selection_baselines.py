"""The simple things, against scikit-learn's ridge regression on the same rows."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.likelihoods import Bernoulli
from skcml.problems.head import NOISE_FLOOR
from skcml.selection import held_out as module
from skcml.selection.baselines import (
    per_task_mean,
    pooled_heads,
    pooled_mixed_model,
    prior_densities,
)
from skcml.selection.head_model import bodies_of
from skcml.selection.held_out import HeldOut
from tests.builders import head_problem, linear_tasks, random_theta


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
    found = prior_densities(pooled_heads(train), held_out)
    assert found.mean.shape == found.variance.shape == (1, *held_out.y.shape)
    assert_allclose(found.mean[0], reference.predict(X).T, atol=1e-5)
    squares = (train.y - reference.predict(train.X)) ** 2
    # Three coefficients are all but settled by the rows.
    noise = (train.weight[:, None] * squares).sum(0) / (train.weight.sum() - 3)
    assert_allclose(found.variance[0], np.broadcast_to(noise[:, None], held_out.y.shape), rtol=1e-3)


def test_pooled_noise_is_that_of_new_rows():
    # As many coefficients as half the rows: residuals on the rows themselves are too small.
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(4_060, 30)), np.ones(60)
    y = X[:, :1] + rng.normal(size=(4_060, 1))
    heads = pooled_heads(TaskRows(X[:60], y[:60], weight, np.array([0, 60])))
    new = TaskRows(X[60:], y[60:], np.ones(4_000), np.array([0, 4_000]))
    mean, variance = heads.adapt(new.subset(np.arange(0))).predict(new.X, np.full(4_000, -1))
    assert variance[0, 0, 0] == pytest.approx(1.0, rel=0.3)
    assert ((new.y[:, 0] - mean[0, 0]) ** 2).mean() > 1.5


def test_the_pooled_model_is_a_mixed_model_of_which_nothing_varies(monkeypatch):
    train, _ = case(monkeypatch)
    pooled, models = pooled_heads(train), pooled_mixed_model(train)
    assert_array_equal([model.omega for model in models], pooled.omega[0])
    assert_array_equal([model.noise for model in models], pooled.noise[0])
    assert all(model.structure == "none" and not model.factor.any() for model in models)
    # Classes have no noise, and their predictors are in units of one.
    classes = dataclasses.replace(train, y=(train.y > 0).astype(float))
    models = pooled_mixed_model(classes, Bernoulli())
    assert_array_equal(
        [model.omega for model in models], pooled_heads(classes, Bernoulli()).omega[0]
    )
    assert [model.noise for model in models] == [1.0, 1.0]


def test_pooled_heads_on_networks_are_regressions_on_their_features(monkeypatch):
    train, held_out = case(monkeypatch)
    problem = head_problem((6,), 2, n_inputs=2)
    networks = Heads.stack(problem, [random_theta(problem, seed) for seed in (0, 1)])
    bodies = [bodies_of(problem, random_theta(problem, seed)) for seed in (0, 1)]
    found = prior_densities(pooled_heads(train, bodies=bodies), held_out)
    assert found.mean.shape == (2, *held_out.y.shape)
    for i in range(2):
        features, asked = (networks.features(X)[i, 0, :, 1:] for X in (train.X, held_out.x))
        reference = Ridge(1.0).fit(features, train.y, train.weight)
        assert_allclose(found.mean[i], reference.predict(asked).T, atol=1e-4)
    classes = dataclasses.replace(train, y=(train.y > 0).astype(float))
    logistic = prior_densities(pooled_heads(classes, Bernoulli()), held_out)
    for output in range(2):
        reference = LogisticRegression(tol=1e-9).fit(train.X, classes.y[:, output], train.weight)
        expected = reference.predict_proba(held_out.x)[:, 1]
        assert_allclose(logistic.mean[0, output], expected, atol=1e-4)


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
