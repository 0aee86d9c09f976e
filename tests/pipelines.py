"""Pipelines that learn a mixed model in no time, for the tests of what users call."""

import copy
import functools

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from skcml.pipeline import make_pipeline
from tests.estimators import grouped, linear, quick

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)


def quickest(**params):
    """Return an estimator that learns a mixed model in no time, and holds no group out."""
    return linear(early_stopping=False, prior_covariance="diagonal", **params)


def curved(**params):
    """Return a pipeline of two transformers and a mixed model."""
    curve = PolynomialFeatures(include_bias=False)
    return make_pipeline(StandardScaler(), curve, quickest(**params))


def learned():
    """Return such a pipeline that has learned, one's own to change."""
    return copy.deepcopy(_learned())


@functools.cache
def _learned():
    return curved().meta_fit(X, Y, groups=GROUPS)


def by_hand():
    """Return what `learned` does, without a pipeline: the two transformers and the estimator."""
    return copy.deepcopy(_by_hand())


@functools.cache
def _by_hand():
    scale, curve, last = (clone(step) for _, step in curved().steps)
    made = curve.fit_transform(scale.fit_transform(X))
    return scale, curve, last.meta_fit(made, Y, groups=GROUPS)


def sales(seed=4, **sizes):
    """Draw rows of shops as a frame of two numbers and a word, what they sold, and the shops."""
    numbers, y, shops = grouped(seed, **sizes)
    rng = np.random.default_rng(seed)
    drinks = rng.choice(["tea", "coffee", "milk"], len(y), p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame({"price": 20 + 5 * numbers[:, 0], "drink": drinks, "size": numbers[:, 1]})
    return frame, pd.Series(y + (drinks == "tea"), name="sold"), pd.Series(shops, name="shop")


def encoding():
    """Return what makes numbers of `sales`."""
    return make_column_transformer(
        (StandardScaler(), ["price", "size"]), (OneHotEncoder(sparse_output=False), ["drink"])
    )


def seller(**params):
    """Return a pipeline for `sales`, with a network at its end."""
    return make_pipeline(encoding(), quick(**params))


def learned_seller():
    """Return such a pipeline that has learned, one's own to change."""
    return copy.deepcopy(_learned_seller())


@functools.cache
def _learned_seller():
    X, y, shops = sales()
    return seller().meta_fit(X, y, groups=shops)


def seller_by_hand():
    """Return what `learned_seller` does, without a pipeline: the transformer and the estimator."""
    return copy.deepcopy(_seller_by_hand())


@functools.cache
def _seller_by_hand():
    X, y, shops = sales()
    encode, last = seller().steps[0][1], seller().steps[1][1]
    return encode, last.meta_fit(encode.fit_transform(X), y, groups=shops)


class Stateless(TransformerMixin, BaseEstimator):
    """What many write: it learns nothing, and does not say so."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X * 2
