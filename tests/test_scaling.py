"""Standardised units and users' units."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.estimators._scaling import MIN_SIZE, Scaling, refuse_tiny

rng = np.random.default_rng(0)
X = rng.normal(3.0, [0.1, 10.0, 1e6], size=(20, 3))
Y = rng.normal(-2.0, [5.0, 0.01], size=(20, 2))


def test_columns_have_mean_zero_and_variance_one():
    scaling = Scaling.fit(X, Y, None)
    for values in (scaling.features(X), scaling.outputs(Y)):
        assert_allclose(values.mean(0), 0, atol=1e-12)
        assert_allclose(values.std(0), 1, rtol=1e-12)


def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row():
    weight = np.arange(20) % 3
    weighted = Scaling.fit(X, Y, weight)
    repeated = Scaling.fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0), None)
    for name in ("x_mean", "x_scale", "y_mean", "y_scale"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10)


def test_a_constant_column_is_centred_only():
    scaling = Scaling.fit(np.full((5, 1), 7.3), np.zeros((5, 1)), None)
    assert scaling.x_mean[0] == pytest.approx(7.3)
    assert scaling.x_scale[0] == scaling.y_scale[0] == 1
    assert_allclose(scaling.features(np.array([[7.3], [9.3]])), [[0], [2]], atol=1e-12)


def test_none_leaves_everything_as_it_is():
    scaling = Scaling.none(3, 2)
    assert_array_equal(scaling.features(X), X)
    assert_array_equal(scaling.outputs(Y), Y)
    coefficients = rng.normal(size=(2, 4))
    assert_array_equal(scaling.coefficients(coefficients), coefficients)


def test_coefficients_in_both_units_predict_the_same():
    scaling = Scaling.fit(X, Y, None)
    standardised = rng.normal(size=(5, 2, 4))  # five groups, two outputs
    z = np.column_stack([np.ones(20), scaling.features(X)])
    expected = np.einsum("tmk,nk->tnm", standardised, z) * scaling.y_scale + scaling.y_mean
    raw = np.column_stack([np.ones(20), X])
    assert_allclose(
        np.einsum("tmk,nk->tnm", scaling.coefficients(standardised), raw), expected, rtol=1e-9
    )


@pytest.mark.parametrize("output", [0, 1])
def test_coefficient_map_translates_deviations(output):
    scaling = Scaling.fit(X, Y, None)
    base, deviation = rng.normal(size=(2, 2, 4))
    moved = scaling.coefficients(base + deviation) - scaling.coefficients(base)
    assert_allclose(
        scaling.coefficient_map(output) @ deviation[output], moved[output], rtol=1e-9, atol=1e-12
    )


def test_a_constant_column_with_uneven_weights_is_centred_only():
    X = np.full((72, 1), 1e5)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scaling = Scaling.fit(X, rng.normal(size=(72, 1)), rng.choice([1e-3, 1.0], 72))
        assert np.isfinite(scaling.x_scale).all()
        assert abs(scaling.features(X)).max() < 1e-3


def test_the_unit_of_weights_does_not_matter():
    weight = rng.uniform(0.5, 2.0, 20) * (np.arange(20) % 4 > 0)
    x = np.column_stack([X, np.full(20, 7.3), np.arange(20.0) == 3])
    expected = Scaling.fit(x, Y, weight)
    for unit in (1e-20, 1e20):
        found = Scaling.fit(x, Y, unit * weight)
        for name in ("x_mean", "x_scale", "y_mean", "y_scale"):
            assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-10)


def test_a_deviation_of_exactly_one_is_no_constant_column():
    x = np.array([[-1.0, 1.0, -1.0, 1.0, -2.0, 0.0, 0.0, 2.0, 0.0, 0.0]]).T
    x = np.vstack([x, np.zeros((2, 1))])
    assert x.std() == 1.0
    assert_array_equal(Scaling.fit(x, x, None).x_scale, [1.0])


def test_a_column_that_would_pass_for_a_constant_is_refused():
    refuse_tiny(X, "X")
    refuse_tiny(np.array([[1e-300, 0.0], [1e-300, 2 * MIN_SIZE]]), "X")  # constant; large enough
    expected = (
        r"Column 1 of X holds nothing larger than 2\.0e-200; below 1e-60 .* multiply the column"
    )
    with pytest.raises(ValueError, match=expected):
        refuse_tiny(np.array([[1.0, 1e-200], [2.0, -2e-200]]), "X")
