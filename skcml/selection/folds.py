"""Folds of groups, and what is learned and predicted on each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.outer_loop import History
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection.baselines import per_task_mean, pooled_heads, prior_densities
from skcml.selection.held_out import HeldOut
from skcml.selection.members import (
    linear_problem,
    linear_theta,
    structures_for,
    train_network,
)
from skcml.selection.mixture import Densities
from skcml.selection.options import LearnOptions

# Folds by number of groups: with few, a split is a lottery and every group is needed to learn
# from; with many, one split is enough.
FOLDS = ((60, 10), (200, 5), (2_000, 3))
# Groups held out at most where there is a single split.
MAX_HELD_OUT = 2_000
# Groups from which a mixed model is estimated at most, where a network follows.
MAX_MIXED = 5_000
# Mean log density of a row by which the structure "none" must be ahead for a network to start at
# its coefficients. A fold has too few groups to say how sure that is, and a start is no verdict.
MARGIN = 0.005

OnStep = Callable[[int, MetaParams, History], bool]


class Progress(Protocol):
    """Follows the descents; the estimators connect it to scikit-learn's callbacks."""

    def descent(self, start: Any) -> OnStep:
        """Begin a descent from where it starts; return what to call after each step."""


@dataclass(frozen=True)
class Judgement:
    """Predictions of a fold's held-out query rows by all that was learned on its other groups.

    The query rows are those of groups of which some rows are known, or of which none is.

    Attributes
    ----------
    y : ndarray of shape (n_outputs, n_rows)
    weight : ndarray of shape (n_rows,)
    exposure : ndarray of shape (n_rows,)
        Factor on the log density of each row; ones but for counts.
    group : ndarray of shape (n_rows,), int
    n_groups : int
    pooled : Densities
    pooled_networks : Densities or None
    linear : dict of str to Densities
        By covariance structure.
    network : Densities or None
    """

    y: np.ndarray
    weight: np.ndarray
    exposure: np.ndarray
    group: np.ndarray
    n_groups: int
    pooled: Densities
    linear: dict[str, Densities]
    network: Densities | None
    pooled_networks: Densities | None = None

    def score(self, structure: str) -> float:
        """Return the mean held-out log density of the mixed model with a structure."""
        return float(self.group_scores(structure).mean())

    def group_scores(self, structure: str) -> np.ndarray:
        """Return each group's part in the score, of shape (n_groups,); their mean is the score."""
        log_density = self.linear[structure].log_density(self.y).mean((0, 1))
        weight = self.weight * self.exposure
        parts = np.bincount(self.group, weight * log_density, minlength=self.n_groups)
        return self.n_groups / weight.sum() * parts

    def members(self, structure: str) -> dict[str, Densities]:
        """Return the predictions by member of the mixture, those that there are."""
        found = {
            "pooled": self.pooled,
            "pooled_networks": self.pooled_networks,
            "mixed_model": self.linear[structure],
            "networks": self.network,
        }
        return {name: part for name, part in found.items() if part is not None}


@dataclass(frozen=True)
class Fold:
    """One fold's network and judgements.

    Attributes
    ----------
    theta : MetaParams or None
        The network, if there is one.
    history : History or None
    train : TaskRows
        What the mixed and pooled models were fitted to.
    episodes : (HeldOut, HeldOut) or None
        Of held-out groups with and without support rows; None where nothing was held out.
    known, unseen : Judgement or None
        Of the two.
    per_task : ndarray of shape (n_outputs, n_rows) or None
        Predictions of the query rows of ``known`` from each group's own rows alone.
    """

    theta: MetaParams | None
    history: History | None
    train: TaskRows
    episodes: tuple[HeldOut, HeldOut] | None = None
    known: Judgement | None = None
    unseen: Judgement | None = None
    per_task: np.ndarray | None = None

    def judged(self, index: int, options: LearnOptions) -> Fold:
        """Return the fold with judgements of its network as it was at one of its looks."""
        known, unseen, theta = self.known, self.unseen, self.theta
        if (
            theta is None
            or self.history is None
            or self.episodes is None
            or not known
            or not unseen
        ):
            return self
        if self.history.states:
            theta = MetaParams(theta.shapes, self.history.states[index].copy())
        held_out, strangers = self.episodes
        model, likelihood = options.model, options.family.likelihood
        problem = model.problem(self.train.X.shape[1], self.train.y.shape[1], options)
        model.calibrate(problem, theta, options, held_out.episodes)
        bodies = model.bodies(problem, [theta])
        pooled = prior_densities(pooled_heads(self.train, likelihood, bodies), strangers)
        known = replace(known, network=model.densities(problem, theta, options, held_out))
        return replace(self, known=known, unseen=replace(unseen, pooled_networks=pooled))


def look_of_others(fold: Fold, folds: Sequence[Fold]) -> int:
    """Return at which of its looks at held-out groups a fold's network is judged.

    It was stopped where it was best on its own groups, and they cannot judge that. The best look of
    the other folds, on average, is one that they had no say in; with a single split there are no
    others.
    """
    if fold.history is None or not fold.history.states:
        return 0
    others = [f.history for f in folds if f is not fold and f.history is not None]
    n_looks = len(fold.history.states)
    curves = [
        # A descent that ended early would have gone on as it ended.
        np.pad(h.validation_loss, (0, max(n_looks - len(h.states), 0)), mode="edge")[:n_looks]
        for h in others or [fold.history]
    ]
    return int(np.mean(curves, axis=0).argmin())


def n_folds(n_tasks: int) -> int:
    """Return into how many folds the groups are divided."""
    return min(next((k for bound, k in FOLDS if n_tasks < bound), 1), n_tasks)


def n_descents(n_tasks: int, has_validation: bool, options: LearnOptions) -> int:
    """Return how many networks will be learned."""
    if options.meta_max_iter == 0:
        return 0
    return 1 if has_validation or not options.early_stopping else n_folds(n_tasks)


def split_tasks(
    tasks: TaskRows,
    validation: TaskRows | None,
    options: LearnOptions,
    rng: np.random.Generator,
) -> list[tuple[TaskRows, TaskRows | None]]:
    """Return pairs of tasks to learn from and tasks to judge by.

    Tasks of a single row can be learned from, by the mixed model, but not be judged by.
    """
    if validation is not None:
        return [(tasks, validation)]
    usable = np.flatnonzero(tasks.sizes > 1)
    if not options.early_stopping or len(usable) < 2:
        return [(tasks, None)]
    order = rng.permutation(usable)
    n = n_folds(len(order))
    if n == 1:
        n_held_out = max(round(options.validation_fraction * len(order)), 1)
        pieces = [order[: min(n_held_out, MAX_HELD_OUT, len(order) - 1)]]
    else:
        pieces = np.array_split(order, n)
    everything = np.arange(tasks.n_tasks)
    return [
        (tasks.subset(np.setdiff1d(everything, piece)), tasks.subset(np.sort(piece)))
        for piece in pieces
    ]


def learn_fold(
    train: TaskRows,
    held: TaskRows | None,
    options: LearnOptions,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Fold:
    """Fit mixed models and a network to some groups, and predict the others with the former."""
    n_inputs = train.X.shape[1]
    some = some_tasks(train, options, rng)
    structures = structures_for(1 + n_inputs, options.prior_covariance, reml=options.is_reml)
    if held is None:
        mixed = options.family.fit_mixed(some, structures[:1], reml=options.is_reml)
        return Fold(*_descend(mixed[structures[0]], train, None, options, rng, progress), some)
    held_out = HeldOut.draw(held, options.n_shots, options.support, rng)
    strangers = HeldOut.draw(held, (0, 0), options.support, rng)
    mixed = options.family.fit_mixed(some, structures, reml=options.is_reml)
    pooled = pooled_heads(some, options.family.likelihood)
    known, unseen = (_judge_simple(part, pooled, mixed, options) for part in (held_out, strangers))
    start = _start(mixed, known)
    theta, history = _descend(start, train, held_out, options, rng, progress)
    per_task = per_task_mean(held_out, options.family.likelihood)
    return Fold(theta, history, some, (held_out, strangers), known, unseen, per_task)


def _start(mixed: dict[str, list[MixedModel]], known: Judgement) -> list[MixedModel]:
    """Return where the network starts: at the best mixed model, but with coefficients that vary.

    Where nothing varies yet, a network has far to go.
    """
    best = max((name for name in mixed if name != "none"), key=known.score)
    start = mixed[best]
    if "none" not in mixed or known.score("none") <= known.score(best) + MARGIN:
        return start
    pairs = zip(start, mixed["none"], strict=True)
    return [replace(model, omega=pooled.omega) for model, pooled in pairs]


def _judge_simple(
    held_out: HeldOut, pooled: Heads, mixed: dict[str, list[MixedModel]], options: LearnOptions
) -> Judgement:
    """Predict held-out rows by all members but the network."""
    problem = linear_problem(held_out.x.shape[1], len(held_out.y), options)
    likelihood = options.family.likelihood
    has_exposure = likelihood is not None and likelihood.has_exposure
    return Judgement(
        y=held_out.y,
        weight=held_out.row_weight if has_exposure else held_out.weight,
        exposure=held_out.exposure if has_exposure else np.ones(len(held_out.x)),
        group=held_out.group,
        n_groups=held_out.n_groups,
        pooled=prior_densities(pooled, held_out),
        linear={
            name: held_out.densities(problem, linear_theta(problem, models, reml=options.is_reml))
            for name, models in mixed.items()
        },
        network=None,
    )


def some_tasks(tasks: TaskRows, options: LearnOptions, rng: np.random.Generator) -> TaskRows:
    """Return as many tasks as a mixed model needs; all of them, if it is all that is wanted."""
    if options.meta_max_iter == 0 or tasks.n_tasks <= MAX_MIXED:
        return tasks
    return tasks.subset(np.sort(rng.choice(tasks.n_tasks, MAX_MIXED, replace=False)))


def _descend(
    mixed: list[MixedModel],
    train: TaskRows,
    held_out: HeldOut | None,
    options: LearnOptions,
    rng: np.random.Generator,
    progress: Progress | None,
) -> tuple[MetaParams | None, History | None]:
    """Learn the network, unless no steps are wanted or no task can be split."""
    if options.meta_max_iter == 0 or not (train.sizes > 1).any():
        return None, None
    problem = options.model.problem(train.X.shape[1], train.y.shape[1], options)
    on_step = None if progress is None else progress.descent(mixed)
    return train_network(problem, mixed, train, held_out, options, rng, on_step)
