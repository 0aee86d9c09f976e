"""The three problems on which the theory of the contrastive rule is measured."""

import functools

import numpy as np

from skcml import CMLClassifier, CMLRegressor
from skcml.datasets import make_sinusoid_tasks

LINEAR = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False, "random_state": 0}


@functools.cache
def ridge():
    """Linear tasks with a ridge head: an energy that is quadratic."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 16)
    X = rng.normal(size=(len(groups), 3))
    y = (X * rng.normal(size=(40, 3))[groups]).sum(1) + 0.5 * rng.normal(size=len(groups))
    return CMLRegressor(n_shots=5, **LINEAR).meta_fit(X, y, groups=groups), X, y, groups


@functools.cache
def logistic():
    """Two shared classes with a logistic head: an energy that is convex."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 24)
    X = rng.normal(size=(len(groups), 2))
    eta = (X * 2 * rng.normal(size=(40, 2))[groups]).sum(1)
    y = (rng.random(len(groups)) < 1 / (1 + np.exp(-eta))).astype(int)
    est = CMLClassifier(n_shots=8, classes="shared", **LINEAR).meta_fit(X, y, groups=groups)
    return est, X, y, groups


@functools.cache
def network():
    """Sinusoids with a network for each task, held strongly: an energy that has a minimum."""
    X, y, groups = make_sinusoid_tasks(40, 20, random_state=0)
    est = CMLRegressor(
        model="synaptic",
        hidden_layer_sizes=(8,),
        meta_max_iter=20,
        n_shots=10,
        early_stopping=False,
        prior_strength=30.0,
        random_state=0,
    )
    return est.meta_fit(X, y, groups=groups), X, y, groups


PROBLEMS = {"ridge": ridge, "logistic": logistic, "network": network}
