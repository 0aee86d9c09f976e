"""Which solver goes with which problem, and the sentence that refuses one."""

import subprocess
import sys

import pytest

from skcml.solvers.adam import Adam
from skcml.solvers.choice import CHOICES, can_compile, resolve_solver
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.lbfgs import LBFGS
from skcml.solvers.newton import newton
from skcml.solvers.newton_cg import newton_cg
from skcml.solvers.sgd import SGD
from tests.builders import glm_problem, head_problem, proximal_problem
from tests.class_tasks import PROBLEM

ALWAYS = {"lbfgs": LBFGS(), "sgd": SGD(), "adam": Adam()}


class OnlySmooth:
    def start(self, theta, batch): ...

    def augmented(self, phi, theta, batch, beta): ...


PROBLEMS = {
    "quadratic": (head_problem(), {"closed_form": closed_form}),
    "glm": (glm_problem("categorical"), {"newton": newton}),
    "curved": (proximal_problem(), {"gauss_newton": GaussNewton()}),
    "convex": (PROBLEM, {"newton_cg": newton_cg}),
    "smooth": (OnlySmooth(), {}),
}
EACH = pytest.mark.parametrize("kind", PROBLEMS)


@EACH
def test_auto_takes_the_best_that_goes(kind):
    problem, own = PROBLEMS[kind]
    assert resolve_solver("auto", problem) == next(iter({**own, **ALWAYS}.values()))


@EACH
@pytest.mark.parametrize("name", CHOICES)
def test_a_solver_goes_with_what_it_needs_and_else_is_refused(kind, name):
    problem, own = PROBLEMS[kind]
    allowed = {**own, **ALWAYS}
    if name in allowed:
        assert resolve_solver(name, problem) == allowed[name]
        return
    with pytest.raises(ValueError, match=f"solver='{name}' needs an energy that") as caught:
        resolve_solver(name, problem)
    for word in map(repr, ["auto", *allowed]):
        assert word in str(caught.value)


def test_what_is_no_solver_is_refused():
    with pytest.raises(ValueError, match=r"solver='magic' is no solver; choose one of"):
        resolve_solver("magic", head_problem())
    with pytest.raises(ValueError, match=r"solver='auto' is no solver"):
        resolve_solver("auto", object())


def test_options_are_passed_on_where_there_are_any():
    networks = proximal_problem()
    assert resolve_solver("auto", networks, max_iter=3) == GaussNewton(max_iter=3)
    assert resolve_solver("lbfgs", networks, 7, 1e-3) == LBFGS(max_iter=7, tol=1e-3)
    assert resolve_solver("adam", networks, tol=0.1) == Adam(tol=0.1)
    assert resolve_solver("sgd", networks, None, None) == SGD()
    assert resolve_solver("auto", head_problem(), 3, 0.1) is closed_form


def test_choosing_does_not_import_torch():
    code = "import skcml.solvers.choice, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", CHOICES)
def test_first_order_steps_on_networks_can_be_compiled(name):
    networks, is_first_order = proximal_problem(), name in ("sgd", "adam")
    assert can_compile(name, networks) == is_first_order
    assert not can_compile(name, head_problem())
    if name in ("gauss_newton", *ALWAYS):
        made = resolve_solver(name, networks, compile=True)
        assert getattr(made, "compile", False) == is_first_order
        assert resolve_solver(name, networks, compile=False) == resolve_solver(name, networks)
    if name in ALWAYS:
        assert resolve_solver(name, head_problem(), compile=True) == ALWAYS[name]


def test_auto_is_never_compiled():
    assert not can_compile("auto", proximal_problem())
    assert resolve_solver("auto", proximal_problem(), compile=True) == GaussNewton()
