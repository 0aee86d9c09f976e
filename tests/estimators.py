"""Grouped data and quickly learned estimators for the tests of what users call."""

import copy
import functools

import numpy as np

from skcml import CMLClassifier, CMLRegressor

N_GROUPS, N_ROWS = 12, 6


def grouped(seed=4, *, n_groups=N_GROUPS, n_rows=N_ROWS, n_features=2, n_outputs=None):
    """Draw groups with slopes and offsets of their own; rows of a group stand together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_rows)
    m = n_outputs or 1
    X = rng.normal(size=(len(groups), n_features))
    slopes = rng.normal(size=(n_features, m)) + 0.5 * rng.normal(size=(n_groups, n_features, m))
    offsets = rng.normal(size=(n_groups, m))
    y = offsets[groups] + np.einsum("nd,ndm->nm", X, slopes[groups])
    y += 0.1 * rng.normal(size=y.shape)
    return X, y if n_outputs else y[:, 0], groups


def quick(**params):
    """Return an estimator that learns in a fraction of a second."""
    fast = {"hidden_layer_sizes": (4,), "meta_max_iter": 5, "random_state": 0}
    return CMLRegressor(**fast | params)


def linear(**params):
    """Return one that learns the linear mixed model alone."""
    return quick(hidden_layer_sizes=(), meta_max_iter=0, **params)


def learned(n_outputs=None, n_features=2):
    """Return an estimator that has learned from `grouped`, one's own to change."""
    return copy.deepcopy(_learned(n_outputs, n_features))


@functools.cache
def _learned(n_outputs, n_features):
    X, y, groups = grouped(n_outputs=n_outputs, n_features=n_features)
    estimator = quick().meta_fit(X, y, groups=groups)
    # The tests want both members at work.
    assert (estimator.meta_params_["weights"][2:] > 0).all()
    return estimator


def both(estimator, X, groups=None):
    """Return predictive means and standard deviations as one array."""
    return np.stack(estimator.predict(X, groups=groups, return_std=True))


def labelled(seed=4, *, n_groups=N_GROUPS, n_rows=N_ROWS, n_classes=2):
    """Draw groups whose classes are shared; rows of a group stand together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_rows)
    X = rng.normal(size=(len(groups), 2))
    logits = (
        1.5 * X @ rng.normal(size=(2, n_classes)) + rng.normal(size=(n_groups, n_classes))[groups]
    )
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return X, np.array(["a", "b", "c", "d"])[y], groups


def pool(seed=4, *, n_classes=16, n_rows=8, n_features=4, spread=0.5):
    """Draw clouds about centres: a pool of exchangeable classes, rows of a class together."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_rows)
    X = rng.normal(size=(n_classes, n_features))[y] + spread * rng.normal(size=(len(y), n_features))
    return X, np.array([f"class {c:02d}" for c in y])


def quick_classifier(**params):
    """Return a classifier that learns in a fraction of a second."""
    fast = {"hidden_layer_sizes": (4,), "meta_max_iter": 5, "random_state": 0}
    return CMLClassifier(**fast | params)


def learned_classifier(n_classes=2):
    """Return a classifier that has learned from `labelled`, one's own to change."""
    return copy.deepcopy(_learned_classifier(n_classes))


@functools.cache
def _learned_classifier(n_classes):
    X, y, groups = labelled(n_classes=n_classes)
    return quick_classifier().meta_fit(X, y, groups=groups)


def learned_pool():
    """Return a classifier that has learned from `pool`, one's own to change."""
    return copy.deepcopy(_learned_pool())


@functools.cache
def _learned_pool():
    return quick_classifier(n_ways=4, n_shots=2).meta_fit(*pool())
