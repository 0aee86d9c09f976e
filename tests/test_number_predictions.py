"""What a regressor says of rows: a mean, a spread, quantiles and a score."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.metrics import d2_tweedie_score, r2_score

from skcml import CMLRegressor
from tests.estimators import both, grouped, learned, quick

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)


def test_quantiles_are_gaussian_where_no_group_was_held_out():
    estimator = quick(early_stopping=False).meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    q = np.array([0.01, 0.3, 0.5, 0.99])
    mean, std = both(estimator, X)
    expected = mean[:, None] + std[:, None] * stats.norm.ppf(q)
    assert_allclose(estimator.predict_quantiles(X, q=q), expected, rtol=1e-10)


def test_quantiles_ascend_around_the_mean():
    estimator = learned().fit(NEW_X, NEW_Y)
    quantiles = estimator.predict_quantiles(X, q=[0.02, 0.2, 0.5, 0.8, 0.98])
    assert (np.diff(quantiles) > 0).all()
    mean = estimator.predict(X)
    assert_allclose(quantiles[:, 2], mean, rtol=1e-9)
    assert_allclose(quantiles[:, 0] + quantiles[:, 4], 2 * mean, rtol=1e-8, atol=1e-10)
    assert estimator.predict_quantiles(X).shape == (72, 3)
    assert_array_equal(estimator.predict_quantiles(X, q=0.2)[:, 0], quantiles[:, 1])


def test_the_score_is_the_coefficient_of_determination():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    weight = np.linspace(0, 1, len(X))
    expected = r2_score(Y, estimator.predict(X, groups=GROUPS), sample_weight=weight)
    assert estimator.score(X, Y, groups=GROUPS, sample_weight=weight) == expected


def test_the_score_of_counts_is_the_share_of_deviance_explained():
    counts = np.round(np.exp(Y))
    estimator = CMLRegressor(loss="poisson").fit(X, counts)
    expected = d2_tweedie_score(counts, estimator.predict(X), power=1)
    assert estimator.score(X, counts) == pytest.approx(expected)
    assert CMLRegressor(loss="poisson").fit(X, 0 * counts).score(X, 0 * counts) == 0.0
