r"""Batched regularised least squares, the arithmetic under every linear head.

One system is

.. math:: \min_u \tfrac12 \sum_i d_i (r_i - a_i^\top u)^2 + \tfrac12 \|u\|^2,
          \qquad H = I + A^\top D A .

It is solved in the dual, through the ``n x n`` matrix :math:`P = (D^{-1} + A A^\top)^{-1}`, where
there are fewer rows than columns, and in the primal otherwise. Few-shot tasks have few rows, so
the dual is the rule. Precisions may be zero (a padded row) or, within limits, negative (a row that
is nudged away from its target), hence :math:`P` is formed as :math:`(I + D A A^\top)^{-1} D`.
"""

from __future__ import annotations

from dataclasses import dataclass

from skcml.arrays import Array, identity_like, namespace


@dataclass(frozen=True)
class LeastSquares:
    """A batch of factorised systems; every array has the same leading (batch) axes.

    Attributes
    ----------
    design : array of shape (..., n_rows, n_columns)
        The rows :math:`a_i`.
    target : array of shape (..., n_rows)
        The targets :math:`r_i`.
    precision : array of shape (..., n_rows)
        The weights :math:`d_i`.
    inverse : array
        :math:`P`, of shape (..., n_rows, n_rows), in the dual; :math:`H^{-1}`, of shape
        (..., n_columns, n_columns), in the primal.
    is_dual : bool
        Which of the two `inverse` is.
    """

    design: Array
    target: Array
    precision: Array
    inverse: Array
    is_dual: bool

    @classmethod
    def factorize(cls, design: Array, target: Array, precision: Array) -> LeastSquares:
        """Factorise a batch of systems, by the smaller side."""
        xp = namespace(design)
        n_rows, n_columns = design.shape[-2:]
        weighted = precision[..., None] * design
        if n_rows < n_columns:
            eye = identity_like(design, n_rows)
            inverse = xp.linalg.inv(eye + weighted @ design.mT) * precision[..., None, :]
        else:
            inverse = xp.linalg.inv(identity_like(design, n_columns) + design.mT @ weighted)
        return cls(design, target, precision, inverse, n_rows < n_columns)

    def solution(self) -> Array:
        """Return the minimiser u, of shape (..., n_columns)."""
        if self.is_dual:
            dual = self.inverse @ self.target[..., None]
            return (self.design.mT @ dual)[..., 0]
        moment = self.design.mT @ (self.precision * self.target)[..., None]
        return (self.inverse @ moment)[..., 0]

    def solve_h(self, rows: Array) -> Array:
        """Apply the inverse of H to each row of ``rows``, of shape (..., n, n_columns)."""
        if self.is_dual:
            return rows - rows @ self.design.mT @ self.inverse @ self.design
        return rows @ self.inverse

    def gradient(self, u: Array) -> Array:
        """Return the gradient of the objective at ``u``, zero at the solution."""
        residual = self.target - (self.design @ u[..., None])[..., 0]
        return u - (self.design.mT @ (self.precision * residual)[..., None])[..., 0]
