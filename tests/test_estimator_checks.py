"""scikit-learn's own checks, with no expected failures."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import check_estimator

from skcml import CMLClassifier, CMLRegressor
from tests.estimators import quick, quick_classifier

N_GROUPS, N_ROWS = 40, 6

# What scikit-learn skips without an environment variable that SciPy must find at import.
SKIPPED_BY_SCIKIT_LEARN = {"check_array_api_input"}


class MetaFitted:
    """Learns, before its first fit, from data made up to look like those it is given."""

    def fit(self, X, y, groups=None, sample_weight=None):
        self.meta_fit_once(X, y)
        return super().fit(X, y, groups=groups, sample_weight=sample_weight)

    def meta_fit_once(self, X, y):
        width, outputs = np.asarray(X).shape, np.asarray(y).shape
        if not hasattr(self, "_meta") and len(width) == 2 and width[1] > 0 and len(outputs) > 0:
            self.meta_fit(*self.made_up(width[1], y, getattr(X, "columns", None)))


class MetaFittedRegressor(MetaFitted, CMLRegressor):
    def made_up(self, n_features, y, columns):
        """Return what `meta_fit` takes: groups to learn from and others to judge by, in turn."""
        arguments = []
        rng = np.random.default_rng(0)
        outputs = np.asarray(y).shape[1:]
        for _ in ("learn", "judge"):
            X, groups = rows(rng, n_features, columns)
            slopes = rng.normal(size=(N_GROUPS, n_features, *outputs))
            y = rng.normal(size=(N_GROUPS, *outputs))[groups]
            y += np.einsum("nd,nd...->n...", np.asarray(X), slopes[groups])
            if self.loss == "poisson":
                y = rng.poisson(np.exp(1 + 0.5 * y)).astype(float)
            else:
                y += 0.1 * rng.normal(size=y.shape)
            arguments += [X, y, groups, None]
        return arguments[:-1]


class UpdatedRegressor(MetaFittedRegressor):
    """Takes rows by and by from the start, for the checks of what does."""

    def partial_fit(self, X, y, groups=None, sample_weight=None):
        self.meta_fit_once(X, y)
        return super().partial_fit(X, y, groups=groups, sample_weight=sample_weight)


class UnjudgedRegressor(MetaFittedRegressor):
    def made_up(self, n_features, y, columns):
        """Return no groups to judge by."""
        return super().made_up(n_features, y, columns)[:3]


class SharedClasses(MetaFitted, CMLClassifier):
    def made_up(self, n_features, y, columns):
        """Return groups whose classes are those of y."""
        rng = np.random.default_rng(0)
        X, groups = rows(rng, n_features, columns)
        labels = np.unique(np.asarray(y).ravel())
        slopes = 3 * rng.normal(size=(N_GROUPS, n_features, len(labels)))
        logits = np.einsum("nd,ndc->nc", np.asarray(X), slopes[groups])
        best = (logits + rng.gumbel(size=logits.shape)).argmax(1)
        # Every label is there, or there is nothing to learn.
        best[: len(labels)] = np.arange(len(labels))
        return X, labels[best], groups


class ExchangeableClasses(MetaFitted, CMLClassifier):
    def made_up(self, n_features, y, columns):
        """Return a pool of clouds that have nothing to do with y."""
        rng = np.random.default_rng(0)
        X, classes = rows(rng, n_features, columns)
        return X + 3 * rng.normal(size=(N_GROUPS, n_features))[classes], classes


def rows(rng, n_features, columns):
    groups = np.repeat(np.arange(N_GROUPS), N_ROWS)
    X = rng.normal(size=(len(groups), n_features))
    return X if columns is None else pd.DataFrame(X, columns=columns), groups


# Before `meta_fit` the model says nothing; after it, learning is kept short.
BRIEF = {
    "early_stopping": False,
    "meta_max_iter": 1,
    "hidden_layer_sizes": (2,),
    "n_shots": 2,
    "n_queries": 3,
    "meta_batch_size": 4,
}
ESTIMATORS = {
    "ridge": CMLRegressor(),
    "ridge without standardising": CMLRegressor(standardize=False),
    "Poisson regression": CMLRegressor(loss="poisson"),
    "logistic regression": CMLClassifier(),
    "logistic regression without standardising": CMLClassifier(standardize=False),
    "meta-fitted": UpdatedRegressor(**quick().get_params()),
    "meta-fitted to counts": MetaFittedRegressor(**quick(loss="poisson").get_params()),
    "meta-fitted to shared classes": SharedClasses(
        **quick_classifier(early_stopping=False).get_params()
    ),
    "networks for each task": UnjudgedRegressor(**quick(model="synaptic", **BRIEF).get_params()),
    "gains and shifts for each task": UnjudgedRegressor(
        **quick(model="modulatory", **BRIEF).get_params()
    ),
    # Nothing held out, one kind of task: it learns anew for nearly every check.
    "meta-fitted to exchangeable classes": ExchangeableClasses(
        meta_max_iter=1, early_stopping=False, n_ways=2, n_shots=1, meta_batch_size=4
    ),
}


# A check of class weights sets what iterates, in whatever has it.
@pytest.mark.filterwarnings("ignore:meta_fit has not been called, without which n_iter_no_change")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_check_passes(name):
    results = check_estimator(ESTIMATORS[name], on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert failed == {}
    others = {r["check_name"] for r in results if r["status"] != "passed"}
    assert others <= SKIPPED_BY_SCIKIT_LEARN
    assert len(results) > 50
