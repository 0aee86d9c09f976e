"""Secants: the two-loop recursion is the matrix that BFGS updates make."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.solvers.line_search import Point
from skcml.solvers.secants import Secants

N_TASKS, SIZE = 3, 5
LIBRARIES = pytest.mark.parametrize("library", [np.asarray, torch.tensor])


def path(n_points, library=np.asarray, seed=0):
    """Return matrices of quadratics, and points on a walk with their gradients."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(N_TASKS, SIZE, SIZE))
    hessian = np.eye(SIZE) + half @ half.mT
    walk = rng.normal(size=(n_points, 1, N_TASKS, SIZE))
    points = []
    for phi in walk:
        gradient = (hessian @ phi[0][..., None])[None, ..., 0]
        points.append(Point(library(phi), None, library(gradient), None))
    return hessian, points


def bfgs(metric, points, t):
    """Return the inverse that BFGS updates make of a metric (Nocedal and Wright, 6.17)."""
    found = metric.copy()
    for here, there in pairwise(points):
        s, y = (b[0, t] - a[0, t] for a, b in ((here.phi, there.phi), (here[2], there[2])))
        rho = 1 / (s @ y)
        left = np.eye(SIZE) - rho * np.outer(s, y)
        found = left @ found @ left.T + rho * np.outer(s, s)
    return found


@LIBRARIES
@pytest.mark.parametrize("size", [0, 1, 2, 4])
def test_the_recursion_is_that_of_bfgs(library, size):
    _, points = path(5, library)
    secants = Secants(size)
    for here, there in pairwise(points):
        secants.add(here, there)
    gradient = np.random.default_rng(1).normal(size=(1, N_TASKS, SIZE))
    found = np.asarray(secants.apply(lambda v: 0.5 * v, library(gradient)))
    arrays = path(5)[1][4 - size :]
    for t in range(N_TASKS):
        expected = bfgs(0.5 * np.eye(SIZE), arrays, t) @ gradient[0, t]
        assert_allclose(found[0, t], expected)


def test_a_fitted_metric_has_the_length_of_the_last_secant():
    _, points = path(3)
    secants = Secants(1, fitted=lambda v: 3.0 * v)
    secants.add(*points[:2])
    s, y = points[1].phi - points[0].phi, points[1].gradient - points[0].gradient
    gradient = np.random.default_rng(1).normal(size=s.shape)
    found = secants.apply(lambda v: 3.0 * v, gradient)
    for t in range(N_TASKS):
        scale = s[0, t] @ y[0, t] / (y[0, t] @ y[0, t])
        assert_allclose(found[0, t], bfgs(scale * np.eye(SIZE), points[:2], t) @ gradient[0, t])


def test_what_is_not_convex_or_no_number_is_left_out_task_by_task():
    _, (here, there) = path(2)
    change = there.gradient - here.gradient
    change[0, 0] *= -1
    change[0, 1] = np.nan
    secants = Secants(2, fitted=lambda v: v)
    secants.add(here, there._replace(gradient=here.gradient + change))
    everyone = np.ones(N_TASKS, bool)
    assert secants.holders(everyone).tolist() == [False, False, True]
    gradient = np.ones((1, N_TASKS, SIZE))
    found = secants.apply(lambda v: v, gradient)
    assert_array_equal(found[:, :2], gradient[:, :2])
    assert abs(found[:, 2] - 1).max() > 0.01
    secants.forget(np.array([False, False, True]))
    assert not secants.holders(everyone).any()
    assert_array_equal(secants.apply(lambda v: v, gradient), gradient)
