r"""The generalised linear mixed model by variational EM: the start for classes and counts.

For group g with rows :math:`z` (a constant and the features), each logit has

.. math:: \eta = z^\top (\omega + \Lambda u_g), \qquad u_g \sim N(0, I),

and y has the likelihood's distribution given :math:`\eta`. The E-step is the Gaussian nearest to
the posterior of :math:`u_g` (`skcml.nearest_gaussian`). The M-step has the closed form of a linear
mixed model for the covariance, and a Newton step for the fixed effects and for a scale of
each coefficient's random effect. The scales, and a mean of the random effects that is moved to the
fixed ones, change nothing but the speed: EM alone takes hundreds of iterations to find a large
variance (parameter expansion: Liu, Rubin and Wu, Biometrika 1998).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skcml.episodes import TaskRows, padded_chunks
from skcml.glm import GLM, Solution
from skcml.likelihoods import Likelihood
from skcml.nearest_gaussian import gaussian_posterior
from skcml.random_effects import (
    MixedModel,
    active_columns,
    cholesky_psd,
    restrict,
    shrink_to_diagonal,
)

# Precision of the fixed effects' prior, so that classes that a column separates leave them finite.
FIXED_PENALTY = 1e-2
# Fixed effect, and standard deviation of a random one, of a standardised column, at most: where a
# column, or the group, tells the classes apart, the likelihood knows no end.
MAX_EFFECT, MAX_SPREAD = 100.0, 8.0
# A column whose deviation is below this share of its mean is constant.
CONSTANT = 1e-9
# How far from standardised is near enough.
NEAR = 1.0
# A scale moves by no more in one iteration.
MAX_SCALING = 2.0
# Added to the diagonal of a matrix whose diagonal is one.
JITTER = 1e-10
# Rounds of the first E-step, and of those that start where the last one ended.
FIRST_ROUNDS, LATER_ROUNDS = 10, 2


@dataclass(frozen=True)
class _Chunk:
    """Groups of similar size: rows with a constant, outputs and weights, padded."""

    z: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def glm(self, likelihood: Likelihood, omega: np.ndarray, factor: np.ndarray) -> GLM:
        """Return the groups' problems; omega is (L, K) and factor (L, K, P)."""
        design = self.z @ factor[:, None]
        offset = (self.z @ omega[:, None, :, None])[..., 0]
        return GLM(likelihood, design, offset, self.y, self.weight)


def fit_mixed_glm(
    tasks: TaskRows,
    likelihood: Likelihood,
    *,
    structure: str = "full",
    shrinkage: float = 2.0,
    max_iter: int = 100,
    tol: float = 2e-3,
) -> list[MixedModel]:
    """Estimate fixed effects and covariance of each logit by variational EM.

    Parameters
    ----------
    tasks : TaskRows
        y as the likelihood has it, one column for each logit.
    likelihood : Likelihood
    structure : {"full", "diagonal", "intercept"}, default="full"
        Which coefficients of the columns, standardised, vary between groups, and whether together.
    shrinkage : float, default=2.0
        Pseudo-groups without correlation.
    max_iter : int, default=100
    tol : float, default=2e-3
        Stop when no entry of a covariance, relative to its largest, and no fixed effect moves by
        more in an iteration.

    Returns
    -------
    list of MixedModel
        One for each logit.
    """
    tasks, back = _standardised(tasks)
    chunks = [
        _Chunk(
            np.concatenate([np.ones((*rows.shape, 1)), tasks.X[rows]], axis=-1),
            np.moveaxis(tasks.y[rows], -1, 0),
            tasks.weight[rows] * mask,
        )
        for chosen, offsets, mask in padded_chunks(tasks.sizes)
        for rows in [tasks.starts[chosen][:, None] + offsets]
    ]
    n_logits, n_columns = tasks.y.shape[1], 1 + tasks.X.shape[1]
    spread = np.full(n_columns, 0.1)
    spread[0] = 0.5
    sigma = np.tile(restrict(np.diag(spread), structure), (n_logits, 1, 1))
    omega = np.zeros((n_logits, n_columns))
    starts: list[dict[str, Any]] = [{} for _ in chunks]
    later_rounds = 1 if likelihood.is_coupled else LATER_ROUNDS
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        factor = np.stack([cholesky_psd(s)[:, active_columns(structure, n_columns)] for s in sigma])
        found = []
        for i, chunk in enumerate(chunks):
            glm = chunk.glm(likelihood, omega, factor)
            rounds = later_rounds if starts[i] else FIRST_ROUNDS
            solution, doubt = gaussian_posterior(glm, **starts[i], max_rounds=rounds)
            starts[i] = {"init": solution.u}
            if likelihood.is_coupled:
                # Saves most of the time. An expected rate, an exponential, must not be so late.
                starts[i]["doubt"] = doubt
            found.append(_moments(chunk, glm, solution, doubt, factor))
        total = _Moments(*(np.sum(part, axis=0) for part in zip(*found, strict=True)))
        step, scale = _newton_step(total, omega, sigma)
        center = total.first / tasks.n_tasks
        step += (factor @ center[..., None])[..., 0]
        spread = total.second / tasks.n_tasks - center[:, :, None] * center[:, None]
        new_sigma = np.empty_like(sigma)
        for c in range(n_logits):
            updated = factor[c] @ spread[c] @ factor[c].T
            updated = restrict(scale[c][:, None] * updated * scale[c], structure)
            updated = shrink_to_diagonal(updated, tasks.n_tasks, shrinkage)
            new_sigma[c] = _bounded(updated)
        largest_entry = np.maximum(abs(sigma).max((1, 2)), 1e-30)
        moved = max(abs(step).max(), (abs(new_sigma - sigma).max((1, 2)) / largest_entry).max())
        omega = np.clip(omega + step, -MAX_EFFECT, MAX_EFFECT)
        sigma = new_sigma
        # Effects at their bounds have no estimate to come to rest at.
        if moved < tol or (abs(omega) >= MAX_EFFECT).any():
            break
    return [
        MixedModel(back @ o, cholesky_psd(back @ s @ back.T), 1.0, structure, n_iter)
        for o, s in zip(omega, sigma, strict=True)
    ]


def _standardised(tasks: TaskRows) -> tuple[TaskRows, np.ndarray]:
    """Return tasks with columns of mean zero and deviation one, and the way back.

    Starts, bounds and steps are the same for every column, whatever its unit. Columns that were
    standardised with more groups stay as they are: each coefficient varies by itself in the
    coordinates in which it is looked at.

    Returns
    -------
    tasks : TaskRows
    back : ndarray of shape (n_columns, n_columns)
        Turns coefficients of these columns, the intercept first, into those of the columns as they
        came.
    """
    mean = np.average(tasks.X, axis=0, weights=tasks.weight)
    deviation = np.sqrt(np.average((tasks.X - mean) ** 2, axis=0, weights=tasks.weight))
    deviation = np.where(deviation > CONSTANT * abs(mean), deviation, 1.0)
    if (abs(mean) < NEAR * deviation).all() and (abs(np.log(deviation)) < NEAR).all():
        return tasks, np.eye(1 + len(mean))
    back = np.diag(np.append(1.0, 1 / deviation))
    back[0, 1:] = -mean / deviation
    return replace(tasks, X=(tasks.X - mean) / deviation), back


def _bounded(sigma: np.ndarray) -> np.ndarray:
    """Return a covariance with its standard deviations lowered to a bound, correlations kept."""
    deviation = np.sqrt(np.maximum(sigma.diagonal(), 0.0))
    share = np.minimum(MAX_SPREAD / np.where(deviation > 0, deviation, MAX_SPREAD), 1.0)
    return share[:, None] * sigma * share


class _Moments(NamedTuple):
    """Sums over groups that the M-step needs. D = 2 K: fixed effects, then scales.

    Attributes
    ----------
    first, second : ndarray of shape (L, P) and (L, P, P)
        E[u] and E[u u'].
    gradient : ndarray of shape (L, D)
    hessian : ndarray of shape (L, D, L, D)
    """

    first: np.ndarray
    second: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


def _moments(
    chunk: _Chunk, glm: GLM, solution: Solution, doubt: np.ndarray, factor: np.ndarray
) -> _Moments:
    """Return a chunk's sums, by the posterior of each group."""
    u, curvature = solution.u, solution.curvature
    n_logits, n_columns = factor.shape[:2]
    mean, rows = glm.likelihood.slopes(glm.eta(u), doubt)
    pull = chunk.weight * (mean - glm.y)
    covariance = curvature.covariance(u.shape[-1])
    second = u.mT @ u + covariance.sum(1)

    # Expected gradient: by Stein's lemma E[(mean(eta) - y) b] = E[.] E[b] + W Cov(eta, b).
    effect = u @ factor.mT  # E[b], (L, t, K)
    matrix = _as_matrices(rows, glm.likelihood.is_coupled)  # (t, n, L, L)
    pulled = np.empty((n_logits, *chunk.z.shape))
    for c in range(n_logits):
        weighed = np.moveaxis(matrix[..., c], -1, 0)[..., None] * glm.design
        pulled[c] = curvature.solve_rows(weighed)[c] @ factor[c].T
    fixed = np.einsum("ltn,tnk->lk", pull, chunk.z)
    scales = np.einsum("ltn,tnk,ltk->lk", pull, chunk.z, effect, optimize=True)
    scales += np.einsum("tn,ltnk,tnk->lk", chunk.weight, pulled, chunk.z, optimize=True)

    # Expected curvature, with the doubt about b in the blocks of the scales.
    weighed_matrix = chunk.weight[..., None, None] * matrix
    rows_of = np.stack(
        [np.concatenate([chunk.z, chunk.z * effect[c][:, None]], -1) for c in range(n_logits)]
    )  # (L, t, n, D)
    hessian = np.empty((n_logits, 2 * n_columns, n_logits, 2 * n_columns))
    for c in range(n_logits):
        for d in range(n_logits):
            left = rows_of[c] * weighed_matrix[..., c, d, None]
            hessian[c, :, d] = np.tensordot(left, rows_of[d], ((0, 1), (0, 1)))
        spread = factor[c] @ covariance[c] @ factor[c].T  # (t, K, K)
        gram = (chunk.z * weighed_matrix[..., c, c, None]).mT @ chunk.z
        hessian[c, n_columns:, c, n_columns:] += (gram * spread).sum(0)
    return _Moments(u.sum(1), second, np.concatenate([fixed, scales], axis=1), hessian)


def _as_matrices(rows: np.ndarray, is_coupled: bool) -> np.ndarray:
    """Return the curvature of each row as matrices over logits, (t, n, L, L)."""
    if is_coupled:
        return rows
    last = np.moveaxis(rows, 0, -1)
    return last[..., None] * np.eye(last.shape[-1])


def _newton_step(
    total: _Moments, omega: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step of the fixed effects and the scale of each coefficient's random effect."""
    n_logits, n_columns = omega.shape
    gradient = total.gradient.copy()
    gradient[:, :n_columns] += FIXED_PENALTY * omega
    size = gradient.size
    hessian = total.hessian.reshape(size, size) + FIXED_PENALTY * np.eye(size)
    varies = sigma.diagonal(axis1=1, axis2=2) > 0
    free = np.concatenate([np.ones_like(varies), varies], axis=1).ravel()
    step = np.zeros(size)
    # Columns and weights may differ in size by many powers of ten, or say the same twice.
    scale = np.sqrt(np.maximum(hessian.diagonal()[free], FIXED_PENALTY))
    scaled = hessian[np.ix_(free, free)] / np.outer(scale, scale) + JITTER * np.eye(free.sum())
    step[free] = -np.linalg.solve(scaled, gradient.ravel()[free] / scale) / scale
    fixed, scale = np.split(step.reshape(n_logits, -1), 2, axis=1)
    # Far from the optimum a Newton step may overshoot.
    fixed = fixed / max(abs(fixed).max() / 2.0, 1.0)
    return fixed, np.clip(1 + scale, 1 / MAX_SCALING, MAX_SCALING)
