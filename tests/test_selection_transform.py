"""Rows centred, scaled and made of unit length."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.class_pool import ClassPool
from skcml.selection.transform import RAW, RECIPES, Recipe, Transform
from tests.class_tasks import gaussian_pool


def weighted_pool():
    rng = np.random.default_rng(0)
    codes = np.array([0, 0, 0, 2, 2, 3])
    return ClassPool.from_codes(rng.normal(size=(6, 3)), rng.uniform(1, 2, 6), codes, 4)


def test_the_default_only_centres():
    assert next(iter(RECIPES)) == "center"
    assert RECIPES["center"] == Recipe(center=True, scale=False, lift=False, unit=True)


def test_the_centre_is_the_mean_of_class_means_and_of_zero():
    pool = weighted_pool()
    means = [
        np.average(pool.X[pool.codes == c], axis=0, weights=pool.weight[pool.codes == c])
        for c in (0, 2, 3)
    ]
    transform = Transform.fit(pool, RECIPES["center"])
    assert_allclose(transform.center, sum(means) / 4)
    assert (transform.scale == 1).all()


def test_columns_are_scaled_by_their_weighted_deviation():
    pool = weighted_pool()
    mean = np.average(pool.X, axis=0, weights=pool.weight)
    variance = np.average((pool.X - mean) ** 2, axis=0, weights=pool.weight)
    assert_allclose(Transform.fit(pool, RECIPES["lift"]).scale, np.sqrt(variance))


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9])
def test_a_column_that_is_constant_but_for_rounding_keeps_its_scale(constant):
    pool = weighted_pool()
    pool.X[:, 1] = constant * (1 + 1e-15 * np.arange(6))
    scale = Transform.fit(pool, RECIPES["standardize"]).scale
    assert scale[1] == 1
    assert (scale[[0, 2]] != 1).all()


@pytest.mark.parametrize("name", RECIPES)
def test_a_row_without_weight_does_not_matter(name):
    pool = weighted_pool()
    outlier = np.append(pool.codes, 1), np.vstack([pool.X, np.full(3, 1e3)])
    wider = ClassPool.from_codes(outlier[1], np.append(pool.weight, 0), outlier[0], 4)
    expected, found = (Transform.fit(p, RECIPES[name]) for p in (pool, wider))
    assert_allclose(found.center, expected.center)
    assert_allclose(found.scale, expected.scale)


def test_rows_are_centred_scaled_and_one_long():
    X = np.random.default_rng(1).normal(size=(5, 3))
    center, scale = np.array([1.0, 2, 3]), np.array([1.0, 10, 0.1])
    z = (X - center) / scale
    loose = Transform(center, scale, unit=False, lift=False)
    assert_allclose(loose(X), z)
    tight = dataclasses.replace(loose, unit=True)
    assert_allclose(tight(X), z / np.linalg.norm(z, axis=1)[:, None])
    assert (tight(center[None]) == 0).all()


def test_raw_rows_stay_as_they_are():
    pool = weighted_pool()
    assert_array_equal(Transform.fit(pool, RAW["raw"]).of_pool(pool).X, pool.X)


def test_a_lift_appends_a_constant_as_long_as_a_standardised_row():
    transform = Transform(np.zeros(4), np.ones(4), unit=False, lift=True)
    X = np.random.default_rng(1).normal(size=(5, 4))
    assert_allclose(transform(X), np.column_stack([X / 2, np.ones(5)]))
    short = dataclasses.replace(transform, unit=True)(1e-4 * X)
    # Near the centre angles are distances.
    gaps = [np.linalg.norm(rows[:, None] - rows, axis=-1) for rows in (short, 1e-4 * X / 2)]
    assert_allclose(*gaps, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_the_unit_of_measurement_does_not_matter(name, size):
    pool = gaussian_pool()
    moved = dataclasses.replace(pool, X=size * pool.X)
    expected, found = (Transform.fit(p, RECIPES[name]).of_pool(p) for p in (pool, moved))
    assert_allclose(found.X, expected.X, rtol=1e-9)
    assert_allclose(np.linalg.norm(found.X, axis=1), 1)
    assert found.X.shape[1] == 3 + RECIPES[name].lift
    assert found.starts is moved.starts
