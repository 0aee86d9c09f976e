"""Kinds of outputs: what each makes of the same questions."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss, mean_poisson_deviance

from skcml.likelihoods import Bernoulli, Categorical, Poisson
from skcml.mixed_glm import fit_mixed_glm
from skcml.mixed_model import CompressedGroups, fit_mixed_model
from skcml.problems.glm_head import GLMHeadProblem
from skcml.problems.head import LOSS_NOISE_FLOOR, NOISE_FLOOR, HeadProblem
from skcml.problems.mlp import MLPBody
from skcml.random_effects import STRUCTURES
from skcml.selection.baselines import pooled_heads
from skcml.selection.families import (
    DOUBTS,
    LEAST_SCATTER,
    SHRINKAGE,
    ClassesOrCounts,
    Family,
    Numbers,
)
from skcml.selection.mixture import IntervalShape
from tests.asserts import assert_follows
from tests.builders import fit_mixed, linear_tasks


@pytest.mark.parametrize("family", [Numbers(), ClassesOrCounts(Poisson())])
def test_families_follow_the_interface(family):
    assert_follows(family, Family)


# --- mixed models


def test_each_output_has_a_mixed_model():
    tasks = linear_tasks(n_tasks=20)
    tasks = dataclasses.replace(tasks, y=np.hstack([tasks.y, 2 * tasks.X[:, :1]]))
    groups = CompressedGroups.from_tasks(tasks)
    for structure in STRUCTURES:
        for output, model in enumerate(fit_mixed(tasks, structure)):
            expected = fit_mixed_model(groups, output, structure=structure, shrinkage=SHRINKAGE)
            assert_array_equal(model.omega, expected.omega)
            assert_array_equal(model.factor, expected.factor)


def test_a_reml_fit_is_neither_shrunk_nor_ended_early():
    tasks = linear_tasks(n_tasks=20)
    groups = CompressedGroups.from_tasks(tasks)
    (found,) = fit_mixed(tasks, "full", reml=True)
    expected = fit_mixed_model(groups, shrinkage=0.0, max_iter=5_000, tol=1e-9)
    assert_allclose(found.omega, expected.omega, atol=1e-4)
    assert_allclose(found.factor, expected.factor, atol=1e-4)
    assert found.noise == pytest.approx(expected.noise, rel=1e-4)
    (shrunk,) = fit_mixed(tasks, "full")
    assert abs(shrunk.factor - expected.factor).max() > 1e-2


def test_classes_have_a_mixed_model_for_each_logit():
    tasks = linear_tasks(n_tasks=30)
    tasks = dataclasses.replace(tasks, y=(tasks.y > 0).astype(float))
    family = ClassesOrCounts(Bernoulli())
    found = family.fit_mixed(tasks, STRUCTURES, reml=False)
    assert tuple(found) == STRUCTURES
    for structure, (model,) in found.items():
        (expected,) = fit_mixed_glm(tasks, Bernoulli(), structure=structure, shrinkage=SHRINKAGE)
        assert_array_equal(model.factor, expected.factor)
    (alone,) = family.fit_mixed(tasks, ("full",), reml=True)["full"]
    (longer,) = fit_mixed_glm(tasks, Bernoulli(), shrinkage=0.0, max_iter=1000, tol=1e-6)
    spread, exact = (model.factor @ model.factor.T for model in (alone, longer))
    assert abs(spread - exact).max() < 0.05 * exact.max()
    assert abs(alone.factor - found["full"][0].factor).max() > 1e-2


@pytest.mark.parametrize("family", [Numbers(), ClassesOrCounts(Bernoulli())])
def test_a_mixed_model_of_which_nothing_varies_is_the_pooled_model(family):
    tasks = linear_tasks(n_tasks=20)
    if family.likelihood is not None:
        tasks = dataclasses.replace(tasks, y=(tasks.y > 0).astype(float))
    (found,) = family.fit_mixed(tasks, ("none",), reml=False)["none"]
    pooled = pooled_heads(tasks, family.likelihood)
    assert_array_equal(found.omega, pooled.omega[0, 0])
    assert_array_equal(found.factor, np.zeros((3, 3)))
    assert (found.structure, found.n_iter) == ("none", 0)
    assert found.noise == (1.0 if family.likelihood else pooled.noise[0, 0])


# --- problems


def test_numbers_have_noise_with_a_floor_that_follows_the_loss():
    body, mask = MLPBody(2, (4,)), np.eye(7, dtype=bool)
    for meta_loss, floor in (("log_predictive", NOISE_FLOOR), ("loss", LOSS_NOISE_FLOOR)):
        problem = Numbers().problem(body, mask, 2, meta_loss)
        assert isinstance(problem, HeadProblem)
        assert (problem.meta_loss, problem.noise_floor, problem.n_outputs) == (meta_loss, floor, 2)


def test_classes_have_a_likelihood():
    problem = ClassesOrCounts(Categorical()).problem(MLPBody(2), np.eye(3, dtype=bool), 4, "loss")
    assert isinstance(problem, GLMHeadProblem)
    assert isinstance(problem.likelihood, Categorical)


# --- errors and shapes

RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.5, 2.0, 40)


def test_numbers_are_judged_by_their_squared_error():
    y, mean = RNG.normal(size=(2, 40)), RNG.normal(size=(2, 40))
    expected = np.sqrt(np.average(((y - mean) ** 2).mean(0), weights=WEIGHT))
    assert Numbers().error(y, mean, WEIGHT) == pytest.approx(expected)
    variance = np.full((2, 40), 4.0)
    shape = Numbers().shape(y, mean, variance, WEIGHT, 30)
    expected = IntervalShape.fit((y - mean) / 2.0, WEIGHT, 30)
    assert_array_equal(shape.ratio, expected.ratio)


def test_classes_are_judged_by_their_log_loss():
    p = RNG.dirichlet(np.ones(3), size=40).T
    labels = RNG.integers(3, size=40)
    family = ClassesOrCounts(Categorical())
    one_hot = np.eye(3)[labels].T
    found = family.error(one_hot, p, WEIGHT)
    assert found == pytest.approx(log_loss(labels, p.T, sample_weight=WEIGHT))
    assert len(family.shape(one_hot, p, p, WEIGHT, 9).ratio) == 1
    binary = ClassesOrCounts(Bernoulli())
    y = (labels > 0).astype(float)
    found = binary.error(y[None], p[:1], WEIGHT)
    assert found == pytest.approx(log_loss(y, p[0], sample_weight=WEIGHT))


def test_counts_are_judged_by_their_deviance():
    y, rate = RNG.poisson(2.0, size=40).astype(float), RNG.uniform(0.5, 3.0, 40)
    family = ClassesOrCounts(Poisson())
    expected = 0.5 * mean_poisson_deviance(y, rate, sample_weight=WEIGHT)
    assert family.error(y[None], rate[None], WEIGHT) == pytest.approx(expected)
    assert len(family.shape(y[None], rate[None], rate[None], WEIGHT, 9).ratio) == 1


# --- spread


def spread(family, y, mean, doubt=0.0):
    ones = np.ones(len(y))
    return family.spread(y[None], mean[None], mean[None] + doubt, ones, 2 * ones)


COUNTS = ClassesOrCounts(Poisson())


def test_what_networks_explain_of_counts_is_no_dispersion():
    rng = np.random.default_rng(0)
    mean = rng.uniform(1, 5, 20_000)
    # With weights that are exposures of two, a row's variance is half its mean.
    for share in (0.3, 0.7):
        y = mean + np.sqrt(share * mean / 2) * rng.normal(size=len(mean))
        assert spread(COUNTS, y, mean) == (pytest.approx(share, rel=0.05), 1.0)
    # A doubt about the mean is no scatter about it; and there is never more than was supposed.
    doubt = rng.choice([0.1, 1.0], len(mean))
    y = mean + np.sqrt(0.5 * mean / 2 + doubt) * rng.normal(size=len(mean))
    assert spread(COUNTS, y, mean, doubt) == (pytest.approx(0.5, rel=0.1), 1.0)
    assert spread(COUNTS, mean + 9 * rng.normal(size=len(mean)), mean) == (1.0, 1.0)
    assert spread(COUNTS, mean, mean) == (LEAST_SCATTER, 1.0)
    assert spread(COUNTS, 0 * mean, 0 * mean) == (1.0, 1.0)


def test_a_doubt_that_held_out_rows_do_not_bear_out_is_lowered():
    rng = np.random.default_rng(1)
    mean, true = rng.uniform(1, 5, 20_000), rng.choice([0.02, 0.5], 20_000)
    y = mean + np.sqrt(mean / 2 + true) * rng.normal(size=len(mean))
    for claimed in (2.0, 8.0):
        scatter, share = spread(COUNTS, y, mean, claimed * true)
        assert share == pytest.approx(1 / claimed)
        assert scatter == pytest.approx(1.0, rel=0.03)
    assert spread(COUNTS, y, mean, 1e9 * true)[1] == DOUBTS[-1]
    # A doubt that was too small stays as it is.
    assert spread(COUNTS, y, mean, true / 4)[1] == 1.0


@pytest.mark.parametrize("family", [Numbers(), ClassesOrCounts(Bernoulli())])
def test_only_counts_have_a_spread_of_their_own(family):
    assert spread(family, np.zeros(9), np.full(9, 0.5)) == (1.0, 1.0)
