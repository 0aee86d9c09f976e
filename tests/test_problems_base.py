"""Problems offer what rules and solvers ask of them."""

import pytest

from skcml.problems.base import InnerProblem, QuadraticProblem, Term
from skcml.problems.head import HeadProblem
from tests.asserts import assert_follows
from tests.builders import head_problem

PROBLEMS = [HeadProblem]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_follow_the_interface(problem):
    bound = head_problem()
    assert isinstance(bound, problem)
    assert_follows(bound, InnerProblem)


def test_quadratic_problems_are_told_by_their_least_squares():
    assert isinstance(head_problem(), QuadraticProblem)
    assert_follows(head_problem(), QuadraticProblem)
    assert not isinstance(object(), QuadraticProblem)


def test_conformance_checks_find_a_wrong_parameter():
    class Wrong:
        def least_squares(self, theta, batch, strength): ...

    with pytest.raises(AssertionError):
        assert_follows(Wrong(), QuadraticProblem)


def test_a_term_names_its_parts():
    term = Term("phi", None, "loss")
    assert (term.phi, term.energy, term.loss) == ("phi", None, "loss")
