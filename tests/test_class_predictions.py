"""What a classifier says of rows: four ways to say the same."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score

from tests.fitted_classifiers import EACH, fitted


@EACH
def test_the_four_predictions_agree(setting):
    estimator, x, y, groups = fitted(setting)
    p = estimator.predict_proba(x, groups=groups)
    n_classes = len(estimator.classes_)
    assert p.shape == (len(x), n_classes)
    assert p.min() >= 0
    assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert_array_equal(estimator.classes_, np.unique(estimator.classes_))
    labels = estimator.predict(x, groups=groups)
    assert_array_equal(labels, estimator.classes_[p.argmax(1)])
    logarithms = estimator.predict_log_proba(x, groups=groups)
    assert_allclose(logarithms, np.log(np.maximum(p, 1e-300)), rtol=1e-12)
    assert np.isfinite(logarithms).all()
    decision = estimator.decision_function(x, groups=groups)
    if n_classes == 2:
        assert decision.shape == (len(x),)
        assert_allclose(decision, np.log(p[:, 1] / p[:, 0]), rtol=1e-9)
        assert_array_equal(estimator.classes_[(decision > 0).astype(int)], labels)
    else:
        assert_array_equal(decision, logarithms)
    right = estimator.score(x, y, groups=groups)
    assert right == accuracy_score(y, labels)
    weight = np.arange(len(x)) ** 2
    expected = np.average(labels == y, weights=weight)
    assert estimator.score(x, y, groups=groups, sample_weight=weight) == pytest.approx(expected)
    assert expected != right


@EACH
def test_how_many_rows_are_asked_for_does_not_matter(setting):
    estimator, x, _, groups = fitted(setting)
    p = estimator.predict_proba(x, groups=groups)
    rows = np.array([31, 4, 4, 60])
    some = estimator.predict_proba(x[rows], groups=None if groups is None else groups[rows])
    assert_allclose(some, p[rows], rtol=1e-9, atol=1e-12)


def test_no_probability_is_below_zero_where_shares_add_up_to_more_than_one(monkeypatch):
    estimator, x, _, groups = fitted("shared")
    above = np.nextafter(1.0, 2.0)
    monkeypatch.setattr(
        type(estimator._adapted), "predict", lambda *args, **kwargs: (np.full((1, 72), above), None)
    )
    assert_array_equal(estimator.predict_proba(x, groups=groups)[:, 0], 0.0)
