"""The pull to consolidated values: whose is which, energies, and derivatives by autograd."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.problems.meta_params import MetaParams
from skcml.problems.pull import STRENGTHS, Pull

FAST = {"weight_0": (2, 3), "bias_0": (3,), "head": (4, 1)}
N_SHARED = 13


def case(strength="synapse", is_tied=False, n_outputs=1, seed=0):
    pull = Pull(FAST, strength, is_tied)
    rng = np.random.default_rng(seed)
    theta = MetaParams(pull.shapes)
    for name in pull.shapes:
        theta[name][...] = rng.normal(size=theta[name].shape)
    return pull, theta, rng.normal(size=(1, 5, pull.n_params(n_outputs)))


@pytest.mark.parametrize(("strength", "n"), [("synapse", N_SHARED), ("layer", 3), ("fixed", 3)])
def test_there_are_as_many_strengths_as_are_asked_for(strength, n):
    pull, theta, _ = case(strength)
    assert pull.shapes == {"omega": (N_SHARED,), "log_strength": (n,)}
    assert pull.learned["log_strength"] == (strength != "fixed")
    expected = theta["log_strength"]
    if n == 3:
        expected = np.repeat(expected, [6, 3, 4])
    assert_allclose(np.log(pull.strengths(theta)), expected)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(("is_tied", "n_outputs"), [(False, 1), (True, 1), (True, 3)])
def test_derivatives_are_those_of_the_energy(strength, is_tied, n_outputs):
    pull, theta, phi = case(strength, is_tied, n_outputs)
    coefficient = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    found = MetaParams(pull.shapes)
    found["omega"][...] = 1.0  # it is added to what is there
    pull.add_grad(found, phi, coefficient, theta)
    tensors = {n: torch.tensor(theta[n], requires_grad=True) for n in pull.shapes}
    total = torch.tensor(coefficient) @ pull.energy(torch.tensor(phi), tensors)
    omega, log_strength = torch.autograd.grad(total, [tensors["omega"], tensors["log_strength"]])
    assert_allclose(found["omega"] - 1.0, omega, atol=1e-12)
    if strength == "fixed":
        assert_array_equal(found["log_strength"], 0.0)
    else:
        assert_allclose(found["log_strength"], log_strength, atol=1e-12)


def test_tied_heads_are_copies_of_one():
    pull, theta, phi = case(is_tied=True, n_outputs=3)
    assert phi.shape[-1] == pull.n_params(3) == 9 + 4 * 3
    omega, strength = pull.common(theta, 21)
    for shared, found in ((theta["omega"], omega), (pull.strengths(theta), strength)):
        assert_array_equal(found[:9], shared[:9])
        # Rows of the head are its inputs, with a column for each output.
        assert_array_equal(found[9:].reshape(4, 3), np.tile(shared[9:, None], 3))
    by_hand = 0.5 * (strength * (phi[0] - omega) ** 2).sum(-1)
    assert_allclose(pull.energy(phi, theta), by_hand)


def test_strengths_of_a_block_are_written():
    values = np.array([[1.0], [2.0], [4.0], [8.0]])
    pull, theta, _ = case()
    before = pull.strengths(theta)
    pull.write(theta, "head", values)
    assert_allclose(pull.strengths(theta), [*before[:9], 1, 2, 4, 8])
    pull, theta, _ = case("layer")
    before = pull.strengths(theta)
    pull.write(theta, "head", values)
    assert_allclose(pull.strengths(theta)[9:], 8**0.5)  # the geometric mean
    assert_allclose(pull.strengths(theta)[:9], before[:9])
