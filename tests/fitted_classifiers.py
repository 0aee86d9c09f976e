"""Classifiers that have been fitted, one of each setting, and rows to predict."""

import copy
import functools

import numpy as np
import pytest

from skcml import CMLClassifier
from tests.estimators import labelled, learned_classifier, learned_pool, pool

X, Y, GROUPS = labelled()
NEW_X, NEW_Y, NEW_GROUPS = labelled(seed=1)
THREE = labelled(n_classes=3)
POOL_X, POOL_Y = pool()
# Ten classes that the pool does not have, rows of a class together.
NEW_POOL_X, NEW_POOL_Y = pool(seed=1, n_classes=10)
FIRST = np.arange(len(NEW_POOL_X)) % 8 == 0
TASKS = np.repeat([0, 1, 2, 3], 20)  # of two and a half classes


@functools.cache
def _fitted(setting):
    if setting == "shared":
        return learned_classifier().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    if setting == "three shared":
        x, y, groups = labelled(seed=1, n_classes=3)
        return learned_classifier(3).fit(x, y, groups=groups)
    if setting == "exchangeable":
        return learned_pool().fit(NEW_POOL_X[FIRST], NEW_POOL_Y[FIRST])
    if setting == "exchangeable in groups":
        return learned_pool().fit(NEW_POOL_X, NEW_POOL_Y, groups=TASKS)
    return CMLClassifier().fit(X, Y)


def fitted(setting):
    """Return an estimator, one's own to change, and rows, labels and groups to predict."""
    asked = {
        "shared": (X, Y, GROUPS),
        "three shared": THREE,
        "exchangeable": (NEW_POOL_X, NEW_POOL_Y, None),
        "exchangeable in groups": (NEW_POOL_X, NEW_POOL_Y, TASKS),
        "logistic regression": (X, Y, None),
    }[setting]
    return copy.deepcopy(_fitted(setting)), *asked


SETTINGS = ["shared", "three shared", "exchangeable", "exchangeable in groups"]
SETTINGS += ["logistic regression"]
EACH = pytest.mark.parametrize("setting", SETTINGS)
