"""Rules have one signature, and average over the tasks that can be used."""

import dataclasses

import numpy as np
import pytest
import torch

from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradient, MetaGradientRule, usable_mean
from skcml.rules.contrastive import Contrastive
from tests.asserts import assert_follows

RULES = [Contrastive()]


@pytest.mark.parametrize("rule", RULES)
def test_rules_follow_the_interface(rule):
    assert_follows(rule, MetaGradientRule)


@pytest.mark.parametrize("xp", [np, torch])
def test_the_mean_is_over_usable_tasks(xp):
    share = usable_mean(xp.asarray([True, False, True, True]))
    assert share.dtype == xp.float64
    np.testing.assert_array_equal(np.asarray(share), np.array([1, 0, 1, 1]) / 3)


def test_nothing_usable_is_no_division_by_zero():
    np.testing.assert_array_equal(usable_mean(np.zeros(3, bool)), np.zeros(3))


def test_a_meta_gradient_is_not_changed_afterwards():
    gradient = MetaGradient(MetaParams({}), 1.0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        gradient.loss = 2.0
