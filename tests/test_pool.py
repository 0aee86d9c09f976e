"""From rows to a pool of classes, and what is learned from it."""

import dataclasses
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml import CMLClassifier
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._pool import (
    DEFAULT_QUERIES,
    DEFAULT_STEPS,
    EVERY_ROW,
    SHOTS,
    WAYS,
    are_exchangeable,
    check_pool,
    class_options,
    pool_of,
    warn_of_a_guess,
)
from skcml.rules.contrastive import Contrastive
from skcml.selection.classes import adapt_classes, class_probabilities
from tests.estimators import learned_pool, pool

X, Y = pool(seed=1, n_classes=6)


def rows_of(codes, groups=None, weight=None, class_weight=None):
    """Return rows that hold their own number, of classes 0, 1, ..."""
    codes = np.asarray(codes)
    x = np.column_stack([np.arange(len(codes)), codes]).astype(float)
    targets = Targets(1, True, np.unique(codes), class_weight)
    weight = None if weight is None else np.asarray(weight, dtype=float)
    return Rows(x, codes[:, None], weight, groups, targets)


# --- are_exchangeable


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1], [0, 0, 0, 1]])
def test_what_is_said_goes(groups):
    rows = rows_of([0, 1, 0, 1], groups)
    assert are_exchangeable("exchangeable", rows)
    assert not are_exchangeable("shared", rows)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (None, True),
        (["u", "u", "v", "v"], True),  # each label in one group, two to a group
        (["u", "u", "u", "u"], True),
        (["u", "v", "u", "v"], False),  # labels in two groups
        (["u", "u", "u", "v"], False),  # a single label in two groups
    ],
)
def test_the_data_say_which_setting_it_is(groups, expected):
    codes = [0, 1, 2, 2] if groups == ["u", "u", "u", "v"] else [0, 1, 2, 3]
    if groups == ["u", "v", "u", "v"]:
        codes = [0, 0, 1, 1]
    assert are_exchangeable("auto", rows_of(codes, groups)) is expected


def test_where_each_group_is_a_class_there_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match=r"Each of the 3 groups has one class, and each class is"):
        are_exchangeable("auto", rows_of([0, 1, 2, 2], [5, 6, 7, 7]))


def test_one_label_in_two_groups_does_not_make_all_shared():
    codes = np.repeat(np.arange(12), 2)
    groups = codes // 4
    groups[1] = 1  # label 0 is in groups 0 and 1
    with pytest.raises(ValueError, match=r"11 occur in one group only, but 0 occurs in 2: pass"):
        are_exchangeable("auto", rows_of(codes, groups))
    assert are_exchangeable("exchangeable", rows_of(codes, groups))
    # Where most labels are in several groups, or there are few, they are shared.
    groups[1::2] = (groups[1::2] + 1) % 3
    assert not are_exchangeable("auto", rows_of(codes, groups))
    few = rows_of([0, 0, 1, 2, 3, 4], [0, 1, 0, 0, 1, 1])
    assert not are_exchangeable("auto", few)


# --- pool_of


def test_rows_are_sorted_by_class():
    found, label, index = pool_of(rows_of([2, 0, 1, 0, 2]), None)
    assert index is None
    assert_array_equal(label, [0, 1, 2])
    assert_array_equal(found.sizes, [2, 1, 2])
    assert_array_equal(found.X[:, 0], [1, 3, 2, 0, 4])
    assert_array_equal(found.weight, 1)
    assert_array_equal(found.group, 0)


def test_the_same_label_in_two_groups_is_two_classes():
    rows = rows_of([0, 1, 0, 1, 1], ["v", "u", "u", "v", "u"])
    found, label, index = pool_of(rows, None)
    assert index.labels.tolist() == ["u", "v"]
    assert_array_equal(found.group, [0, 0, 1, 1])
    assert_array_equal(label, [0, 1, 0, 1])
    assert_array_equal(found.X[:, 0], [2, 1, 4, 0, 3])


def test_rows_of_weight_zero_go_and_their_classes_with_them():
    found, label, index = pool_of(
        rows_of([0, 0, 1, 2, 2], ["u", "u", "u", "v", "w"]), np.array([1.0, 0.0, 0.0, 2.0, 0.0])
    )
    assert len(index) == 3
    assert_array_equal(label, [0, 2])
    assert_array_equal(found.group, [0, 1])
    assert_array_equal(found.weight, [1.0, 2.0])
    assert_array_equal(found.X[:, 0], [0, 3])


def test_bad_groups_are_called_by_the_given_name():
    with pytest.raises(ValueError, match="groups_val has 2 labels for 3 rows"):
        pool_of(rows_of([0, 1, 1], [1, 2]), None, "groups_val")


# --- class_options


def test_the_defaults_are_translated():
    options = class_options(CMLClassifier(), 7)
    assert (options.n_ways, options.n_shots) == (WAYS, SHOTS)
    assert (options.n_queries, options.meta_max_iter) == (DEFAULT_QUERIES, DEFAULT_STEPS)
    assert options.rule == Contrastive("auto", "auto")


def test_every_option_is_the_parameter_of_its_name():
    params = {
        "n_queries": 4,
        "support": "first",
        "meta_batch_size": 5,
        "meta_max_iter": 6,
        "meta_learning_rate": 0.7,
        "early_stopping": False,
        "validation_fraction": 0.8,
        "standardize": False,
        "n_iter_no_change": 9,
        "tol": 0.3,
    }
    given = params | {"scheme": "forward", "beta": 0.3, "n_ways": (2, 4), "n_shots": 3}
    options = class_options(CMLClassifier(**given), 7)
    assert options.rule == Contrastive("forward", 0.3)
    assert (options.n_ways, options.n_shots) == ((2, 3, 4), (3,))
    fields = {field.name for field in dataclasses.fields(options)}
    assert fields == set(params) | {"rule", "n_ways", "n_shots", "network", "input_shape"}
    assert (options.network, options.input_shape) == (None, ())
    assert {name: getattr(options, name) for name in params} == params
    assert class_options(CMLClassifier(n_queries=None), 7).n_queries == EVERY_ROW


@pytest.mark.parametrize("value", [1, (1, 3), (3, 2), (2, 3, 4), (2.5, 3), ["2", "3"]])
def test_bad_numbers_of_ways_are_refused(value):
    with pytest.raises(ValueError, match=r"n_ways must be an integer, a pair .* with 2 <= low"):
        class_options(CMLClassifier(n_ways=value), 7)


# --- check_pool


def checked(codes, groups=None, **params):
    rows = rows_of(codes, groups)
    check_pool(pool_of(rows, None)[0], rows, CMLClassifier(**params))


def test_two_classes_without_groups_are_a_pool_only_if_that_is_said():
    with pytest.raises(ValueError, match=r"the 2 classes of y would be .*classes='exchangeable'"):
        checked([0, 0, 1, 1])
    checked([0, 0, 1, 1], classes="exchangeable")
    checked([0, 0, 1, 1, 2, 2])
    checked([0, 0, 1, 1], ["u"] * 4)


def test_classes_of_one_row_teach_nothing():
    with pytest.raises(ValueError, match=r"Of the 4 classes of y, 3 have one row; learning needs"):
        checked([0, 1, 2, 3, 3])
    # Two classes of two rows, but in two groups.
    with pytest.raises(ValueError, match=r"Of the 4 classes of y, 2 have one row.*of one group"):
        checked([0, 0, 1, 2, 2, 3], ["u"] * 3 + ["v"] * 3)
    checked([0, 1, 2, 2, 3, 3])


def test_tasks_have_no_more_ways_than_there_are_classes():
    codes = [0, 0, 1, 1, 2, 2, 3, 3, 4]
    checked(codes, n_ways=4)
    checked(codes, n_ways=(2, 50))
    with pytest.raises(
        ValueError, match=r"n_ways=5 is more than the 4 classes with two rows or mo"
    ):
        checked(codes, n_ways=5)
    with pytest.raises(ValueError, match=r"n_ways=\(5, 9\) is more than the 4 classes"):
        checked(codes, n_ways=(5, 9))
    with pytest.raises(
        ValueError, match=r"n_ways=3 is more than the 2 classes .* that a group has"
    ):
        checked(codes, ["u"] * 4 + ["v"] * 5, n_ways=3)


def guessed(n_classes, n_rows, groups=None, **params):
    rows = rows_of(np.repeat(np.arange(n_classes), n_rows), groups)
    warn_of_a_guess(pool_of(rows, None)[0], rows, CMLClassifier(**params))


@pytest.mark.parametrize(("n_classes", "n_rows"), [(3, 10), (4, 200)])
def test_a_few_large_classes_without_groups_are_said_to_be_a_guess(n_classes, n_rows):
    expected = rf"so that the {n_classes} classes of y, of {n_classes * n_rows} rows, were taken"
    with pytest.warns(UserWarning, match=expected):
        guessed(n_classes, n_rows)
    guessed(n_classes, n_rows, classes="exchangeable")  # warnings are errors here
    guessed(n_classes, n_rows, ["u"] * n_classes * n_rows)


@pytest.mark.parametrize(("n_classes", "n_rows"), [(3, 9), (5, 200), (16, 8), (80, 100)])
def test_a_pool_that_looks_like_one_is_no_reason_to_warn(n_classes, n_rows):
    guessed(n_classes, n_rows)


# --- PoolState


def test_the_attributes_are_those_documented():
    estimator = learned_pool()
    state = estimator._meta
    assert {name for name in state.attributes() if name.endswith("_")} == {
        "class_setting_",
        "meta_params_",
        "meta_history_",
        "n_meta_iter_",
        "meta_gain_",
    }
    assert (state.n_classes, state.n_rows, state.targets) == (16, 128, None)
    assert set(estimator.meta_gain_) == {"class_mean", "per_task", "final"}
    assert set(estimator.meta_params_) == {
        "prototype_scale",
        "prior_precision",
        "center",
        "scale",
        "lift",
        "unit",
    }
    (history,) = estimator.meta_history_
    assert len(history["loss"]) == estimator.n_meta_iter_ == 5


def test_the_summary_is_what_was_learned():
    state = learned_pool()._meta
    summary = state.summary()
    theta = state.learned.theta
    assert summary.prototype_scale == pytest.approx(np.exp(theta["log_scale"].item()))
    assert summary.prior_precision == pytest.approx(np.exp(theta["log_precision"].item()))
    assert state.report().startswith(
        "16 exchangeable classes, 128 rows; held-out log loss: class_mean "
    )


def rows_to_adapt(groups=None, weight=None, class_weight=None):
    labels, codes = np.unique(Y, return_inverse=True)
    return Rows(X, codes[:, None], weight, groups, Targets(1, True, labels, class_weight))


def test_adapting_is_that_of_a_single_task():
    state = learned_pool()._meta
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    adapted = state.adapt(rows_to_adapt(weight=weight), 3.0)
    codes = np.arange(len(X)) // 8
    W = adapt_classes(state.learned, X, codes, weight, 6, 3.0)
    assert_allclose(adapted.weights[0], W, rtol=1e-8)
    p, nothing = adapted.predict(X, np.zeros(len(X), dtype=int), variance=False)
    assert nothing is None
    assert_allclose(p.T, class_probabilities(state.learned, W, X), rtol=1e-8)


def test_each_group_is_a_task_with_its_own_classes():
    state = learned_pool()._meta
    groups = np.arange(len(X)) % 2
    groups[:8] = 0  # the first class in one group alone
    adapted = state.adapt(rows_to_adapt(groups), 1.0)
    assert [labels.tolist() for labels in adapted.labels] == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    for group in (0, 1):
        rows = groups == group
        labels, codes = np.unique(Y[rows], return_inverse=True)
        weight = np.ones(rows.sum())
        W = adapt_classes(state.learned, X[rows], codes, weight, len(labels))
        assert_allclose(adapted.weights[group], W, rtol=1e-8)


def test_named_class_weights_are_offsets_and_balanced_ones_are_weights():
    state = learned_pool()._meta
    factors = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 0.5])
    plain = state.adapt(rows_to_adapt(), 1.0)
    named = state.adapt(rows_to_adapt(class_weight=factors), 1.0)
    assert_array_equal(named.weights[0], plain.weights[0])
    assert_allclose(named.offset, np.log(np.maximum(factors, 1e-300)))
    assert plain.offset is None
    factors = np.array([1.0, 2.0, 3.0, 1.0, 1.0, 0.5])
    rows = rows_to_adapt(class_weight=factors)
    balanced = dataclasses.replace(rows.targets, is_balanced=True)
    found = state.adapt(dataclasses.replace(rows, targets=balanced), 1.0)
    expected = state.adapt(rows_to_adapt(weight=np.repeat(factors, 8)), 1.0)
    assert found.offset is None
    assert_allclose(found.weights[0], expected.weights[0], rtol=1e-9)


def test_what_was_learned_holds_no_row():
    blob = pickle.dumps(learned_pool()._meta)
    x, _ = pool()
    assert not any(value.tobytes() in blob for value in x.ravel())
