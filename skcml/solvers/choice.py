"""Which solver goes with which energy: by its name, or by what the energy offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from skcml.problems.base import (
    ConvexProblem,
    CurvedProblem,
    FlatProblem,
    GLMProblem,
    QuadraticProblem,
    SmoothProblem,
)
from skcml.solvers.adam import Adam
from skcml.solvers.base import InnerSolver
from skcml.solvers.closed_form import closed_form
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.lbfgs import LBFGS
from skcml.solvers.newton import newton
from skcml.solvers.newton_cg import newton_cg
from skcml.solvers.sgd import SGD


class Choice(NamedTuple):
    """A solver that can be asked for.

    Attributes
    ----------
    needs : type
        What a problem must offer.
    because : str
        The same in words.
    make : callable
        Makes the solver from ``max_iter`` and ``tol``, where they are given.
    compiles : bool
        Whether it can also be told to ``compile``.
    """

    needs: Any
    because: str
    make: Callable[..., InnerSolver]
    compiles: bool = False


# "auto" is the first that a problem has what it takes for. Solvers without options end at the
# minimum by themselves.
CHOICES = {
    "closed_form": Choice(QuadraticProblem, "is quadratic", lambda **_: closed_form),
    "newton": Choice(GLMProblem, "is that of a generalised linear model", lambda **_: newton),
    "gauss_newton": Choice(CurvedProblem, "has a Gauss-Newton curvature", GaussNewton),
    "newton_cg": Choice(ConvexProblem, "is convex, with a curvature", lambda **_: newton_cg),
    "lbfgs": Choice(SmoothProblem, "has a gradient", LBFGS),
    "sgd": Choice(SmoothProblem, "has a gradient", SGD, compiles=True),
    "adam": Choice(SmoothProblem, "has a gradient", Adam, compiles=True),
}


def resolve_solver(
    name: str,
    problem: Any,
    max_iter: int | None = None,
    tol: float | None = None,
    *,
    compile: bool = False,
) -> InnerSolver:
    """Return the solver of that name, or refuse one that does not go with the problem.

    Parameters
    ----------
    name : {"auto", "closed_form", "newton", "gauss_newton", "newton_cg", "lbfgs", "sgd", "adam"}
        "auto" takes the best that the problem has what it takes for.
    problem : InnerProblem
    max_iter : int, optional
        Steps at most; None is the solver's own default.
    tol : float, optional
        Norm of the gradient at which a task is done, relative to that at the start; None is the
        solver's own default. The closed form and Newton's methods read neither: they end at the
        minimum by themselves.
    compile : bool, default=False
        Whether torch compiles the descent, if it can (see `can_compile`).

    Returns
    -------
    InnerSolver
    """
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol}
    if compile and can_compile(name, problem):
        options["compile"] = True
    make = CHOICES[choose_solver(name, problem)].make
    return make(**{k: v for k, v in options.items() if v is not None})


def can_compile(name: str, problem: Any) -> bool:
    """Tell whether torch can compile the solver of that name on a problem; "auto" is none."""
    return name in CHOICES and CHOICES[name].compiles and isinstance(problem, FlatProblem)


def choose_solver(name: str, problem: Any) -> str:
    """Return the name of the solver that "auto" stands for, or refuse one that does not fit."""
    if name in CHOICES and isinstance(problem, CHOICES[name].needs):
        return name
    # To look at a protocol takes long: only as far as needed.
    allowed = (known for known, choice in CHOICES.items() if isinstance(problem, choice.needs))
    if name == "auto" and (first := next(allowed, None)):
        return first
    what = "is no solver"
    if name in CHOICES:
        what = f"needs an energy that {CHOICES[name].because}, and this one does not offer it"
    names = ", ".join(map(repr, ["auto", *allowed]))
    raise ValueError(f"solver={name!r} {what}; choose one of {names}.")
