"""Weights of each task's classes, and the probabilities they give."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.estimators._adapted_classes import AdaptedClasses
from skcml.grouping import encode_groups
from skcml.selection.classes import class_probabilities
from tests.estimators import learned_pool, pool

X, _ = pool(seed=1, n_classes=5)


def adapted(n_tasks=3, **changes):
    """Return tasks u, v, ... of two, three, ... of five classes; the last has none."""
    learned, rng = learned_pool()._meta.learned, np.random.default_rng(0)
    width = learned.transform(X[:1]).shape[1]
    labels = [np.sort(rng.permutation(5)[: task + 2]) for task in range(n_tasks - 1)]
    labels.append(np.empty(0, dtype=int))
    weights = [rng.normal(size=(len(own), width)) for own in labels]
    _, index = encode_groups(list("uvwxyz"[:n_tasks]), n_tasks)
    return dataclasses.replace(AdaptedClasses(learned, weights, labels, 5, index), **changes)


def single(n_classes=5):
    """Return one task of the first of five classes."""
    learned, rng = learned_pool()._meta.learned, np.random.default_rng(0)
    width = learned.transform(X[:1]).shape[1]
    W = rng.normal(size=(n_classes, width))
    return AdaptedClasses(learned, [W], [np.arange(n_classes)], 5, None)


# --- codes


def test_each_row_gets_its_task():
    assert_array_equal(adapted().codes(["v", "u", "v"], 3), [1, 0, 1])


def test_of_a_group_that_was_not_seen_nothing_is_known():
    with pytest.raises(ValueError, match=r"groups holds a group in row 1 that fit has not seen\."):
        adapted().codes(["u", "zz"], 2)
    # Nor of one whose rows weighed nothing.
    with pytest.raises(ValueError, match="groups holds a group in row 2 that fit has not seen"):
        adapted().codes(["u", "v", "w"], 3)


def test_groups_are_passed_where_fit_had_them_and_not_elsewhere():
    with pytest.raises(ValueError, match="predict needs the group of each row: pass groups="):
        adapted().codes(None, 3)
    with pytest.raises(ValueError, match="fit was called without groups and knows a single task"):
        single().codes(["u", "v"], 2)
    assert_array_equal(single().codes(None, 2), [0, 0])
    with pytest.raises(ValueError, match="groups has 1 labels for 2 rows"):
        adapted().codes(["u"], 2)


# --- predict


def test_a_task_gives_its_classes_probabilities_and_the_others_none():
    tasks = adapted()
    codes = np.random.default_rng(1).integers(2, size=len(X))
    p, nothing = tasks.predict(X, codes)
    assert nothing is None
    assert p.shape == (5, len(X))
    assert_allclose(p.sum(0), 1)
    for task in (0, 1):
        rows, own = codes == task, tasks.labels[task]
        expected = class_probabilities(tasks.learned, tasks.weights[task], X[rows])
        assert_allclose(p[np.ix_(own, rows)], expected.T, rtol=1e-12)
        assert_array_equal(np.delete(p, own, axis=0)[:, rows], 0)


def test_tasks_with_no_row_to_predict_are_passed_over():
    p, _ = adapted().predict(X[:2], np.array([1, 1]))
    assert_allclose(p.sum(0), 1)


@pytest.mark.parametrize("n_classes", [5, 3])
def test_a_single_task_may_have_all_classes_or_some(n_classes):
    task = single(n_classes)
    p, _ = task.predict(X, np.zeros(len(X), dtype=int))
    expected = class_probabilities(task.learned, task.weights[0], X)
    assert_allclose(p[:n_classes].T, expected, rtol=1e-12)
    assert_array_equal(p[n_classes:], 0)


def test_an_offset_is_added_to_the_logits_of_its_class():
    offset = np.log([1.0, 3.0, 0.5, 1.0, 2.0])
    codes = np.arange(len(X)) % 2
    for task, at in ((adapted(), codes), (single(), 0 * codes)):
        plain, _ = task.predict(X, at)
        moved, _ = dataclasses.replace(task, offset=offset).predict(X, at)
        odds = plain * np.exp(offset)[:, None]
        assert_allclose(moved, odds / odds.sum(0), rtol=1e-9)


# --- without


def test_tasks_leave_with_their_classes():
    before = adapted(5, offset=np.arange(5.0))
    left, classes = before.without(np.array([1, 3]))
    assert_array_equal(classes, np.unique(np.concatenate([before.labels[0], before.labels[2]])))
    assert (left.n_tasks, left.n_classes) == (3, len(classes))
    assert_array_equal(left.groups.labels, ["u", "w", "y"])
    assert_array_equal(left.offset, classes)
    codes = np.repeat([0, 2], 5)
    expected, _ = before.predict(X[:10], codes)
    found, _ = left.predict(X[:10], np.repeat([0, 1], 5))
    assert_array_equal(found, expected[classes])


def test_where_no_class_is_left_nothing_is():
    left, classes = adapted().without(np.array([0, 1]))
    assert left is None
    assert len(classes) == 0
    assert single().without(np.array([0]))[0] is None
