r"""The linear mixed model by REML-EM: where meta-learning starts, and what it must beat.

For group g with rows :math:`Z_g` (a constant and the features),

.. math:: y_g = Z_g (\omega + \Lambda u_g) + \varepsilon, \qquad
          u_g \sim N(0, I), \quad \varepsilon \sim N(0, \sigma^2 I).

EM alternates between the posterior of :math:`u_g`, with the fixed effects :math:`\omega`
integrated out under a flat prior (which is what makes it REML; Laird and Ware, Biometrics 1982),
and closed-form updates of the covariance :math:`\Sigma = \Lambda \Lambda^\top` and
:math:`\sigma^2`. Each group enters through a triangular factor of its rows, so a group's number of
rows does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from skcml.episodes import TaskRows, padded_chunks
from skcml.random_effects import (
    MixedModel,
    active_columns,
    cholesky_psd,
    restrict,
    shrink_to_diagonal,
)


@dataclass(frozen=True)
class CompressedGroups:
    """The groups' rows as triangular factors: all that a Gaussian likelihood needs.

    Attributes
    ----------
    z : list of ndarray of shape (n_groups_i, n_rows_i, n_columns)
        Chunks of groups of similar size.
    y : list of ndarray of shape (n_groups_i, n_rows_i, n_outputs)
    n_rows : float
        Total weight of the rows.
    n_groups : int
    """

    z: list[np.ndarray]
    y: list[np.ndarray]
    n_rows: float
    n_groups: int

    @classmethod
    def from_tasks(cls, tasks: TaskRows) -> CompressedGroups:
        """Compress each group's weighted rows ``[1, x, y]`` to at most that many rows."""
        z_chunks, y_chunks = [], []
        n_columns = 1 + tasks.X.shape[1]
        for chosen, offsets, mask in padded_chunks(tasks.sizes):
            rows = tasks.starts[chosen][:, None] + offsets
            root = np.sqrt(tasks.weight[rows] * mask)[..., None]
            joint = np.concatenate([root, root * tasks.X[rows], root * tasks.y[rows]], axis=2)
            if joint.shape[1] > joint.shape[2]:
                joint = np.asarray(np.linalg.qr(joint, mode="r"))
            z_chunks.append(joint[..., :n_columns])
            y_chunks.append(joint[..., n_columns:])
        return cls(z_chunks, y_chunks, float(tasks.weight.sum()), tasks.n_tasks)


@contextmanager
def _refusing_overflow() -> Iterator[None]:
    """Raise, instead of warn, where numbers are too large; z is not standardised then."""
    try:
        with np.errstate(over="raise", invalid="raise"):
            yield
    except (FloatingPointError, OverflowError) as error:
        raise np.linalg.LinAlgError(f"overflow in a mixed model: {error}") from error


@_refusing_overflow()
def fit_mixed_model(
    groups: CompressedGroups,
    output: int = 0,
    *,
    structure: str = "full",
    shrinkage: float = 2.0,
    max_iter: int = 100,
    tol: float = 1e-4,
    init: MixedModel | None = None,
) -> MixedModel:
    """Estimate fixed effects, covariance and noise of one output by REML-EM.

    Parameters
    ----------
    groups : CompressedGroups
        Of standardised features and outputs.
    output : int, default=0
        Which column of y.
    structure : {"full", "diagonal", "intercept"}, default="full"
        Which coefficients vary between groups, and whether together.
    shrinkage : float, default=2.0
        Pseudo-groups without correlation: in each iteration off-diagonal entries of the covariance
        shrink by ``n_groups / (n_groups + shrinkage)``, at the end by more than that where groups
        tell little. Zero is REML.
    max_iter : int, default=100
    tol : float, default=1e-4
        Stop when no entry of the covariance, relative to its largest, nor the noise, relative to
        itself, moves by more in an iteration.
    init : MixedModel, optional
        Where to start.

    Returns
    -------
    MixedModel
    """
    n_columns = groups.z[0].shape[2]
    chunks = [(z, y[..., output]) for z, y in zip(groups.z, groups.y, strict=True)]
    if init is None:
        spread = np.full(n_columns, 0.1)
        spread[0] = 0.5
        sigma, noise = np.diag(restrict(np.diag(spread), structure).diagonal()), 0.5
    else:
        sigma, noise = init.factor @ init.factor.T, init.noise
    omega = np.zeros(n_columns)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        factor = cholesky_psd(sigma)[:, active_columns(structure, n_columns)]
        omega, second, squares = _expectation(chunks, factor, noise)
        new_sigma = restrict(factor @ (second / groups.n_groups) @ factor.T, structure)
        new_sigma = shrink_to_diagonal(new_sigma, groups.n_groups, shrinkage)
        new_noise = max(squares / groups.n_rows, 1e-8)
        moved = max(
            abs(new_sigma - sigma).max() / max(sigma.max(), 1e-12), abs(new_noise / noise - 1)
        )
        sigma, noise = new_sigma, new_noise
        if moved < tol:
            break
    return MixedModel(omega, cholesky_psd(sigma), noise, structure, n_iter)


def _expectation(
    chunks: list[tuple[np.ndarray, np.ndarray]], factor: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the fixed effects, sum of E[u u'] and expected residual sum of squares."""
    n_columns = factor.shape[0]
    gram, moment = np.zeros((n_columns, n_columns)), np.zeros(n_columns)
    parts = []
    whitened = [_rows_times(z, factor) for z, _ in chunks]
    # Less noise would be lost to rounding beside the variance that groups share.
    noise = max(noise, 1e-12 * max(float((a**2).sum((1, 2)).max()) for a in whitened))
    for (z, y), a in zip(chunks, whitened, strict=True):
        # Covariance of a group's rows is K = noise I + A A'.
        inverse = np.linalg.inv(noise * np.eye(z.shape[1]) + a @ a.mT)
        k_z = inverse @ z
        gram += np.tensordot(z, k_z, ((0, 1), (0, 1)))
        moment += np.tensordot(k_z, y, ((0, 1), (0, 1)))
        parts.append((a, inverse, k_z))
    # Collinear columns have no unique effect: a small ridge picks the smallest.
    ridge = 1e-9 * max(gram.trace() / n_columns, 1e-12)
    covariance = np.linalg.inv(gram + ridge * np.eye(n_columns))
    omega = covariance @ moment
    second, squares = np.zeros((factor.shape[1],) * 2), 0.0
    for (z, y), (a, inverse, k_z) in zip(chunks, parts, strict=True):
        alpha = (inverse @ (y - z @ omega)[..., None])[..., 0]
        u = (alpha[:, None, :] @ a)[:, 0]
        k_a = inverse @ a
        gain = np.swapaxes(k_a, 1, 2) @ z
        second += u.T @ u + len(z) * np.eye(factor.shape[1])
        second -= np.tensordot(a, k_a, ((0, 1), (0, 1)))
        second += ((gain @ covariance) @ gain.mT).sum(0)
        trace_inverse = np.trace(inverse, axis1=1, axis2=2)
        squares += noise**2 * (alpha**2).sum()
        squares += noise * (z.shape[1] - noise * trace_inverse).sum()
        squares += noise**2 * (covariance * np.tensordot(k_z, k_z, ((0, 1), (0, 1)))).sum()
    return omega, second, float(squares)


def _rows_times(z: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply padded rows by one matrix in a single product."""
    product: np.ndarray = z.reshape(-1, z.shape[-1]) @ matrix
    return product.reshape(*z.shape[:-1], matrix.shape[1])
