"""Quasi-random points of a Gaussian."""

import numpy as np
from numpy.testing import assert_allclose

from skcml.quasi_random import (
    FINAL_POINTS,
    N_POINTS,
    cholesky_of_doubt,
    normal_points,
    points_about,
    probabilities_about,
)

RNG = np.random.default_rng(0)


def test_points_are_those_of_a_standard_normal_and_always_the_same():
    points = normal_points(3)
    assert points.shape == (N_POINTS, 3)
    assert_allclose(points.mean(0), 0.0, atol=1e-12)
    assert_allclose(points.T @ points / N_POINTS, np.eye(3), atol=1e-12)
    assert (points == normal_points(3)).all()


def test_a_singular_doubt_has_a_root():
    half = RNG.normal(size=(7, 4, 2))
    doubt = half @ half.mT
    root = cholesky_of_doubt(doubt)
    assert_allclose(root @ root.mT, doubt, atol=1e-8)
    assert np.isfinite(cholesky_of_doubt(np.zeros((2, 3, 3)))).all()


def test_points_about_predictors_have_their_mean_and_covariance():
    eta, half = RNG.normal(size=(3, 2, 4)), RNG.normal(size=(2, 4, 3, 3))
    doubt = half @ half.mT
    points = points_about(eta, doubt, FINAL_POINTS)
    assert points.shape == (2, 4, 3, FINAL_POINTS)
    assert_allclose(points.mean(-1), np.moveaxis(eta, 0, -1), atol=1e-10)
    apart = points - points.mean(-1, keepdims=True)
    assert_allclose(apart @ apart.mT / FINAL_POINTS, doubt, atol=1e-6)
    p = probabilities_about(eta, doubt, FINAL_POINTS)
    assert_allclose(p.sum(-2), 1.0)
    # Without doubt all are those of the predictors themselves.
    certain = probabilities_about(eta, 0 * doubt, N_POINTS)[..., 0]
    odds = np.exp(np.moveaxis(eta, 0, -1))
    assert_allclose(certain, odds / odds.sum(-1, keepdims=True), rtol=1e-4)
