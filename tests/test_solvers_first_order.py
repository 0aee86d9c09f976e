"""The loop that feeds gradients of all tasks to an optimiser of torch."""

import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.solvers.adam import Adam
from skcml.solvers.descent import Descent
from skcml.solvers.first_order import optimise
from skcml.solvers.sgd import SGD
from tests.quadratics import Quadratics


class Bowl:
    """Energies c (phi - 1)^2 / 2 of two tasks with one parameter; the second may be no number."""

    def __init__(self, curvature):
        self.curvature = np.array(curvature)

    def start(self, theta, batch):
        return np.zeros((1, 2, 1))

    def augmented(self, phi, theta, batch, beta):
        away = phi - 1.0
        value = 0.5 * self.curvature * (away**2)[0, :, 0]
        return value, self.curvature[:, None] * away


def descend(problem, make, max_iter=50, tol=1e-3):
    return optimise(Descent(problem, None, None, 0.0, None, tol), make, max_iter)


def plain(learning_rate):
    return lambda params: torch.optim.SGD(params, lr=learning_rate)


def test_each_task_ends_when_it_is_done_and_rests():
    found = descend(Bowl([1.0, 0.5]), plain(0.5))
    assert found.converged.all()
    # A half, and a quarter, of the way in each step: the first is done in 10 steps of the 24.
    assert found.n_iter == 25
    assert_allclose(1 - found.phi[0, :, 0], [0.5**10, 0.75**25], rtol=1e-12)
    assert found.solve_h is None


def test_any_optimiser_of_torch_will_do():
    for make in (torch.optim.Adagrad, torch.optim.RMSprop):
        found = descend(Bowl([1.0, 2.0]), lambda params, make=make: make(params, lr=0.2), 2000)
        assert found.usable.all()
        assert_allclose(found.phi, 1.0, atol=0.15)


def test_a_task_that_is_no_number_does_not_hold_the_other_up():
    found = descend(Bowl([1.0, np.nan]), plain(0.5))
    assert_array_equal(found.usable, [True, False])
    assert_array_equal(found.converged, [True, False])
    assert_allclose(found.phi[0, 0], 1.0, atol=1e-2)


def test_what_goes_too_far_is_not_usable_wherever_it_has_been():
    found = descend(Bowl([1.0, 5.0]), plain(0.5), max_iter=8)
    assert_array_equal(found.usable, [True, False])
    assert np.isfinite(found.phi).all()


def test_no_step_is_taken_where_nothing_is_left_to_do():
    descent = Descent(Bowl([1.0, 1.0]), None, None, 0.0, np.ones((1, 2, 1)), 1e-3)
    found = optimise(descent, plain(0.5), 50)
    assert found.n_iter == 0
    assert_array_equal(found.phi, 1.0)


def test_the_order_of_numbers_in_memory_does_not_matter():
    """Fused optimisers of torch go by memory, whatever the strides."""
    expected = Quadratics.diagonal([[1.0, 2.0], [0.5, 3.0], [2.0, 1.0]])
    turned = Quadratics(expected.hessian, np.asfortranarray(expected.begin))
    plain = turned.augmented
    turned.augmented = lambda *args: tuple(map(np.asfortranarray, plain(*args)))
    assert not turned.augmented(turned.begin, None, None, 0.0)[1].flags.c_contiguous
    for solver in (Adam(20, tol=0.0), SGD(20, 0.01, tol=0.0)):
        found, known = (solver(problem, None, None) for problem in (turned, expected))
        assert_array_equal(found.phi, known.phi)


def test_a_task_that_rests_is_put_back_whatever_momentum_does():
    problem = Quadratics.diagonal([[1.0], [1.0]])
    init = np.array([[[1e-8], [1.0]]])
    found = SGD(30, 0.1, momentum=0.9, tol=1e-3)(problem, None, None, init=init)
    assert found.phi[0, 0, 0] == 1e-8
    first, _, *then = problem.seen  # the second is the problem's own start
    assert len(then) == found.n_iter
    assert all(phi[0, 0, 0] == first[0, 0, 0] for phi in then)
