"""The verdict: what was learned on folds of groups, weighed by the groups held out.

Groups with rows of their own and groups without are weighed apart. The fixed part of a mixed model
leans on differences within groups, and networks learn from episodes with support rows; of a group
of which nothing is known, the pooled model may say more than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skcml.selection.families import Family
from skcml.selection.folds import Fold, Judgement
from skcml.selection.guard import guarded
from skcml.selection.mixture import MEMBERS, Mixture, moments, pruned, stacking_weights

# Where rows of a group are known, a model that cannot adapt to them would never let go; where none
# is, networks say nothing that they were taught to say.
ADAPTIVE, PRIOR = ("mixed_model", "networks"), ("pooled", "pooled_networks", "mixed_model")


def best_structure(judgements: Sequence[Judgement], structures: tuple[str, ...]) -> str:
    """Return the covariance structure with the best held-out log score; unjudged, the richest.

    "none" must be ahead by more than a standard error over groups: where groups differ after all,
    it costs more than a structure that is too rich where they do not.
    """
    if not judgements:
        return structures[0]
    scores = {s: np.concatenate([j.group_scores(s) for j in judgements]) for s in structures}
    best = max((s for s in structures if s != "none"), key=lambda s: scores[s].mean())
    if "none" not in structures:
        return best
    ahead = scores["none"] - scores[best]
    doubt = ahead.std() / np.sqrt(max(len(ahead) - 1, 1))
    return "none" if ahead.mean() > doubt else best


def weigh(
    folds: Sequence[Fold],
    structure: str,
    family: Family,
    rng: np.random.Generator,
    *,
    reml: bool,
) -> tuple[Mixture, Mixture, dict[str, float], float]:
    """Return the mixtures for known and for unseen groups, the held-out errors and the scatter."""
    known = [fold.known for fold in folds if fold.known is not None]
    unseen = [fold.unseen for fold in folds if fold.unseen is not None]
    mixture, final, variances = mix(known, structure, ADAPTIVE, family, rng)
    # A REML fit is what was asked for, for better or worse.
    prior, _, _ = mix(unseen, structure, ADAPTIVE if reml else PRIOR, family, rng)
    predictions = {
        "pooled": [j.pooled.mean[0] for j in known],
        "per_task": [fold.per_task for fold in folds if fold.per_task is not None],
        "mixed_model": [j.linear[structure].mean[0] for j in known],
        "final": final,
    }
    y = np.concatenate([j.y for j in known], axis=1)
    weight = np.concatenate([j.weight * j.exposure for j in known])
    gain = {
        name: family.error(y, np.concatenate(parts, axis=1), weight)
        for name, parts in predictions.items()
    }
    exposure = np.concatenate([j.exposure for j in known])
    whole, total = (np.concatenate(parts, axis=1) for parts in (final, variances))
    scatter, doubt = family.spread(y, whole, total, weight / exposure, exposure)
    return replace(mixture, doubt=doubt), prior, gain, scatter


def mix(
    judgements: Sequence[Judgement],
    structure: str,
    names: Sequence[str],
    family: Family,
    rng: np.random.Generator,
) -> tuple[Mixture, list[np.ndarray], list[np.ndarray]]:
    """Return the mixture of the named members, and mean and variance of its held-out predictions.

    In a fold, the members are weighed by the other folds, so that no group has a say in its own
    verdict; with a single split there are no others.
    """
    means, variances = [], []
    for judgement in judgements:
        others = [j for j in judgements if j is not judgement] or judgements
        weights = member_weights(others, structure, names, rng)
        found = judgement.members(structure)
        mean, variance = moments(
            np.concatenate([densities.mean for densities in found.values()]),
            np.concatenate([densities.variance for densities in found.values()]),
            weights[[MEMBERS.index(name) for name in found]],
        )
        means.append(mean)
        variances.append(variance)
    weight = np.concatenate([j.weight for j in judgements])
    n_groups = sum(j.n_groups for j in judgements)
    y = np.concatenate([j.y for j in judgements], axis=1)
    shape = family.shape(
        y, np.concatenate(means, axis=1), np.concatenate(variances, axis=1), weight, n_groups
    )
    mixture = Mixture(member_weights(judgements, structure, names, rng), shape)
    return mixture, means, variances


def member_weights(
    judgements: Sequence[Judgement],
    structure: str,
    names: Sequence[str],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the shares of all members, (n_members, n_outputs); those not named have none."""
    members = [j.members(structure) for j in judgements]
    names = [name for name in names if all(name in found for found in members)]
    group, first = [], 0
    for j in judgements:
        group.append(first + j.group)
        first += j.n_groups
    log_density = [
        np.concatenate([j.exposure * found[name].log_density(j.y) for name in names])
        for j, found in zip(judgements, members, strict=True)
    ]
    row_weight = np.concatenate([j.weight for j in judgements])
    row_group = np.concatenate(group)
    shares = stacking_weights(np.concatenate(log_density, axis=-1), row_weight, row_group, rng)
    if members[0][names[0]].likelihood is None:
        means = [np.concatenate([found[name].mean for name in names]) for found in members]
        mean, y = (np.concatenate(part, -1) for part in (means, [j.y for j in judgements]))
        shares = pruned(guarded(shares, mean, y, row_weight, row_group))
    weights = np.zeros((len(MEMBERS), shares.shape[1]))
    weights[[MEMBERS.index(name) for name in names]] = shares
    return weights
