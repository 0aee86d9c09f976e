"""Held-out tasks: which rows are shown and which are asked."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml.grouping import encode_groups
from skcml.model_selection._tasks import (
    Draw,
    Task,
    class_tasks,
    group_class_tasks,
    group_tasks,
    labels_of,
    read_shots,
)

SIZES = [4, 1, 3]
CODES = np.array([0, 2, 0, 1, 2, 0, 2, 0])  # of these sizes, mixed


def rng(seed=0):
    return np.random.RandomState(seed)


def test_a_task_shows_its_first_rows_and_asks_the_others():
    task = Task("g", [np.array([7, 2, 5]), np.array([4, 0, 1])], n_most=2)
    assert_array_equal(task.shown(1), [4, 7])
    assert_array_equal(task.shown(2), [0, 2, 4, 7])
    assert_array_equal(task.asked, [1, 5])
    assert len(task.shown(0)) == 0


def test_first_rows_are_those_of_the_table():
    tasks = group_tasks(encode_groups(CODES, 8), 2, "first", rng())
    assert [task.label for task in tasks] == [0, 2]
    assert_array_equal(tasks[0].shown(2), [0, 2])
    assert_array_equal(tasks[0].asked, [5, 7])
    assert_array_equal(tasks[1].shown(1), [1])
    assert_array_equal(tasks[1].asked, [6])


def test_random_rows_are_of_the_group_and_each_equally_often():
    counts = np.zeros(8)
    for seed in range(300):
        for task in group_tasks(encode_groups(CODES, 8), 2, "random", rng(seed)):
            counts[task.shown(2)] += 1
            rows = np.union1d(task.shown(2), task.asked)
            assert_array_equal(rows, np.flatnonzero(task.label == CODES))
    assert counts[3] == 0  # of a group of one row
    assert np.abs(counts[CODES == 0] / 300 - 1 / 2).max() < 0.1
    assert np.abs(counts[CODES == 2] / 300 - 2 / 3).max() < 0.1


def test_fewer_shots_are_some_of_the_rows_of_more():
    (task,) = group_tasks(encode_groups(np.zeros(9), 9), 5, "random", rng())
    for fewer in range(5):
        assert set(task.shown(fewer)) < set(task.shown(fewer + 1))


def test_a_draw_knows_what_is_usable():
    draw = Draw(CODES, 3, 1, "first", rng())
    assert_array_equal(draw.sizes, SIZES)
    assert_array_equal(draw.usable, [0, 2])
    assert_array_equal(draw.rows(2), [1, 4, 6])


def test_groups_that_are_too_small_are_an_error():
    with pytest.raises(ValueError, match=r"None of the 3 groups .*n_shots=4 .*largest has 4 row"):
        group_tasks(encode_groups(CODES, 8), 4, "first", rng())


def test_classes_of_groups():
    groups = np.repeat(["x", "y", "z"], [6, 4, 4])
    labels = np.array([0, 0, 1, 1, 1, 2, 0, 0, 1, 1, 3, 3, 3, 3])  # of z one class alone
    encoded = encode_groups(groups, 14), encode_groups(labels, 14)
    tasks = group_class_tasks(*encoded, 1, "first", rng())
    assert [task.label for task in tasks] == ["x", "y"]
    assert_array_equal(tasks[0].shown(1), [0, 2])  # class 2 has one row
    assert_array_equal(tasks[0].asked, [1, 3, 4])
    assert_array_equal(tasks[1].asked, [7, 9])
    with pytest.raises(ValueError, match=r"one of the 3 groups .*of the 6 classes to score, 2 "):
        group_class_tasks(*encoded, 2, "first", rng())


def test_classes_of_a_pool():
    encoded = encode_groups(np.repeat(["a", "b", "c", "d"], [3, 3, 1, 3]), 10)
    tasks = class_tasks(encoded, 2, "random", rng(), n_ways=2, n_episodes=50)
    labels = np.repeat(["a", "b", "c", "d"], [3, 3, 1, 3])
    met = {tuple(labels[task.asked]) for task in tasks}
    assert met == {("a", "b"), ("a", "d"), ("b", "d")}
    assert all(len(task.shown(2)) == 4 for task in tasks)
    assert [task.label for task in tasks] == list(range(50))
    assert {len(t.parts) for t in class_tasks(encoded, 1, "random", rng(), None, 5)} == {3}
    assert len(class_tasks(encoded, 1, "first", rng(), 9, 50)) == 1
    assert len(class_tasks(encoded, 1, "first", rng(), 2, 50)) == 50
    with pytest.raises(ValueError, match=r"of the 4 classes to score, 0 have that many"):
        class_tasks(encoded, 3, "random", rng(), 2, 5)


def test_numbers_of_shots():
    assert read_shots(3) == read_shots(np.int64(3)) == read_shots([3]) == [3]
    assert read_shots(np.array([0, 2])) == read_shots(range(0, 3, 2)) == [0, 2]
    assert read_shots((5, 0, 2)) == [5, 0, 2]


@pytest.mark.parametrize(
    "shots",
    [(), (1, 1), (0, 1), (1.5,), 2.0, "3", ["1"], [[1, 2]], (-1,), (True, 2), True, None, {1, 2}],
)
def test_shots_that_are_none_are_refused(shots):
    message = r"n_shots=.* must hold distinct whole numbers of 1 or more, such as \(1, 2, 5\)"
    with pytest.raises(ValueError, match=message):
        read_shots(shots, 1)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([3, 5], "i"), ([np.datetime64("2020-01-01")], "M"), (["a", "b"], "O"), ([("a", 1)], "O")],
)
def test_labels_are_an_array(labels, kind):
    found = labels_of([Task(label, [], 0) for label in labels])
    assert found.shape == (len(labels),)
    assert found.dtype.kind == kind
    assert list(found) == labels
