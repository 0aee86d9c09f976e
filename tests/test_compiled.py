"""Descents that torch compiles: they end where others do, and say what they need.

Of torch's compiler only its first half runs here, which follows the calls and must understand them
all; that what it hands over can be compiled is seen in `test_compile.py`, once.
"""

import dataclasses
import functools
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch._dynamo.exc import FailOnRecompileLimitHit

from skcml.problems.base import FlatProblem
from skcml.problems.on_torch import OnTorch
from skcml.solvers import compiled
from skcml.solvers.adam import Adam
from skcml.solvers.sgd import SGD
from tests.asserts import assert_follows
from tests.builders import (
    proximal_episode,
    proximal_problem,
    proximal_theta,
    take_tasks,
)
from tests.module_cases import image_case

SOLVERS = {
    "adam": Adam(40, 0.01, tol=0.1),
    "heavy ball": SGD(40, 0.01, nesterov=False, tol=0.1),
    "nesterov": SGD(40, 0.01, tol=0.1),
}
EACH = pytest.mark.parametrize("name", SOLVERS)
BETAS = pytest.mark.parametrize("beta", [0.0, np.array([0.0, 0.3, -0.02, 0.1])], ids=str)


def case(layer="dense", kind="squared_error", hidden=(4,), **options):
    problem = proximal_problem(layer, kind, hidden=hidden)
    theta = proximal_theta(problem, log_strength=1.5)
    return problem, theta, proximal_episode(problem, **options)


def solve(solver, problem, theta, episode, beta=0.0, init=None, **options):
    solver = dataclasses.replace(solver, **options)
    return solver(problem, theta, problem.embed(theta, episode), beta, init)


def assert_same(found, expected, atol=1e-9):
    assert type(found.phi) is type(expected.phi)
    for name in ("phi", "grad_norm", "bound"):
        assert_allclose(getattr(found, name), getattr(expected, name), atol=atol)
    for name in ("converged", "usable"):
        part = getattr(found, name)
        assert type(part) is type(getattr(expected, name))
        assert_array_equal(part, getattr(expected, name))
    assert found.n_iter == expected.n_iter
    assert found.solve_h is None


@pytest.fixture
def plain(monkeypatch):
    """Go without torch's compiler: the function is called as it is."""
    monkeypatch.setattr(compiled, "_compiled", lambda: compiled.iteration)


@pytest.fixture
def graphs(monkeypatch):
    """Follow the calls only, and return the graphs that are found."""
    found = []

    def backend(graph, _):
        found.append(graph)
        return graph.forward

    compiled._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    yield found
    compiled._compiled.cache_clear()


def test_networks_are_flat_problems():
    problem = proximal_problem()
    for kind in (problem, OnTorch(problem)):
        assert_follows(kind, FlatProblem)


# --- where they end


@EACH
@BETAS
@pytest.mark.parametrize(("layer", "kind"), [("dense", "squared_error"), ("modulated", "poisson")])
def test_they_end_where_others_end(plain, name, beta, layer, kind):
    given = case(layer, kind)
    expected = solve(SOLVERS[name], *given, beta)
    assert_same(solve(SOLVERS[name], *given, beta, compile=True), expected)
    assert 0 < expected.n_iter <= 40


@EACH
@pytest.mark.parametrize("max_iter", [0, 1, 7])
def test_they_take_no_more_steps_than_allowed(plain, name, max_iter):
    given, options = case(), {"max_iter": max_iter, "tol": 1e-9}
    found = solve(SOLVERS[name], *given, compile=True, **options)
    assert_same(found, solve(SOLVERS[name], *given, **options))
    assert found.n_iter == max_iter


@EACH
def test_a_task_that_is_done_rests(plain, name):
    given = case()
    free = solve(SOLVERS[name], *given)
    again = solve(SOLVERS[name], *given, init=free.phi, compile=True)
    assert again.n_iter == 0
    assert_array_equal(again.phi, free.phi)
    init = given[0].start(given[1], given[2]).copy()
    init[:, 1] = free.phi[:, 1]
    found = solve(SOLVERS[name], *given, init=init, compile=True)
    assert_array_equal(found.phi[:, 1], free.phi[:, 1])
    assert_same(found, solve(SOLVERS[name], *given, init=init))


@EACH
def test_a_task_that_goes_too_far_is_not_usable(plain, name):
    given, options = case(), {"learning_rate": 3.0, "max_iter": 30}
    found = solve(SOLVERS[name], *given, compile=True, **options)
    assert_array_equal(found.usable, solve(SOLVERS[name], *given, **options).usable)
    assert not found.usable.all()
    assert np.isfinite(found.phi).all()


@EACH
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e200])
def test_a_task_that_is_no_number_does_not_spoil_the_others(plain, name, poison):
    problem, theta, episode = case()
    clean = solve(SOLVERS[name], problem, theta, episode)
    y = episode.y_support.copy()
    y[:, 1, 0] = poison
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        broken = dataclasses.replace(episode, y_support=y)
        found = solve(SOLVERS[name], problem, theta, broken, compile=True)
    others = [0, 2, 3]
    assert_allclose(found.phi[:, others], clean.phi[:, others], atol=1e-9)
    assert_array_equal(found.usable[others], clean.usable[others])
    assert not found.converged[1]
    assert np.isfinite(found.phi).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tensors_go_in_and_come_out(plain, dtype):
    problem, theta, episode = case()
    problem = OnTorch(problem, dtype=dtype)
    found, expected = (
        solve(SOLVERS["adam"], problem, theta, episode, compile=compile)
        for compile in (True, False)
    )
    assert found.phi.dtype == getattr(torch, dtype)
    assert_same(found, expected, atol=1e-9 if dtype == "float64" else 1e-4)


def test_nothing_that_goes_in_is_changed(plain):
    problem, theta, episode = case()
    start = problem.start(theta, episode)
    before = theta.vector.copy(), start.copy()
    for array in (*vars(episode).values(), theta.vector, start):
        array.setflags(write=False)
    solve(SOLVERS["adam"], problem, theta, episode, init=start, compile=True)
    assert_array_equal(theta.vector, before[0])
    assert_array_equal(start, before[1])


# --- what torch makes of it


@pytest.mark.parametrize(("layer", "kind"), [("dense", "categorical"), ("modulated", "poisson")])
def test_all_calls_are_understood(graphs, layer, kind):
    given = case(layer, kind, hidden=(4, 3))
    assert_same(
        solve(SOLVERS["adam"], *given, compile=True, max_iter=5),
        solve(SOLVERS["adam"], *given, max_iter=5),
    )
    assert len(graphs) == 1


def test_one_version_serves_any_number_of_tasks_and_rows(graphs):
    problem, theta, episode = case()
    beta = np.array([0.0, 0.3, -0.02, 0.1])
    larger = proximal_episode(problem, 1, n_tasks=6, n_support=9, n_query=2)
    for given, nudge in (
        (episode, 0.0),
        (episode, beta),
        (take_tasks(episode, [0, 2]), 0.0),
        (larger, 0.0),
        (larger, 0.2),
    ):
        found = solve(SOLVERS["adam"], problem, theta, given, nudge, compile=True, max_iter=3)
        assert_same(found, solve(SOLVERS["adam"], problem, theta, given, nudge, max_iter=3))
    # Nor does it matter which problem of that kind it is, if it is another object.
    again = proximal_problem(hidden=(4,))
    solve(SOLVERS["adam"], again, theta, episode, compile=True, max_iter=3)
    assert len(graphs) == 1


def test_a_body_of_ones_own_is_understood(graphs):
    given = image_case()  # with convolutions and batch normalisation
    assert_same(
        solve(SOLVERS["nesterov"], *given, compile=True, max_iter=5),
        solve(SOLVERS["nesterov"], *given, max_iter=5),
    )
    assert len(graphs) == 1


# --- what it needs


def failing(times, kind=RuntimeError, then=compiled.iteration):
    """Return what fails so many times when it is called."""
    left = [times]

    def call(*args):
        if left[0]:
            left[0] -= 1
            raise kind("no compiler\nat all\nfor reasons of its own")
        return then(*args)

    return call


def test_what_torch_will_not_compile_again_is_compiled_afresh(monkeypatch):
    """It makes a few versions of a function only."""
    calls = iter([failing(1, FailOnRecompileLimitHit), compiled.iteration])
    once = functools.cache(lambda: next(calls))
    monkeypatch.setattr(compiled, "_compiled", once)
    given = case()
    found = solve(SOLVERS["adam"], *given, compile=True)
    assert_same(found, solve(SOLVERS["adam"], *given))
    assert next(calls, None) is None


def test_a_copy_has_versions_of_its_own(graphs):
    first = compiled._compiled()
    compiled._compiled.cache_clear()
    second = compiled._compiled()
    codes = [function.__wrapped__.__code__ for function in (first, second)]
    assert codes[0] is not codes[1]
    assert codes[0] == codes[1] == compiled.iteration.__code__


def test_what_cannot_be_compiled_is_refused_in_a_sentence(monkeypatch):
    made = iter([failing(1)])  # and it is not tried a second time
    monkeypatch.setattr(compiled, "_compiled", functools.cache(lambda: next(made)))
    with pytest.raises(
        ValueError, match=r"compile=True, but .* \(RuntimeError: no compiler at all"
    ):
        solve(SOLVERS["adam"], *case(), compile=True)


def test_a_machine_without_a_compiler_says_so(monkeypatch):
    def backend(graph, _):
        raise FileNotFoundError("g++")

    compiled.check_compiler.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
        with pytest.raises(ValueError, match=r"torch.compile fails here .*g\+\+.*compile=False\.$"):
            compiled.check_compiler()
    # It is asked anew, and then not again.
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f, **_: asked.append(f) or f)
    for _ in range(2):
        compiled.check_compiler()
    assert len(asked) == 1
    compiled.check_compiler.cache_clear()
