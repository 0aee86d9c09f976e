"""Scoring tasks one by one, though the estimator adapts to all at once."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring, get_scorer, log_loss, make_scorer, mean_pinball_loss

from skcml.grouping import encode_groups
from skcml.model_selection._rows import Table
from skcml.model_selection._scoring import (
    Answers,
    OneTask,
    mean_and_interval,
    read_scorer,
    score_tasks,
    warn_of_tasks_without_score,
)
from skcml.model_selection._tasks import group_tasks
from tests.estimators import grouped, learned, learned_classifier

X, Y, GROUPS = grouped(seed=1)
TABLE = Table(X, Y, None, encode_groups(GROUPS, len(Y)))
TASKS = group_tasks(TABLE.groups, 2, "first", np.random.RandomState(0))


class Counting:
    """An adapted estimator that counts what it is asked."""

    def __init__(self):
        self.calls = []
        self.label = "mine"

    def predict(self, X, groups=None):
        self.calls.append((len(X), None if groups is None else list(groups)))
        return np.asarray(X)[:, 0] * 10

    def score(self, X, y, groups=None):
        return list(groups)


def view(estimator=None, n_rows=6, rows=slice(2, 4)):
    estimator = estimator or Counting()
    x = np.arange(float(n_rows))[:, None]
    groups = {"groups": np.repeat([0, 1, 2], n_rows // 3)}
    return OneTask(Answers(estimator, x, groups), rows, part := x[rows]), part, estimator


def test_all_rows_are_asked_once_and_each_task_sees_its_own():
    one, x, estimator = view()
    assert_array_equal(one.predict(x), [20, 30])
    assert_array_equal(one.predict(x), [20, 30])
    assert estimator.calls == [(6, [0, 0, 1, 1, 2, 2])]
    # Other rows are asked anew, as rows of the task's group.
    assert_array_equal(one.predict(np.array([[7.0], [8.0], [9.0]])), [70, 80, 90])
    assert estimator.calls[1:] == [(3, [1, 1, 1])]
    assert one.score(x, None) == [1, 1]


def test_a_view_passes_on_the_rest_and_can_be_copied():
    one, x, _ = view()
    assert one.label == "mine"
    assert one.predict.__name__ == "predict"
    assert_array_equal(copy.copy(one).predict(x), [20, 30])
    assert not hasattr(one, "predict_proba")


def test_a_view_remembers_that_the_estimator_failed():
    class Failing(Counting):
        def predict(self, X, groups=None):
            raise ValueError("no")

    one, x, _ = view(Failing())
    with pytest.raises(ValueError, match="no") as caught:
        one.predict(x)
    assert one.failure is caught.value


def test_errors_of_the_estimator_are_not_taken_for_those_of_the_scorer():
    table = Table(np.where(X[-1] == X, np.nan, X), Y, None, TABLE.groups)
    scorer = get_scorer("neg_mean_squared_error")
    with pytest.raises(ValueError, match="NaN"):
        score_tasks(learned(), table, TASKS, 2, scorer)


def test_errors_of_the_scorer_leave_a_task_without_score():
    def scorer(estimator, x, y):
        if y[0] > np.median(Y):
            raise ValueError("too large")
        return 1.0

    scores, reason = score_tasks(learned(), TABLE, TASKS, 2, scorer)
    assert str(reason) == "too large"
    high = [Y[task.asked][0] > np.median(Y) for task in TASKS]
    assert_array_equal(np.isnan(scores), high)


def test_a_scorer_may_ask_what_scikit_learn_does_not_know():
    def coverage(estimator, x, y):
        low, high = estimator.predict_quantiles(x, [0.05, 0.95]).T
        _, std = estimator.predict(x, return_std=True)
        assert (std > 0).all()
        return np.mean((low < y) & (y < high))

    scores, reason = score_tasks(learned(), TABLE, TASKS, 2, coverage)
    assert reason is None
    expected = []
    for task in TASKS:
        seen, asked = task.shown(2), task.asked
        expected.append(coverage(learned().fit(X[seen], Y[seen]), X[asked], Y[asked]))
    assert_array_equal(scores, expected)


def test_scorers_of_probabilities_are_told_the_classes():
    classifier = learned_classifier()
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(40, 2)), np.repeat(np.arange(5), 8)
    y = np.array(["a", "b"])[np.repeat([0, 1, 1, 0, 1], 8)]  # one class in each group
    table = Table(x, y, None, encode_groups(groups, 40))
    tasks = group_tasks(table.groups, 3, "first", np.random.RandomState(0))
    own = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
    by_name, by_hand = (
        score_tasks(classifier, table, tasks, 3, scorer)[0]
        for scorer in (get_scorer("neg_log_loss"), own)
    )
    adapted = learned_classifier().fit(x, y, groups=groups)
    expected = []
    for task in tasks:
        seen, asked = task.shown(3), task.asked
        p = adapted.fit(x[seen], y[seen]).predict_proba(x[asked])
        expected.append(-log_loss(y[asked], p, labels=["a", "b"]))
    assert_allclose(by_name, expected, rtol=1e-4)
    assert_array_equal(by_name, by_hand)
    assert "labels" not in own._kwargs
    # One that has been told is left as it is, and fails on rows of a class it does not know.
    told = make_scorer(log_loss, response_method="predict_proba", labels=["a", "z"])
    assert np.isnan(score_tasks(classifier, table, tasks, 3, told)[0]).any()


def test_weights_go_to_scorers_that_take_them():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    table = Table(X, Y, weight, TABLE.groups)
    plain = make_scorer(lambda y, p: float(np.mean(y - p)))
    scores, _ = score_tasks(learned(), table, TASKS, 2, plain)
    assert np.isfinite(scores).all()
    pinball = make_scorer(mean_pinball_loss)
    weighted, _ = score_tasks(learned(), table, TASKS, 2, pinball)
    seen, asked = TASKS[0].shown(2), TASKS[0].asked
    adapted = learned().fit(X[seen], Y[seen], sample_weight=weight[seen])
    expected = mean_pinball_loss(Y[asked], adapted.predict(X[asked]), sample_weight=weight[asked])
    assert weighted[0] == pytest.approx(expected)


def test_one_score_of_own():
    scorer = check_scoring(learned(), None)
    scores, _ = score_tasks(learned(), TABLE, TASKS, 2, scorer)
    seen, asked = TASKS[3].shown(2), TASKS[3].asked
    assert scores[3] == pytest.approx(learned().fit(X[seen], Y[seen]).score(X[asked], Y[asked]))


@pytest.mark.parametrize("score", [None, "1.5", [1.0], 1j])
def test_what_is_no_score_is_refused(score):
    with pytest.raises(TypeError, match="scoring must give one number for each task; got"):
        score_tasks(learned(), TABLE, TASKS, 2, lambda estimator, x, y: score)


@pytest.mark.parametrize("score", [np.inf, -np.inf])
def test_an_infinite_score_has_no_mean(score):
    def scorer(estimator, x, y):
        return score if y[0] > np.median(Y) else 1.0

    with pytest.raises(ValueError, match=rf"scoring gave {score} for the task \d+, with n_shots=2"):
        score_tasks(learned(), TABLE, TASKS, 2, scorer)


def test_scorers_that_are_read():
    scorer = read_scorer(learned(), "r2")
    assert scorer(learned(), X, Y) == pytest.approx(learned().score(X, Y))
    assert read_scorer(learned_classifier(), "roc_auc")._response_method[-1] == "predict_proba"
    assert read_scorer(learned(), max) is max
    for typo, near in (("roc_acu", "'roc_auc'"), ("neg_mean_squared_eror", "'neg_mean_squared_e")):
        with pytest.raises(ValueError, match=f"scoring='{typo}' is no scorer of .*, as .*{near}"):
            read_scorer(learned(), typo)
    with pytest.raises(ValueError, match=r"scoring='q' is no scorer .*, as 'neg_log_loss' or 'ac"):
        read_scorer(learned_classifier(), "q")
    with pytest.raises(TypeError, match="scoring must be the name of one scorer, a callable"):
        read_scorer(learned(), ["r2"])
    for name in ("roc_auc", "neg_log_loss", "average_precision"):
        with pytest.raises(ValueError, match=f"'{name}' asks for .*, which CMLRegressor has not: "):
            read_scorer(learned(), name)


def test_tasks_without_a_score_are_told():
    scores = np.array([1.0, np.nan, 3.0])
    with pytest.warns(UndefinedMetricWarning, match=r"'x' .*1 of 3 tasks \(only one class\); the"):
        warn_of_tasks_without_score(scores, ValueError("only one class."), "x", 2)
    with pytest.raises(ValueError, match=r"own score .*any of the 2 tasks, with n_shots=4 \(it gi"):
        warn_of_tasks_without_score(np.full(2, np.nan), None, None, 4)
    warn_of_tasks_without_score(np.ones(3), None, "x", 2)  # nothing to say


def test_the_interval_is_that_of_a_t_test():
    scores = np.array([1.0, 4.0, np.nan, 2.0, 2.0])
    mean, low, high = mean_and_interval(scores)
    expected = stats.ttest_1samp([1, 4, 2, 2], 0).confidence_interval(0.95)
    assert mean == 2.25
    assert_allclose([low, high], [expected.low, expected.high])
    assert mean_and_interval(np.array([5.0]))[0] == 5
    assert np.isnan(mean_and_interval(np.array([5.0]))[1:]).all()
    assert np.isnan(mean_and_interval(np.full(3, np.nan))).all()


def test_the_interval_holds_the_mean_of_all_tasks():
    rng = np.random.default_rng(0)
    draws = rng.gamma(2.0, size=(400, 30))
    held = [low < 2.0 < high for _, low, high in map(mean_and_interval, draws)]
    assert 0.9 < np.mean(held) < 0.98
