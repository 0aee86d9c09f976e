"""Pipelines in scikit-learn's searches, and under its checks of estimators."""

import copy
import functools

import numpy as np
import pytest
import sklearn
import sklearn.pipeline
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_dont_overwrite_parameters, check_estimator

from skcml import CMLRegressor
from skcml.pipeline import Pipeline, make_pipeline
from skcml.pipeline._frozen import FrozenTransformer
from tests.pipelines import (
    NEW_GROUPS,
    NEW_X,
    NEW_Y,
    learned,
    quickest,
)
from tests.test_estimator_checks import SKIPPED_BY_SCIKIT_LEARN, UnjudgedRegressor

FOLDS = KFold(3, shuffle=True, random_state=0)


# --- scorers and searches


def test_scores_with_routing_are_those_by_hand(routing):
    expected = []
    for train, test in FOLDS.split(NEW_X):
        pipeline = learned().fit(NEW_X[train], NEW_Y[train], groups=NEW_GROUPS[train])
        expected.append(pipeline.score(NEW_X[test], NEW_Y[test], groups=NEW_GROUPS[test]))
    for pipeline in (learned(), sklearn.pipeline.Pipeline(learned().steps)):
        found = cross_validate(
            pipeline, NEW_X, NEW_Y, params={"groups": NEW_GROUPS}, cv=FOLDS, error_score="raise"
        )
        assert_array_equal(found["test_score"], expected)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_prior_strength_is_searched_within_a_pipeline(n_jobs):
    x, y = NEW_X[NEW_GROUPS == 3], NEW_Y[NEW_GROUPS == 3]
    grid = {"cmlregressor__prior_strength": [1e-6, 1.0, 1e6]}
    options = {"cv": 3, "scoring": "neg_mean_squared_error"}
    search = GridSearchCV(learned(), grid, **options, n_jobs=n_jobs).fit(x, y)
    for strength, score in zip(
        [1e-6, 1.0, 1e6], search.cv_results_["mean_test_score"], strict=True
    ):
        one = learned().set_params(cmlregressor__prior_strength=strength)
        assert score == cross_val_score(one, x, y, **options).mean()
    assert isinstance(search.best_estimator_[0], FrozenTransformer)


def test_searching_a_transformer_says_so():
    search = GridSearchCV(
        learned(), {"polynomialfeatures__degree": [2, 3]}, cv=3, error_score="raise"
    )
    with pytest.raises(ValueError, match="have changed since meta_fit"):
        search.fit(NEW_X[:6], NEW_Y[:6])


# --- scikit-learn's checks


class MetaFittedPipeline(Pipeline):
    """Learns, before its first fit, from data made up to look like those it is given."""

    def fit(self, X, y=None, **params):
        self.learn(X, y)
        return super().fit(X, y, **params)

    def partial_fit(self, X, y, **params):
        self.learn(X, y)
        return super().partial_fit(X, y, **params)

    def learn(self, X, y):
        width, outputs = np.asarray(X).shape, np.asarray(y).shape
        if self._learned is None and len(width) == 2 and width[1] > 0 and len(outputs) > 0:
            columns = tuple(X.columns) if hasattr(X, "columns") else None
            learner = copy.deepcopy(made_up(width[1], outputs[1:], columns))
            self.steps, self._learned = learner.steps, learner._learned


@functools.cache
def made_up(n_features, outputs, columns):
    made = UnjudgedRegressor().made_up(n_features, np.empty((1, *outputs)), columns)
    return make_pipeline(StandardScaler(), quickest()).meta_fit(*made)


@pytest.mark.parametrize(
    ("kind", "last"), [(Pipeline, CMLRegressor()), (MetaFittedPipeline, quickest())]
)
def test_scikit_learns_checks_find_what_they_find_in_its_own_pipeline(kind, last):
    pipeline = kind([("standardscaler", StandardScaler()), ("cmlregressor", last)])
    results = check_estimator(pipeline, on_fail=None, on_skip=None)
    found = {
        status: {r["check_name"] for r in results if r["status"] == status}
        for status in ("failed", "skipped")
    }
    # As scikit-learn's, it puts what has been fitted in the list of steps.
    in_place = {"check_estimators_overwrite_params", "check_dont_overwrite_parameters"}
    assert found == {"failed": in_place, "skipped": SKIPPED_BY_SCIKIT_LEARN}
    assert len(results) > 40


def test_scikit_learns_own_pipeline_fits_in_place():
    own = sklearn.pipeline.make_pipeline(StandardScaler(), CMLRegressor())
    with pytest.raises(AssertionError, match="steps changed"):
        check_dont_overwrite_parameters("Pipeline", own)
