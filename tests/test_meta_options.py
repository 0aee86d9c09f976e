"""From parameters to options, and what learning needs of the data."""

import dataclasses

import numpy as np
import pytest

from skcml import CMLClassifier, CMLRegressor
from skcml.estimators._meta_options import (
    DEFAULT_SHOTS,
    check_descent,
    check_tasks,
    int_range,
    layer_sizes,
    learn_options,
    shots,
    warn_of_many_shots,
)
from skcml.likelihoods import Bernoulli, Poisson
from skcml.rules.contrastive import Contrastive
from skcml.selection.families import ClassesOrCounts, Numbers
from skcml.solvers.closed_form import closed_form
from skcml.solvers.newton import newton
from tests.builders import counting_tasks


@pytest.mark.parametrize(
    ("value", "sizes"),
    [((), ()), (8, (8,)), ([8, 4], (8, 4)), (np.array([8, 4]), (8, 4)), ((np.int64(3),), (3,))],
)
def test_layer_sizes_are_a_tuple_of_int(value, sizes):
    assert layer_sizes(value) == sizes
    assert all(type(size) is int for size in layer_sizes(value))


@pytest.mark.parametrize("value", [0, (0,), (4, -1), (2.5,), ("4",), [[4]]])
def test_bad_layer_sizes_are_refused(value):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be positive integers"):
        layer_sizes(value)


@pytest.mark.parametrize(
    ("value", "pair"),
    [(None, DEFAULT_SHOTS), (5, (5, 5)), ((1, 4), (1, 4)), ([2, 2], (2, 2)), (np.int64(3), (3, 3))],
)
def test_shots_are_a_pair(value, pair):
    assert shots(value) == pair


@pytest.mark.parametrize("value", [0, (0, 3), (3, 2), (1, 2, 3), (1,), (1.5, 3), ("1", "2")])
def test_bad_shots_are_refused(value):
    with pytest.raises(ValueError, match="n_shots must be an integer, a pair"):
        shots(value)


def test_every_option_is_the_parameter_of_its_name():
    params = {
        "hidden_layer_sizes": (3,),
        "activation": "sin",
        "prior_covariance": "diagonal",
        "meta_loss": "loss",
        "n_shots": (2, 3),
        "n_queries": 4,
        "support": "first",
        "meta_batch_size": 5,
        "meta_max_iter": 6,
        "meta_learning_rate": 0.7,
        "early_stopping": False,
        "validation_fraction": 0.8,
        "n_iter_no_change": 9,
        "tol": 0.01,
        "n_jobs": 2,
    }
    options = learn_options(CMLRegressor(scheme="symmetric", beta=0.3, **params), Numbers())
    assert options.rule == Contrastive("symmetric", 0.3)
    fields = {field.name for field in dataclasses.fields(options)}
    assert fields == set(params) | {"rule", "model", "solver", "fit_solver", "family"}
    assert {name: getattr(options, name) for name in params} == params


def test_the_defaults_are_translated():
    options = learn_options(CMLRegressor(), Numbers())
    assert options.hidden_layer_sizes == (32,)
    assert options.n_shots == DEFAULT_SHOTS
    assert options.solver is closed_form
    assert options.meta_loss == "log_predictive"
    assert options.n_queries == 20
    assert options.meta_max_iter == 600


@pytest.mark.parametrize("estimator", [CMLRegressor(loss="poisson"), CMLClassifier()])
def test_classes_and_counts_have_a_solver_and_a_loss_of_their_own(estimator):
    family = ClassesOrCounts(Bernoulli())
    options = learn_options(estimator, family)
    assert options.family is family
    assert options.solver is newton
    assert options.meta_loss == "loss"
    assert (options.n_queries, options.meta_max_iter) == (20, 600)
    options = learn_options(CMLClassifier(n_queries=3, meta_max_iter=7), family)
    assert (options.n_queries, options.meta_max_iter) == (3, 7)


def test_a_pair_that_does_not_go_together_is_refused():
    counts = ClassesOrCounts(Poisson())
    estimator = CMLRegressor(loss="poisson", meta_loss="log_predictive")
    with pytest.raises(ValueError, match="meta_loss='log_predictive' is for loss='squared_error'"):
        learn_options(estimator, counts)
    with pytest.raises(ValueError, match="'newton' needs an energy"):
        learn_options(CMLRegressor(solver="newton"), Numbers())
    with pytest.raises(ValueError, match="'closed_form' needs an energy that is quadratic"):
        learn_options(CMLRegressor(loss="poisson", solver="closed_form"), counts)
    assert learn_options(CMLClassifier(solver="newton"), counts).solver is newton


def test_a_range_has_a_least_number():
    assert int_range(2, "n_ways", least=2) == (2, 2)
    with pytest.raises(ValueError, match=r"n_ways must be .* 2 <= low <= high, or None; got 1"):
        int_range(1, "n_ways", least=2)


def test_two_groups_one_of_which_has_two_rows_are_enough():
    check_tasks(counting_tasks([2, 1]))
    with pytest.raises(ValueError, match=r"at least two groups.*got 1 in n_samples = 5 rows"):
        check_tasks(counting_tasks([5, 0]))
    with pytest.raises(ValueError, match=r"Each of the 3 groups has one row, n_samples = 3"):
        check_tasks(counting_tasks([1, 1, 0, 1]))


@pytest.mark.parametrize(("asked", "most"), [(None, 2), (3, 4), ((1, 30), 2), ((3, 30), 4)])
def test_shots_that_some_group_can_give_are_no_reason_to_warn(asked, most):
    warn_of_many_shots(asked, np.array([1, most, 2]), "group")  # warnings are errors here


@pytest.mark.parametrize(("asked", "unit"), [(4, "group"), ((4, 9), "class")])
def test_shots_that_no_group_can_give_are_said_to_be_fewer(asked, unit):
    with pytest.warns(
        UserWarning, match=rf"than any {unit} can .* has 4 rows.*at most 3 are given"
    ):
        warn_of_many_shots(asked, np.array([1, 4, 2]), unit)


def test_a_descent_that_left_no_numbers_is_refused():
    check_descent([np.zeros(2), np.ones((1, 3))], 0.1)
    for bad in (np.nan, np.inf):
        with pytest.raises(
            ValueError, match=r"diverged: meta_learning_rate=0\.1 is too high .*lower"
        ):
            check_descent([np.zeros(2), np.array([1.0, bad])], 0.1)
