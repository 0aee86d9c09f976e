"""What every meta-gradient rule returns, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar, Protocol

import numpy as np

from skcml.arrays import Array, to_numpy
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.solvers.base import InnerSolver

# What a rule may need, which attribute of a problem says that it is there, and what to say if not.
NEEDS = (
    (
        "needs_autograd",
        "is_differentiable",
        "a problem whose energy torch can differentiate twice",
    ),
    (
        "needs_every_weight_adapted",
        "adapts_everything",
        "a problem of which each task has every weight, from a start that tasks share",
    ),
)


@dataclass(frozen=True)
class MetaGradient:
    """The outcome of one episode.

    Attributes
    ----------
    theta : MetaParams
        Gradient of the mean loss over tasks.
    loss : float
        That mean loss, at the free phase; not a number where no task could be used.
    n_left_out : int
        Tasks whose inner problem did not converge, or whose gradient is not finite; they are not in
        the mean.
    """

    theta: MetaParams
    loss: float
    n_left_out: int


class MetaGradientRule(Protocol):
    """Estimates the gradient of L(phi*(theta), theta) in theta.

    Attributes
    ----------
    needs_autograd : bool
        Whether torch has to differentiate the energy; see `InnerProblem.is_differentiable`.
    needs_every_weight_adapted : bool
        See `InnerProblem.adapts_everything`.
    """

    needs_autograd: ClassVar[bool]
    needs_every_weight_adapted: ClassVar[bool]

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""


def check_needs(rule: MetaGradientRule, problem: InnerProblem) -> None:
    """Refuse a problem that does not have what a rule needs."""
    if wanted := what_lacks(rule, problem):
        raise ValueError(
            f"the rule {type(rule).__name__} needs {wanted}, which {type(problem).__name__} is not."
        )


def what_lacks(rule: MetaGradientRule, problem: InnerProblem) -> str:
    """Return, in words, what a rule needs and a problem is not; nothing if they go together."""
    lacking = [w for need, offer, w in NEEDS if getattr(rule, need) and not getattr(problem, offer)]
    return lacking[0] if lacking else ""


def check_positive(*, whole: bool = False, **values: object) -> None:
    """Refuse what is not a positive and finite number, by its name."""
    for name, value in values.items():
        is_number = isinstance(value, Integral if whole else Real)
        if not (is_number and 0 < float(value) < float("inf")):  # type: ignore[arg-type]
            wanted = "a whole number of one or more" if whole else "a positive number"
            raise ValueError(f"{name}={value!r} must be {wanted}.")


def no_gradient(theta: Mapping[str, Array]) -> MetaParams:
    """Return zeros in the shapes of theta."""
    return MetaParams({name: tuple(theta[name].shape) for name in theta})


def average_over_tasks(
    theta: Mapping[str, Array],
    usable: Array,
    gradient_of: Callable[[np.ndarray], tuple[MetaParams, float]],
) -> MetaGradient:
    """Average over the tasks that can be used, and whose gradient is finite.

    Parameters
    ----------
    theta : mapping of str to array
    usable : array of shape (n_tasks,), bool
    gradient_of : callable
        Returns mean gradient and mean loss of the tasks whose numbers it is given.
    """
    tasks = np.flatnonzero(to_numpy(usable))
    parts, n_used = [gradient_of(tasks)] if len(tasks) else [], len(tasks)
    if not all(map(_is_finite, parts)):
        # One at a time, those that overflow can be told from the others.
        parts = list(filter(_is_finite, map(gradient_of, tasks[:, None])))
        n_used = len(parts)
    n_left_out = len(usable) - n_used
    if not parts:
        return MetaGradient(no_gradient(theta), float("nan"), n_left_out)
    grad, loss = parts[0]
    if len(parts) > 1:
        grad.vector[:] = np.mean([gradient.vector for gradient, _ in parts], axis=0)
        loss = float(np.mean([loss for _, loss in parts]))
    return MetaGradient(grad, loss, n_left_out)


def _is_finite(part: tuple[MetaParams, float]) -> bool:
    gradient, loss = part
    return bool(np.isfinite(loss) and np.isfinite(gradient.vector).all())
