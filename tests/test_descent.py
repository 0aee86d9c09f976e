"""What descending solvers share: where tasks start, when they are done, and what became of them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.solvers.descent import Descent
from skcml.solvers.line_search import Point
from skcml.solvers.secants import Secants
from tests.quadratics import Quadratics

CURVATURES = np.array([[1.0, 4.0], [2.0, 0.5], [9.0, 1.0]])


def descent(beta=0.0, init=None, tol=1e-6):
    return Descent(Quadratics.diagonal(CURVATURES), None, None, beta, init, tol)


def newton(here):
    """Return the metric by which one step is exact."""
    return lambda gradient: gradient / CURVATURES


# --- where tasks start and stand


def test_tasks_begin_where_the_problem_starts_or_where_they_are_told_to():
    init = np.full((1, 3, 2), 0.5)
    for begin, expected in ((None, np.ones((1, 3, 2))), (init, init)):
        first = descent(init=begin).first
        assert_array_equal(first.phi, expected)
        assert_array_equal(first.gradient, CURVATURES * expected)
        assert_allclose(first.value, 0.5 * (CURVATURES * expected[0] ** 2).sum(-1))
        assert_allclose(first.norm, np.linalg.norm(first.gradient[0], axis=-1))


def test_the_start_is_evaluated_once():
    made = descent()
    for _ in range(2):
        assert made.first is made.first
        assert made.bound.shape == (3,)
    assert len(made.problem.seen) == 1


def test_the_bound_is_relative_to_the_problems_start_wherever_tasks_begin():
    at_start = np.linalg.norm(CURVATURES, axis=-1)
    for init in (None, np.full((1, 3, 2), 1e-3), np.full((1, 3, 2), 1e3)):
        assert_allclose(descent(init=init, tol=0.01).bound, 0.01 * at_start)
    # Of the augmented energy: about one, L is flat.
    assert_allclose(descent(beta=np.array([0.0, 5.0, -1.0])).bound, 1e-6 * at_start)


def test_an_energy_has_fallen_if_it_is_not_above_that_at_the_first_point():
    made = descent(init=np.full((1, 3, 2), 2.0))

    def has_fallen(value):
        return made.has_fallen(made.first._replace(value=value)).tolist()

    value = made.first.value
    assert has_fallen(value - np.array([1.0, 0.0, -1.0])) == [True, True, False]
    # Rounding is no rise.
    assert has_fallen(value * (1 + 1e-13)) == [True] * 3
    assert has_fallen(value * (1 + 1e-9)) == [False] * 3
    assert has_fallen(np.array([np.nan, np.inf, -np.inf])) == [False, False, True]


# --- the verdict

SMALL, NEAR, STEEPER = 1e-9, 0.5, 2.0  # shares of the first gradient
ENDS = {
    # gradient left, energy less the first, nudge, known to be lost; usable, converged
    "solved": (SMALL, -1.0, 0.0, False, True, True),
    "nearer": (NEAR, -1.0, 0.0, False, True, False),
    "not finite": (np.nan, -1.0, 0.0, False, False, False),
    "gradient overflows": (np.inf, -1.0, 0.0, False, False, False),
    "energy falls for ever": (NEAR, -np.inf, 0.0, False, False, False),
    "not fallen": (NEAR, 1.0, 0.0, False, False, False),
    "flat, but not fallen": (SMALL, 1.0, 0.0, False, False, False),
    "lost": (NEAR, -1.0, 0.0, True, False, False),
    "flat, but lost": (SMALL, -1.0, 0.0, True, False, False),
    "steeper": (STEEPER, -1.0, 0.0, False, True, False),
    "steeper, nudged to": (STEEPER, -1.0, 0.1, False, True, False),
    "steeper, nudged away": (STEEPER, -1.0, -0.1, False, False, False),
    "nearer, nudged away": (NEAR, -1.0, -0.1, False, True, False),
}


@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_the_verdict_is_task_by_task(library):
    left, fall, beta, is_lost, usable, converged = (
        np.array(column) for column in zip(*ENDS.values(), strict=True)
    )
    init, problem = library(np.ones((1, len(ENDS), 2))), Quadratics.diagonal([[1.0]])
    problem.start = lambda theta, batch: init
    problem.augmented = lambda phi, *_: (phi.sum((0, -1)), phi)
    made = Descent(problem, None, None, library(beta), None, 1e-6)
    here = Point(
        2 * made.first.phi,
        made.first.value + library(fall),
        made.first.gradient,
        made.first.norm * library(left),
    )
    found = made.verdict(here, 7, library(is_lost))
    verdicts = zip(ENDS, found.usable.tolist(), found.converged.tolist(), strict=True)
    expected = zip(ENDS, usable.tolist(), converged.tolist(), strict=True)
    assert list(verdicts) == list(expected)
    assert found.phi is here.phi
    assert found.grad_norm is here.norm
    assert found.n_iter == 7
    assert found.solve_h is None
    assert_array_equal(found.bound, made.bound)


def test_a_factor_is_passed_on():
    made = descent()
    found = made.verdict(made.first, 0, np.zeros(3, bool), solve_h=np.negative)
    assert found.solve_h is np.negative


def test_nudged_away_a_task_may_get_steeper_below_its_bound():
    """A start that is better than asked for need not be kept to the last digit."""
    made = descent(beta=-0.1, init=np.full((1, 3, 2), 0.0), tol=0.5)
    here = made.first._replace(norm=0.9 * made.bound)
    assert (here.norm > made.first.norm).all()
    assert made.verdict(here, 1, np.zeros(3, bool)).converged.all()
    beyond = made.first._replace(norm=1.1 * made.bound)
    assert not made.verdict(beyond, 1, np.zeros(3, bool)).usable.any()


# --- the loop


class Script:
    """A metric that is another one at each step; the last stays."""

    def __init__(self, *metrics):
        self.metrics, self.asked = metrics, []

    def __call__(self, here):
        self.asked.append(here)
        return self.metrics[min(len(self.asked), len(self.metrics)) - 1]


def exact(gradient):
    return gradient / CURVATURES


def short(gradient):
    return 0.1 * gradient


def astray(gradient):
    """Return so long a step that no share of it will do."""
    return 1e30 * gradient


def test_a_task_that_is_stuck_goes_on_without_its_secants():
    made, secants = descent(), Secants(3)
    script = Script(short, astray, exact)
    found = made.run(script, secants, 10)
    assert found.n_iter == 3
    assert found.converged.all()
    # The second step led nowhere.
    assert_array_equal(script.asked[2].phi, script.asked[1].phi)


def test_a_task_that_is_stuck_without_secants_is_over():
    found = descent().run(Script(short, astray, exact), Secants(0), 10)
    assert found.n_iter == 2
    assert not found.converged.any()
    assert found.usable.all()
    # And one whose secants are forgotten has none to forget a second time.
    found = descent().run(Script(short, astray, astray, exact), Secants(3), 10)
    assert found.n_iter == 3
    assert not found.converged.any()


def test_secants_are_forgotten_of_the_stuck_alone():
    def one_astray(gradient):
        found = exact(gradient) * 0.1
        found[:, 1] = astray(gradient)[:, 1]
        return found

    secants, forgotten = Secants(5), []
    forget = secants.forget
    secants.forget = lambda tasks: forgotten.append(tasks.tolist()) or forget(tasks)
    descent().run(Script(short, one_astray), secants, 2)
    assert forgotten[-1] == [False, True, False]
    assert secants.holders(np.ones(3, bool)).tolist() == [True, False, True]


@pytest.mark.parametrize("wrong", [-1.0, 0.0, np.nan])
def test_a_step_that_does_not_descend_loses_the_task_and_no_other(wrong):
    def metric(gradient):
        return exact(gradient) * np.array([[1.0], [wrong], [1.0]])

    found = descent().run(lambda here: metric, Secants(3), 10)
    assert found.usable.tolist() == [True, False, True]
    assert found.converged.tolist() == [True, False, True]
    assert_array_equal(found.phi[:, 1], 1)
    assert found.n_iter == 1


def test_secants_mend_a_metric_only_once_a_task_is_near():
    def steps(size, near):
        made = descent(tol=1e-8)
        return made.run(lambda here: lambda g: 0.1 * g, Secants(size), 500, near)

    never, at_once, plain = steps(3, 0.0), steps(3, np.inf), steps(0, np.inf)
    assert at_once.converged.all()
    assert plain.converged.all()
    assert never.n_iter == plain.n_iter
    assert_array_equal(never.phi, plain.phi)
    assert at_once.n_iter < steps(3, 1e-3).n_iter < plain.n_iter


def test_near_is_a_share_of_the_gradient_at_the_problems_start():
    """A task that begins where it may use secants uses them from the second step on."""
    init = np.full((1, 3, 2), 1e-3)
    made = [descent(init=init, tol=1e-9) for _ in range(2)]
    found, everywhere = (
        each.run(lambda here: lambda g: 0.1 * g, Secants(3), 500, near)
        for each, near in zip(made, (1e-2, np.inf), strict=True)
    )
    assert_array_equal(found.phi, everywhere.phi)


def test_a_task_that_is_done_rests():
    init = np.ones((1, 3, 2))
    init[:, 1] = 1e-8
    found = descent(init=init).run(newton, Secants(0), 10)
    assert_array_equal(found.phi[:, 1], 1e-8)
    assert_allclose(found.phi[:, ::2], 0, atol=1e-12)
    assert found.n_iter == 1
