"""Learning from many tasks: members on folds of groups, then the verdict, then what is kept.

The network of each fold is kept. It has been judged on groups that it has not seen, and together
the networks are steadier than one that is learned again on everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection.baselines import pooled_heads
from skcml.selection.folds import (
    Fold,
    Progress,
    learn_fold,
    look_of_others,
    some_tasks,
    split_tasks,
)
from skcml.selection.members import (
    linear_problem,
    linear_theta,
    structures_for,
)
from skcml.selection.mixture import Mixture
from skcml.selection.options import LearnOptions
from skcml.selection.verdict import best_structure, weigh


@dataclass(frozen=True)
class Learned:
    """What `meta_fit` learned, in standardised units.

    Attributes
    ----------
    members : dict of str to Heads, or what has its methods
        By the names of `MEMBERS`: the linear mixed model and the pooled model of all groups, to
        compare with if for nothing else, and, unless they weigh nothing, the networks, one per
        fold, and pooled models on their features.
    known, unseen : Mixture
        For groups of which rows are known, and for others.
    mixed : list of MixedModel
        The mixed model of each output.
    gain : dict of str to float, or None
        Held-out root mean squared errors; None where nothing was held out.
    histories : list of dict
        One per descent.
    scatter : float
        How far counts scatter about what was learned, over what was supposed.
    """

    members: dict[str, Any]
    known: Mixture
    unseen: Mixture
    mixed: list[MixedModel]
    gain: dict[str, float] | None
    histories: list[dict[str, Any]]
    scatter: float = 1.0

    def speaks_of_known(self, member: str) -> bool:
        """Tell whether a member is asked about groups of which rows are known.

        The linear model is, whatever it weighs: its coefficients are those that users see.
        """
        return member == "mixed_model" or bool(self.known.share(member).any())


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
    folds = [fold.judged(look_of_others(fold, folds), options) for fold in folds]
    thetas = [fold.theta for fold in folds if fold.theta is not None]

    n_inputs, n_outputs = tasks.X.shape[1], tasks.y.shape[1]
    structure = best_structure(
        [fold.known for fold in folds if fold.known is not None],
        structures_for(1 + n_inputs, options.prior_covariance, reml=options.is_reml),
    )
    some = some_tasks(tasks, options, rng)
    mixed = options.family.fit_mixed(some, (structure,), reml=options.is_reml)[structure]
    n_scores = options.n_scores(n_outputs)
    known = Mixture.of_one("networks" if thetas else "mixed_model", n_scores)
    unseen, gain, scatter = Mixture.of_one("mixed_model", n_scores), None, 1.0
    if all(fold.known is not None for fold in folds):
        known, unseen, gain, scatter = weigh(
            folds, structure, options.family, rng, reml=options.is_reml
        )
    problem = linear_problem(n_inputs, n_outputs, options)
    linear = linear_theta(problem, mixed, reml=options.is_reml)
    members: dict[str, Any] = {
        "mixed_model": Heads.stack(problem, [linear]),
        "pooled": pooled_heads(some, options.family.likelihood),
    }
    if thetas:
        model = options.model
        network = model.problem(n_inputs, n_outputs, options)
        if known.share("networks").any():
            members["networks"] = model.stack(network, thetas, options)
        if unseen.share("pooled_networks").any():
            bodies = model.bodies(network, thetas)
            members["pooled_networks"] = pooled_heads(some, options.family.likelihood, bodies)
    histories = [fold.history.as_dict() for fold in folds if fold.history is not None]
    return Learned(members, known, unseen, mixed, gain, histories, scatter)


def _learn_on_one_thread(*job: Any) -> Fold:
    """Learn a fold as it is learned in this process: more threads sum in another order."""
    with threadpool_limits(1):
        return learn_fold(*job)


def snapshot(mixed: list[MixedModel], theta: MetaParams, options: LearnOptions) -> Learned:
    """Return what has been learned in the middle of a descent: one network, unjudged."""
    n_inputs, n_outputs, model = len(mixed[0].omega) - 1, len(mixed), options.model
    linear = linear_problem(n_inputs, n_outputs, options)
    members = {
        "mixed_model": Heads.stack(linear, [linear_theta(linear, mixed)]),
        "networks": model.stack(model.problem(n_inputs, n_outputs, options), [theta], options),
    }
    known, unseen = (
        Mixture.of_one(name, options.n_scores(n_outputs)) for name in ("networks", "mixed_model")
    )
    return Learned(members, known, unseen, mixed, None, [])
