"""Tasks on which numbers of shots are compared."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml.grouping import encode_groups
from skcml.inspection._shot_tasks import (
    MAX_QUERIES,
    at_most,
    class_tasks,
    draws,
    group_tasks,
    shots_for,
)
from skcml.model_selection._tasks import Task
from tests.estimators import learned_pool

SIZES = [12, 3, 7, 1, 9]
GROUPS = np.repeat(list("edcba"), SIZES)
ROWS = len(GROUPS)
RNG = np.random.RandomState


CODED = encode_groups(GROUPS, ROWS)


def read(groups, labels):
    X = np.random.default_rng(0).normal(size=(len(labels), 4))
    return learned_pool()._read(X, labels, groups, None)


@pytest.mark.parametrize(
    ("sizes", "least", "expected"),
    [
        ([11, 11, 4], 0, [0, 1, 2, 3, 5, 10]),
        ([10, 9], 0, [0, 1, 2, 3, 5]),
        ([4, 4, 2], 1, [1, 2, 3]),
        ([1, 1], 0, [0]),
        ([1, 1], 1, [1]),
    ],
)
def test_shots_by_default_leave_most_groups_a_row(sizes, least, expected):
    assert_array_equal(shots_for(None, np.array(sizes), least), expected)


def test_shots_that_were_asked_for_are_taken():
    assert_array_equal(shots_for((7, 2), np.array([1]), 0), [2, 7])


def test_groups_with_a_row_more_than_the_most_shots():
    tasks, shots = group_tasks(CODED, np.arange(ROWS), (0, 7))
    assert_array_equal(shots, [0, 7])
    assert [task.label for task in tasks] == ["a", "e"]
    assert [task.n_most for task in tasks] == [7, 7]
    for task in tasks:
        assert_array_equal(task.parts[0], np.flatnonzero(task.label == GROUPS))


def test_rows_that_are_left_out_do_not_count():
    kept = np.arange(2, ROWS)
    tasks, _ = group_tasks(CODED, kept, (0, 8))
    assert_array_equal([len(task.parts[0]) for task in tasks], [9, 10])
    assert 0 not in np.concatenate([task.parts[0] for task in tasks])


def test_too_few_groups_are_refused():
    message = (
        r"Of the 5 groups, 1 have more than 9 rows, .* largest group has 12 rows: pass smaller"
    )
    with pytest.raises(ValueError, match=message):
        group_tasks(CODED, np.arange(ROWS), (1, 9))


LABELS = np.repeat(np.arange(7), 5)


def test_tasks_of_exchangeable_classes():
    rows = read(None, LABELS)
    tasks, shots = class_tasks(rows, np.arange(35), None, None, 40, RNG(0))
    assert_array_equal(shots, [1, 2, 3])
    assert len(tasks) == 40
    for task in tasks:
        assert len(set(task.label)) == len(task.parts) == 5
        for label, rows_of_class in zip(task.label, task.parts, strict=True):
            assert_array_equal(rows_of_class, np.flatnonzero(label == LABELS))
    assert len({task.label for task in tasks}) > 30
    again, _ = class_tasks(rows, np.arange(35), None, None, 40, RNG(0))
    assert [task.label for task in again] == [task.label for task in tasks]


def test_the_classes_of_a_task_are_of_one_group():
    groups = np.where(LABELS < 3, "x", "y")
    tasks, _ = class_tasks(read(groups, LABELS % 3), np.arange(35), 2, 3, 20, RNG(0))
    kinds = set()
    for task in tasks:
        of_task = {group for rows in task.parts for group in groups[rows]}
        assert len(of_task) == 1
        kinds |= of_task
    assert kinds == {"x", "y"}


def test_a_group_with_too_few_classes_has_no_task():
    groups = np.where(LABELS < 3, "x", "y")
    tasks, _ = class_tasks(read(groups, LABELS), np.arange(35), 2, 4, 20, RNG(0))
    assert {label for task in tasks for label in task.label} == {3, 4, 5, 6}


@pytest.mark.parametrize(("n_shots", "n_ways"), [(2, 8), (5, None)])
def test_too_few_classes_are_refused(n_shots, n_ways):
    with pytest.raises(
        ValueError, match=r"A task of n_ways=\d classes needs as many with more than"
    ):
        class_tasks(read(None, LABELS), np.arange(35), n_shots, n_ways, 5, RNG(0))
    with pytest.raises(ValueError, match=r"A task of n_ways=5 classes needs as many in one group"):
        class_tasks(read(LABELS // 2, LABELS), np.arange(35), 1, 5, 5, RNG(0))


@pytest.mark.parametrize("support", ["random", "first"])
def test_support_grows_and_query_rows_are_the_same(support):
    task = Task("a", [np.arange(10), np.arange(20, 50)], n_most=4)
    drawn = draws(task, 3, support, None, RNG(0))
    assert len(drawn) == 3
    for one in drawn:
        supports = [one.shown(k) for k in (0, 2, 4)]
        assert [len(rows) for rows in supports] == [0, 4, 8]
        assert set(supports[1]) < set(supports[2])
        assert sorted({*supports[2], *one.asked}) == [*range(10), *range(20, 50)]
        assert len(one.asked) == 32
        assert one.label == "a"
    first = drawn[0].shown(4)
    if support == "first":
        assert_array_equal(first, [0, 1, 2, 3, 20, 21, 22, 23])
        assert_array_equal(drawn[0].asked, drawn[1].asked)
    else:
        assert set(first) != set(drawn[1].shown(4))


def test_query_rows_of_a_class_are_not_too_many():
    task = Task(("a", "b"), [np.arange(10), np.arange(20, 50)], n_most=4)
    (one,) = draws(task, 1, "random", MAX_QUERIES, RNG(0))
    query = one.asked
    assert ((query < 10).sum(), (query >= 20).sum()) == (6, MAX_QUERIES)


def test_at_most_so_many_tasks():
    tasks = [Task(k, [], 0) for k in range(9)]
    assert at_most(tasks, 9, RNG(0)) == tasks
    some = [task.label for task in at_most(tasks, 4, RNG(0))]
    assert some == sorted(some)
    assert len(set(some)) == 4
