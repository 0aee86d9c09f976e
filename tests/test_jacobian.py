"""Jacobians of the same perceptron: by hand, and by automatic differentiation of a module."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.problems.jacobian import Gathered, Jacobian
from skcml.problems.meta_params import MetaParams
from skcml.problems.on_torch import OnTorch
from tests.asserts import assert_follows
from tests.module_cases import LAYERS, episode_of, from_mlp, mlp_problem, theta_of

N_TASKS, N_ROWS, N_FUNCTIONS, N_OUTPUTS = 3, 5, 3, 2


@pytest.fixture(params=LAYERS)
def case(request):
    """Return the derivatives by hand and by torch, and what brings vectors of one to the other."""
    mlp = OnTorch(mlp_problem(request.param))
    theta, episode = theta_of(mlp), episode_of()
    module, same = from_mlp(theta, request.param)
    rng = np.random.default_rng(5)
    cotangent = torch.tensor(rng.normal(size=(N_TASKS, N_ROWS, N_FUNCTIONS, N_OUTPUTS)))
    found = []
    for problem, at in ((mlp, theta), (module, same)):
        batch = problem.embed(at, episode)
        phi = problem.start(at, batch)[0]
        out, tape = problem.network.forward(phi, batch.theta, torch.tensor(episode.x_support))
        found.append(SimpleNamespace(out=out, pulled=problem.network.pull(tape, cotangent)))

    def as_module(vectors):
        """Return vectors over a task's own parameters in the order of the module."""
        moved = []
        for vector in vectors.reshape(-1, vectors.shape[-1]):
            like = theta.zeros_like()
            like["omega"][...] = vector
            moved.append(torch.tensor(from_mlp(like, request.param)[1]["omega"]))
        return torch.stack(moved).reshape(vectors.shape)

    def slow_as_module(summed):
        moved = MetaParams(mlp.shapes)
        for name, total in summed.items():
            moved[name][...] = total
        return from_mlp(moved, request.param)[1]

    size = len(theta["omega"])
    by_hand, by_torch = found
    return SimpleNamespace(
        by_hand=by_hand,
        by_torch=by_torch,
        as_module=as_module,
        slow_as_module=slow_as_module,
        direction=torch.tensor(rng.normal(size=(N_TASKS, size))),
        scale=torch.tensor(rng.uniform(0.5, 2, size)),
        rows=torch.tensor(rng.normal(size=(N_TASKS, N_ROWS, N_FUNCTIONS))),
    )


def close(found, expected):
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["by_hand", "by_torch"])
def test_both_follow_the_protocols(case, kind):
    fast, slow = getattr(case, kind).pulled
    assert_follows(fast, Jacobian)
    assert_follows(slow, Gathered)


def test_both_are_of_the_same_outputs(case):
    close(case.by_torch.out, case.by_hand.out)


def test_both_are_the_same_written_out(case):
    ours, theirs = case.by_torch.pulled[0], case.by_hand.pulled[0]
    close(ours.dense(), case.as_module(theirs.dense()))
    close(ours.dense(slice(1, 3)), case.as_module(theirs.dense(slice(1, 3))))


def test_both_give_the_same_along_a_direction(case):
    ours, theirs = case.by_torch.pulled[0], case.by_hand.pulled[0]
    close(ours.times(case.as_module(case.direction)), theirs.times(case.direction))


def test_both_pull_back_the_same(case):
    ours, theirs = case.by_torch.pulled[0], case.by_hand.pulled[0]
    for rows in (None, case.rows):
        close(ours.transposed(rows), case.as_module(theirs.transposed(rows)))


def test_both_have_the_same_gram_matrix(case):
    ours, theirs = case.by_torch.pulled[0], case.by_hand.pulled[0]
    close(ours.gram(case.as_module(case.scale)), theirs.gram(case.scale))


def test_both_sum_to_the_same_for_what_tasks_share(case):
    ours, theirs = case.by_torch.pulled[1].summed(), case.by_hand.pulled[1].summed()
    moved = case.slow_as_module(theirs)
    assert bool(ours) == bool(theirs)
    for name, total in ours.items():
        close(total, torch.tensor(moved[name]))


def test_each_does_what_its_matrix_does(case):
    for kind in (case.by_hand, case.by_torch):
        fast, matrix = kind.pulled[0], kind.pulled[0].dense()
        close(fast.times(case.direction).flatten(1)[..., None], matrix @ case.direction[..., None])
        close(fast.transposed(case.rows)[..., None], matrix.mT @ case.rows.flatten(1)[..., None])
        close(fast.transposed(), matrix.sum(1))
        scaled = matrix * case.scale
        close(fast.gram(case.scale), scaled @ scaled.mT)
