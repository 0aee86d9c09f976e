"""make_sinusoid_tasks: the tasks are what the docstring says, and bad arguments get a sentence."""

import time

import numpy as np
import pytest

from skcml.datasets import make_sinusoid_tasks


def test_shapes_and_groups():
    X, y, groups = make_sinusoid_tasks(n_tasks=7, n_samples=3, random_state=0)
    assert X.shape == (21, 1)
    assert y.shape == groups.shape == (21,)
    assert X.dtype == y.dtype == np.float64
    assert np.issubdtype(groups.dtype, np.integer)
    np.testing.assert_array_equal(groups, np.repeat(np.arange(7), 3))


def test_each_task_is_one_sine_wave():
    X, y, groups = make_sinusoid_tasks(n_tasks=50, n_samples=10, random_state=1)
    for task in range(50):
        x, target = X[groups == task, 0], y[groups == task]
        # a sin(x - p) = (a cos p) sin x - (a sin p) cos x, so two columns fit it exactly
        basis = np.column_stack([np.sin(x), -np.cos(x)])
        (a_cos, a_sin), *_ = np.linalg.lstsq(basis, target)
        np.testing.assert_allclose(basis @ [a_cos, a_sin], target, atol=1e-9)
        assert 0.1 <= np.hypot(a_cos, a_sin) <= 5.0
        assert 0.0 <= np.arctan2(a_sin, a_cos) <= np.pi


def test_fixed_ends_and_the_sign_of_the_phase():
    X, y, _ = make_sinusoid_tasks(amplitude=(2, 2), phase=(0.5, 0.5), random_state=0)
    np.testing.assert_allclose(y, 2 * np.sin(X[:, 0] - 0.5))


def test_inputs_fill_their_range():
    X, _, _ = make_sinusoid_tasks(n_tasks=500, x_range=(1.0, 3.0), random_state=0)
    assert 1.0 <= X.min() < 1.01
    assert 2.99 < X.max() <= 3.0


def test_noise_has_its_size_and_changes_nothing_else():
    X, y, groups = make_sinusoid_tasks(n_tasks=1000, random_state=3)
    X_noisy, y_noisy, groups_noisy = make_sinusoid_tasks(n_tasks=1000, noise=0.3, random_state=3)
    np.testing.assert_array_equal(X, X_noisy)
    np.testing.assert_array_equal(groups, groups_noisy)
    assert np.std(y_noisy - y) == pytest.approx(0.3, rel=0.03)


def test_random_state():
    first, again, other = (make_sinusoid_tasks(random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.allclose(first[1], other[1])
    state = np.random.RandomState(0)
    np.testing.assert_array_equal(first[1], make_sinusoid_tasks(random_state=state)[1])
    assert not np.allclose(first[1], make_sinusoid_tasks(random_state=state)[1])


def test_many_tasks_are_fast():
    start = time.process_time()
    make_sinusoid_tasks(n_tasks=20_000, noise=0.1, random_state=0)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"n_tasks": 0}, ValueError, "n_tasks is 0; give a whole number of at least 1"),
        ({"n_tasks": 2.5}, TypeError, "n_tasks is 2.5; give a whole number"),
        ({"n_samples": True}, TypeError, "n_samples is True; give a whole number"),
        ({"amplitude": (2, 1)}, ValueError, r"amplitude is \(2, 1\); .* the smaller first"),
        ({"phase": (0, np.inf)}, ValueError, r"phase is \(0, inf\); give two finite numbers"),
        ({"x_range": 5}, TypeError, "x_range is 5; give a pair of numbers"),
        ({"x_range": (1, 2, 3)}, TypeError, r"x_range is \(1, 2, 3\); give a pair"),
        ({"noise": -1.0}, ValueError, "noise is -1.0; give a finite number of at least 0"),
        ({"noise": np.nan}, ValueError, "noise is nan"),
        ({"noise": "much"}, TypeError, "noise is 'much'; give a number"),
    ],
)
def test_bad_arguments(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        make_sinusoid_tasks(**arguments)
