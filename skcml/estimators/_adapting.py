"""From rows of tasks to posteriors: what `fit` does, with and without `meta_fit` before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from skcml.episodes import TaskRows
from skcml.estimators._adapted import Adapted, Blend
from skcml.estimators._inputs import MAX_SIZE, Rows, Targets
from skcml.estimators._scaling import Scaling, refuse_tiny
from skcml.estimators._warnings import warn_of_unsolved
from skcml.grouping import GroupIndex, encode_groups
from skcml.heads import Posterior
from skcml.likelihoods import Likelihood
from skcml.problems.mlp import MLPBody
from skcml.selection import Learned
from skcml.selection.baselines import pooled_heads
from skcml.selection.mixture import IntervalShape, Mixture
from skcml.selection.ridge import ridge_heads
from skcml.task_networks import NetworkPosterior


class PredictingTasks(Protocol):
    """What predicts rows of tasks."""

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool
    ) -> tuple[np.ndarray, Any]:
        """Return mean and, if wanted, variance of shape (n_outputs, n_rows)."""


class AdaptedTasks(Protocol):
    """What `fit` leaves behind."""

    @property
    def n_tasks(self) -> int:
        """How many tasks have been adapted to."""

    @property
    def groups(self) -> GroupIndex | None:
        """Their groups; None for a single task."""

    def for_rows(self, groups: Any, n_samples: int) -> tuple[PredictingTasks, np.ndarray]:
        """Return what predicts rows of these groups, and the task of each."""

    def without(self, codes: np.ndarray) -> tuple[AdaptedTasks | None, Any]:
        """Return this without some tasks, if anything is left, and which classes it still has."""


def scaling_of(rows: Rows, likelihood: Likelihood | None, *, standardize: bool) -> Scaling:
    """Return how features are standardised, and numbers; counts are divided by their mean."""
    y, weight = rows.outputs, rows.weight
    if weight is not None and not weight.any():
        raise ValueError(
            "class_weight leaves no row with a weight above zero: give a class that y has, of rows "
            "that sample_weight keeps, a weight above zero."
        )
    scaling = Scaling.none(rows.X.shape[1], y.shape[1])
    if standardize:
        refuse_tiny(rows.X, "X")
        if likelihood is None:
            refuse_tiny(y, "y")
        fitted = Scaling.fit(rows.X, y, weight)
        scaling = replace(scaling, x_mean=fitted.x_mean, x_scale=fitted.x_scale)
        if likelihood is None:
            return fitted
    if likelihood is None or not likelihood.has_exposure:
        return scaling
    rate = float(np.average(y[:, 0], weights=weight))
    return replace(scaling, rate=max(rate, 1 / MAX_SIZE) if rate > 0 else 1.0)


def task_rows(
    rows: Rows, scaling: Scaling, *, name: str = "groups"
) -> tuple[TaskRows, GroupIndex | None]:
    """Return standardised rows sorted by task; rows of weight zero are left out."""
    n_rows = len(rows.X)
    codes, index = np.zeros(n_rows, dtype=np.intp), None
    if rows.groups is not None:
        codes, index = encode_groups(rows.groups, n_rows, name=name)
    X, y, weight = scaling.features(rows.X), scaling.outputs(rows.outputs), rows.weight
    if weight is None:
        weight = np.ones(n_rows)
    weight = weight * (scaling.rate / scaling.dispersion)
    if not weight.all():
        keep = weight > 0
        X, y, weight, codes = X[keep], y[keep], weight[keep], codes[keep]
    if index is None:
        return TaskRows(X, y, weight, np.array([0, len(X)])), None
    return TaskRows.from_codes(X, y, weight, codes, len(index)), index


def adapt_learned(
    learned: Learned,
    scaling: Scaling,
    tasks: TaskRows,
    groups: GroupIndex | None,
    *,
    prior_strength: float,
    targets: Targets,
) -> Adapted:
    """Adapt the meta-learned heads to tasks; without a task, the result predicts the prior."""
    posteriors = {}
    for name, heads in learned.members.items():
        heads = heads.with_precision(prior_strength)
        posteriors[name] = heads.adapt(tasks) if learned.speaks_of_known(name) else heads.prior
        if isinstance(posteriors[name], NetworkPosterior):
            warn_of_unsolved(posteriors[name].solved[:-1])
    return mixed(
        learned,
        scaling,
        posteriors,
        groups,
        seen=tasks.sizes > 0,
        prior_strength=prior_strength,
        targets=targets,
    )


def mixed(
    learned: Learned,
    scaling: Scaling,
    posteriors: dict[str, Any],
    groups: GroupIndex | None,
    *,
    seen: np.ndarray,
    prior_strength: float,
    targets: Targets,
) -> Adapted:
    """Mix the members' posteriors of the same tasks."""

    def blend(mixture: Mixture) -> Blend:
        return Blend(
            [
                (posterior, mixture.share(name) / posterior.heads.n_heads)
                for name, posterior in posteriors.items()
                if mixture.share(name).any()
            ],
            mixture.shape,
            mixture.doubt,
        )

    return Adapted(
        known=blend(learned.known),
        unseen=blend(learned.unseen),
        posteriors=posteriors,
        scaling=scaling,
        variance_scale=np.ones(len(scaling.y_mean)),
        groups=groups,
        seen=seen,
        is_prior=not len(seen),
        targets=targets,
        prior_strength=prior_strength,
    )


def adapt_ridge(
    tasks: TaskRows,
    groups: GroupIndex | None,
    scaling: Scaling,
    *,
    prior_strength: float,
    targets: Targets,
    likelihood: Likelihood | None = None,
) -> Adapted:
    """Fit ridge, logistic or Poisson regression to each task: what there is without `meta_fit`.

    Groups that it has not seen get one such regression on the rows of all.
    """
    n_outputs = tasks.y.shape[1]
    heads = ridge_heads(MLPBody(tasks.X.shape[1]), n_outputs, prior_strength, likelihood)
    posterior = heads.adapt(tasks)
    shape = IntervalShape.gaussian(n_outputs)
    ridge = unseen = Blend([(posterior, np.ones(n_outputs))], shape)
    noise = np.ones(n_outputs) if likelihood else _noise_variance(tasks, posterior)
    if groups is not None and len(tasks.X):
        pooled = pooled_heads(tasks, likelihood)
        pooled = replace(pooled, noise=pooled.noise / noise)
        unseen = Blend([(pooled.prior, np.ones(n_outputs))], shape)
    return Adapted(
        known=ridge,
        unseen=unseen,
        posteriors={"mixed_model": posterior},
        scaling=scaling,
        variance_scale=noise,
        groups=groups,
        seen=tasks.sizes > 0,
        is_prior=False,
        targets=targets,
        prior_strength=prior_strength,
    )


def _noise_variance(tasks: TaskRows, posterior: Posterior) -> np.ndarray:
    """Estimate the noise variance of each output from all tasks' marginal likelihood.

    With coefficients whose prior is relative to the noise, it is the least value of the penalised
    sum of squares divided by the number of rows, less one for each task's flat intercept, which has
    no penalty.
    """
    codes = np.repeat(np.arange(tasks.n_tasks), tasks.sizes)
    mean, _ = posterior.predict(tasks.X, codes, variance=False)
    squares = (tasks.weight * (tasks.y.T - mean[0]) ** 2).sum(-1)
    scale = posterior.heads.factor[0].diagonal(axis1=-2, axis2=-1)
    penalty = ((posterior.coefficients[:-1, 0] / scale) ** 2)[..., 1:]
    degrees = tasks.weight.sum() - (tasks.sizes > 0).sum()
    if degrees <= 0:
        return np.ones(len(squares))
    return np.maximum((squares + penalty.sum((0, 2))) / degrees, 1e-12)
