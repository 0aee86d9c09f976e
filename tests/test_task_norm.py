"""Batch normalisation by the statistics of a task's support."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skcml.problems.task_norm import Moments, Roles, TaskNorm

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DIMS = pytest.mark.parametrize("dims", NORMS)
N_CHANNELS = 3


def rows(n_rows=6, dims=1, seed=0):
    shape = (n_rows, N_CHANNELS, *{1: (), 2: (2, 4), 3: (2, 1, 3)}[dims])
    return torch.tensor(np.random.default_rng(seed).normal(1.0, 2.0, size=shape))


def norm_of(dims=1, **options):
    """Return a batch normalisation with a gain and a shift of its own for each channel."""
    norm = NORMS[dims](N_CHANNELS, **options).double()
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2.0, torch.Generator().manual_seed(0))
        nn.init.uniform_(norm.bias, -1.0, 1.0, torch.Generator().manual_seed(1))
    return norm


def passed(norm, h, support, query, stored=None, transductive=False, start=0):
    """Return the outputs of rows and what was seen of the support."""
    layer = TaskNorm(norm, start, transductive)
    layer.roles = Roles(support, query, stored)
    return layer(h).detach(), layer.seen


def assert_same(found, expected, rtol=1e-12):
    for name in Moments._fields:
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, err_msg=name)


# --- moments


@DIMS
def test_a_weight_counts_as_that_many_rows(dims):
    h, weight = rows(4, dims), torch.tensor([2.0, 1.0, 0.0, 3.0]).double()
    found = Moments.of(h, weight)
    again = Moments.of(h.repeat_interleave(weight.int(), 0), torch.ones(6).double())
    n_places = h[0, 0].numel()
    assert (found.total, found.n_values) == (6 * n_places, 3 * n_places)
    assert_same(found, again._replace(n_values=found.n_values))


@DIMS
def test_moments_are_those_of_each_channel(dims):
    h = rows(5, dims)
    flat = h.transpose(0, 1).flatten(1)
    n_values = torch.tensor(float(flat.shape[1])).double()
    expected = Moments(n_values, n_values, flat.mean(1), flat.var(1, correction=0))
    assert_same(Moments.of(h, torch.ones(5).double()), expected)


def test_rows_without_weight_have_no_say():
    h, weight = rows(5), torch.tensor([1.0, 0.5, 2.0, 0.0, 0.0]).double()
    other = torch.cat([h[:3], 100 + h[3:]])
    assert_same(Moments.of(other, weight), Moments.of(h[:3], weight[:3]))


def test_moments_of_no_rows_are_zeros():
    for nothing in (
        Moments.of(rows(0), torch.ones(0).double()),
        Moments.of(rows(2), torch.zeros(2).double()),
    ):
        assert_array_equal(nothing.pack(), np.zeros(2 + 2 * N_CHANNELS))


def test_moments_are_unpacked_as_they_were_packed():
    moments = Moments.of(rows(), torch.rand(6, generator=torch.Generator().manual_seed(0)).double())
    packed = moments.pack()
    assert packed.shape == (2 + 2 * N_CHANNELS,)
    for found, expected in zip(Moments.unpack(packed), moments, strict=True):
        assert_array_equal(found, expected)


@DIMS
@pytest.mark.parametrize("n_first", [0, 1, 4, 6])
def test_pooled_moments_are_those_of_all_rows(dims, n_first):
    h, weight = rows(6, dims), torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0, 1.5]).double()
    first = Moments.of(h[:n_first], weight[:n_first])
    found = first.pooled(Moments.of(h[n_first:], weight[n_first:]))
    assert_same(found, Moments.of(h, weight))


def test_nothing_pooled_with_nothing_is_nothing():
    nothing = Moments.of(rows(0), torch.ones(0).double())
    assert_array_equal(nothing.pooled(nothing).pack(), nothing.pack())


# --- the layer


@DIMS
@pytest.mark.parametrize("affine", [True, False])
def test_outputs_are_those_of_torch_in_training(dims, affine):
    norm, h = norm_of(dims, affine=affine, eps=0.1), rows(dims=dims)
    expected = copy.deepcopy(norm).train()(h).detach()
    found, _ = passed(norm, h, torch.ones(6).double(), torch.ones(0).double())
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@DIMS
def test_outputs_for_weights_are_those_for_repeated_rows(dims):
    norm, h, weight = norm_of(dims), rows(4, dims), torch.tensor([2.0, 1.0, 0.0, 3.0]).double()
    repeated = h.repeat_interleave(weight.int(), 0)
    expected = copy.deepcopy(norm).train()(repeated).detach()
    found, _ = passed(norm, h, weight, weight[:0])
    assert_allclose(found.repeat_interleave(weight.int(), 0), expected, rtol=1e-10, atol=1e-12)


def test_statistics_of_the_layer_itself_are_neither_used_nor_changed():
    norm, h, ones = norm_of(), rows(), torch.ones(6).double()
    expected, _ = passed(norm, h, ones, ones[:0])
    norm.running_mean += 5.0
    before = copy.deepcopy(norm.state_dict())
    found, _ = passed(norm, h, ones, ones[:0])
    assert_array_equal(found, expected)
    for name, value in norm.state_dict().items():
        assert_array_equal(value, before[name])


def test_a_single_value_has_a_variance_of_one():
    norm, h = norm_of(eps=0.0), rows(3)
    for weight in ([1.0], [0.3]):
        weight = torch.tensor(weight).double()
        found, _ = passed(norm, h, weight, torch.zeros(2).double())
        assert_allclose(found, (norm.weight * (h - h[0]) + norm.bias).detach(), rtol=1e-12)


def test_a_single_image_has_a_variance_of_its_own():
    norm, h = norm_of(2), rows(3, 2)
    found, _ = passed(norm, h, torch.ones(1).double(), torch.zeros(2).double())
    expected = copy.deepcopy(norm).train()(h[:1]).detach()
    assert_allclose(found[:1], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("transductive", [False, True])
def test_without_rows_there_is_a_mean_of_zero_and_a_variance_of_one(transductive):
    norm, h, nothing = norm_of(eps=0.0), rows(), torch.zeros(6).double()
    found, _ = passed(norm, h, nothing[:2], nothing[2:], transductive=transductive)
    assert_allclose(found, (norm.weight * h + norm.bias).detach(), rtol=1e-12)


@DIMS
def test_queries_have_no_say_unless_transductive(dims):
    norm, h, ones = norm_of(dims), rows(dims=dims), torch.ones(6).double()
    other = h.clone()
    other[3] += 1.0
    for transductive in (False, True):
        found, seen = passed(norm, h, ones[:3], ones[3:], transductive=transductive)
        moved, again = passed(norm, other, ones[:3], ones[3:], transductive=transductive)
        # The support never sees the query.
        assert_array_equal(moved[:3], found[:3])
        assert_array_equal(again, seen)
        assert (moved[3] != found[3]).all()
        assert (moved[4:] == found[4:]).all() != transductive


@DIMS
def test_transductive_rows_are_normalised_with_the_support_and_each_other(dims):
    norm, h, ones = norm_of(dims), rows(dims=dims), torch.ones(6).double()
    padded = torch.cat([h, 100 + rows(2, dims, seed=1)])
    query = torch.cat([ones[4:], torch.zeros(2).double()])
    found, seen = passed(norm, padded, ones[:4], query, transductive=True)
    support, together = (copy.deepcopy(norm).train()(part).detach() for part in (h[:4], h))
    assert_allclose(found[:4], support, rtol=1e-10, atol=1e-12)
    assert_allclose(found[4:6], together[4:], rtol=1e-10, atol=1e-12)
    assert_array_equal(seen, Moments.of(h[:4], ones[:4]).pack())


@pytest.mark.parametrize("transductive", [False, True])
def test_stored_statistics_stand_for_the_support(transductive):
    norm, h, ones = norm_of(), rows(), torch.ones(6).double()
    expected, seen = passed(norm, h, ones[:4], ones[4:], transductive=transductive)
    # Between those of other layers.
    stored = torch.cat([torch.full((5,), np.nan), seen, torch.full((3,), np.nan)])
    found, again = passed(norm, h[4:], ones[:0], ones[4:], stored, transductive, start=5)
    assert_allclose(found, expected[4:], rtol=1e-12)
    assert_array_equal(again, seen)


def test_a_layer_that_was_not_used_has_seen_nothing():
    layer = TaskNorm(norm_of(), 5, False)
    found = layer.statistics(rows())
    assert found.shape == (layer.place.stop - 5,) == (2 + 2 * N_CHANNELS,)
    assert found.dtype == torch.float64
    assert (found == 0).all()


# --- refusals


def test_a_pass_without_roles_is_refused():
    with pytest.raises(RuntimeError, match="what its rows are for"):
        TaskNorm(norm_of(), 0, False)(rows())


def test_a_second_pass_before_the_first_is_read_is_refused():
    layer, ones = TaskNorm(norm_of(), 0, False), torch.ones(6).double()
    layer.roles = Roles(ones, ones[:0])
    layer(rows())
    with pytest.raises(RuntimeError, match="used twice in a pass"):
        layer(rows())


def test_rows_that_no_role_is_given_for_are_refused():
    ones = torch.ones(6).double()
    with pytest.raises(RuntimeError, match="given 12 rows for 6"):
        passed(norm_of(), rows(12), ones[:4], ones[4:])
