"""Scores of one task at a time."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    make_scorer,
    mean_poisson_deviance,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from skcml import CMLRegressor
from skcml.inspection._task_scores import Table, score_task, scorer_of
from tests.estimators import (
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    pool,
    quick,
)

X, Y, GROUPS = grouped(seed=1)
SUPPORT, QUERY = np.arange(3), np.array([5, 3])
NONE = np.array([], dtype=int)


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, pl.DataFrame, lambda x: x.tolist()])
def test_a_task_is_adapted_to_and_scored(make):
    table = make(X)
    est = quick().meta_fit(table, Y, groups=GROUPS)
    scorer, name = scorer_of(est, None)
    found = score_task(est, scorer, Table(table, Y), SUPPORT, QUERY)
    plain = quick().meta_fit(X, Y, groups=GROUPS).fit(X[SUPPORT], Y[SUPPORT])
    assert name == "neg_root_mean_squared_error"
    assert found == pytest.approx(-root_mean_squared_error(Y[QUERY], plain.predict(X[QUERY])))


def test_without_support_rows_the_estimator_is_taken_as_it_is():
    est = learned()
    scorer, _ = scorer_of(est, "r2")
    found = score_task(est, scorer, Table(X, Y), NONE, QUERY)
    assert found == pytest.approx(r2_score(Y[QUERY], learned().predict(X[QUERY])))
    assert est._adapted.is_prior


def test_weights_count_in_fit_and_in_the_score():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    est = learned()
    scorer, _ = scorer_of(est, "neg_mean_squared_error")
    found = score_task(est, scorer, Table(X, Y, weight), SUPPORT, QUERY)
    other = learned().fit(X[SUPPORT], Y[SUPPORT], sample_weight=weight[SUPPORT])
    expected = mean_squared_error(Y[QUERY], other.predict(X[QUERY]), sample_weight=weight[QUERY])
    assert found == pytest.approx(-expected)


def test_a_score_that_is_not_defined_is_not_a_number():
    scorer, _ = scorer_of(learned(), "r2")
    assert np.isnan(score_task(learned(), scorer, Table(X, Y), SUPPORT, QUERY[:1]))


# --- scorers


def test_the_default_of_counts_is_their_deviance():
    counts = np.random.default_rng(0).poisson(np.exp(0.5 * X[:, 0]))
    est = quick(loss="poisson").meta_fit(X, counts, groups=GROUPS)
    scorer, name = scorer_of(est, None)
    assert name == "neg_mean_poisson_deviance"
    expected = mean_poisson_deviance(counts[:6], est.predict(X[:6]))
    assert scorer(est, X[:6], counts[:6]) == pytest.approx(-expected)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_the_log_loss_of_rows_of_one_class(scoring):
    x, y, _ = labelled(n_classes=3)
    est = learned_classifier(3)
    rows = np.flatnonzero(y == "b")[:4]
    scorer, name = scorer_of(est, scoring)
    assert name == "neg_log_loss"
    expected = log_loss(y[rows], est.predict_proba(x[rows]), labels=["a", "b", "c"])
    assert scorer(est, x[rows], y[rows]) == pytest.approx(-expected)


def test_the_default_of_exchangeable_classes_is_accuracy():
    x, y = pool(seed=2)
    est = learned_pool()
    scorer, name = scorer_of(est, None)
    support = np.concatenate([np.arange(8 * c, 8 * c + 2) for c in range(3)])
    found = score_task(est, scorer, Table(x, y), support, np.arange(24))
    assert name == "accuracy"
    assert found == accuracy_score(
        y[:24], learned_pool().fit(x[support], y[support]).predict(x[:24])
    )


def test_scorers_of_ones_own():
    def worst(estimator, X, y):
        return -abs(y - estimator.predict(X)).max()

    scorer, name = scorer_of(learned(), worst)
    assert name == "worst"
    assert scorer(learned(), X, Y) == worst(learned(), X, Y)
    scorer, name = scorer_of(learned(), make_scorer(mean_squared_error))
    assert name == "score"
    assert scorer(learned(), X, Y) == mean_squared_error(Y, learned().predict(X))


@pytest.mark.parametrize("scoring", [["r2"], {"r2": "r2"}, 3])
def test_what_is_no_scorer_is_refused(scoring):
    with pytest.raises(TypeError, match="scoring must be the name of one scorer, a callable"):
        scorer_of(learned(), scoring)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'scoring' parameter of check_scoring must be"):
        scorer_of(CMLRegressor(), "accurate")


@pytest.mark.parametrize(
    ("scoring", "kind", "message"),
    [
        ("accuracy", ValueError, r"scoring: the score .* failed \(continuous is not supported\)"),
        (lambda estimator, X, y: [], TypeError, "scoring: the score of the query rows of a task"),
    ],
)
def test_a_score_of_other_outputs_is_refused(scoring, kind, message):
    scorer, _ = scorer_of(learned(), scoring)
    with pytest.raises(kind, match=message):
        score_task(learned(), scorer, Table(X, Y), SUPPORT, QUERY)


def test_rows_keep_their_form():
    frame = pd.DataFrame(X, columns=["a", "b"])
    rows = Table(frame, pd.Series(Y), np.arange(len(Y))).rows(QUERY)
    assert list(rows["X"].columns) == ["a", "b"]
    assert_array_equal(rows["y"], Y[QUERY])
    assert_array_equal(rows["sample_weight"], QUERY)
