"""What `fit` leaves behind: the posteriors of one task or of many, ready to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.estimators._scaling import Scaling
from skcml.grouping import GroupIndex, encode_groups
from skcml.heads import Posterior
from skcml.selection.mixture import IntervalShape, moments


@dataclass(frozen=True)
class Adapted:
    """A mixture of posteriors, in users' units.

    Attributes
    ----------
    posteriors : sequence of Posterior
        Those of the linear model first.
    weights : sequence of ndarray of shape (n_heads, n_outputs)
        Shares of the heads of each posterior; all shares of an output add up to one.
    scaling : Scaling
    variance_scale : ndarray of shape (n_outputs,)
        Multiplies every variance.
    shape : IntervalShape
    groups : GroupIndex or None
        The groups that were adapted to; None for a single task, or none.
    is_prior : bool
        Whether no task has been adapted to.
    is_flat : bool
        Whether y came with one dimension.
    """

    posteriors: Sequence[Posterior]
    weights: Sequence[np.ndarray]
    scaling: Scaling
    variance_scale: np.ndarray
    shape: IntervalShape
    groups: GroupIndex | None
    is_prior: bool
    is_flat: bool

    def codes(self, groups: Any, n_samples: int) -> np.ndarray:
        """Return the task of each row: -1, the prior, for groups never seen."""
        if self.groups is not None:
            if groups is None:
                raise ValueError(
                    "fit was called with groups, so predict needs the group of each row: pass "
                    "groups=, or keep the groups in a column of X and name it as group_column."
                )
            codes = self.groups.lookup(groups, n_samples)
            # A group whose every row weighed nothing has not been seen.
            seen = np.append(np.diff(self.posteriors[0].starts[:-1]) > 0, False)
            return np.where(seen[codes], codes, -1)
        if self.is_prior:
            if groups is not None:
                encode_groups(groups, n_samples)  # refuses what `fit` would refuse
            return np.full(n_samples, -1)
        if groups is not None:
            raise ValueError(
                "groups were passed, but fit was called without groups and knows a single task; "
                "leave groups out, or call fit with groups."
            )
        return np.zeros(n_samples, dtype=int)

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool
    ) -> tuple[np.ndarray, Any]:
        """Return mean and, if wanted, variance of shape (n_outputs, n_rows).

        Rows of a group never seen are the linear model's: networks learn from episodes with
        support rows, and what they say without any is not something they were judged by.
        """
        X = self.scaling.features(X)
        unseen = codes < 0
        if not unseen.any():
            mean, total = self._mixture(X, codes, variance)
        elif unseen.all():
            mean, total = self._prior(X, variance)
        else:
            mean, total = np.empty((2, len(self.scaling.y_mean), len(X)))
            for rows, (part, spread) in (
                (~unseen, self._mixture(X[~unseen], codes[~unseen], variance)),
                (unseen, self._prior(X[unseen], variance)),
            ):
                mean[:, rows], total[:, rows] = part, spread if variance else 0.0
        scale = self.scaling.y_scale[:, None]
        mean = mean * scale + self.scaling.y_mean[:, None]
        if not variance:
            return mean, None
        return mean, total * (self.variance_scale[:, None] * scale**2)

    def _prior(self, X: np.ndarray, variance: bool) -> tuple[np.ndarray, Any]:
        mean, total = self.posteriors[0].predict(X, np.full(len(X), -1), variance=variance)
        return mean[0], total[0] if variance else None

    def _mixture(self, X: np.ndarray, codes: np.ndarray, variance: bool) -> tuple[np.ndarray, Any]:
        means, totals, weights = [], [], []
        for posterior, share in zip(self.posteriors, self.weights, strict=True):
            if share.any():
                mean, total = posterior.predict(X, codes, variance=variance)
                means.append(mean)
                totals.append(total)
                weights.append(share)
        if len(means) == 1 and len(means[0]) == 1:
            return means[0][0], totals[0][0] if variance else None
        return moments(
            np.concatenate(means),
            np.concatenate(totals) if variance else None,
            np.concatenate(weights),
        )

    def as_output(self, values: np.ndarray) -> np.ndarray:
        """Turn (n_outputs, n_rows, ...) into the layout in which y came."""
        return values[0] if self.is_flat else np.moveaxis(values, 0, 1)
