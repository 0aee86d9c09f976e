"""Pipelines that learn a mixed model in no time, for the tests of what users call."""

import copy
import functools

from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skcml.pipeline import make_pipeline
from tests.estimators import grouped, linear

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


class Stateless(TransformerMixin, BaseEstimator):
    """What many write: it learns nothing, and does not say so."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X * 2
