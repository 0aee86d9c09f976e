"""Which of a module's parameters are a task's own, and what its gains and shifts do."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skcml.problems.functional_module import FunctionalModule
from skcml.problems.module_layers import LAYERS, ModuleLayer
from tests.asserts import assert_follows
from tests.module_cases import IMAGE, convolution, perceptron

IMAGES = (4, 3, 3)
# Layers with 6 output channels, and the rows that they take.
WITH_CHANNELS = {
    "linear": (lambda bias: nn.Linear(4, 6, bias=bias), (4,)),
    "conv": (lambda bias: nn.Conv2d(4, 6, 2, bias=bias), IMAGES),
    "grouped conv": (lambda bias: nn.Conv2d(4, 6, 2, groups=2, bias=bias), IMAGES),
    "transposed": (lambda bias: nn.ConvTranspose2d(4, 6, 2, bias=bias), IMAGES),
    "grouped transposed": (lambda bias: nn.ConvTranspose2d(4, 6, 2, groups=2, bias=bias), IMAGES),
}


def layer_of(module, kind="modulated", input_shape=(4,)):
    """Return the module as a function, and which of its parameters are a task's own."""
    function = FunctionalModule(module.double(), input_shape)
    return function, LAYERS[kind](function.module, function.start)


def start_of(layer):
    return {name: torch.tensor(value) for name, value in (layer.fast | layer.slow).items()}


@pytest.mark.parametrize("kind", LAYERS)
def test_both_follow_the_interface(kind):
    assert_follows(layer_of(nn.Linear(4, 2), kind)[1], ModuleLayer)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("module", "shape"), [(perceptron(), (3,)), (convolution(), IMAGE), (nn.PReLU(), (4,))]
)
def test_parameters_start_as_the_modules_own(kind, module, shape):
    function, layer = layer_of(module, kind, shape)
    found = layer.parameters(start_of(layer))
    assert list(found) == list(function.start)
    for name, value in found.items():
        assert_array_equal(value, function.start[name])


def test_dense_parameters_are_all_a_tasks_own():
    function, layer = layer_of(convolution(), "dense", IMAGE)
    assert layer.slow == {}
    assert list(layer.fast) == [f"body.{name}" for name in function.start]
    moved = {name: value + 1 for name, value in start_of(layer).items()}
    for name, value in layer.parameters(moved).items():
        assert_array_equal(value, function.start[name] + 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", WITH_CHANNELS)
def test_a_gain_multiplies_an_output_channel_and_a_shift_moves_it(kind, bias):
    make, shape = WITH_CHANNELS[kind]
    torch.manual_seed(0)
    function, layer = layer_of(make(bias), input_shape=shape)
    assert {name: value.shape for name, value in layer.fast.items()} == (
        {"gain.weight": (6,)} | ({"shift.bias": (6,)} if bias else {})
    )
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(5, int(np.prod(shape)))))
    gain, shift = (torch.tensor(rng.normal(size=6)) for _ in range(2))
    params = start_of(layer)
    before = function(layer.parameters(params), x)[0].reshape(5, 6, -1)
    moved = params | {"gain.weight": gain} | ({"shift.bias": shift} if bias else {})
    after = function(layer.parameters(moved), x)[0].reshape(5, 6, -1)
    expected = gain[:, None] * before + (shift[:, None] if bias else 0)
    assert_allclose(after, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(IMAGES),
        nn.RMSNorm(IMAGES),
    ],
)
def test_parameters_of_normalisations_are_a_tasks_own(norm):
    names = [f"body.1.{name}" for name, _ in norm.named_parameters()]
    assert names
    _, layer = layer_of(nn.Sequential(nn.Conv2d(4, 4, 1), norm), input_shape=IMAGES)
    assert list(layer.fast) == ["gain.0.weight", "shift.0.bias", *names]
    assert list(layer.slow) == ["body.0.weight", "body.0.bias"]
    _, alone = layer_of(norm, input_shape=IMAGES)
    assert list(alone.fast) == [name.replace("1.", "") for name in names]
    assert alone.slow == {}


def test_names_of_gains_and_shifts():
    module = nn.Sequential(
        nn.ConvTranspose1d(2, 3, 1), nn.BatchNorm1d(3), nn.PReLU(), nn.Conv1d(3, 4, 1, bias=False)
    )
    _, layer = layer_of(module, input_shape=(2, 5))
    assert {name: value.shape for name, value in layer.slow.items()} == {
        "body.0.weight": (2, 3, 1),
        "body.0.bias": (3,),
        "body.3.weight": (4, 3, 1),
    }
    assert {name: value.shape for name, value in layer.fast.items()} == {
        "gain.0.weight": (3,),
        "shift.0.bias": (3,),
        "body.1.weight": (3,),
        "body.1.bias": (3,),
        "body.2.weight": (1,),
        "gain.3.weight": (4,),
    }


def test_frozen_parameters_have_neither_gain_nor_shift():
    module = nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.Linear(3, 4))
    module[1].weight.requires_grad_(False)
    _, layer = layer_of(module)
    assert (list(layer.fast), list(layer.slow)) == (["body.1.bias"], [])
    _, layer = layer_of(module, "dense")
    assert list(layer.fast) == ["body.1.bias"]
