r"""How much more counts scatter than Poisson counts do.

Within a group, counts are taken to have the variance :math:`\phi \mu`. The dispersion
:math:`\phi` is Pearson's: the squared errors of a mixed model, each over its mean, divided by the
degrees of freedom that the model's effects have left (McCullagh and Nelder, Generalized Linear
Models, 1989, section 4.5). All that a row says is then divided by it: the quasi-likelihood.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skcml.episodes import TaskRows, padded_chunks
from skcml.glm import GLM
from skcml.likelihoods import Poisson
from skcml.mixed_glm import fit_mixed_glm
from skcml.nearest_gaussian import gaussian_posterior
from skcml.random_effects import MixedModel

# The mixed model depends on the dispersion, and the other way round.
MAX_ROUNDS, TOL = 8, 0.05
# What chance could do to Poisson counts, in standard errors, is no dispersion.
CHANCE = 2.0
# Groups from which a dispersion is estimated at most.
MAX_GROUPS = 1_000
# A mean below this says nothing of a scatter.
LEAST_MEAN = 1e-6


def dispersion(tasks: TaskRows) -> float:
    """Estimate the dispersion of counts; one for those that scatter no more than Poisson counts.

    Parameters
    ----------
    tasks : TaskRows
        y is a count over an exposure, the weight the exposure.
    """
    tasks = tasks.subset(np.arange(min(tasks.n_tasks, MAX_GROUPS)))
    found = 1.0
    for _ in range(MAX_ROUNDS):
        weighed = replace(tasks, weight=tasks.weight / found)
        (model,) = fit_mixed_glm(weighed, Poisson(), structure="full", max_iter=30)
        squares, degrees = _scatter(weighed, model)
        if degrees < 1:
            return found
        before, found = found, max(found * squares / degrees, 1.0)
        if abs(found / before - 1) < TOL:
            break
    return found if found > 1 + CHANCE * np.sqrt(2 / degrees) else 1.0


def _scatter(tasks: TaskRows, model: MixedModel) -> tuple[float, float]:
    """Return the sum of Pearson's squares of a mixed model, and the degrees of freedom."""
    squares, taken, n_rows = 0.0, float(len(model.omega)), 0
    for chosen, offsets, mask in padded_chunks(tasks.sizes):
        rows = tasks.starts[chosen][:, None] + offsets
        z = np.concatenate([np.ones((*rows.shape, 1)), tasks.X[rows]], axis=-1)
        y, weight = np.moveaxis(tasks.y[rows], -1, 0), tasks.weight[rows] * mask
        glm = GLM(Poisson(), (z @ model.factor)[None], (z @ model.omega)[None], y, weight)
        solution, doubt = gaussian_posterior(glm, tol=1e-3)
        mean, curvature = glm.likelihood.slopes(glm.eta(solution.u), doubt)
        says = (weight > 0) & (weight * mean[0] > LEAST_MEAN)
        errors = weight * (y[0] - mean[0]) ** 2 / np.where(says, mean[0], 1.0)
        squares += float(errors[says].sum())
        # The share of a row's fit that is its own: of a fully adapted group, a coefficient each.
        taken += float((weight * curvature[0] * doubt[0])[says].sum())
        n_rows += int(says.sum())
    return squares, n_rows - taken
