"""What `partial_fit` leaves behind: the rows of each task as factors, adapted to when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from skcml.episodes import TaskRows
from skcml.estimators._adapted import Adapted, task_codes
from skcml.estimators._adapting import mixed
from skcml.estimators._inputs import Targets
from skcml.estimators._scaling import Scaling
from skcml.estimators._shelves import Shelves
from skcml.grouping import GroupIndex
from skcml.heads import Heads, Posterior
from skcml.row_factors import add_rows, condition, factors_of, no_rows
from skcml.selection import Learned


@dataclass(frozen=True)
class Updated:
    """Rows of tasks as factors.

    Nothing that it holds is ever changed: an update is a new one, which shares the factors of the
    tasks that got no row.

    Attributes
    ----------
    learned : Learned
    scaling : Scaling
    factors : dict of str to Shelves of ndarray of shape (n_kept, M, m, P + 1)
        By member that is asked about known tasks: the factor of each task.
    groups : GroupIndex or None
        The groups of the tasks; None for a single task.
    prior_strength : float
        Factor on the learned prior precision.
    targets : Targets
    """

    learned: Learned
    scaling: Scaling
    factors: Mapping[str, Shelves]
    groups: GroupIndex | None
    prior_strength: float
    targets: Targets
    is_prior: ClassVar[bool] = False
    are_counts: ClassVar[bool] = False

    @classmethod
    def start(cls, learned: Learned, adapted: Adapted) -> Updated:
        """Go on from what `fit` left behind, or `meta_fit` alone."""
        strength = adapted.prior_strength
        factors = {
            name: Shelves.of(
                factors_of(adapted.posteriors[name], strength) if adapted.n_tasks else ()
            )
            for name in learned.members
            if learned.speaks_of_known(name)
        }
        return cls(learned, adapted.scaling, factors, adapted.groups, strength, adapted.targets)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.factors["mixed_model"])

    @property
    def linear(self) -> Posterior:
        """The posterior of the linear model of all tasks."""
        return self._posterior("mixed_model", np.arange(self.n_tasks))

    def with_rows(
        self, tasks: TaskRows, groups: GroupIndex | None, prior_strength: float, targets: Targets
    ) -> Updated:
        """Return this with more rows.

        Parameters
        ----------
        tasks : TaskRows
            Standardised.
        groups : GroupIndex or None
            Of ``tasks``; None for the single task.
        prior_strength : float
            What holds from now on, for all tasks.
        targets : Targets
        """
        factors, index = self.factors, groups
        codes = np.zeros(1, dtype=np.intp)
        if groups is not None:
            factors, index, codes = self._with_groups(groups)
        elif not self.n_tasks:
            factors = {name: Shelves.of([no_rows(self._heads(name))]) for name in factors}
        factors = {
            name: kept.replaced(codes, add_rows(self._heads(name), tasks, kept[codes]))
            for name, kept in factors.items()
        }
        return replace(
            self, factors=factors, groups=index, prior_strength=prior_strength, targets=targets
        )

    def _with_groups(
        self, groups: GroupIndex
    ) -> tuple[Mapping[str, Shelves], GroupIndex, np.ndarray]:
        """Return factors and index of all groups, and the codes of the given ones."""
        index, moved = groups, np.arange(0)
        if self.groups is not None:
            codes = self.groups.lookup(groups.labels, len(groups))
            if (codes >= 0).all():
                return self.factors, self.groups, codes
            index, moved = self.groups.joined_by(groups.labels[codes < 0])
        factors = {}
        for name, kept in self.factors.items():
            everyone = [no_rows(self._heads(name))] * len(index)
            for code, factor in zip(moved.tolist(), kept, strict=True):
                everyone[code] = factor
            factors[name] = Shelves.of(everyone)
        return factors, index, index.lookup(groups.labels, len(groups))

    def for_rows(self, groups: Any, n_samples: int) -> tuple[Adapted, np.ndarray]:
        """Return what predicts rows of these groups, and the task of each."""
        asked, codes = np.unique(task_codes(self.groups, groups, n_samples), return_inverse=True)
        # A task whose every row weighed nothing has not been seen.
        kept = self.factors["mixed_model"][np.maximum(asked, 0)]
        seen = np.array([len(factor) > 0 for factor in kept]) & (asked >= 0)
        place = np.where(seen, np.cumsum(seen) - 1, -1)
        return self.adapted_to(asked[seen]), place[codes]

    def without(self, codes: np.ndarray) -> tuple[Updated | Adapted, slice]:
        """Return this without some tasks, of which no number is left, and that classes stay."""
        left = np.delete(np.arange(self.n_tasks), codes)
        if not len(left) or self.groups is None:
            return self.adapted_to(left), slice(None)
        factors = {name: Shelves.of(kept[left]) for name, kept in self.factors.items()}
        groups = GroupIndex(self.groups.labels[left])
        return replace(self, factors=factors, groups=groups), slice(None)

    def adapted_to(self, tasks: np.ndarray) -> Adapted:
        """Return the posteriors of some tasks, which all count as seen."""
        posteriors = {
            name: self._posterior(name, tasks)
            if name in self.factors
            else heads.with_precision(self.prior_strength).prior
            for name, heads in self.learned.members.items()
        }
        return mixed(
            self.learned,
            self.scaling,
            posteriors,
            None,
            seen=np.ones(len(tasks), dtype=bool),
            prior_strength=self.prior_strength,
            targets=self.targets,
        )

    def _posterior(self, name: str, tasks: np.ndarray) -> Posterior:
        return condition(self._heads(name), self.factors[name][tasks], self.prior_strength)

    def _heads(self, name: str) -> Heads:
        """Return a member's heads, with the prior as it was learned."""
        heads: Heads = self.learned.members[name]
        return heads
