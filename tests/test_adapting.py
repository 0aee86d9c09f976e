"""From rows of tasks to posteriors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from skcml import CMLRegressor
from skcml.estimators._adapting import adapt_learned, adapt_ridge, task_rows
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._scaling import Scaling
from tests.estimators import grouped, learned

X, Y, GROUPS = grouped(seed=4)
NONE = Scaling.none(2, 1)
FLAT = Targets(1, True)


def rows_of(X, y, weight=None, groups=None):
    return Rows(X, y, weight, groups, FLAT)


# --- task_rows


def test_rows_are_sorted_by_group_and_standardised():
    scaling = Scaling.fit(X, Y[:, None], None)
    order = np.random.default_rng(0).permutation(len(X))
    tasks, index = task_rows(rows_of(X[order], Y[order, None], None, GROUPS[order]), scaling)
    assert_array_equal(index.labels, np.arange(12))
    assert_array_equal(tasks.sizes, np.full(12, 6))
    assert_array_equal(tasks.weight, np.ones(72))
    for task in range(12):
        rows = order[GROUPS[order] == task]
        part = tasks.subset(np.array([task]))
        assert_array_equal(part.X, scaling.features(X[rows]))
        assert_array_equal(part.y, scaling.outputs(Y[rows, None]))


def test_without_groups_there_is_one_task():
    tasks, index = task_rows(rows_of(X, Y[:, None], None, None), NONE)
    assert index is None
    assert_array_equal(tasks.starts, [0, 72])
    assert_array_equal(tasks.X, X)


def test_rows_of_weight_zero_are_left_out_and_their_groups_stay_known():
    weight = np.where(GROUPS == 0, 0.0, 2.0)
    weight[-1] = 0.0
    tasks, index = task_rows(rows_of(X, Y[:, None], weight, GROUPS), NONE)
    assert len(index) == 12
    assert_array_equal(tasks.sizes, [0] + [6] * 10 + [5])
    assert_array_equal(tasks.weight, np.full(65, 2.0))
    assert_array_equal(tasks.X, X[6:-1])
    single, _ = task_rows(rows_of(X, Y[:, None], weight, None), NONE)
    assert_array_equal(single.starts, [0, 65])


def test_bad_groups_are_called_by_the_given_name():
    with pytest.raises(ValueError, match="groups_val has 2 labels for 72 rows"):
        task_rows(rows_of(X, Y[:, None], None, [1, 2]), NONE, name="groups_val")


# --- adapt_ridge


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("n_rows", [3, 72])  # fewer and more rows than columns
def test_one_task_is_ridge_regression_on_standardised_features(penalty, n_rows):
    x, y = X[:n_rows], Y[:n_rows]
    ours = CMLRegressor(prior_strength=penalty).fit(x, y)
    scaler = StandardScaler().fit(x)
    theirs = Ridge(alpha=penalty).fit(scaler.transform(x), y)
    assert_allclose(ours.predict(X), theirs.predict(scaler.transform(X)), rtol=1e-6, atol=1e-6)


def test_the_standard_deviation_is_that_of_bayesian_ridge_regression():
    penalty = 2.0
    _, std = CMLRegressor(prior_strength=penalty).fit(X, Y).predict(X, return_std=True)
    z = np.column_stack([np.ones(len(X)), StandardScaler().fit_transform(X)])
    precision = z.T @ z + np.diag([0.0, penalty, penalty])
    coefficients = np.linalg.solve(precision, z.T @ Y)
    squares = ((Y - z @ coefficients) ** 2).sum() + penalty * (coefficients[1:] ** 2).sum()
    noise = squares / (len(Y) - 1)
    doubt = np.einsum("ij,jk,ik->i", z, np.linalg.inv(precision), z)
    assert_allclose(std, np.sqrt(noise * (1 + doubt)), rtol=1e-5)


def test_each_group_has_a_ridge_regression_of_its_own():
    scaling = Scaling.fit(X, Y[:, None], None)
    tasks, index = task_rows(rows_of(X, Y[:, None], None, GROUPS), scaling)
    adapted = adapt_ridge(tasks, index, scaling, prior_strength=1.0, targets=FLAT)
    mean, _ = adapted.predict(X, adapted.codes(GROUPS, len(X)), variance=False)
    z = scaling.features(X)
    for group in range(12):
        rows = group == GROUPS
        theirs = Ridge(alpha=1.0).fit(z[rows], Y[rows])
        assert_allclose(mean[0, rows], theirs.predict(z[rows]), rtol=1e-4, atol=1e-5)


def test_one_row_leaves_the_noise_at_the_scale_of_y():
    tasks, _ = task_rows(rows_of(X[:1], Y[:1, None], None, None), NONE)
    adapted = adapt_ridge(tasks, None, NONE, prior_strength=1.0, targets=FLAT)
    assert_array_equal(adapted.variance_scale, [1.0])


# --- adapt_learned


def adapt(tasks, index, strength):
    state = learned()._meta
    return adapt_learned(
        state.learned, state.scaling, tasks, index, prior_strength=strength, targets=FLAT
    )


def test_the_stronger_the_prior_the_nearer_the_groups():
    state = learned()._meta
    tasks, index = task_rows(rows_of(X, Y[:, None], None, GROUPS), state.scaling)
    strongest = adapt(tasks, index, 1e15)
    prior = strongest.predict(X, strongest.codes(GROUPS, len(X)), variance=False)[0][0]
    distances = []
    for strength in (1e-9, 1.0, 1e9):
        adapted = adapt(tasks, index, strength)
        mean, _ = adapted.predict(X, adapted.codes(GROUPS, len(X)), variance=False)
        distances.append(abs(mean[0] - prior).max())
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-5


def test_without_a_task_there_is_the_prior():
    tasks, _ = task_rows(rows_of(X[:0], Y[:0, None], None, None), NONE)
    nothing = tasks.subset(np.arange(0))
    adapted = adapt(nothing, None, 1.0)
    assert adapted.is_prior
    mean, _ = adapted.predict(X, adapted.codes(None, len(X)), variance=False)
    assert_array_equal(mean[0], learned().predict(X))


def test_a_group_whose_rows_weigh_nothing_gets_the_prior():
    weight = np.where(GROUPS == 0, 0.0, 1.0)
    estimator = learned().fit(X, Y, groups=GROUPS, sample_weight=weight)
    rows = GROUPS == 0
    assert_allclose(
        estimator.predict(X[rows], groups=GROUPS[rows]), learned().predict(X[rows]), rtol=1e-12
    )
