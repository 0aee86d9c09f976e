"""A user's module as a function of its parameters."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skcml.problems.functional_module import FunctionalModule
from skcml.problems.task_norm import Roles
from tests.module_cases import IMAGE, N_INPUTS, N_PIXELS, Lambda, convolution, perceptron


def function_of(module, input_shape=(N_INPUTS,)):
    return FunctionalModule(module, input_shape)


def start_of(function, dtype=torch.float64):
    return {name: torch.tensor(value, dtype=dtype) for name, value in function.start.items()}


def rows(n_rows=5, n_inputs=N_INPUTS, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(0).normal(size=(n_rows, n_inputs)), dtype=dtype)


# --- outputs


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (perceptron(), (N_INPUTS,)),
        (convolution(lambda n: nn.GroupNorm(1, n)), IMAGE),
        (nn.Conv2d(1, 3, 2).double(), IMAGE),
    ],
)
def test_outputs_are_the_modules_own_flattened(module, shape):
    function, x = function_of(module, shape), rows(n_inputs=int(np.prod(shape)))
    found, statistics = function(start_of(function), x)
    expected = module.eval()(x.reshape(5, *shape)).detach().flatten(1)
    assert found.shape == (5, function.n_outputs)
    assert_array_equal(found, expected)
    assert function.n_statistics == 0
    assert statistics.shape == (0,)


def test_it_is_a_function_of_the_parameters_that_it_is_given():
    module = perceptron()
    function, x = function_of(module), rows()
    moved = {name: 2 * value + 0.1 for name, value in start_of(function).items()}
    found = function(moved, x)[0]
    module.load_state_dict(moved)
    assert_array_equal(found, module(x).detach())
    assert_array_equal(function(start_of(function), x)[0], perceptron()(x).detach())


def test_outputs_of_one_number_may_come_without_an_axis():
    module = Lambda(lambda z: z.sum(-1)).double()
    function, x = function_of(module), rows()
    assert function.n_outputs == 1
    assert_array_equal(function(start_of(function), x)[0][:, 0], module(x).detach())


# --- what is learned, and what is not


def test_tied_parameters_are_one():
    layer = nn.Linear(N_INPUTS, N_INPUTS).double()
    function, x = function_of(nn.Sequential(layer, nn.Tanh(), layer)), rows()
    assert list(function.start) == ["0.weight", "0.bias"]
    params = {name: 2 * value for name, value in start_of(function).items()}
    once = nn.functional.linear(x, params["0.weight"], params["0.bias"])
    twice = nn.functional.linear(torch.tanh(once), params["0.weight"], params["0.bias"])
    assert_allclose(function(params, x)[0], twice, rtol=1e-12)


class WithBuffers(nn.Module):
    """A frozen layer, one that is learned, a buffer of floats and one of places."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.layer = nn.Linear(N_INPUTS, 4), nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 0.5, 3.0]))
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))

    def forward(self, x):
        return self.layer(torch.tanh(self.frozen(x)) * self.scale)[:, self.order]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_what_is_not_learned_is_as_precise_as_the_rows(own, dtype):
    module = WithBuffers().to(own)
    function, x = function_of(module), rows(dtype=dtype)
    assert list(function.start) == ["layer.weight", "layer.bias"]
    assert all(value.dtype == np.float64 for value in function.start.values())
    found = function(start_of(function, dtype), x)[0]
    assert found.dtype == dtype
    # In float64, all digits of the rows.
    exact = WithBuffers().double()(rows()).detach()
    assert_allclose(found, exact, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-6)
    assert {a.dtype for a in (*function.module.parameters(), function.module.scale)} == {own}


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_a_narrow_module_starts_from_its_own_numbers_and_computes_in_others(narrow):
    module = perceptron().to(narrow)
    function, x = function_of(module), rows()
    assert {p.dtype for p in module.parameters()} == {narrow}  # it is a copy that is widened
    found = function(start_of(function), x)[0]
    expected = module.double()(x).detach()
    assert found.dtype == torch.float64
    assert_array_equal(found, expected)


def test_a_module_that_is_only_partly_narrow():
    module = nn.Sequential(nn.Linear(N_INPUTS, 4).double(), nn.Linear(4, 2).to(torch.bfloat16))
    function, x = function_of(module), rows()
    found = function(start_of(function), x)[0]
    assert_allclose(found, module.double()(x).detach(), rtol=1e-6)


def test_only_what_is_given_has_a_gradient():
    function, x = function_of(WithBuffers().double()), rows()
    params = {name: value.requires_grad_() for name, value in start_of(function).items()}
    function(params, x)[0].sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in params.values())
    assert all(p.grad is None for p in function.module.parameters())


# --- a copy, without a state


def test_the_module_is_a_copy():
    module = convolution(lambda n: nn.GroupNorm(1, n))
    function, x = function_of(module, IMAGE), rows(n_inputs=N_PIXELS)
    start = {name: value.copy() for name, value in function.start.items()}
    before = function(start_of(function), x)[0]
    assert module.training
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    for name, value in function.start.items():
        assert_array_equal(value, start[name])
    assert_array_equal(function(start_of(function), x)[0], before)


def test_a_pass_leaves_nothing_behind_even_if_it_fails():
    module = convolution()
    function, x = function_of(module, IMAGE), rows(n_inputs=N_PIXELS)
    before = pickle.dumps(function.module.state_dict())
    roles = Roles(x.new_ones(3), x.new_zeros(2))
    expected = function(start_of(function), x, roles)
    with pytest.raises(RuntimeError):
        function(start_of(function), x[:, 1:], roles)
    assert pickle.dumps(function.module.state_dict()) == before
    assert all(norm.roles is None and norm.seen is None for norm in function.norms)
    with pytest.raises(RuntimeError, match="what its rows are for"):
        function(start_of(function), x)
    for found, value in zip(function(start_of(function), x, roles), expected, strict=True):
        assert_array_equal(found, value)


class Slow(nn.Module):
    """Lets other threads run in the middle of a pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(N_INPUTS, 4), nn.Linear(4, 2)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        h = self.first(x)
        time.sleep(0.002)
        h = self.norm(h)
        time.sleep(0.002)
        return self.second(h)


def test_threads_have_parameters_and_roles_of_their_own():
    function, x = function_of(Slow().double()), rows(8)

    def call(i):
        params = {name: (1 + i) * value for name, value in start_of(function).items()}
        n_support = 2 + i
        return function(params, x, Roles(x.new_ones(n_support), x.new_zeros(8 - n_support)))

    expected = [call(i) for i in range(2)]
    assert not torch.allclose(expected[0][0], expected[1][0])
    with ThreadPoolExecutor(2) as pool:
        for i, found in enumerate(pool.map(call, [0, 1] * 10)):
            for ours, theirs in zip(found, expected[i % 2], strict=True):
                assert_array_equal(ours, theirs)


def test_it_survives_a_pickle():
    function, x = function_of(WithBuffers().double()), rows()
    again = pickle.loads(pickle.dumps(function))
    assert_array_equal(again(start_of(again), x)[0], function(start_of(function), x)[0])


def test_global_random_numbers_are_left_alone():
    module, state = convolution(), torch.get_rng_state()
    function_of(module, IMAGE)
    assert (torch.get_rng_state() == state).all()


# --- batch normalisation


class Norms(nn.Module):
    """Two normalisations that are used in the order of ``used``."""

    def __init__(self, used):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.used = nn.Linear(N_INPUTS, 4), used
        self.first, self.second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

    def forward(self, x):
        h = self.layer(x)
        for name in self.used:
            h = torch.tanh(self.get_submodule(name)(h))
        return h


@pytest.mark.parametrize("used", [("first", "second"), ("second", "first"), ("second",), ()])
def test_stored_statistics_stand_for_the_support_whichever_layers_are_used(used):
    function, x = function_of(Norms(used).double()), rows(6)
    assert function.n_statistics == 2 * (2 + 2 * 4)
    out, statistics = function(start_of(function), x, Roles(x.new_ones(4), x.new_zeros(2)))
    assert statistics.shape == (function.n_statistics,)
    roles = Roles(x.new_ones(0), x.new_zeros(2), statistics)
    again, kept = function(start_of(function), x[4:], roles)
    assert_allclose(again, out[4:], rtol=1e-12)
    assert_array_equal(kept, statistics)


def test_a_module_that_is_a_normalisation_is_replaced_itself():
    function, x = function_of(nn.BatchNorm1d(N_INPUTS).double()), rows()
    out, _ = function(start_of(function), x, Roles(x.new_ones(5), x.new_ones(0)))
    assert_allclose(out.mean(0), 0, atol=1e-12)
    assert_allclose(out.var(0, correction=0), 1, rtol=1e-3)


# --- refusals


@pytest.mark.parametrize(
    ("module", "error", "sentence"),
    [
        (lambda x: x, TypeError, "body must be a torch.nn.Module, and is a function"),
        (nn.ReLU(), ValueError, "body has no parameters"),
        (nn.LazyLinear(3), ValueError, "without a shape"),
        (nn.Linear(5, 2), ValueError, r"body cannot take rows of shape \(3,\)"),
        (Lambda(lambda z: z.sum()), ValueError, "a row of outputs for each row"),
        (Lambda(lambda z: z[:2]), ValueError, r"for 4 it gave \(2, 4\)"),
        (Lambda(lambda z: (z, z)), ValueError, "for 4 it gave tuple"),
        (Lambda(lambda z: z[:, :0]), ValueError, "at least one number"),
        (Lambda(lambda z: z > 0), ValueError, "as floats"),
        (Lambda(lambda z: torch.log(-z.abs())), ValueError, "gave NaN or infinity"),
        (Lambda(lambda z: z / 0), ValueError, "gave NaN or infinity"),
        (Lambda(lambda z: z + torch.rand_like(z)), ValueError, "must not draw numbers"),
        (Lambda(lambda z: z - z.mean(0)), ValueError, "depend on the other rows"),
        (
            nn.ParameterList([torch.ones(3, dtype=torch.complex64)]),
            ValueError,
            "complex .* keep their real and imaginary",
        ),
        (Norms(("first", "first")), ValueError, "BatchNorm is used twice in a pass"),
        (
            nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Flatten(0, 1), nn.BatchNorm1d(1)),
            ValueError,
            "a BatchNorm was given 12 rows for 4",
        ),
    ],
)
def test_refusals(module, error, sentence):
    with pytest.raises(error, match=sentence):
        function_of(module)


def test_dropout_is_switched_off_with_a_sentence():
    module = nn.Sequential(nn.Linear(N_INPUTS, 4), nn.Dropout(0.5)).double()
    with pytest.warns(UserWarning, match="Dropout in body is switched off"):
        function = function_of(module)
    assert module[1].training
    x = rows()
    assert_array_equal(function(start_of(function), x)[0], module[0](x).detach())


def test_dropout_of_nothing_is_not_worth_a_sentence():
    function_of(nn.Sequential(nn.Linear(N_INPUTS, 4), nn.Dropout(0.0)))
