"""What of a user's module is kept, and how another one gets it."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

from skcml.problems.functional_module import FunctionalModule
from skcml.problems.module_weights import outputs_of, weights_of, with_weights

SHAPE = (3,)


class Odd(nn.Module):
    """Learned and fixed parameters, buffers of several types, and a part that is used twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.fixed = nn.Linear(3, 3), nn.Linear(3, 2)
        self.fixed.requires_grad_(False)
        self.twice = self.layer
        self.register_buffer("order", torch.tensor([1, 0]))
        self.register_buffer("mask", torch.tensor([0.0, -np.inf]))
        self.register_buffer("small", torch.ones(2, dtype=torch.bfloat16) / 3)

    def forward(self, x):
        z = self.fixed(torch.tanh(self.twice(self.layer(x))))[:, self.order]
        return torch.softmax(z + self.mask, -1) + self.small.to(z)


def norms():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())


def made(kind, seed):
    torch.manual_seed(seed)
    module = kind()
    for buffer in module.buffers():
        if seed and buffer.dtype == torch.float32:
            buffer.zero_()
    return module


@pytest.mark.parametrize("kind", [Odd, norms])
def test_another_module_gets_all_weights(kind):
    function = FunctionalModule(made(kind, 1), SHAPE)
    weights, outputs = weights_of(function), outputs_of(function)
    other = made(kind, 2)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    found = with_weights(other, weights, outputs, SHAPE, transductive=False)
    assert type(found) is type(other)
    again = FunctionalModule(found, SHAPE)
    assert_array_equal(outputs_of(again), outputs)
    assert weights_of(again).keys() == weights.keys()
    for name, array in weights_of(again).items():
        assert_array_equal(array, weights[name])
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.requires_grad == q.requires_grad for p, q in zip_parameters(found, other))


def zip_parameters(one, other):
    return zip(one.parameters(), other.parameters(), strict=True)


def test_weights_are_arrays_that_a_file_can_hold():
    weights = weights_of(FunctionalModule(made(Odd, 0), SHAPE))
    assert {array.dtype.name for array in weights.values()} == {"float32", "int64"}
    assert "twice.weight" not in weights  # which is that of the layer


def test_arrays_that_cannot_be_written_to_are_no_hindrance():
    function = FunctionalModule(made(norms, 1), SHAPE)
    weights = weights_of(function)
    for array in weights.values():
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_weights(made(norms, 2), weights, outputs_of(function), SHAPE, transductive=False)


def test_dropout_does_not_warn_again():
    def kind():
        return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))

    with pytest.warns(UserWarning, match="Dropout"):
        function = FunctionalModule(made(kind, 1), SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_weights(
            made(kind, 2), weights_of(function), outputs_of(function), SHAPE, transductive=False
        )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: norms()[:2].append(nn.ReLU()), "does something else with them"),
        (lambda: norms().append(nn.Linear(4, 4)), r"it has 3\.bias\. Pass one with the same"),
        (lambda: norms()[:1], r"it lacks 1\.bias\. Pass one"),
        (lambda: nn.Linear(3, 4), r"it lacks 0\.bias and has bias\. Pass one"),
        (lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), r"0\.weight has the shape \(5"),
        (lambda: nn.Linear(4, 4), r"body cannot take rows of shape \(3,\)"),
    ],
)
def test_a_module_that_is_another_is_refused(other, message):
    function = FunctionalModule(made(norms, 1), SHAPE)
    with pytest.raises(ValueError, match=message):
        with_weights(other(), weights_of(function), outputs_of(function), SHAPE, transductive=False)


def test_outputs_of_another_number_are_refused():
    function = FunctionalModule(made(norms, 1), SHAPE)
    outputs = outputs_of(function)[:, :2]
    with pytest.raises(ValueError, match="does something else"):
        with_weights(made(norms, 1), weights_of(function), outputs, SHAPE, transductive=False)
