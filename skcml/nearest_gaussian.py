r"""The Gaussian nearest to the posterior of a generalised linear model.

`gaussian_posterior` finds the Gaussian q(u) = N(m, V) that is nearest to the posterior in the sense
of Kullback and Leibler (Opper and Archambeau, Neural Computation 2009): the same conditions, with
costs and curvatures expected under the doubt that q leaves about each row. Where rows are few, its
mean is nearer to that of the posterior than the mode is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skcml.glm import GLM, Solution, norms, solve
from skcml.quasi_random import cholesky_of_doubt

# Rounds in which a Gaussian posterior's covariance follows its mean.
MAX_ROUNDS = 100


def gaussian_posterior(
    glm: GLM,
    *,
    init: np.ndarray | None = None,
    doubt: np.ndarray | None = None,
    tol: float = 1e-6,
    max_rounds: int = MAX_ROUNDS,
) -> tuple[Solution, np.ndarray]:
    """Return the mean and the curvature of the nearest Gaussian, and its doubt about each row.

    Parameters
    ----------
    glm : GLM
    init : ndarray of shape (..., L, t, P), optional
    doubt : ndarray, optional
        About the rows at ``init``, of a problem nearby; without it, the mode comes first.
    tol : float, default=1e-6
        Stop when no doubt moves by more, relative to one plus itself.
    max_rounds : int, default=100
    """
    n_rows, n_columns = glm.design.shape[-2:]
    if n_rows < n_columns and not glm.likelihood.is_coupled:
        return _posterior_of_rows(glm, init, doubt, tol, max_rounds)
    if init is None or doubt is None:
        found = solve(glm, init=init, tol=1e-3)
        doubt = found.curvature.doubt(glm.design)
    else:
        gradient, rows = glm.gradient(init, doubt)
        found = Solution(init, norms(gradient), glm.factorize(rows), 0)
    n_rounds, moved = 0, np.array(np.inf)
    while n_rounds < max_rounds and moved.max(initial=0.0) >= tol:
        n_rounds += 1
        found = _follow(glm, found, doubt)
        updated = found.curvature.doubt(glm.design)
        moved = abs(updated - doubt) / (1 + abs(doubt))
        doubt = updated
    return replace(found, n_iter=n_rounds), doubt


def _follow(glm: GLM, found: Solution, doubt: np.ndarray) -> Solution:
    """Let the mean follow a doubt that has changed, by a step of Newton's method.

    The curvature lags behind by one round; where that does not do, it is computed anew.
    """
    gradient, _ = glm.gradient(found.u, doubt)
    moved = found.u - found.curvature.solve(gradient)
    gradient_there, rows = glm.gradient(moved, doubt)
    left = norms(gradient_there)
    if not (left <= np.maximum(0.5 * norms(gradient), 1e-9)).all():
        return solve(glm, init=found.u, doubt=doubt, max_iter=1)
    return Solution(moved, left, glm.factorize(rows), 1)


def _posterior_of_rows(
    glm: GLM, init: np.ndarray | None, doubt: np.ndarray | None, tol: float, max_rounds: int
) -> tuple[Solution, np.ndarray]:
    """Find the nearest Gaussian in the space of the rows, where they are fewer than the columns.

    With C C' = A A', a problem with the design C has the same predictors. Its minimum says how far
    each row pulls, and the pulls make the minimum of the problem itself, u = -A' pull.
    """
    root = cholesky_of_doubt(glm.design @ glm.design.mT)
    if init is not None:
        init = np.linalg.solve(root, glm.design @ init[..., None])[..., 0]
    small = replace(glm, design=root)
    found, doubt = gaussian_posterior(small, init=init, doubt=doubt, tol=tol, max_rounds=max_rounds)
    mean, rows = glm.likelihood.slopes(small.eta(found.u), doubt)
    pull = glm.weight * (mean - glm.y)
    u = -(pull[..., None, :] @ glm.design)[..., 0, :]
    return replace(found, u=u, curvature=glm.factorize(rows)), doubt
