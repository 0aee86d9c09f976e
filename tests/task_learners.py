"""Learners over tasks that have been fitted, and what their scores are by a plain loop."""

import functools
import pickle

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

from skcml import CMLClassifier
from skcml.model_selection import TaskLearner
from tests.estimators import grouped, labelled, linear, pool, quick_classifier

X, Y, GROUPS = grouped(n_groups=15, n_rows=8)
OLD, NEW = GROUPS < 10, GROUPS >= 10
CV = GroupKFold(3)
# The shape of errors of scikit-learn's that hold ours.
LOUD = {"error_score": "raise"}


def reml(**params):
    """Return the linear mixed model."""
    return linear(early_stopping=False, **params)


def learner(estimator=None, **params):
    """Return a learner that shows the first three rows of a task."""
    options = {"n_shots": 3, "support": "first", "random_state": 0}
    return TaskLearner(reml() if estimator is None else estimator, **options | params)


@functools.cache
def _fitted():
    return learner().fit(X[OLD], Y[OLD], groups=GROUPS[OLD])


def fitted(**params):
    """Return a learner of numbers that has been fitted, with other parameters."""
    return pickle.loads(pickle.dumps(_fitted())).set_params(**params)


def table(x=X, groups=GROUPS):
    """Return rows as a frame that holds their groups."""
    return pd.DataFrame(x, columns=["a", "b"]).assign(ward=[f"w{g:02}" for g in groups])


@functools.cache
def _classes_learner():
    alone = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}
    x, y, groups = labelled(n_groups=20, n_rows=8)
    return learner(quick_classifier(**alone)).fit(x, y, groups=groups)


def classes_learner(**params):
    """Return a learner of shared classes that has been fitted, with other parameters."""
    return pickle.loads(pickle.dumps(_classes_learner())).set_params(**params)


def digits_learner(**params):
    """Return a learner of exchangeable classes."""
    estimator = CMLClassifier(
        classes="exchangeable",
        n_ways=3,
        n_shots=1,
        meta_max_iter=1,
        early_stopping=False,
        random_state=0,
    )
    return TaskLearner(estimator, **{"n_shots": 3, "random_state": 0, "n_episodes": 20} | params)


@functools.cache
def _pool_learner():
    return digits_learner().fit(*pool())


def pool_learner(**params):
    """Return a learner that has learned from `pool`, with other parameters."""
    return pickle.loads(pickle.dumps(_pool_learner())).set_params(**params)


def by_hand(estimator, x, y, groups, k, score):
    """Return the score of each group by a plain loop: adapt to its first k rows, score the rest."""
    scores = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) > k:
            adapted = clone(estimator).fit(x[rows[:k]], y[rows[:k]])
            scores.append(score(adapted, x[rows[k:]], y[rows[k:]]))
    return np.array(scores)


def own_score(estimator, x, y):
    return estimator.score(x, y)
