"""The scorer that is meant."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    make_scorer,
    mean_poisson_deviance,
    mean_squared_error,
    root_mean_squared_error,
)

from skcml import CMLRegressor
from skcml.inspection._scorers import scorer_of
from skcml.model_selection._rows import Table
from skcml.model_selection._scoring import score_tasks
from skcml.model_selection._tasks import Task
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


def test_the_default_of_numbers_is_their_error():
    scorer, name = scorer_of(learned(), None)
    assert name == "neg_root_mean_squared_error"
    expected = root_mean_squared_error(Y[:6], learned().predict(X[:6]))
    assert scorer(learned(), X[:6], Y[:6]) == pytest.approx(-expected)


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
    found, _ = score_tasks(est, Table(x, y, None, None), [Task("b", [rows], 0)], 0, scorer)
    assert found == pytest.approx([-expected])


def test_the_default_of_exchangeable_classes_is_accuracy():
    x, y = pool(seed=2)
    est = learned_pool()
    scorer, name = scorer_of(est, None)
    est.fit(x[:24], y[:24])
    assert name == "accuracy"
    assert scorer(est, x[:24], y[:24]) == accuracy_score(y[:24], est.predict(x[:24]))


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
    with pytest.raises(ValueError, match=r"scoring='accurate' is no scorer of .*, as 'accuracy'"):
        scorer_of(CMLRegressor(), "accurate")
