r"""Batched regularised least squares, the arithmetic under every linear head.

One system is

.. math:: \min_u \tfrac12 \sum_i d_i (r_i - a_i^\top u)^2 + \tfrac12 \|u\|^2,
          \qquad H = I + B^\top B, \quad B = D^{1/2} A .

With fewer rows than columns it is solved in the dual: with the Cholesky factor C of
:math:`I + B B^\top`, the rows of :math:`V = C^{-1} B` give :math:`H^{-1} = I - V^\top V`. Few-shot
tasks have few rows, so this is the rule. Otherwise it is solved in the primal, with the Cholesky
factor of H. Either way the inverse of H is not formed: where noise is small, V is accurate to the
square root of the condition number and that inverse only to the condition number, which is the
difference between a small predictive variance and a negative one.

Precisions may be zero (a padded row) or negative (a row that is nudged away from its target). H may
then be indefinite, and is inverted as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcml.arrays import Array, identity_like, namespace


def whiten(matrix: Array, rows: Array) -> Array:
    """Return ``R @ rows``, with ``R' R`` the inverse of matrices whose eigenvalues are one or more.

    R is the inverse of the Cholesky factor; with many columns in ``rows``, a product with it is
    several times as fast as substitution, and as accurate. Where entries are so large that rounding
    hides the one, there is no such factor; then R comes from the eigenvectors, with eigenvalues
    below one taken as one.
    """
    xp = namespace(matrix)
    try:
        return xp.linalg.inv(xp.linalg.cholesky(matrix)) @ rows
    except xp.linalg.LinAlgError:
        values, vectors = xp.linalg.eigh(matrix)
        return (vectors / xp.clip(values, 1.0, None)[..., None, :] ** 0.5).mT @ rows


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
    root : array
        V, of shape (..., n_rows, n_columns), in the dual; the inverse of H's Cholesky factor, of
        shape (..., n_columns, n_columns), in the primal; the inverse of H with negative weights.
    u : array of shape (..., n_columns)
        The minimiser (a stationary point, if H is indefinite).
    form : {"dual", "primal", "indefinite"}
        Which of these.
    whitened : array of shape (..., n_rows) or None
        In the dual, the weighted targets by the inverse of C: u is the sum of the rows of V times
        these.
    """

    design: Array
    target: Array
    precision: Array
    root: Array
    u: Array
    form: str
    whitened: Array = None

    @classmethod
    def factorize(cls, design: Array, target: Array, precision: Array) -> LeastSquares:
        """Factorise a batch of systems, by the smaller side."""
        xp = namespace(design)
        n_rows, n_columns = design.shape[-2:]
        if (precision < 0).any():
            eye = identity_like(design, n_columns)
            root = xp.linalg.inv(eye + design.mT @ (precision[..., None] * design))
            u = (root @ (design.mT @ (precision * target)[..., None]))[..., 0]
            return cls(design, target, precision, root, u, "indefinite")
        # The root of a weight, written so that it has a derivative at zero.
        weight = precision / (precision + (precision == 0) * 1.0) ** 0.5
        b = weight[..., None] * design
        r = (weight * target)[..., None]
        if n_rows < n_columns:
            eye = identity_like(design, n_rows)
            rows = whiten(eye + b @ b.mT, xp.concatenate([b, r], axis=-1))
            root, whitened = rows[..., :-1], rows[..., -1]
            u = (root.mT @ rows[..., -1:])[..., 0]
            return cls(design, target, precision, root, u, "dual", whitened)
        eye = identity_like(design, n_columns)
        root = whiten(eye + b.mT @ b, xp.broadcast_to(eye, (*b.shape[:-2], *eye.shape)))
        u = (root.mT @ (root @ (b.mT @ r)))[..., 0]
        return cls(design, target, precision, root, u, "primal")

    @classmethod
    def from_gram(cls, gram: Array) -> LeastSquares:
        """Factorise I + gram, (..., n_columns, n_columns), without the rows that it came from."""
        xp = namespace(gram)
        rows, nothing = gram[..., :0, :], gram[..., 0, :0]
        eye = identity_like(gram, gram.shape[-1])
        root = whiten(eye + gram, xp.broadcast_to(eye, gram.shape))
        return cls(rows, nothing, nothing, root, 0.0 * gram[..., 0, :], "primal")

    def solve_h(self, rows: Array) -> Array:
        """Apply the inverse of H to each row of ``rows``, of shape (..., n, n_columns)."""
        if self.form == "dual":
            return rows - (rows @ self.root.mT) @ self.root
        if self.form == "primal":
            return (rows @ self.root.mT) @ self.root
        return rows @ self.root

    def reduction(self, *, has_padding: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return rows V with H^-1 = I - V'V, in principal directions, and c with u = V'c.

        Parameters
        ----------
        has_padding : bool, default=True
            Whether rows of zeros must come first, before those that are zero but for rounding.

        Returns
        -------
        rows : ndarray of shape (..., min(n_rows, n_columns), n_columns)
            The shortest first.
        along : ndarray of shape (..., min(n_rows, n_columns))
        """
        root = self.root
        if self.form == "dual":
            gram = root @ root.mT
            if has_padding:
                squares = gram.reshape(*gram.shape[:-2], -1)[..., :: gram.shape[-1] + 1]
                squares -= squares == 0
            vectors = np.linalg.eigh(gram)[1].mT
            return vectors @ root, (vectors @ self.whitened[..., None])[..., 0]
        values, vectors = np.linalg.eigh(np.eye(root.shape[-1]) - root.mT @ root)
        # What is shorter is rounding; but u may be there, by the root of it.
        lengths = np.sqrt(np.clip(values, np.finfo(float).eps, 1.0))
        along = (vectors.mT @ self.u[..., None])[..., 0] / lengths
        return lengths[..., None] * vectors.mT, along

    def gradient(self, u: Array) -> Array:
        """Return the gradient of the objective at ``u``, zero at the solution."""
        residual = self.target - (self.design @ u[..., None])[..., 0]
        return u - (self.design.mT @ (self.precision * residual)[..., None])[..., 0]
