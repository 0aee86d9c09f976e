"""Kinds of outputs: what is learned and judged differently for numbers, classes and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from skcml.episodes import TaskRows
from skcml.likelihoods import Likelihood
from skcml.mixed_glm import fit_mixed_glm
from skcml.mixed_model import CompressedGroups, fit_mixed_model
from skcml.problems.features import Body, LinearHead
from skcml.problems.glm_head import GLMHeadProblem
from skcml.problems.head import LOSS_NOISE_FLOOR, NOISE_FLOOR, HeadProblem
from skcml.random_effects import MixedModel
from skcml.selection.baselines import pooled_mixed_model
from skcml.selection.mixture import IntervalShape

# Pseudo-groups without correlation in a mixed model's covariance.
SHRINKAGE = 5.0
# Iterations of EM for coupled logits at most, where a network follows. What all logits have in
# common is hardly identified and keeps moving, while the predictions have come to rest.
COUPLED_ITERATIONS = 30

# A mean below this says nothing of a scatter, which is never less than this share, and is lowered
# by what held-out rows say less so many standard errors.
LEAST_MEAN, LEAST_SCATTER, CHANCE = 1e-6, 0.1, 2.0
# Shares of the doubt about a mean that held-out rows choose from.
DOUBTS = 2.0 ** (-np.arange(11) / 2)
# Scores that differ by less differ by rounding.
EQUAL = 1e-9


class Family(Protocol):
    """A kind of outputs.

    Attributes
    ----------
    likelihood : Likelihood or None
        None for numbers.
    metric : str
        What `error` is.
    """

    @property
    def metric(self) -> str:
        """Name of the held-out error."""

    @property
    def likelihood(self) -> Likelihood | None:
        """Likelihood of a row given its predictor."""

    def fit_mixed(
        self, tasks: TaskRows, structures: Sequence[str], *, reml: bool
    ) -> dict[str, list[MixedModel]]:
        """Fit a mixed model of each covariance structure; one record for each output.

        That of the structure "none" is the pooled model.
        """

    def problem(
        self, body: Body, factor_mask: np.ndarray, n_outputs: int, meta_loss: str
    ) -> LinearHead:
        """Return the inner problem of a head on a body."""

    def shape(
        self, y: np.ndarray, mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, n: int
    ) -> IntervalShape:
        """Read the shape of intervals off held-out errors of n groups."""

    def error(self, y: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> float:
        """Return the held-out error of a predictive mean; lower is better."""

    def spread(
        self,
        y: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        weight: np.ndarray,
        exposure: np.ndarray,
    ) -> tuple[float, float]:
        """Read off held-out rows what the variances of predictions should have been.

        Returns
        -------
        scatter : float
            How far y scatters about its mean, over what was supposed before learning.
        doubt : float
            Share of the doubt about the mean that is borne out.
        """


@dataclass(frozen=True)
class Numbers:
    """Gaussian outputs. A REML fit has neither shrinkage nor an early end."""

    likelihood: None = None
    metric: ClassVar[str] = "RMSE"

    def fit_mixed(
        self, tasks: TaskRows, structures: Sequence[str], *, reml: bool
    ) -> dict[str, list[MixedModel]]:
        """See `Family`."""
        groups = CompressedGroups.from_tasks(tasks)
        n_outputs = tasks.y.shape[1]
        how: dict[str, Any] = {"shrinkage": SHRINKAGE}
        if reml:
            how = {"shrinkage": 0.0, "max_iter": 1000, "tol": 1e-7}

        def fit(structure: str) -> list[MixedModel]:
            if structure == "none":
                return pooled_mixed_model(tasks)
            return [
                fit_mixed_model(groups, i, structure=structure, **how) for i in range(n_outputs)
            ]

        return {structure: fit(structure) for structure in structures}

    def problem(
        self, body: Body, factor_mask: np.ndarray, n_outputs: int, meta_loss: str
    ) -> HeadProblem:
        """See `Family`."""
        floor = LOSS_NOISE_FLOOR if meta_loss == "loss" else NOISE_FLOOR
        return HeadProblem(body, factor_mask, n_outputs, meta_loss, floor)

    def shape(
        self, y: np.ndarray, mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, n: int
    ) -> IntervalShape:
        """See `Family`."""
        return IntervalShape.fit((y - mean) / np.sqrt(variance), weight, n)

    def spread(
        self,
        y: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        weight: np.ndarray,
        exposure: np.ndarray,
    ) -> tuple[float, float]:
        """Return ones: the shape of intervals holds it."""
        return 1.0, 1.0

    def error(self, y: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> float:
        """Return the root mean squared error."""
        return float(np.sqrt(np.average(((y - mean) ** 2).mean(0), weights=weight)))


@dataclass(frozen=True)
class ClassesOrCounts:
    """Outputs with a likelihood."""

    likelihood: Likelihood

    @property
    def metric(self) -> str:
        """See `Family`."""
        return self.likelihood.metric

    def fit_mixed(
        self, tasks: TaskRows, structures: Sequence[str], *, reml: bool
    ) -> dict[str, list[MixedModel]]:
        """See `Family`; asked for the mixed model alone, there is no shrinkage."""
        max_iter = COUPLED_ITERATIONS if self.likelihood.is_coupled else 100
        how: dict[str, Any] = {"shrinkage": SHRINKAGE, "max_iter": max_iter}
        if reml:
            how = {"shrinkage": 0.0, "max_iter": 200, "tol": 5e-4}

        def fit(structure: str) -> list[MixedModel]:
            if structure == "none":
                return pooled_mixed_model(tasks, self.likelihood)
            return fit_mixed_glm(tasks, self.likelihood, structure=structure, **how)

        return {structure: fit(structure) for structure in structures}

    def problem(
        self, body: Body, factor_mask: np.ndarray, n_outputs: int, meta_loss: str
    ) -> GLMHeadProblem:
        """See `Family`."""
        return GLMHeadProblem(body, factor_mask, n_outputs, likelihood=self.likelihood)

    def shape(
        self, y: np.ndarray, mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, n: int
    ) -> IntervalShape:
        """Return no shape: a distribution of classes or counts has its own."""
        return IntervalShape.gaussian(len(self.likelihood.log_density(y, mean)))

    def spread(
        self,
        y: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        weight: np.ndarray,
        exposure: np.ndarray,
    ) -> tuple[float, float]:
        """See `Family`; one at most, and ones for classes.

        The dispersion of counts is that about a mixed model, whose lack of fit is in it. Held-out
        rows say what networks leave of it: Pearson's squares, less the doubt about the mean. That
        doubt was not judged while networks learned, and is too large where groups are few: its
        share is that with the best score of Dawid and Sebastiani (Annals of Statistics 27, 1999).
        """
        says = exposure * mean[0] > LEAST_MEAN
        if not self.likelihood.has_exposure or not says.any():
            return 1.0, 1.0
        mean, doubt = mean[0, says], np.maximum(variance - mean, 0.0)[0, says]
        squares, exposure = (y[0, says] - mean) ** 2, exposure[says]
        weight = weight[says] / weight[says].sum()
        levels = [_level(exposure * (squares - s * doubt) / mean, weight) for s in DOUBTS]
        totals = np.outer(levels, mean / exposure) + np.outer(DOUBTS, doubt)
        scores = (np.log(totals) + squares / totals) @ weight
        best = int(np.argmax(scores < scores.min() + EQUAL))  # the largest share of equal ones
        return levels[best], float(DOUBTS[best])

    def error(self, y: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> float:
        """Return the mean log loss of classes, half the mean deviance of counts."""
        return -float(np.average(self.likelihood.log_density(y, mean).mean(0), weights=weight))


def _level(squares: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean of Pearson's squares, and what chance could add to it; one at most."""
    level = weight @ squares
    level += CHANCE * ((weight * (squares - level)) ** 2).sum() ** 0.5
    return float(np.clip(level, LEAST_SCATTER, 1.0))
