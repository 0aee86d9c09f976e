"""Held-out classes: which, and what is said of them by what was learned on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skcml.class_pool import ClassPool
from skcml.likelihoods import Categorical
from skcml.problems.meta_params import MetaParams
from skcml.problems.prototypes import PrototypeBatch
from skcml.selection.class_networks import LearnedNetwork
from skcml.selection.constants import (
    KEPT_SIZE,
    PRECISIONS,
    PROBLEM,
    SCALES,
    Adapt,
    ClassOptions,
    at_prior,
    best_constants,
    embedded,
    kept_episodes,
    solved,
)
from skcml.selection.transform import Recipe, Transform

# With fewer usable classes than this, classes are held out in folds; with fewer than the second,
# none is.
FEW, TOO_FEW = 30, 4
MAX_FOLDS = 3
# From as many groups on, whole groups are held out.
MANY_GROUPS = 5
# Tasks of five classes by which a fold is judged, at each number of ways and shots.
JUDGED_SIZE = 32
# What held-out classes must say for another transform than the default: so many standard errors,
# and this share of the log-loss.
STANDARD_ERRORS, RELATIVE_GAIN = 2.0, 0.02


class Model(NamedTuple):
    """What predicts: a grid of constants, and how a task is adapted to."""

    scales: tuple[float, ...]
    precisions: tuple[float, ...]
    adapt: Adapt


# The angle to the mean row of each class, logistic regression on a task's own rows, and what is
# learned here. The first two have one constant each, and a wider grid of it.
MODELS = {
    "class_mean": Model((*SCALES, 64.0, 128.0), (1.0,), at_prior),
    "per_task": Model((0.0,), (1e-5, *PRECISIONS), solved),
    "final": Model(SCALES, PRECISIONS, solved),
}

# Log-losses of each held-out class, by the name of what predicts.
Losses = dict[str, np.ndarray]


def split_classes(
    pool: ClassPool,
    validation: ClassPool | None,
    options: ClassOptions,
    rng: np.random.Generator,
) -> list[tuple[ClassPool, ClassPool]]:
    """Return pairs of classes to learn from and classes to judge by; none where they are few."""
    if validation is not None:
        return [(pool, validation)] if validation.usable() else []
    if not options.early_stopping:
        return []
    everything = np.arange(pool.n_classes)
    return [
        (pool.subset(np.setdiff1d(everything, piece)), pool.subset(np.sort(piece)))
        for piece in _pieces(pool.usable(), options.validation_fraction, rng)
    ]


def _pieces(
    groups: list[np.ndarray], fraction: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the classes to hold out in each fold, given the usable classes of each group."""
    is_single = sum(map(len, groups)) >= FEW
    if len(groups) >= MANY_GROUPS:
        order = [groups[g] for g in rng.permutation(len(groups))]
        if is_single:
            n_held = min(max(round(fraction * len(order)), 1), len(order) - 1)
            return [np.concatenate(order[:n_held])]
        return [np.concatenate(order[fold::MAX_FOLDS]) for fold in range(MAX_FOLDS)]
    # Of each group at least two classes, the fewest that make a task, go and as many stay.
    orders = [rng.permutation(classes) for classes in groups if len(classes) >= TOO_FEW]
    if not orders:
        return []
    if is_single:
        held = [o[: min(max(round(fraction * len(o)), 2), len(o) - 2)] for o in orders]
        return [np.concatenate(held)]
    parts = [np.array_split(o, min(MAX_FOLDS, len(o) // 2)) for o in orders]
    return [
        np.concatenate([part[fold] for part in parts if fold < len(part)])
        for fold in range(max(map(len, parts)))
    ]


def look(
    names: Sequence[str],
    recipe: Recipe,
    split: tuple[ClassPool, ClassPool],
    options: ClassOptions,
    seed: int,
) -> Losses:
    """Judge what some classes teach about a transform by the tasks of others.

    With the same seed, every transform is judged by the same tasks.

    Parameters
    ----------
    names : sequence of str
        Of `MODELS`; the constants of each are those that serve the training classes best.
    recipe : Recipe
    split : (ClassPool, ClassPool)
        Classes to learn from and classes to judge by.
    options : ClassOptions
    seed : int

    Returns
    -------
    dict of str to ndarray of shape (n_classes,)
        A class that no task held is not a number.
    """
    transform, rng = Transform.fit(split[0], recipe), np.random.default_rng(seed)
    train, held = (transform.of_pool(pool) for pool in split)
    batches = embedded(kept_episodes(train, options, KEPT_SIZE, rng))
    judged = kept_episodes(held, options, JUDGED_SIZE, rng)
    thetas = {name: best_constants(batches, *MODELS[name]) for name in names}
    sums, counts = {name: np.zeros(held.n_classes) for name in names}, np.zeros(held.n_classes)
    for (classes, _), batch in zip(judged, embedded(judged), strict=True):
        of_row = np.take_along_axis(classes, batch.query.y.argmax(0), axis=1)
        np.add.at(counts, of_row, batch.query.weight)
        for name, theta in thetas.items():
            cost = _row_costs(theta, batch, MODELS[name].adapt)
            np.add.at(sums[name], of_row, batch.query.weight * cost)
    with np.errstate(invalid="ignore"):
        return {name: total / counts for name, total in sums.items()}


def look_at_network(
    found: LearnedNetwork, train: ClassPool, held: ClassPool, options: ClassOptions, seed: int
) -> Losses:
    """Judge a network by the tasks by which `look` judges with the same seed.

    Returns
    -------
    dict of str to ndarray of shape (n_classes,)
        "final"; a class that no task held is not a number.
    """
    rng = np.random.default_rng(seed)
    kept_episodes(train, options, KEPT_SIZE, rng)  # for the same tasks
    problem, sums, counts = (
        found.network.problem,
        np.zeros(held.n_classes),
        np.zeros(held.n_classes),
    )
    for classes, episode in kept_episodes(held, options, JUDGED_SIZE, rng):
        batch = problem.embed(found.theta, episode)
        phi = found.network.solver(problem, found.theta, batch).phi
        p = problem.probabilities(phi, found.theta, batch)
        cost = -Categorical().log_density(episode.y_query.swapaxes(0, 1), p.swapaxes(0, 1))[:, 0]
        of_row = np.take_along_axis(classes, episode.y_query.argmax(0), axis=1)
        np.add.at(counts, of_row, episode.w_query)
        np.add.at(sums, of_row, episode.w_query * cost)
    with np.errstate(invalid="ignore"):
        return {"final": sums / counts}


def _row_costs(theta: MetaParams, batch: PrototypeBatch, adapt: Adapt) -> np.ndarray:
    """Return minus the log probability of each query row's class, (n_tasks, n_rows)."""
    p = PROBLEM.probabilities(adapt(theta, batch), theta, batch)
    return -Categorical().log_density(batch.query.y.swapaxes(0, 1), p.swapaxes(0, 1))[:, 0]


def joined(looks: list[Losses]) -> Losses:
    """Return the classes of all folds together, those that were judged."""
    together = {name: np.concatenate([part[name] for part in looks]) for name in looks[0]}
    return {name: losses[np.isfinite(losses)] for name, losses in together.items()}


def choose(final: dict[str, np.ndarray]) -> str:
    """Return the recipe to use, given the log-losses of the same classes with each.

    Another than the first must be better by more than chance and by more than a trifle.
    """
    best, gained = next(iter(final)), 0.0
    default = final[best]
    for name, losses in final.items():
        gain = default - losses
        error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
        needed = max(STANDARD_ERRORS * error, RELATIVE_GAIN * default.mean(), gained)
        if gain.mean() > needed:
            best, gained = name, gain.mean()
    return best
