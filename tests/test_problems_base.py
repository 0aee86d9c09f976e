"""Problems offer what rules and solvers ask of them."""

import pytest

from skcml.problems.base import GLMProblem, InnerProblem, QuadraticProblem, Term
from skcml.problems.glm_head import GLMHeadProblem
from skcml.problems.head import HeadProblem
from tests.asserts import assert_follows
from tests.builders import glm_problem, head_problem

PROBLEMS = {HeadProblem: head_problem(), GLMHeadProblem: glm_problem("categorical")}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_follow_the_interface(problem):
    bound = PROBLEMS[problem]
    assert isinstance(bound, problem)
    assert_follows(bound, InnerProblem)
    assert bound.is_quadratic == (problem is HeadProblem)


def test_quadratic_problems_are_told_by_their_least_squares():
    assert isinstance(head_problem(), QuadraticProblem)
    assert_follows(head_problem(), QuadraticProblem)
    assert not isinstance(glm_problem("poisson"), QuadraticProblem)


def test_generalised_linear_problems_are_told_by_their_models():
    assert isinstance(glm_problem("poisson"), GLMProblem)
    assert_follows(glm_problem("poisson"), GLMProblem)
    assert not isinstance(head_problem(), GLMProblem)


def test_conformance_checks_find_a_wrong_parameter():
    class Wrong:
        def least_squares(self, theta, batch, strength): ...

    with pytest.raises(AssertionError):
        assert_follows(Wrong(), QuadraticProblem)


def test_a_term_names_its_parts():
    term = Term("phi", None, "loss")
    assert (term.phi, term.energy, term.loss) == ("phi", None, "loss")
