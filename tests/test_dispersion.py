"""The dispersion of counts, on counts whose dispersion is known."""

import dataclasses

import numpy as np
import pytest

from skcml.dispersion import MAX_GROUPS, dispersion
from skcml.episodes import TaskRows


def counts(mean, phi=1.0, *, n_tasks=60, n_rows=10, seed=0, exposure=None):
    """Draw counts of groups with effects of their own, and the variance phi * mean."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_tasks), n_rows)
    X = rng.normal(size=(len(group), 2))
    effect = 0.3 * X[:, 0] + 0.4 * rng.normal(size=n_tasks)[group]
    effect += 0.2 * rng.normal(size=n_tasks)[group] * X[:, 1]
    weight = np.ones(len(group)) if exposure is None else rng.uniform(*exposure, len(group))
    expected = mean * np.exp(effect) * weight
    if phi > 1:
        expected = rng.gamma(expected / (phi - 1), phi - 1)
    y = rng.poisson(expected) / weight
    starts = np.arange(0, len(group) + 1, n_rows)
    return TaskRows(X, y[:, None], weight, starts)


@pytest.mark.parametrize("mean", [0.3, 5.0, 300.0])
def test_poisson_counts_have_none(mean):
    assert dispersion(counts(mean)) == 1.0


@pytest.mark.parametrize(("mean", "phi"), [(5.0, 2.0), (5.0, 4.0), (300.0, 2.0), (300.0, 10.0)])
def test_it_is_the_variance_over_the_mean(mean, phi):
    assert dispersion(counts(mean, phi, n_tasks=150)) == pytest.approx(phi, rel=0.25)


def test_exposures_do_not_change_it():
    found = dispersion(counts(20.0, 4.0, n_tasks=150, exposure=(0.5, 5.0)))
    assert found == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("phi", [1.0, 5.0])
def test_weights_that_say_less_leave_less_to_explain(phi):
    tasks = counts(50.0, phi)
    halved = dataclasses.replace(tasks, weight=tasks.weight / 2)
    assert dispersion(halved) == pytest.approx(max(dispersion(tasks) / 2, 1.0), rel=0.1)


def test_counts_that_scatter_less_have_none():
    tasks = counts(50.0)
    smooth = dataclasses.replace(tasks, y=np.full_like(tasks.y, 50.0))
    assert dispersion(smooth) == 1.0


def test_with_fewer_rows_than_effects_there_is_nothing_to_estimate():
    tasks = counts(5.0, 4.0, n_tasks=2, n_rows=1)
    assert dispersion(tasks) == 1.0


def test_zeros_alone_have_none():
    tasks = counts(5.0)
    assert dispersion(dataclasses.replace(tasks, y=np.zeros_like(tasks.y))) == 1.0


def test_many_groups_are_as_good_as_all():
    tasks = counts(5.0, 3.0, n_tasks=MAX_GROUPS + 50, n_rows=4)
    some = tasks.subset(np.arange(MAX_GROUPS))
    assert dispersion(tasks) == dispersion(some)
