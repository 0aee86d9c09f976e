"""What a learner says of tasks of which no row is known."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from skcml import CMLClassifier
from tests.estimators import labelled, pool
from tests.task_learners import (
    CV,
    GROUPS,
    OLD,
    X,
    Y,
    classes_learner,
    fitted,
    learner,
    pool_learner,
    reml,
    table,
)


def test_a_learner_predicts_the_prior_whatever_its_estimator_was_adapted_to():
    found = fitted()
    expected = reml().meta_fit(X[OLD], Y[OLD], groups=GROUPS[OLD]).predict(X)
    assert_array_equal(found.predict(X), expected)
    adapted = found.estimator_.fit(X[:3], Y[:3]).predict(X)
    assert np.abs(adapted - expected).max() > 0.1
    assert_array_equal(found.predict(X), expected)
    assert_array_equal(found.estimator_.predict(X), adapted)


def test_options_of_a_prediction_are_passed_on():
    found = fitted()
    mean, std = found.predict(X, return_std=True)
    assert_array_equal(mean, found.predict(X))
    assert (std > 0).all()
    with pytest.raises(TypeError, match="unexpected keyword argument 'upside_down'"):
        found.predict(X, upside_down=True)


def test_a_column_of_groups_stays_where_the_estimator_looks_for_it():
    by_column = learner(group_column="ward").fit(table(), Y)
    assert_array_equal(by_column.predict(table()), by_column.estimator_.predict(table()))
    assert by_column.n_features_in_ == 3
    assert_array_equal(by_column.feature_names_in_, ["a", "b", "ward"])
    with pytest.raises(ValueError, match="ward"):
        by_column.predict(table()[["a", "b"]])


class Means(RegressorMixin, BaseEstimator):
    """One that knows of no column of groups."""

    def meta_fit(self, X, y, groups):
        self.columns_ = list(X.columns)
        return self

    def fit(self, X, y):
        return self

    def __sklearn_clone__(self):
        return copy.deepcopy(self)

    def predict(self, X):
        assert list(X.columns) == self.columns_
        return X.mean(axis=1).to_numpy()


def test_a_column_of_groups_is_taken_out_where_the_estimator_knows_of_none():
    found = learner(Means(), group_column="ward").fit(table(), Y)
    assert found.estimator_.columns_ == ["a", "b"]
    assert_allclose(found.predict(table()), X.mean(axis=1))
    with pytest.raises(ValueError, match="group_column='ward'"):
        found.predict(table()[["a", "b"]])


def test_probabilities_of_shared_classes():
    x, found = labelled()[0], classes_learner()
    assert_array_equal(found.classes_, ["a", "b"])
    probabilities = found.predict_proba(x)
    assert_allclose(probabilities, found.estimator_.predict_proba(x))
    assert_array_equal(found.predict(x), found.classes_[probabilities.argmax(axis=1)])
    found.estimator_.fit(x[:3], ["b"] * 3)
    assert_array_equal(found.predict_proba(x), probabilities)


def test_exchangeable_classes_have_no_prior_prediction():
    x, _ = pool()
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError, match="call fit with rows of them first"):
            getattr(pool_learner(), method)(x)


def test_a_learner_has_the_methods_of_its_estimator():
    assert not hasattr(learner(), "predict_proba")
    assert not hasattr(fitted(), "predict_proba")
    assert hasattr(learner(CMLClassifier()), "predict_proba")
    # Once it has learned, what it says is that of what has learned.
    assert not hasattr(fitted(estimator=CMLClassifier()), "predict_proba")


def test_attributes_are_those_of_what_has_learned():
    found = fitted()
    assert found.n_features_in_ == 2
    for name in ("feature_names_in_", "classes_"):  # of an array, and of numbers, there are none
        assert not hasattr(found, name)
    for name in ("n_features_in_", "feature_names_in_", "classes_"):
        with pytest.raises(AttributeError, match=f"TaskLearner has no {name} before fit"):
            getattr(learner(), name)


def test_there_is_no_prior_before_fit():
    with pytest.raises(NotFittedError, match="TaskLearner"):
        learner().predict(X)
    with pytest.raises(NotFittedError, match="TaskLearner"):
        learner(CMLClassifier()).predict_proba(X)


def test_scorers_of_a_search_ask_the_prior():
    """The guide warns of it."""
    found = learner(group_column="ward")
    scores = cross_val_score(found, table(), Y, groups=GROUPS, cv=CV, scoring="r2")
    for score, (old, new) in zip(scores, CV.split(X, Y, GROUPS), strict=True):
        known = reml().meta_fit(X[old], Y[old], groups=GROUPS[old])
        assert score == pytest.approx(known.score(X[new], Y[new]))
