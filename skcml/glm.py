r"""Batched penalised generalised linear models, the arithmetic under heads for classes and counts.

One problem is

.. math:: \min_u \sum_i w_i \ell(y_i, o_i + A_i u) + \tfrac12 \|u\|^2,

with an offset o and one row of A for each logit; `solve` finds the minimum by Newton's method with
a step that is cut until the objective falls. Each step is a regularised least-squares problem,
and its factor that of `LeastSquares`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.least_squares import LeastSquares
from skcml.likelihoods import Likelihood
from skcml.quasi_random import cholesky_of_doubt

# A step is shortened so often at most, and to this share each time: to a hundred millionth in all.
MAX_CUTS, CUT = 15, 0.3


@dataclass(frozen=True)
class GLM:
    """A batch of problems: L logits, t tasks, n rows, P columns.

    Attributes
    ----------
    likelihood : Likelihood
    design : ndarray of shape (..., L, t, n, P)
    offset : ndarray of shape (..., L, t, n)
    y : ndarray of shape (L, t, n)
    weight : ndarray of shape (t, n)
        Not negative; a padded row weighs nothing.
    """

    likelihood: Likelihood
    design: np.ndarray
    offset: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def eta(self, u: np.ndarray) -> np.ndarray:
        """Return the linear predictor, of shape (..., L, t, n)."""
        return self.offset + (self.design @ u[..., None])[..., 0]

    def objective(self, u: np.ndarray, doubt: Any = None) -> np.ndarray:
        """Return the objective of each task, of shape (..., t)."""
        eta = self.eta(u)
        if doubt is None:
            cost = self.likelihood.nll(self.y, eta)
        else:
            cost = self.likelihood.expected_nll(self.y, eta, doubt)
        return (self.weight * cost).sum(-1) + 0.5 * (u**2).sum((-3, -1))

    def gradient(self, u: np.ndarray, doubt: Any = None) -> tuple[np.ndarray, Any]:
        """Return the gradient of the objective, of u's shape, and the curvature of each row."""
        mean, curvature = self.likelihood.slopes(self.eta(u), doubt)
        pull = self.weight * (mean - self.y)
        return u + (pull[..., None, :] @ self.design)[..., 0, :], curvature

    def factorize(self, curvature: Any) -> Curvature:
        """Return the factor of I + sum of w A' W A, with W the curvature of each row."""
        if not self.likelihood.is_coupled:
            precision = self.weight * curvature
            zeros = np.zeros_like(precision)
            return Curvature(LeastSquares.factorize(self.design, zeros, precision), None)
        n_logits, _, n_rows, n_columns = self.design.shape[-4:]
        if n_rows >= n_columns:
            return Curvature(LeastSquares.from_gram(self._gram(curvature)), n_logits)
        # A row for each logit: the root of W takes the place of the root of a precision.
        rows = np.moveaxis(self.design, -4, -2)  # (..., t, n, L, P)
        root = cholesky_of_doubt(curvature)
        b = (root.mT[..., None] * rows[..., None, :, :]).reshape(
            *rows.shape[:-3], n_rows * n_logits, n_logits * n_columns
        )
        precision = np.broadcast_to(self.weight[..., None], rows.shape[:-1])
        precision = precision.reshape(b.shape[:-1])
        return Curvature(LeastSquares.factorize(b, np.zeros_like(precision), precision), n_logits)

    def _gram(self, curvature: np.ndarray) -> np.ndarray:
        """Return the sum of w A' W A over coupled logits, block by block."""
        weighed = self.weight[..., None, None] * curvature
        n_logits, _, _, n_columns = self.design.shape[-4:]
        blocks = [self.design[..., c, :, :, :] for c in range(n_logits)]
        gram = np.empty((*blocks[0].shape[:-2], n_logits, n_columns, n_logits, n_columns))
        for c, left in enumerate(blocks):
            for d, right in enumerate(blocks[: c + 1]):
                block = (left * weighed[..., c, d, None]).mT @ right
                gram[..., c, :, d, :], gram[..., d, :, c, :] = block, block.mT
        return gram.reshape(*gram.shape[:-4], n_logits * n_columns, n_logits * n_columns)


@dataclass(frozen=True)
class Curvature:
    """H of a batch of problems, factorised.

    Attributes
    ----------
    system : LeastSquares
        One for each logit and task, or one for each task with all its logits.
    n_logits : int or None
        How many are coupled; None where they are not.
    """

    system: LeastSquares
    n_logits: int | None

    def solve(self, direction: np.ndarray) -> np.ndarray:
        """Apply the inverse of H to an array of u's shape, (..., L, t, P)."""
        return self.solve_rows(direction[..., None, :])[..., 0, :]

    def solve_rows(self, rows: np.ndarray) -> np.ndarray:
        """Apply the inverse of H to n directions of each task, (..., L, t, n, P)."""
        if self.n_logits is None:
            return self.system.solve_h(rows)
        joint = np.moveaxis(rows, -4, -2)
        n_logits, n_columns = joint.shape[-2:]
        solved = self.system.solve_h(joint.reshape(*joint.shape[:-2], n_logits * n_columns))
        return np.moveaxis(solved.reshape(joint.shape), -2, -4)

    def doubt(self, design: np.ndarray) -> np.ndarray:
        """Return the variance A H^-1 A' of rows, (..., L, t, n), or their covariance over logits.

        Parameters
        ----------
        design : ndarray of shape (..., L, t, n, P)
        """
        if self.n_logits is None:
            return np.maximum((design * self.system.solve_h(design)).sum(-1), 0.0)
        columns = []
        for c in range(self.n_logits):
            one = np.zeros_like(design)
            one[..., c, :, :, :] = design[..., c, :, :, :]
            columns.append(np.moveaxis((self.solve_rows(one) * design).sum(-1), -3, -1))
        covariance = np.stack(columns, axis=-1)
        return 0.5 * (covariance + covariance.mT)

    def reduction(self) -> np.ndarray:
        """Return rows V with H^-1 = I - V'V, of shape (..., L, t, r, P).

        The logits of a row of V belong together if they are coupled; r is then up to L times as
        large.
        """
        rows, _ = self.system.reduction()
        if self.n_logits is None:
            return rows
        return np.moveaxis(rows.reshape(*rows.shape[:-1], self.n_logits, -1), -2, -4)

    def covariance(self, n_columns: int) -> np.ndarray:
        """Return the blocks of the inverse of H within each logit, (..., L, t, P, P)."""
        if self.n_logits is None:
            shape = (*self.system.design.shape[:-2], n_columns, n_columns)
            return self.system.solve_h(np.broadcast_to(np.eye(n_columns), shape))
        shape = (*self.system.design.shape[:-3], self.n_logits, self.system.design.shape[-3])
        blocks = np.empty((*shape, n_columns, n_columns))
        for c in range(self.n_logits):
            one = np.zeros_like(blocks)
            one[..., c, :, :, :] = np.eye(n_columns)
            blocks[..., c, :, :, :] = self.solve_rows(one)[..., c, :, :, :]
        return blocks


@dataclass(frozen=True)
class Solution:
    """The minimum of a batch of problems.

    Attributes
    ----------
    u : ndarray of shape (..., L, t, P)
    grad_norm : ndarray of shape (..., t)
        What is left of the objective's gradient.
    curvature : Curvature
        At ``u``.
    n_iter : int
    """

    u: np.ndarray
    grad_norm: np.ndarray
    curvature: Curvature
    n_iter: int


def solve(
    glm: GLM,
    *,
    init: np.ndarray | None = None,
    doubt: Any = None,
    tol: float = 1e-9,
    max_iter: int = 50,
) -> Solution:
    """Minimise each task's objective by Newton's method.

    Parameters
    ----------
    glm : GLM
    init : ndarray of shape (..., L, t, P), optional
        Where to start; zero by default.
    doubt : ndarray, optional
        About eta, of each row: the objective is then the expected one.
    tol : float, default=1e-9
        A task is done when the norm of its gradient is below this, relative to that at the start
        if that is above one.
    max_iter : int, default=50

    Returns
    -------
    Solution
    """
    u = np.zeros((*glm.offset.shape[:-1], glm.design.shape[-1])) if init is None else init
    gradient, rows = glm.gradient(u, doubt)
    left = norms(gradient)
    bound = tol * np.maximum(left, 1.0)
    n_iter = 0
    while (left > bound).any() and n_iter < max_iter:
        n_iter += 1
        step, is_stuck = -glm.factorize(rows).solve(gradient), False
        moved = u + step
        gradient_there, rows = glm.gradient(moved, doubt)
        # The objective is strongly convex: where the gradient shrinks, the minimum is nearer.
        if not (norms(gradient_there) <= np.maximum(0.5 * left, bound)).all():
            moved, falls = _fall(glm, u, step, gradient, doubt)
            gradient_there, rows = glm.gradient(moved, doubt)
            is_stuck = not falls[left > bound].any()
        u, gradient, left = moved, gradient_there, norms(gradient_there)
        if is_stuck:
            break
    return Solution(u, left, glm.factorize(rows), n_iter)


# A step that went much too far is cut: its objective is infinite.
@np.errstate(over="ignore", invalid="ignore")
def _fall(
    glm: GLM, u: np.ndarray, step: np.ndarray, gradient: np.ndarray, doubt: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Go along a step, in each task as far as the objective falls as it should.

    Returns
    -------
    moved : ndarray of u's shape
    falls : ndarray of shape (..., t), bool
        Whether the objective falls by more than rounding.
    """
    before = glm.objective(u, doubt)
    slope = (gradient * step).sum((-3, -1))
    # Near the minimum rounding hides the fall.
    slack = 1e-12 * (1 + abs(before))
    length = np.ones_like(before)
    for _ in range(MAX_CUTS):
        moved = u + length[..., None, :, None] * step
        after = glm.objective(moved, doubt)
        too_far = ~(after <= before + 1e-4 * length * slope + slack)
        if not too_far.any():
            break
        length = np.where(too_far, CUT * length, length)
    return np.where(too_far[..., None, :, None], u, moved), ~too_far & (before - after > slack)


def norms(gradient: np.ndarray) -> np.ndarray:
    """Return the norm of each task's gradient, of shape (..., t)."""
    # Scaled, since a step that went much too far has a square that overflows.
    top = abs(gradient).max((-3, -1), initial=0.0)
    scaled = gradient / np.where(top > 0, top, 1.0)[..., None, :, None]
    return top * (scaled**2).sum((-3, -1)) ** 0.5
