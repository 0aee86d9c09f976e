"""Solvers are functions of problem and batch, with one signature."""

import dataclasses
import inspect

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml.solvers.base import InnerSolution, InnerSolver
from skcml.solvers.closed_form import closed_form
from tests.asserts import assert_follows
from tests.builders import head_problem, random_episode, random_theta

SOLVERS = [closed_form]


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_follow_the_interface(solver):
    assert_follows(solver, InnerSolver)
    defaults = [p.default for p in inspect.signature(solver).parameters.values()]
    assert defaults[3:] == [0.0, None]


@pytest.mark.parametrize("solver", SOLVERS)
def test_solutions_have_the_promised_shapes(solver):
    problem = head_problem((7,), n_outputs=3)
    theta, episode = random_theta(problem), random_episode(problem)
    solution = solver(problem, theta, problem.embed(theta, episode))
    n_columns = problem.factor_mask.shape[1]
    assert solution.phi.shape == (3, 4, n_columns)
    assert solution.grad_norm.shape == (4,)
    for flags in (solution.converged, solution.usable):
        assert flags.shape == (4,)
        assert flags.dtype == bool
    assert isinstance(solution.n_iter, int)
    if solution.solve_h is not None:
        assert solution.solve_h(solution.phi).shape == solution.phi.shape


def test_a_solution_is_not_changed_afterwards():
    solution = InnerSolution(np.zeros(1), np.zeros(1), 0, np.ones(1, bool), np.ones(1, bool), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        solution.n_iter = 1


def test_near_a_minimum_is_what_a_solver_says_it_is():
    flags = {"converged": np.array([True, False, False]), "usable": np.ones(3, bool)}
    solution = InnerSolution(np.zeros(3), np.zeros(3), 0, solve_h=None, **flags)
    assert_array_equal(solution.settled, flags["converged"])
    near = np.array([True, True, False])
    assert_array_equal(dataclasses.replace(solution, near=near).settled, near)
