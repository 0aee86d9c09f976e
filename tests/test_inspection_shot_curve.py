"""`shot_curve`: scores against the number of shots, and what it refuses."""

import copy
import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.metrics import log_loss, make_scorer, root_mean_squared_error

from skcml import CMLRegressor
from skcml.inspection import shot_curve
from skcml.inspection._baselines import baselines
from tests.estimators import (
    both,
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    linear,
    pool,
    quick,
)
from tests.pipelines import learned_seller, sales, seller_by_hand

X, Y, GROUPS = grouped(seed=1, n_groups=5)
DATA = {"X": X, "y": Y, "groups": GROUPS}


@functools.cache
def _first_rows():
    x, y, groups = grouped()
    return quick(support="first", early_stopping=False).meta_fit(x, y, groups=groups)


def first_rows():
    """Return an estimator for which the past predicts the future, one's own to change."""
    return copy.deepcopy(_first_rows())


def test_scores_are_those_of_a_loop():
    est = first_rows()
    curve = shot_curve(est, **DATA, n_shots=(0, 2, 4))
    models = {"final": est, **baselines(est)}
    assert list(curve.score) == list(models) == ["final", "mixed_model", "per_task", "pooled"]
    assert_array_equal(curve.n_shots, [0, 2, 4])
    assert curve.task == [0, 1, 2, 3, 4]
    for group in range(5):
        x, y = X[group == GROUPS], Y[group == GROUPS]
        for point, k in enumerate((0, 2, 4)):
            for name, model in models.items():
                found = curve.score[name][group, point]
                if name == "per_task" and k == 0:
                    assert np.isnan(found)
                    continue
                is_prior = k == 0 or name == "pooled"
                fitted = clone(model) if is_prior else model.fit(x[:k], y[:k])
                expected = root_mean_squared_error(y[4:], fitted.predict(x[4:]))
                assert found == pytest.approx(-expected, rel=1e-6)


def test_means_and_intervals_over_tasks():
    curve = shot_curve(learned(), **DATA, n_shots=(1, 3), random_state=0)
    for name, values in curve.score.items():
        assert values.shape == (5, 2)
        mean = values.mean(0)
        expected = stats.t.interval(0.95, 4, loc=mean, scale=stats.sem(values))
        assert_allclose(curve.mean[name], mean)
        assert_allclose([curve.low[name], curve.high[name]], expected)
    assert curve.scoring == "neg_root_mean_squared_error"
    assert (curve.estimator_name, curve.y_name) == ("CMLRegressor", None)
    assert not curve.is_exchangeable
    assert curve.n_left_out == 0


def test_repeats_are_averaged_and_random_state_decides():
    def found(seed, n_repeats=None):
        options = {"n_shots": (1, 3), "n_repeats": n_repeats, "random_state": seed}
        return shot_curve(learned(), **DATA, **options).score["final"]

    assert_array_equal(found(0), found(0))
    assert (found(0) != found(1)).any()
    assert_array_equal(found(0, 3), found(0))  # the default
    many = found(0, 15)
    assert abs(found(1, 15) - many).max() < abs(found(1, 1) - many).max()


def test_more_rows_help_and_pooled_is_flat():
    x, y, groups = grouped(seed=8, n_groups=20, n_rows=10)
    curve = shot_curve(learned(), x, y, groups, n_repeats=1, random_state=0)
    assert_array_equal(curve.n_shots, [0, 1, 2, 3, 5])
    assert curve.mean["final"][-1] > curve.mean["final"][0] + 0.3
    assert np.ptp(curve.mean["pooled"]) == 0
    assert curve.mean["per_task"][1] < curve.mean["final"][1]


def test_groups_are_drawn_if_there_are_many():
    curve = shot_curve(learned(), **DATA, n_shots=(0, 1), n_tasks=3, random_state=0)
    assert len(curve.task) == 3
    assert set(curve.task) < {0, 1, 2, 3, 4}


def test_the_estimator_is_left_as_it_is(capsys):
    est = learned().fit(X, Y, groups=GROUPS).set_callbacks(ProgressBar())
    before = both(est, X, GROUPS)
    shot_curve(est, **DATA, n_shots=(0, 1))
    assert_array_equal(both(est, X, GROUPS), before)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_with_a_column_of_groups(frame):
    series = pd.Series if frame is pd.DataFrame else pl.Series
    x, y, groups = grouped()
    labels = [f"ward {g:02d}" for g in groups]
    table = frame({"a": x[:, 0], "ward": labels, "b": x[:, 1]})
    est = quick(group_column="ward").meta_fit(table, y)
    new = frame({"a": X[:, 0], "ward": [f"new {g}" for g in GROUPS], "b": X[:, 1]})
    options = {"n_shots": (0, 2), "n_repeats": 1, "random_state": 0}
    curve = shot_curve(
        est,
        new,
        series(name="weight", data=Y) if frame is pd.DataFrame else series("weight", Y),
        **options,
    )
    expected = shot_curve(learned(), **DATA, **options)
    for name in expected.score:
        assert_allclose(curve.score[name], expected.score[name], rtol=1e-6)
    assert curve.y_name == "weight"
    assert curve.task == [f"new {g}" for g in range(5)]


def test_weights():
    weight = np.tile([1.0, 0.0, 2.0, 1.0, 1.0, 1.0], 5)
    est = first_rows()
    found = shot_curve(est, **DATA, sample_weight=weight, n_shots=(0, 2))
    kept = weight > 0
    x, y = X[kept].reshape(5, 5, 2), Y[kept].reshape(5, 5)
    w = weight[kept].reshape(5, 5)
    for group in range(5):
        fitted = first_rows().fit(x[group, :2], y[group, :2], sample_weight=w[group, :2])
        expected = root_mean_squared_error(
            y[group, 2:], fitted.predict(x[group, 2:]), sample_weight=w[group, 2:]
        )
        assert found.score["final"][group, 1] == pytest.approx(-expected)


def test_a_scorer_that_takes_no_weights_gets_none():
    def worst(estimator, X, y):
        return -abs(y - estimator.predict(X)).max()

    weight = np.tile([2.0, 1.0, 2.0, 1.0, 1.0, 1.0], 5)
    found = shot_curve(first_rows(), **DATA, sample_weight=weight, n_shots=(0, 2), scoring=worst)
    for group in range(5):
        x, y = X[group == GROUPS], Y[group == GROUPS]
        fitted = first_rows().fit(x[:2], y[:2], sample_weight=weight[:2])
        assert found.score["final"][group, 1] == pytest.approx(worst(fitted, x[2:], y[2:]))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, np.ndarray.tolist])
def test_tables_of_all_kinds(make):
    x, y, groups = grouped()
    est = quick(support="first").meta_fit(make(x), y.tolist(), groups=groups.tolist())
    found = shot_curve(est, make(X), Y.tolist(), GROUPS.tolist(), n_shots=(0, 3)).score["final"]
    est = quick(support="first").meta_fit(x, y, groups=groups)
    assert_allclose(found, shot_curve(est, **DATA, n_shots=(0, 3)).score["final"])


def test_the_mixed_model_alone_is_its_own_baseline():
    x, y, groups = grouped()
    est = linear(early_stopping=False).meta_fit(x, y, groups=groups)
    curve = shot_curve(est, **DATA, n_shots=(0, 2))
    assert list(curve.score) == ["final", "per_task", "pooled"]


def test_counts_and_several_outputs():
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * X[:, 0]))
    est = linear(loss="poisson", early_stopping=False).meta_fit(X, counts, groups=GROUPS)
    curve = shot_curve(est, X, counts, GROUPS, n_shots=(0, 3), random_state=0)
    assert curve.scoring == "neg_mean_poisson_deviance"
    x, y, groups = grouped(seed=1, n_outputs=2)
    curve = shot_curve(learned(2), x, y, groups, n_shots=(0, 3), scoring="r2", random_state=0)
    assert curve.score["final"].shape == (12, 2)


def test_shared_classes_whose_rows_lack_a_class():
    x, y, groups = labelled(seed=5)
    est = learned_classifier()
    curve = shot_curve(est, x, y, groups, n_shots=(0, 4), n_repeats=1, random_state=0)
    assert curve.scoring == "neg_log_loss"
    assert len(curve.task) == 12
    assert np.isfinite(curve.mean["final"]).all()
    everyone = log_loss(y, learned_classifier().predict_proba(x), labels=["a", "b"])
    assert -curve.mean["final"][0] == pytest.approx(everyone, abs=0.3)


def test_scorers_of_probabilities_are_told_the_classes():
    x, y, groups = labelled(seed=5, n_classes=3)
    est = learned_classifier(3)
    options = {"n_shots": (0, 4), "n_repeats": 1, "random_state": 0}
    assert any(len(set(y[groups == g])) < 3 for g in range(12))
    by_name = shot_curve(est, x, y, groups, **options)
    own = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
    by_hand = shot_curve(est, x, y, groups, scoring=own, **options)
    assert len(by_hand.task) == 12
    assert_array_equal(by_hand.score["final"], by_name.score["final"])


def test_exchangeable_classes():
    x, y = pool(seed=9, n_classes=9, spread=0.8)
    options = {"n_shots": (1, 4), "n_tasks": 25, "random_state": 0}
    curve = shot_curve(learned_pool(), x, y, **options)
    assert list(curve.score) == ["final", "class_mean", "per_task"]
    assert curve.is_exchangeable
    assert curve.scoring == "accuracy"
    assert curve.mean["final"][1] > curve.mean["final"][0] > 0.4
    assert all(len(classes) == 5 for classes in curve.task)
    two = shot_curve(learned_pool(), x, y, n_ways=2, **options)
    assert all(len(classes) == 2 for classes in two.task)
    assert two.mean["final"][0] > curve.mean["final"][0]


@pytest.mark.parametrize("raises", [False, True])
def test_tasks_without_a_score_are_left_out_and_counted(raises):
    y = Y.copy()
    y[GROUPS == 3] = 1.0  # of a constant there is nothing to explain: r2 is a number
    rows = np.flatnonzero((GROUPS != 2) | (np.arange(len(Y)) % 6 < 4))

    def score(estimator, X, y):
        if len(y) == 1 and raises:
            raise ValueError("one row only")
        return np.nan if len(y) == 1 else estimator.score(X, y)

    curve = shot_curve(
        learned(), X[rows], y[rows], GROUPS[rows], n_shots=(0, 3), scoring=score, random_state=0
    )
    assert (curve.n_left_out, curve.task) == (1, [0, 1, 3, 4])
    assert all(len(values) == 4 for values in curve.score.values())
    with pytest.raises(ValueError, match=r"scoring='r2' is not defined on the query rows of any"):
        shot_curve(learned(), **DATA, n_shots=(0, 5), scoring="r2")


def test_a_score_of_other_outputs_is_refused():
    message = r"scoring='accuracy' is not defined .*of the 5 tasks \(continuous is not supported\)"
    with pytest.raises(ValueError, match=message):
        shot_curve(learned(), **DATA, n_shots=(0, 2), scoring="accuracy")
    with pytest.raises(TypeError, match=r"scoring must give one number for each task; got \[\]"):
        shot_curve(learned(), **DATA, n_shots=(0, 2), scoring=lambda estimator, X, y: [])


BAD = {
    "no groups": ({"groups": None}, r"needs the group of each of the n_samples = 30 rows: pass"),
    "few rows": ({"n_shots": (1, 6)}, "Of the 5 groups, 0 have more than 6 rows"),
    "shots": ({"n_shots": (-1, 2)}, r"n_shots=\(-1, 2\) must hold distinct whole numbers of 0 or"),
    "tasks": ({"n_tasks": 0}, "n_tasks=0 must be a whole number of 1 or more"),
    "tasks None": ({"n_tasks": None}, "n_tasks=None must be a whole number of 1 or more"),
    "repeats": ({"n_repeats": 1.5}, r"n_repeats=1.5 must be a whole number of 1 or more"),
    "ways": ({"n_ways": 5}, "n_ways=5 is about exchangeable classes, and this estimator"),
    "one way": ({"n_ways": 1}, "n_ways=1 must be a whole number of 2 or more"),
    "y": ({"y": Y[:5]}, "y has 5 rows, but X has 30"),
    "columns": ({"X": X[:, :1]}, "has 1 features, but CMLRegressor is expecting 2"),
    "negative seed": ({"random_state": -1}, "random_state: Seed must be between 0"),
    "shots twice": ({"n_shots": (1, 1)}, r"n_shots=\(1, 1\) must hold distinct whole numbers"),
    "shots True": ({"n_shots": True}, "n_shots=True must hold distinct whole numbers of 0 or"),
    "scorer": ({"scoring": "roc_auc"}, "'roc_auc' asks for .*, which CMLRegressor has not: take"),
    "random state": ({"random_state": "now"}, "random_state: 'now' cannot be used to seed"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        shot_curve(learned(), **DATA | changed)


def test_shots_of_classes_begin_with_one():
    x, y = pool(seed=9)
    with pytest.raises(ValueError, match="must hold distinct whole numbers of 1 or more"):
        shot_curve(learned_pool(), x, y, n_shots=(0, 1))


def test_what_has_not_learned_is_refused():
    with pytest.raises(ValueError, match="has not learned yet, so that there is nothing to adapt"):
        shot_curve(CMLRegressor().fit(X, Y), **DATA)
    with pytest.raises(TypeError, match="shot_curve is about CMLRegressor and CMLClassifier"):
        shot_curve(CMLRegressor, **DATA)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_pipeline_is_shown_the_rows_that_its_transformers_make(kind):
    x, y, shops = sales(seed=1, n_groups=5)
    encode, last = seller_by_hand()
    expected = shot_curve(last, encode.transform(x), y, shops, random_state=0)
    pipeline = learned_seller().fit(x[:3], y[:3])
    before = pipeline.predict(x)
    table = pl.DataFrame(x.to_dict("list")) if kind == "polars" else x
    found = shot_curve(pipeline, table, y, shops, random_state=0)
    assert_array_equal(found.n_shots, expected.n_shots)
    for model, score in expected.score.items():
        assert_allclose(found.score[model], score)
    assert (found.estimator_name, found.y_name) == ("CMLRegressor", "sold")
    assert_array_equal(pipeline.predict(x), before)


def test_rows_that_a_pipeline_refuses_are_refused():
    x, y, shops = sales(seed=1, n_groups=5)
    with pytest.raises(ValueError, match=r"X: columns are missing: \{'drink'\}"):
        shot_curve(learned_seller(), x.drop(columns="drink"), y, shops)
