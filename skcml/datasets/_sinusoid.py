"""The sinusoid tasks of the few-shot regression literature."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from numpy.random import RandomState
from sklearn.utils import check_random_state

__all__ = ["make_sinusoid_tasks"]


def make_sinusoid_tasks(
    n_tasks: int = 100,
    n_samples: int = 20,
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, np.pi),
    x_range: tuple[float, float] = (-5.0, 5.0),
    noise: float = 0.0,
    random_state: int | RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make regression tasks that are sine waves of random amplitude and phase.

    Task t is ``y = amplitude_t * sin(x - phase_t)``, with one amplitude and one phase per task,
    both uniform, and x uniform and independent between rows. The literature writes the phase
    with either sign; here it is a shift to the right.

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_samples : int, default=20
        Number of rows of each task.
    amplitude : (low, high), default=(0.1, 5.0)
        Range of the amplitudes. Equal ends fix the amplitude.
    phase : (low, high), default=(0, pi)
        Range of the phases, in radians. Equal ends fix the phase.
    x_range : (low, high), default=(-5.0, 5.0)
        Range of the inputs.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added to y.
    random_state : int, RandomState instance or None, default=None
        Source of the amplitudes, phases, inputs and noise, drawn in this order; the noise comes
        last, so changing `noise` leaves the tasks and the inputs as they are.

    Returns
    -------
    X : ndarray of shape (n_tasks * n_samples, 1)
        Inputs, the rows of a task side by side.
    y : ndarray of shape (n_tasks * n_samples,)
        Targets.
    groups : ndarray of shape (n_tasks * n_samples,), dtype int
        Number of the task of each row, 0 to ``n_tasks - 1``.

    References
    ----------
    C. Finn, P. Abbeel, S. Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
    Networks", ICML 2017, section 5.1.

    Examples
    --------
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> X, y, groups = make_sinusoid_tasks(n_tasks=3, n_samples=4, random_state=0)
    >>> X.shape, y.shape
    ((12, 1), (12,))
    >>> groups.tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    """
    _check_count("n_tasks", n_tasks)
    _check_count("n_samples", n_samples)
    amplitude = _check_range("amplitude", amplitude)
    phase = _check_range("phase", phase)
    x_range = _check_range("x_range", x_range)
    if not isinstance(noise, Real) or isinstance(noise, bool):
        raise TypeError(f"noise is {noise!r}; give a number, the standard deviation added to y.")
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is {noise!r}; give a finite number of at least 0.")

    rng = check_random_state(random_state)
    amplitudes = rng.uniform(*amplitude, size=(n_tasks, 1))
    phases = rng.uniform(*phase, size=(n_tasks, 1))
    x = rng.uniform(*x_range, size=(n_tasks, n_samples))
    y = amplitudes * np.sin(x - phases)
    if noise > 0:
        y += noise * rng.standard_normal(y.shape)
    return x.reshape(-1, 1), y.ravel(), np.repeat(np.arange(n_tasks), n_samples)


def _check_count(name: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; give a whole number of at least 1.")
    if value < 1:
        raise ValueError(f"{name} is {value}; give a whole number of at least 1.")


def _check_range(name: str, value: object) -> tuple[float, float]:
    """Return the two ends of a range as floats, or refuse it."""
    try:
        low, high = (float(end) for end in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; give a pair of numbers (low, high).") from None
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(
            f"{name} is ({low:g}, {high:g}); give two finite numbers, the smaller first."
        )
    return low, high
