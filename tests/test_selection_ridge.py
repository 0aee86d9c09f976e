"""Ridge regression as a head, against scikit-learn's."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from skcml.problems.mlp import MLPBody
from skcml.selection.ridge import ridge_heads
from tests.builders import linear_tasks


def two_outputs(tasks):
    second = np.sin(tasks.X.sum(1, keepdims=True)) + 0.5 * tasks.y
    return dataclasses.replace(tasks, y=np.hstack([tasks.y, second]))


@pytest.mark.parametrize("alpha", [0.01, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("sizes", [(2, 9), (30, 60)])
def test_each_task_has_its_own_ridge_regression(alpha, is_weighted, sizes):
    tasks = two_outputs(linear_tasks(n_tasks=12, sizes=sizes, omega=(1.0, -2.0, 0.5, 0.3, 2.0)))
    rng = np.random.default_rng(1)
    if is_weighted:
        tasks = dataclasses.replace(tasks, weight=rng.uniform(0.2, 3.0, len(tasks.X)))
    posterior = ridge_heads(MLPBody(4), 2, alpha).adapt(tasks)
    X = rng.normal(size=(20, 4))
    for t in range(tasks.n_tasks):
        rows = slice(tasks.starts[t], tasks.starts[t + 1])
        reference = Ridge(alpha).fit(tasks.X[rows], tasks.y[rows], tasks.weight[rows])
        # The intercept's prior is not quite flat.
        tol = {"rtol": 0, "atol": 3e-5}
        mean, _ = posterior.predict(X, np.full(20, t))
        assert_allclose(mean[0].T, reference.predict(X), **tol)
        assert_allclose(posterior.coefficients[t, 0, :, 1:], reference.coef_, **tol)
        assert_allclose(posterior.coefficients[t, 0, :, 0], reference.intercept_, **tol)


def test_without_rows_nothing_is_known():
    tasks = linear_tasks(n_tasks=3)
    mean, variance = (
        ridge_heads(MLPBody(2), 1).adapt(tasks).predict(np.zeros((1, 2)), np.array([-1]))
    )
    assert mean.item() == 0.0
    assert variance.item() > 1e5
