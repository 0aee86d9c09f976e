"""What is predicted along one feature: the numbers behind `AdaptationDisplay`."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.inspection._adaptation import adapt_and_predict
from skcml.inspection._along import N_POINTS, Along
from skcml.inspection._learned import what_learned
from tests.estimators import grouped, labelled, learned, learned_classifier, linear, quick

X, Y, GROUPS = grouped(seed=1, n_groups=5)
FEW = np.tile(np.arange(6) < 3, 5)


def predicted(est, X=X, y=Y, groups=GROUPS, *, feature=0, query=True, **options):
    """Adapt to the first three rows of each group."""
    names = {"tasks": None, "n_tasks": 4, "output": None, "level": 0.8} | options
    known = est._meta.targets
    support = est._read(X[FEW], y[FEW], groups[FEW], None, known=known)
    rest = est._read(X[~FEW], y[~FEW], groups[~FEW], None, known=known) if query else None
    user = {"X": X[FEW], "y": y[FEW], "groups": groups[FEW]}
    found = what_learned(est, "it", "is nothing")
    along = Along(found, X[FEW], X[~FEW] if query else None, feature)
    return adapt_and_predict(found, along, support, rest, user, **names)


def adapted(est, rows, support, user, feature=0, tasks=None):
    """Adapt to rows alone."""
    found = what_learned(est, "it", "is nothing")
    along = Along(found, rows, None, feature)
    return adapt_and_predict(found, along, support, None, user, tasks, 4, None, 0.8)


def test_curves_are_what_the_estimator_predicts():
    est = learned()
    found = predicted(est)
    assert [task.label for task in found] == [0, 1, 2, 3]
    shown = GROUPS < 4
    for task in found:
        rows = task.label == GROUPS
        assert_allclose(task.grid, np.linspace(X[shown, 0].min(), X[shown, 0].max(), N_POINTS))
        assert_allclose(task.others, X[rows].mean(0))
        x = np.column_stack([task.grid, np.full(N_POINTS, X[rows, 1].mean())])
        prior, adapted = learned(), learned().fit(X[rows & FEW], Y[rows & FEW])
        assert_allclose(task.prior, prior.predict(x))
        assert_allclose(task.mean, adapted.predict(x), rtol=1e-8)
        for model, ends in (
            (prior, (task.prior_low, task.prior_high)),
            (adapted, (task.low, task.high)),
        ):
            assert_allclose(np.stack(ends, 1), model.predict_quantiles(x, [0.1, 0.9]), rtol=1e-8)
        assert_array_equal(task.x_support, X[rows & FEW, 0])
        assert_array_equal(task.y_support, Y[rows & FEW])
        assert_array_equal(task.x_query, X[rows & ~FEW, 0])
        assert_array_equal(task.y_query, Y[rows & ~FEW])
        assert task.output == "y"


def test_without_query_rows():
    for task in predicted(learned(), query=False):
        assert_allclose(task.others, X[(task.label == GROUPS) & FEW].mean(0))
        assert len(task.x_query) == len(task.y_query) == 0


def test_groups_that_are_asked_for_in_that_order():
    assert [task.label for task in predicted(learned(), tasks=[4, 1])] == [4, 1]
    assert [task.label for task in predicted(learned(), n_tasks=1)] == [0]
    # Not in the order of labels, but in that in which they come.
    groups = np.array([3, 9, 1, 7, 5])[GROUPS]
    assert [task.label for task in predicted(learned(), groups=groups, n_tasks=3)] == [3, 9, 1]


def test_a_single_task_without_groups():
    est = learned()
    support = est._read(X[:3], Y[:3], None, None, known=est._meta.targets)
    user = {"X": X[:3], "y": Y[:3]}
    (task,) = adapted(est, X[:3], support, user, 1)
    assert task.label is None
    x = np.column_stack([np.full(N_POINTS, X[:3, 0].mean()), task.grid])
    assert_allclose(task.mean, learned().fit(X[:3], Y[:3]).predict(x))


def test_one_of_several_outputs():
    x, y, groups = grouped(seed=1, n_outputs=2, n_groups=5)
    for output in (1, "y1"):
        found = predicted(learned(2), x, y, groups, output=output)[0]
        assert found.output == "y1"
        rows = groups == 0
        fitted = learned(2).fit(x[rows & FEW], y[rows & FEW])
        at = np.column_stack([found.grid, np.full(N_POINTS, x[rows, 1].mean())])
        assert_allclose(found.mean, fitted.predict(at)[:, 1], rtol=1e-8)
        expected = fitted.predict_quantiles(at, [0.1, 0.9])[:, 1]
        assert_allclose(np.stack([found.low, found.high], 1), expected, rtol=1e-8)
        assert_array_equal(found.y_support, y[rows & FEW, 1])
    with pytest.raises(ValueError, match="output=None names no output: pass one of 0, 1"):
        predicted(learned(2), x, y, groups)


def test_probabilities_of_a_class():
    x, y, groups = labelled(seed=5, n_groups=5, n_classes=3)
    found = predicted(learned_classifier(3), x, y, groups, output="c")[0]
    rows = groups == 0
    fitted = learned_classifier(3).fit(x[rows & FEW], y[rows & FEW])
    at = np.column_stack([found.grid, np.full(N_POINTS, x[rows, 1].mean())])
    assert_allclose(found.mean, fitted.predict_proba(at)[:, 2], rtol=1e-6)
    assert_array_equal(found.y_support, y[rows & FEW] == "c")
    assert found.low is None
    assert found.prior_low is None
    assert found.output == "c"
    with pytest.raises(ValueError, match="output='d' names no class: pass one of 'a'"):
        predicted(learned_classifier(3), x, y, groups, output="d")


def test_of_two_classes_the_second_is_drawn():
    x, y, groups = labelled(seed=5, n_groups=5)
    second = predicted(learned_classifier(), x, y, groups)[0]
    first = predicted(learned_classifier(), x, y, groups, output="a")[0]
    assert second.output == "b"
    assert_allclose(first.mean, 1 - second.mean)


def test_counts_have_whole_intervals():
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * X[:, 0]))
    est = linear(loss="poisson", early_stopping=False).meta_fit(X, counts, groups=GROUPS)
    found = predicted(est, y=counts)[0]
    assert (found.low == found.low.round()).all()
    assert (found.low <= found.high).all()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", ["pandas", "polars", "array", "by position"])
def test_tables_with_a_column_of_groups(kind, place):
    x, y, groups = grouped()
    names = ["a", "b"]
    names.insert(place, "ward")

    def table(x, groups):
        labels = np.array([f"ward {g:02d}" for g in groups], dtype=object)
        if kind == "array":
            return np.insert(x.astype(object), place, labels, axis=1)
        columns = dict(zip("ab", x.T, strict=True)) | {"ward": labels.tolist()}
        columns = {name: columns[name] for name in names}
        return pl.DataFrame(columns) if kind == "polars" else pd.DataFrame(columns)

    column = "ward" if kind in ("pandas", "polars") else place
    est = quick(group_column=column, early_stopping=False).meta_fit(table(x, groups), y)
    plain = quick(early_stopping=False).meta_fit(x, y, groups=groups)
    rows = table(X[FEW], GROUPS[FEW])
    support = est._read(rows, Y[FEW], None, None, known=est._meta.targets)
    found = adapted(est, rows, support, {"X": rows, "y": Y[FEW]}, 1)
    expected = predicted(plain, feature=1, query=False)
    assert [task.label for task in found] == [f"ward {g:02d}" for g in range(4)]
    for task, other in zip(found, expected, strict=True):
        for part in ("grid", "prior", "mean", "low", "high", "x_support", "y_support"):
            assert_allclose(task[part], other[part], rtol=1e-6)


def test_labels_that_are_tuples():
    labels = [("ward", int(g)) for g in GROUPS]
    support = learned()._read(X, Y, labels, None)
    user = {"X": X, "y": Y, "groups": labels}
    found = adapted(learned(), X, support, user, tasks=[("ward", 3)])
    assert [task.label for task in found] == [("ward", 3)]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([0, 9], "tasks holds 9, which is no group of the support rows"),
        ([], r"tasks holds \[\], which is no group"),
        (["a"], "tasks are strings here, while the labels"),
    ],
)
def test_groups_that_are_not_there_are_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        predicted(learned(), tasks=tasks)
