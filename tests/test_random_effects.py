"""Random effects: covariances, their structures and their roots."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.random_effects import active_columns, cholesky_psd, restrict, shrink_to_diagonal


def covariance(size=4, rank=None, seed=0):
    half = np.random.default_rng(seed).normal(size=(size, rank or size))
    return half @ half.T


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_root_is_triangular_and_gives_the_matrix_back(rank, scale):
    sigma = scale * covariance(rank=rank)
    factor = cholesky_psd(sigma)
    assert_allclose(factor @ factor.T, sigma, rtol=1e-8, atol=1e-8 * abs(sigma).max())
    assert (np.triu(factor, 1) == 0).all()
    assert (factor.diagonal() >= 0).all()


def test_a_matrix_that_rounding_made_indefinite_has_a_root():
    sigma = covariance(rank=2)
    scale = np.sqrt(sigma.diagonal())
    sigma = sigma - 1e-9 * np.outer(scale, scale)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(sigma + 1e-10 * np.diag(sigma.diagonal()))
    factor = cholesky_psd(sigma)
    assert_allclose(factor @ factor.T, sigma, atol=1e-7)
    assert_allclose(np.triu(factor, 1), 0.0, atol=1e-12)


def test_no_variance_is_no_row():
    sigma = np.zeros((3, 3))
    sigma[1:, 1:] = covariance(2)
    factor = cholesky_psd(sigma)
    assert (factor[0] == 0).all()
    assert_allclose(factor @ factor.T, sigma, atol=1e-9)


def test_structures_keep_what_they_have():
    sigma = covariance()
    assert restrict(sigma, "full") is sigma
    assert_array_equal(restrict(sigma, "diagonal"), np.diag(sigma.diagonal()))
    only = restrict(sigma, "intercept")
    assert only[0, 0] == sigma[0, 0]
    assert np.count_nonzero(only) == 1
    assert [active_columns(s, 4) for s in ("full", "intercept")] == [slice(0, 4), slice(0, 1)]


def test_shrinkage_leaves_variances():
    sigma = covariance()
    shrunk = shrink_to_diagonal(sigma, 15, 5.0)
    assert_allclose(shrunk.diagonal(), sigma.diagonal())
    assert shrunk[0, 1] == pytest.approx(0.75 * sigma[0, 1])
    assert_array_equal(shrink_to_diagonal(sigma, 15, 0.0), sigma)
