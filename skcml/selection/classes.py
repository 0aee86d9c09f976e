"""Learning to tell new classes apart from a few rows of each.

What is learned from many classes is how far to trust the mean row of a class, and how far a task's
own rows may pull away from it: the constants of `PrototypeProblem`. Held-out classes decide in
which coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.class_pool import ClassPool
from skcml.episodes import Episode
from skcml.likelihoods import Categorical
from skcml.problems.meta_params import MetaParams
from skcml.selection.class_networks import LearnedNetwork, learn_network
from skcml.selection.constants import PROBLEM, ClassOptions, go_on, learn_constants
from skcml.selection.folds import OnStep, Progress
from skcml.selection.held_out_classes import (
    Losses,
    choose,
    joined,
    look,
    look_at_network,
    split_classes,
)
from skcml.selection.transform import RAW, RECIPES, Recipe, Transform
from skcml.solvers.newton_cg import newton_cg


@dataclass(frozen=True)
class LearnedClasses:
    """What was learned from many classes.

    Attributes
    ----------
    transform : Transform
    theta : MetaParams
        Of `PrototypeProblem`.
    gain : dict of str to float, or None
        Log-losses on held-out classes, all with constants from the training classes: "class_mean"
        (angle to the mean row of each class), "per_task" (logistic regression on a task's own rows)
        and "final" (this model, with constants from the grid, before any descent); None where
        nothing was held out.
    histories : list of dict
        Of the descent.
    network : LearnedNetwork or None
        What takes the place of prototypes among the rows themselves; ``theta`` is then its own, and
        "final" its log-loss beside that of "prototypes".
    """

    transform: Transform
    theta: MetaParams
    gain: dict[str, float] | None
    histories: list[dict[str, Any]]
    network: LearnedNetwork | None = None

    def theta_arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the meta-parameters by name."""
        return {name: array.copy() for name, array in self.theta.items()}


def learn_classes(
    pool: ClassPool,
    validation: ClassPool | None,
    options: ClassOptions,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> LearnedClasses:
    """Learn from many classes.

    Parameters
    ----------
    pool : ClassPool
        At least two classes of one group with two rows or more.
    validation : ClassPool or None
        The user's own classes to judge by.
    options : ClassOptions
    rng : numpy.random.Generator
    progress : Progress, optional
        Follows the descent, which begins from what `LearnedClasses` holds then.

    Returns
    -------
    LearnedClasses
    """
    splits = split_classes(pool, validation, options, rng)
    if options.network is not None:
        splits = splits[:1]  # a network is learned once
    seeds = [int(seed) for seed in rng.integers(2**63, size=len(splits))]
    recipe, losses = _judge(splits, seeds, options)
    if options.network is not None:
        learned = _learn_network(pool, splits, seeds, losses, options, rng, progress)
        if learned is not None:
            return learned
    gain = {model: float(loss.mean()) for model, loss in losses.items()} or None
    transform = Transform.fit(pool, recipe)

    def begin(start: MetaParams) -> OnStep:
        here = LearnedClasses(transform, start, gain, [])
        return go_on if progress is None else progress.descent(here)

    theta, history = learn_constants(transform.of_pool(pool), options, rng, begin)
    return LearnedClasses(transform, theta, gain, [history.as_dict()])


def _judge(
    splits: Sequence[tuple[ClassPool, ClassPool]], seeds: Sequence[int], options: ClassOptions
) -> tuple[Recipe, Losses]:
    """Return the recipe to use, and what held-out classes say of it."""
    recipes = RECIPES if options.standardize else RAW
    if not splits:
        return next(iter(recipes.values())), {}

    def look_at(names: Sequence[str], recipe: Recipe) -> Losses:
        parts = [
            look(names, recipe, split, options, seed)
            for split, seed in zip(splits, seeds, strict=True)
        ]
        return joined(parts)

    final = {name: look_at(["final"], recipe)["final"] for name, recipe in recipes.items()}
    name = choose(final)
    return recipes[name], look_at(["class_mean", "per_task"], recipes[name]) | {
        "final": final[name]
    }


def _learn_network(
    pool: ClassPool,
    splits: Sequence[tuple[ClassPool, ClassPool]],
    seeds: Sequence[int],
    losses: Losses,
    options: ClassOptions,
    rng: np.random.Generator,
    progress: Progress | None,
) -> LearnedClasses | None:
    """Learn a network; None where classes that it has not seen prefer prototypes."""
    train, held = splits[0] if splits else (pool, None)
    transform = Transform.of_network(train, options)

    def begin(start: LearnedNetwork) -> OnStep:
        here = LearnedClasses(transform, start.theta, None, [], start)
        return go_on if progress is None else progress.descent(here)

    seen, new = (None if part is None else transform.of_pool(part) for part in (train, held))
    assert options.network is not None
    assert seen is not None
    found, history = learn_network(options.network, seen, new, options, rng, begin)
    gain = None
    if new is not None:
        judged = joined([look_at_network(found, seen, new, options, seeds[0])])["final"]
        if choose({"prototypes": losses["final"], "network": judged}) != "network":
            return None
        gain = {model: float(loss.mean()) for model, loss in losses.items()}
        gain |= {"prototypes": gain["final"], "final": float(judged.mean())}
    return LearnedClasses(transform, found.theta, gain, [history.as_dict()], found)


def adapt_classes(
    learned: LearnedClasses,
    X: np.ndarray,
    codes: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    precision_factor: float = 1.0,
) -> Any:
    """Learn to tell the classes of one task apart.

    Parameters
    ----------
    learned : LearnedClasses
    X : ndarray of shape (n_rows, d)
    codes : ndarray of shape (n_rows,), int
        Class of each row, in ``range(n_classes)``.
    weight : ndarray of shape (n_rows,)
    n_classes : int
        A class may be without rows.
    precision_factor : float, default=1.0
        Multiplies the learned precision: above one, classes stay nearer to their mean rows.

    Returns
    -------
    ndarray of shape (n_classes, d) or, with a constant, (n_classes, d + 1); or TaskWeights
        Weights of the transformed rows, or of a network, for `class_probabilities`.
    """
    z = learned.transform(X)
    if learned.network is not None:
        return learned.network.adapt(z, codes, weight, n_classes, precision_factor)
    theta = learned.theta.copy()
    theta["log_precision"][:] += np.log(precision_factor)
    y = np.eye(n_classes)[:, codes][:, None]
    support = (z[None], y, weight[None])
    batch = PROBLEM.embed(theta, Episode(*support, z[None, :0], y[..., :0], weight[None, :0]))
    return PROBLEM.weights(newton_cg(PROBLEM, theta, batch).phi, theta, batch)[0]


def adapt_tasks(
    learned: LearnedClasses, tasks: ClassPool, n_tasks: int, precision_factor: float = 1.0
) -> list[Any]:
    """Learn each of many tasks: the classes of one group of a pool are one task.

    Returns
    -------
    list of ndarray of shape (n_classes of the task, d) or (n_classes of the task, d + 1)
        Tasks by their group, from 0 to n_tasks - 1, which may have no class; classes as they come.
    """
    found = []
    for group in range(n_tasks):
        task = tasks.subset(np.flatnonzero(tasks.group == group))
        if not task.n_classes:
            found.append(np.empty((0, len(learned.transform.center) + learned.transform.lift)))
            continue
        args = (task.X, task.codes, task.weight, task.n_classes, precision_factor)
        found.append(adapt_classes(learned, *args))
    return found


def class_probabilities(
    learned: LearnedClasses, W: Any, X: np.ndarray, offset: np.ndarray | None = None
) -> np.ndarray:
    """Return the probabilities of a task's classes, of shape (n_rows, n_classes).

    Parameters
    ----------
    learned : LearnedClasses
    W : ndarray or TaskWeights
        As `adapt_classes` gave it.
    X : ndarray of shape (n_rows, d)
    offset : ndarray of shape (n_classes,), optional
        Added to the logits.
    """
    z = learned.transform(X)
    logits = z @ W.T if learned.network is None else learned.network.logits(W, z)
    if offset is not None:
        logits = logits + offset
    return Categorical().mean(logits.T[:, None])[:, 0].T
