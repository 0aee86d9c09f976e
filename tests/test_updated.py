"""What `partial_fit` leaves behind: factors of tasks, and posteriors of those that are asked."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skcml.estimators._updated import Updated
from tests.estimators import grouped, learned

X, Y, GROUPS = grouped(seed=3)


def updated(groups=GROUPS):
    return learned().partial_fit(X, Y, groups=groups)._adapted


def test_what_predicts_holds_the_tasks_that_are_asked_and_no_others():
    adapted, codes = updated().for_rows([7, 99, 3, 7], 4)
    assert_array_equal(codes, [1, -1, 0, 1])
    assert adapted.n_tasks == 2
    everyone, all_codes = updated().for_rows(GROUPS, len(GROUPS))
    assert_array_equal(all_codes, GROUPS)
    mean, variance = adapted.predict(X[[7, 0, 3, 7]], codes, variance=True)
    found = everyone.predict(X[[7, 0, 3, 7]], np.array([7, -1, 3, 7]), variance=True)
    assert_allclose([mean, variance], found, rtol=1e-12)
    strangers, codes = updated().for_rows([98, 99], 2)
    assert strangers.n_tasks == 0
    assert_array_equal(codes, [-1, -1])


def test_a_single_task_takes_every_row():
    adapted, codes = updated(None).for_rows(None, 3)
    assert adapted.n_tasks == 1
    assert_array_equal(codes, [0, 0, 0])


def test_an_update_shares_the_factors_of_the_others():
    before = updated()
    estimator = learned().partial_fit(X, Y, groups=GROUPS)
    estimator._adapted = before
    after = estimator.partial_fit(X[:2], Y[:2], groups=[5, 5])._adapted
    assert after.groups is before.groups
    for name, kept in before.factors.items():
        shared = [a is b for a, b in zip(kept, after.factors[name], strict=True)]
        assert shared == [group != 5 for group in range(12)]


def test_only_members_that_speak_of_known_groups_are_kept():
    estimator = learned()
    state = estimator._meta
    weights = {"mixed_model": 1.0, "networks": 0.0}
    for name in weights:
        assert state.learned.speaks_of_known(name)
    state.learned.known.weights[3] = 0.0  # the networks' share
    assert not state.learned.speaks_of_known("networks")
    found = Updated.start(state.learned, estimator._adapted)
    assert list(found.factors) == ["mixed_model"]
    assert found.n_tasks == 0


def test_linear_coefficients_are_those_of_all_tasks():
    estimator = learned().fit(X, Y, groups=GROUPS)
    expected = estimator._adapted.linear.coefficients
    assert_allclose(updated().linear.coefficients, expected, atol=1e-12)
