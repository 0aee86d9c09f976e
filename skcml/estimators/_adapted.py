"""What `fit` leaves behind: the posteriors of one task or of many, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from skcml.estimators._inputs import Targets
from skcml.estimators._scaling import Scaling
from skcml.grouping import GroupIndex, encode_groups
from skcml.heads import Posterior
from skcml.selection.mixture import IntervalShape, moments


def task_codes(index: GroupIndex | None, groups: Any, n_samples: int) -> np.ndarray:
    """Return the task of each row: -1 for groups that `fit` has not seen, 0 for a single task."""
    if index is None:
        if groups is not None:
            raise ValueError(
                "groups were passed, but fit was called without groups and knows a single task; "
                "leave groups out, or call fit with groups."
            )
        return np.zeros(n_samples, dtype=int)
    if groups is None:
        raise ValueError(
            "fit was called with groups, so predict needs the group of each row: pass groups=, or "
            "keep the groups in a column of X and name it as group_column."
        )
    return index.lookup(groups, n_samples)


@dataclass(frozen=True)
class Blend:
    """A mixture of posteriors.

    Attributes
    ----------
    parts : sequence of (Posterior or the like, ndarray of shape (n_outputs,))
        Posteriors, and the share that each of their heads has; all shares of an output add up to
        one.
    shape : IntervalShape
    doubt : float
        Of counts, the share that is kept of what their variance is more than their mean.
    """

    parts: Sequence[tuple[Any, np.ndarray]]
    shape: IntervalShape
    doubt: float = 1.0

    def with_posteriors(self, new: Mapping[int, Any]) -> Blend:
        """Return the same mixture of other posteriors, found by the `id` of those it has."""
        return replace(self, parts=[(new[id(part)], share) for part, share in self.parts])

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool
    ) -> tuple[np.ndarray, Any]:
        """Return mean and, if wanted, variance of shape (n_outputs, n_rows)."""
        means, totals, weights = [], [], []
        for posterior, share in self.parts:
            mean, total = posterior.predict(X, codes, variance=variance)
            means.append(mean)
            totals.append(total)
            weights.append(np.tile(share, (len(mean), 1)))
        if len(means) == 1 and len(means[0]) == 1:
            mean, total = means[0][0], totals[0][0] if variance else None
        else:
            mean, total = moments(
                np.concatenate(means),
                np.concatenate(totals) if variance else None,
                np.concatenate(weights),
            )
        if variance and self.doubt != 1:
            total = mean + self.doubt * np.maximum(total - mean, 0.0)
        return mean, total


@dataclass(frozen=True)
class Adapted:
    """Posteriors of tasks, in users' units.

    Attributes
    ----------
    known, unseen : Blend
        For rows of tasks that were adapted to, and for others.
    posteriors : dict of str to Posterior, or what has its methods
        By the names of members. Those that speak for unseen groups only have no task but the prior;
        "mixed_model" is the linear model, whose coefficients have names.
    scaling : Scaling
    variance_scale : ndarray of shape (n_outputs,)
        Multiplies every variance.
    groups : GroupIndex or None
        The groups that were adapted to; None for a single task, or none.
    seen : ndarray of shape (n_tasks,), bool
        Whether there were rows; a group whose every row weighed nothing has not been seen.
    is_prior : bool
        Whether no task has been adapted to.
    targets : Targets
    prior_strength : float
        Factor on the learned prior precision.
    """

    known: Blend
    unseen: Blend
    posteriors: Mapping[str, Any]
    scaling: Scaling
    variance_scale: np.ndarray
    groups: GroupIndex | None
    seen: np.ndarray
    is_prior: bool
    targets: Targets
    prior_strength: float

    @property
    def linear(self) -> Posterior:
        """The posterior of the linear model."""
        posterior: Posterior = self.posteriors["mixed_model"]
        return posterior

    @property
    def are_counts(self) -> bool:
        """Whether outputs are counts, whatever the estimator's parameters say by now."""
        likelihood = self.linear.heads.likelihood
        return likelihood is not None and likelihood.has_exposure

    @property
    def n_tasks(self) -> int:
        """How many tasks have been adapted to."""
        return len(self.seen)

    def for_rows(self, groups: Any, n_samples: int) -> tuple[Self, np.ndarray]:
        """Return what predicts rows of these groups, and the task of each."""
        return self, self.codes(groups, n_samples)

    def without(self, codes: np.ndarray) -> tuple[Adapted, slice]:
        """Return this without some tasks, of which no number is left, and that classes stay."""
        kept = np.delete(np.arange(self.n_tasks), codes)
        # Those for unseen groups have no tasks.
        new = {name: p.subset(kept) if p.n_tasks else p for name, p in self.posteriors.items()}
        by_id = {id(old): new[name] for name, old in self.posteriors.items()}
        groups = None
        if self.groups is not None and len(kept):
            groups = GroupIndex(self.groups.labels[kept])
        left = replace(
            self,
            known=self.known.with_posteriors(by_id),
            unseen=self.unseen.with_posteriors(by_id),
            posteriors=new,
            groups=groups,
            seen=self.seen[kept],
            is_prior=not len(kept),
        )
        return left, slice(None)

    def codes(self, groups: Any, n_samples: int) -> np.ndarray:
        """Return the task of each row: -1, the prior, for groups never seen."""
        if self.is_prior:
            if groups is not None:
                encode_groups(groups, n_samples)  # refuses what `fit` would refuse
            return np.full(n_samples, -1)
        codes = task_codes(self.groups, groups, n_samples)
        if self.groups is None:
            return codes
        return np.where(np.append(self.seen, False)[codes], codes, -1)

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool
    ) -> tuple[np.ndarray, Any]:
        """Return mean and, if wanted, variance of shape (n_outputs, n_rows)."""
        X = self.scaling.features(X)
        parts = self._parts(codes)
        if len(parts) == 1:
            ((blend, rows),) = parts
            mean, total = blend.predict(X, codes, variance=variance)
        else:
            mean, total = np.zeros((2, len(self.scaling.y_mean), len(X)))
            for blend, rows in parts:
                mean[:, rows], spread = blend.predict(X[rows], codes[rows], variance=variance)
                if variance:
                    total[:, rows] = spread
        scale, rate = self.scaling.y_scale[:, None], self.scaling.rate
        if self.scaling.is_of_counts and variance:
            # The spread of the rate, and of a count about it.
            about = self.scaling.scatter * rate * mean
            total = rate**2 * np.maximum(total - mean, 0.0) + about
        mean = rate * mean
        mean = mean * scale + self.scaling.y_mean[:, None]
        if not variance:
            return mean, None
        return mean, total * (self.variance_scale[:, None] * scale**2)

    def steps(self, codes: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return standardised quantiles, of shape (n_outputs, n_rows or 1, n_quantiles)."""
        parts = self._parts(codes)
        if len(parts) == 1:
            return parts[0][0].shape.ppf(q)[:, None]
        steps = np.empty((len(self.scaling.y_mean), len(codes), len(q)))
        for blend, rows in parts:
            steps[:, rows] = blend.shape.ppf(q)[:, None]
        return steps

    def _parts(self, codes: np.ndarray) -> list[tuple[Blend, np.ndarray]]:
        """Return which rows are whose; a single part has all of them."""
        unseen = codes < 0
        parts = ((self.known, ~unseen), (self.unseen, unseen))
        return [(blend, rows) for blend, rows in parts if rows.any()]

    def as_output(self, values: np.ndarray) -> np.ndarray:
        """Turn (n_outputs, n_rows, ...) into the layout in which y came."""
        return values[0] if self.targets.is_flat else np.moveaxis(values, 0, 1)
