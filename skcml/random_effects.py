"""Random effects: what a mixed model estimates, and the covariance of its coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# What may vary between groups, the richest first. A model of which nothing does, "none", needs no
# estimate of it.
STRUCTURES = ("full", "diagonal", "intercept")


@dataclass(frozen=True)
class MixedModel:
    r"""Estimates for one output, or one logit.

    Attributes
    ----------
    omega : ndarray of shape (n_columns,)
        Fixed effects, the intercept first.
    factor : ndarray of shape (n_columns, n_columns)
        Lower-triangular :math:`\Lambda` of the random effects' covariance.
    noise : float
        Residual variance; one for classes and counts, which have none.
    structure : {"full", "diagonal", "intercept", "none"}
        Which entries of the covariance were free.
    n_iter : int
        EM iterations spent.
    """

    omega: np.ndarray
    factor: np.ndarray
    noise: float
    structure: str
    n_iter: int


def leading(model: MixedModel, n_columns: int) -> MixedModel:
    """Return a mixed model's first coefficients, with the covariance that they have."""
    return replace(
        model, omega=model.omega[:n_columns], factor=model.factor[:n_columns, :n_columns]
    )


def active_columns(structure: str, n_columns: int) -> slice:
    """Return which coefficients vary between groups."""
    return slice(0, 1) if structure == "intercept" else slice(0, n_columns)


def restrict(sigma: np.ndarray, structure: str) -> np.ndarray:
    """Set to zero what the structure does not have."""
    if structure == "full":
        return sigma
    keep = np.zeros_like(sigma)
    n = 1 if structure == "intercept" else len(sigma)
    keep[range(n), range(n)] = sigma.diagonal()[:n]
    return keep


def shrink_to_diagonal(sigma: np.ndarray, n_groups: int, shrinkage: float) -> np.ndarray:
    """Shrink covariances, not variances, as if some groups had shown no correlation."""
    kept = n_groups / (n_groups + shrinkage)
    return kept * sigma + (1 - kept) * np.diag(sigma.diagonal())


def cholesky_psd(sigma: np.ndarray) -> np.ndarray:
    """Return a lower-triangular factor of a positive semi-definite matrix, zero rows included."""
    scale = np.sqrt(np.maximum(sigma.diagonal(), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    correlation = sigma / np.outer(safe, safe)
    np.fill_diagonal(correlation, 1.0 + 1e-10)
    try:
        root = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        # Singular, and indefinite by rounding: the triangle of a root without what is negative.
        values, vectors = np.linalg.eigh(correlation)
        half = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        root = np.asarray(np.linalg.qr(half, mode="r")).T
        root = root * np.where(root.diagonal() < 0, -1.0, 1.0)
    factor: np.ndarray = scale[:, None] * root
    return factor
