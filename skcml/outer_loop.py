"""The outer loop: Adam on the meta-parameters, one mini-batch of tasks a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skcml.arrays import keep_freed_memory
from skcml.episodes import EpisodeSampler
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradientRule
from skcml.solvers.base import InnerSolver

# A loss below this is zero for its logarithm's sake.
TINY_LOSS = 1e-12
# Adam takes the square of a gradient below this.
LARGEST = 1e150


@dataclass
class History:
    """What happened during `meta_train`.

    Attributes
    ----------
    loss : list of float
        Mean query loss of each step's episode.
    validation_step : list of int
        Steps after which held-out tasks were looked at; the first is 0, the start.
    validation_loss : list of float
        Their mean query loss.
    states : list of ndarray
        The flat meta-parameters then.
    n_left_out : int
        Tasks left out of a step because their inner problem did not converge, or because their loss
        or its gradient was not finite.
    n_skipped : int
        Steps that left the meta-parameters as they were, because no task could be used, or the
        gradient was not finite or too large to square.
    best_step : int
        Where the validation loss was lowest; the last step without validation.
    """

    loss: list[float] = field(default_factory=list)
    validation_step: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)
    n_left_out: int = 0
    n_skipped: int = 0
    best_step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what a reader wants: all but the states."""
        return {name: value for name, value in vars(self).items() if name != "states"}


@dataclass(frozen=True)
class OuterOptions:
    """How to descend.

    Attributes
    ----------
    max_iter : int
        Meta-steps over which the learning rate falls to zero along a cosine.
    learning_rate : float
        Of Adam, at the start.
    anchor : float
        Weight of the squared distance to the start in the objective.
    log_objective : bool
        Descend the logarithm of each episode's mean loss. A squared error spans orders of magnitude
        between episodes and over a descent, and the largest would decide every step.
    validate_every : int
        Meta-steps between looks at held-out tasks.
    n_iter_no_change : int
        Stop when this many meta-steps have not lowered the validation loss by ``tol``.
    tol : float
    """

    max_iter: int
    learning_rate: float = 1e-2
    anchor: float = 0.0
    log_objective: bool = False
    validate_every: int = 20
    n_iter_no_change: int = 100
    tol: float = 1e-4


def meta_train(
    problem: InnerProblem,
    solver: InnerSolver,
    rule: MetaGradientRule,
    sampler: EpisodeSampler,
    theta: MetaParams,
    options: OuterOptions,
    *,
    validate: Callable[[MetaParams], float] | None = None,
    on_step: Callable[[int, MetaParams, History], bool] | None = None,
) -> tuple[MetaParams, History]:
    """Descend the rule's meta-gradient from ``theta``.

    Parameters
    ----------
    problem, solver, rule, sampler
        The four parts; they know each other only through their interfaces.
    theta : MetaParams
        Where to start; left as it is.
    options : OuterOptions
    validate : callable, optional
        Returns the mean loss on held-out tasks. With it, the best state is returned, and the
        descent ends early when it stops improving.
    on_step : callable, optional
        Called after each step with its number, the meta-parameters and the history; a true result
        ends the descent.

    Returns
    -------
    theta : MetaParams
    history : History
    """
    keep_freed_memory()
    start, theta = theta, theta.copy()
    optimizer = _Adam(len(theta.vector))
    history = History()
    best = _Best(theta, options)
    if validate is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            loss = validate(theta)
        best.look(0, theta, loss, history)
    for step in range(1, options.max_iter + 1):
        # What overflows is skipped below.
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = rule(problem, solver, theta, sampler.draw())
        scale = max(gradient.loss, TINY_LOSS) if options.log_objective else 1.0
        pull = 2 * options.anchor * (theta.vector - start.vector)
        descent = gradient.theta.vector / scale + pull
        # NaN is not below the bound either.
        if np.isfinite(gradient.loss) and (np.abs(descent) < LARGEST).all():
            optimizer.descend(theta.vector, descent, learning_rate(step, options))
        else:
            history.n_skipped += 1
        history.loss.append(gradient.loss)
        history.n_left_out += gradient.n_left_out
        if validate is not None and (
            step % options.validate_every == 0 or step == options.max_iter
        ):
            with np.errstate(over="ignore", invalid="ignore"):
                loss = validate(theta)
            best.look(step, theta, loss, history)
            if best.is_over(step):
                break
        if on_step is not None and on_step(step, theta, history):
            break
    if validate is None:
        history.best_step = len(history.loss)
        return theta, history
    return best.theta, history


def learning_rate(step: int, options: OuterOptions) -> float:
    """Return the learning rate of a step, counted from one: a cosine from its start to zero."""
    done = min((step - 1) / max(options.max_iter, 1), 1.0)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1) on one flat vector.

    On a few thousand numbers a step of torch's is mostly bookkeeping: a fifth of a meta-step.
    """

    decay, square_decay, tiny = 0.9, 0.999, 1e-8

    def __init__(self, size: int) -> None:
        self.mean, self.square = np.zeros(size), np.zeros(size)
        self.n_steps = 0

    def descend(self, vector: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Take one step, in place."""
        self.n_steps += 1
        # In place: what a step allocates, it also has to fetch from memory.
        change = gradient - self.mean
        change *= 1 - self.decay
        self.mean += change
        np.square(gradient, out=change)
        change -= self.square
        change *= 1 - self.square_decay
        self.square += change
        # Both averages start at zero, and are divided by what of their weights is used up.
        root = np.sqrt(self.square, out=change)
        root *= (1 - self.square_decay**self.n_steps) ** -0.5
        root += self.tiny
        move = np.divide(self.mean, root, out=change)
        move *= rate / (1 - self.decay**self.n_steps)
        vector -= move


class _Best:
    """Keeps the state with the lowest validation loss, and knows when to give up."""

    def __init__(self, theta: MetaParams, options: OuterOptions) -> None:
        self.theta = theta.copy()
        self.options = options
        self.loss = np.inf
        self.mark, self.mark_step = np.inf, 0

    def look(self, step: int, theta: MetaParams, loss: float, history: History) -> None:
        """Record a validation loss, and keep the state if it is the best."""
        history.validation_step.append(step)
        history.validation_loss.append(loss)
        history.states.append(theta.vector.copy())
        if loss < self.loss:
            self.loss, self.theta, history.best_step = loss, theta.copy(), step
        if loss < self.mark - self.options.tol:
            self.mark, self.mark_step = loss, step

    def is_over(self, step: int) -> bool:
        """Tell whether the loss has not improved for too long."""
        return step - self.mark_step >= self.options.n_iter_no_change
