"""The verdict: members learned on folds of groups, weighed by the groups held out.

The network of each fold is kept. It has been judged on groups that it has not seen, and together
the networks are steadier than one that is learned again on everything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.mixed_model import CompressedGroups, MixedModel
from skcml.problems.meta_params import MetaParams
from skcml.selection.folds import Fold, Judgement, Progress, learn_fold, some_tasks, split_tasks
from skcml.selection.members import (
    fit_mixed,
    head_problem,
    linear_problem,
    linear_theta,
    structures_for,
)
from skcml.selection.mixture import IntervalShape, moments, stacking_weights
from skcml.selection.options import LearnOptions


@dataclass(frozen=True)
class Learned:
    """What `meta_fit` learned, in standardised units.

    Attributes
    ----------
    linear : Heads
        The linear mixed model of all groups.
    networks : Heads or None
        The networks, one per fold.
    weights : ndarray of shape (2, n_outputs)
        Shares of the linear model and of the networks in the mixture.
    mixed : list of MixedModel
        The mixed model of each output.
    structure : str
        Its covariance structure.
    shape : IntervalShape
        Of standardised errors.
    gain : dict of str to float, or None
        Held-out root mean squared errors; None where nothing was held out.
    histories : list of dict
        One per descent.
    """

    linear: Heads
    networks: Heads | None
    weights: np.ndarray
    mixed: list[MixedModel]
    structure: str
    shape: IntervalShape
    gain: dict[str, float] | None
    histories: list[dict[str, Any]]


def learn(
    tasks: TaskRows,
    validation: TaskRows | None,
    options: LearnOptions,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Learned:
    """Learn from many tasks.

    Parameters
    ----------
    tasks : TaskRows
        Standardised; at least two, one of which has at least two rows.
    validation : TaskRows or None
        The user's own tasks to judge by, of at least two rows each.
    options : LearnOptions
    rng : numpy.random.Generator
    progress : Progress, optional
        Followed in this process: with it, folds are not spread over processes.

    Returns
    -------
    Learned
    """
    splits = split_tasks(tasks, validation, options, rng)
    jobs = [
        (train, held, options, seed, progress)
        for (train, held), seed in zip(splits, rng.spawn(len(splits)), strict=True)
    ]
    n_jobs = options.n_jobs if progress is None else None
    folds = Parallel(n_jobs=n_jobs)(delayed(_learn_on_one_thread)(*job) for job in jobs)
    judgements = [fold.judgement for fold in folds if fold.judgement is not None]
    thetas = [fold.theta for fold in folds if fold.theta is not None]

    n_inputs, n_outputs = tasks.X.shape[1], tasks.y.shape[1]
    structure = best_structure(
        judgements, structures_for(1 + n_inputs, options.prior_covariance, reml=options.is_reml)
    )
    groups = CompressedGroups.from_tasks(some_tasks(tasks, options, rng))
    mixed = fit_mixed(groups, n_outputs, structure, reml=options.is_reml)
    problem = linear_problem(n_inputs, n_outputs)
    if judgements:
        weights = member_weights(judgements, structure, rng)
        gain, shape = judge(judgements, structure, rng)
    else:
        weights = np.repeat([[0.0], [1.0]] if thetas else [[1.0], [0.0]], n_outputs, axis=1)
        gain, shape = None, IntervalShape.gaussian(n_outputs)
    networks = None
    if weights[1].any():
        networks = Heads.stack(head_problem(n_inputs, n_outputs, options).body, thetas)
    return Learned(
        linear=Heads.stack(problem.body, [linear_theta(problem, mixed)]),
        networks=networks,
        weights=weights,
        mixed=mixed,
        structure=structure,
        shape=shape,
        gain=gain,
        histories=[asdict(fold.history) for fold in folds if fold.history is not None],
    )


def _learn_on_one_thread(*job: Any) -> Fold:
    """Learn a fold as it is learned in this process: more threads sum in another order."""
    with threadpool_limits(1):
        return learn_fold(*job)


def snapshot(mixed: list[MixedModel], theta: MetaParams, options: LearnOptions) -> Learned:
    """Return what has been learned in the middle of a descent: one network, unjudged."""
    n_inputs, n_outputs = len(mixed[0].omega) - 1, len(mixed)
    linear = linear_problem(n_inputs, n_outputs)
    body = head_problem(n_inputs, n_outputs, options).body
    return Learned(
        linear=Heads.stack(linear.body, [linear_theta(linear, mixed)]),
        networks=Heads.stack(body, [theta]),
        weights=np.repeat([[0.0], [1.0]], n_outputs, axis=1),
        mixed=mixed,
        structure=best_structure([], structures_for(1 + n_inputs, options.prior_covariance)),
        shape=IntervalShape.gaussian(n_outputs),
        gain=None,
        histories=[],
    )


def best_structure(judgements: list[Judgement], structures: tuple[str, ...]) -> str:
    """Return the covariance structure with the best held-out log score; unjudged, the richest."""
    if not judgements:
        return structures[0]
    return max(structures, key=lambda name: sum(j.score(name) * j.n_groups for j in judgements))


def member_weights(
    judgements: list[Judgement], structure: str, rng: np.random.Generator
) -> np.ndarray:
    """Return the shares of the linear model and of the network, of shape (2, n_outputs)."""
    if any(j.network is None for j in judgements):
        return np.repeat([[1.0], [0.0]], len(judgements[0].y), axis=1)
    log_density, group, first = [], [], 0
    for j in judgements:
        members = (j.linear[structure], j.network)
        log_density.append(np.concatenate([m.log_density(j.y) for m in members if m is not None]))
        group.append(first + j.group)
        first += j.n_groups
    return stacking_weights(
        np.concatenate(log_density, axis=-1),
        np.concatenate([j.weight for j in judgements]),
        np.concatenate(group),
        rng,
    )


def judge(
    judgements: list[Judgement], structure: str, rng: np.random.Generator
) -> tuple[dict[str, float], IntervalShape]:
    """Return the held-out errors of all models, and the shape of the final one's errors.

    The final model of a fold is weighed by the other folds, so that no group has a say in its own
    verdict; with a single split there are no others.
    """
    squares: dict[str, list[np.ndarray]] = {}
    errors = []
    for judgement in judgements:
        others = [j for j in judgements if j is not judgement] or judgements
        weights = member_weights(others, structure, rng)
        members = [m for m in (judgement.linear[structure], judgement.network) if m is not None]
        mean, variance = moments(
            np.concatenate([m.mean for m in members]),
            np.concatenate([m.variance for m in members]),
            weights[: len(members)],
        )
        predictions = {
            "pooled": judgement.pooled,
            "per_task": judgement.per_task,
            "mixed_model": judgement.linear[structure].mean[0],
            "final": mean,
        }
        for name, prediction in predictions.items():
            squares.setdefault(name, []).append(((judgement.y - prediction) ** 2).mean(0))
        errors.append((judgement.y - mean) / np.sqrt(variance))
    weight = np.concatenate([j.weight for j in judgements])
    gain = {
        name: float(np.sqrt(np.average(np.concatenate(parts), weights=weight)))
        for name, parts in squares.items()
    }
    n_groups = sum(j.n_groups for j in judgements)
    return gain, IntervalShape.fit(np.concatenate(errors, axis=1), weight, n_groups)
