"""Descents that torch compiles: evaluation, step and book-keeping of an iteration as one function.

They end where those of `first_order` end, to rounding. What is compiled serves any number of tasks
and of rows, but for a single task and a single row, which have versions of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from skcml.arrays import Array, copy_in_order, keep_freed_memory, to_numpy
from skcml.solvers.base import InnerSolution
from skcml.solvers.descent import Descent, may_diverge
from skcml.solvers.line_search import product

NOT_COMPILED = (
    "compile=True, but torch.compile fails here ({}: {}). It needs a C++ compiler such as g++, and "
    "a body whose calls it can follow: see to that, or set compile=False."
)

Memory = tuple[Array, ...]


class StepRule(NamedTuple):
    """How steps follow from gradients, as functions of tensors that torch can compile.

    Attributes
    ----------
    remember : callable
        Returns what is remembered before the first gradient, given a tensor like it.
    step : callable
        Takes a gradient and what is remembered. Returns what phi goes down by, and what is
        remembered then.
    """

    remember: Callable[[Array], Memory]
    step: Callable[[Array, Memory], tuple[Array, Memory]]


class Course(NamedTuple):
    """Where a descent is.

    Attributes
    ----------
    phi : Tensor
        Where the tasks go next.
    memory : tuple of Tensor
        What is remembered of gradients.
    last : Tensor of shape (n_tasks,)
        The energy where they have just been.
    best, value, norm : Tensor
        The best phi that each task has seen, with its energy and the norm of its gradient.
    is_open, is_lost : Tensor of shape (n_tasks,), bool
        The tasks that move, and those that are no number any more.
    """

    phi: Array
    memory: Memory
    last: Array
    best: Array
    value: Array
    norm: Array
    is_open: Array
    is_lost: Array


@may_diverge
def optimise_compiled(descent: Descent, rule: StepRule, max_iter: int) -> InnerSolution:
    """Take steps of a rule, and return the best phi of each task, as `optimise` does.

    Parameters
    ----------
    descent : Descent
        Of a `FlatProblem`.
    rule : StepRule
    max_iter : int
        Steps at most.
    """
    import torch  # importing skcml does not import torch

    keep_freed_memory()
    problem, first = descent.problem, descent.first
    model, rows = problem.constants(first.phi, descent.theta, descent.batch, descent.beta)
    model, rows, bound = _tensors(model), _varied(rows), _varied(descent.bound)
    with torch.no_grad(), _deaf():
        is_open, is_lost = first.norm > descent.bound, first.norm < 0
        best = first.phi, first.value, first.norm
        memory = rule.remember(_tensors(first.phi))
        course = _varied(Course(first.phi, memory, first.value, *best, is_open, is_lost))
        n_iter = -1  # the first call looks at where the tasks are anyway
        while n_iter < max_iter and course.is_open.any():
            n_iter += 1
            course = _go_on(problem, rule.step, course, bound, model, rows)
    if isinstance(first.phi, np.ndarray):
        course = Course(course.phi, memory, *map(to_numpy, course[2:]))
    end = first._replace(phi=course.best, value=course.value, norm=course.norm)
    has_risen = ~descent.has_fallen(first._replace(value=course.last))
    return descent.verdict(end, max(n_iter, 0), course.is_lost | has_risen)


def iteration(
    problem: Any,
    step: Callable[[Array, Memory], tuple[Array, Memory]],
    course: Course,
    bound: Array,
    model: Any,
    rows: Any,
) -> Course:
    """Look at where the tasks are, and take a step: a function of tensors.

    Parameters
    ----------
    problem : FlatProblem
    step : callable
        See `StepRule`.
    course : Course
    bound : Tensor of shape (n_tasks,)
        Norm of the gradient at which a task is done.
    model, rows : object
        As `FlatProblem.constants` gave them.
    """
    import torch

    phi, is_open = course.phi, course.is_open
    value, gradient = problem.augmented_at(phi, model, rows)
    norm = product(gradient, gradient) ** 0.5
    is_done = norm <= bound
    is_better = is_open & ((value < course.value) | is_done)
    is_lost = course.is_lost | (is_open & ~torch.isfinite(norm))
    is_open = is_open & ~is_done & ~is_lost
    best = torch.where(is_better[:, None], phi, course.best)
    move, memory = step(gradient, course.memory)
    return Course(
        torch.where(is_open[:, None], phi - move, best),
        memory,
        value,
        best,
        torch.where(is_better, value, course.value),
        torch.where(is_better, norm, course.norm),
        is_open,
        is_lost,
    )


@cache
def check_compiler() -> None:
    """Refuse to go on where torch cannot compile as much as a sum."""
    import torch

    def double(a: Array) -> Array:
        return a + a

    with _deaf():
        _refusing(torch.compile(double, fullgraph=True), torch.ones(2))


@contextmanager
def _deaf() -> Iterator[None]:
    """Pass over what torch says of its own parts that it will do without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _go_on(*args: Any) -> Course:
    """Call `iteration`, compiled."""
    from torch._dynamo import exc

    try:
        return _compiled()(*args)
    except getattr(exc, "FailOnRecompileLimitHit", Exception):  # the name it has in torch 2.13
        # Torch makes a few versions of a function, then no more; a copy has versions of its own.
        _compiled.cache_clear()
    except Exception as error:
        raise _not_compiled(error) from error
    return _refusing(_compiled(), *args)


def _refusing(compiled: Callable[..., Any], *args: Any) -> Any:
    """Call what torch compiles, and say what is to be done where it cannot."""
    try:
        return compiled(*args)
    except Exception as error:
        raise _not_compiled(error) from error


def _not_compiled(error: Exception) -> ValueError:
    reason = " ".join(str(error).split("\n")[:2])
    return ValueError(NOT_COMPILED.format(type(error).__name__, reason))


@cache
def _compiled() -> Callable[..., Course]:
    """Return a copy of `iteration` that torch compiles once it is called."""
    import torch

    copied = FunctionType(iteration.__code__.replace(), iteration.__globals__)
    compiled: Callable[..., Course] = torch.compile(copied, fullgraph=True)
    return compiled


def _tensors(part: Any) -> Any:
    """Return a copy of arrays, or of tuples and dictionaries of arrays, as tensors in order.

    Torch compiles anew where numbers lie in another order.
    """
    import torch

    return _each(part, lambda array: torch.as_tensor(copy_in_order(array)))


def _varied(part: Any) -> Any:
    """Return the same of arrays whose lengths vary from batch to batch, and are left open."""
    from torch import _dynamo

    tensors = _tensors(part)

    def mark(tensor: Array) -> None:
        _dynamo.maybe_mark_dynamic(tensor, list(range(tensor.ndim)))

    _each(tensors, mark)
    return tensors


def _each(part: Any, function: Callable[[Array], Any]) -> Any:
    """Apply a function to each array of a tuple or dictionary."""
    if part is None:
        return None
    if isinstance(part, dict):
        return {name: _each(item, function) for name, item in part.items()}
    if isinstance(part, tuple):
        items = (_each(item, function) for item in part)
        return type(part)(*items) if hasattr(part, "_fields") else tuple(items)
    return function(part)
