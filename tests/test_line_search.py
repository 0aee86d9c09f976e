"""How far tasks go along a step: each as far as its energy falls."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.solvers.line_search import ARMIJO, MAX_CUTS, Point, line_search

LIBRARIES = pytest.mark.parametrize("library", [np.asarray, torch.tensor])


def bowl(curvature, offset=0.0):
    """Return what evaluates half the curvature times the square of phi, task by task."""

    def at(phi):
        gradient = curvature[:, None] * phi
        value = 0.5 * (phi * gradient).sum((0, -1)) + offset
        return Point(phi, value, gradient, (gradient**2).sum((0, -1)) ** 0.5)

    return at


@LIBRARIES
def test_each_task_has_a_length_of_its_own(library):
    at = bowl(library(np.array([1.0, 3.0, 100.0, 1.0])))
    here = at(library(np.ones((1, 4, 2))))
    is_open = library(np.array([True, True, True, False]))
    there = line_search(at, here, -here.gradient, is_open)
    phi = np.asarray(there.phi)
    # A full step, the minimum of the parabola, the same, and none.
    assert_array_equal(phi[0, 0], 0)
    assert_allclose(phi[0, 1], 0, atol=1e-12)
    assert_array_equal(phi[0, 3], 1)
    slope = -(np.asarray(here.norm) ** 2)
    length = (1 - phi[0, :, 0]) / np.asarray(here.gradient)[0, :, 0]
    bound = np.asarray(here.value) + ARMIJO * length * slope
    assert (np.asarray(there.value) <= bound + 1e-15).all()


@LIBRARIES
def test_where_no_length_will_do_a_task_stays(library):
    calls, plain = [], bowl(library(np.array([1.0, 1.0])))
    walls = library(np.array([1.0, 0.0]))

    def at(phi):
        calls.append(phi)
        there = plain(phi)
        moved = (phi != 1).any(-1)[0] * walls
        return there._replace(value=there.value + 10 * moved)

    here = at(library(np.ones((1, 2, 2))))
    there = line_search(at, here, -here.gradient, library(np.array([True, True])))
    assert_array_equal(there.phi[:, 0], here.phi[:, 0])
    assert_array_equal(there.phi[:, 1], 0)
    assert_array_equal(there.value, np.array([1.0, 0.0]))
    assert len(calls) <= MAX_CUTS + 2


def test_steps_of_tasks_that_rest_need_not_be_finite():
    at = bowl(np.ones(2))
    here = at(np.ones((1, 2, 2)))
    step = -here.gradient
    step[:, 1] = np.nan
    there = line_search(at, here, step, np.array([True, False]))
    assert_array_equal(there.phi[:, 1], 1)


def test_a_length_at_which_the_energy_overflows_is_shortened():
    curved = bowl(np.ones(1))

    def at(phi):
        there = curved(phi)
        return there._replace(value=np.where(abs(phi).max() > 5, np.inf, there.value))

    here = at(np.ones((1, 1, 2)))
    there = line_search(at, here, -50 * here.gradient, np.array([True]))
    assert there.value < here.value


def test_where_rounding_hides_the_fall_slopes_tell_of_it():
    at = bowl(np.ones(1), offset=1e6)
    here = at(np.full((1, 1, 2), 1e-7))
    assert at(0 * here.phi).value == here.value
    there = line_search(at, here, -here.gradient, np.array([True]))
    assert_array_equal(there.phi, 0)
