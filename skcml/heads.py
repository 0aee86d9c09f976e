r"""Heads in use: adapt to tasks, predict, in plain numpy.

Meta-learning ends with a few heads (the linear mixed model, the networks). `Heads` stacks those
that share a layout, so that five networks cost about as much to call as one; `Posterior` is what
`fit` keeps of a task: the posterior mean of its coefficients and, of the posterior covariance, the
rows of V in :math:`H^{-1} = I - V^\top V`, at most one per support row. The rows of V are
orthogonal (scaled principal directions): V says what the posterior covariance says, and no more. Of
a task of one or two rows, that is enough to compute their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.episodes import TaskRows, padded_chunks
from skcml.least_squares import LeastSquares
from skcml.problems.head import HeadProblem
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody

# Rows predicted at a time, and numbers gathered at a time for their variances: the working memory
# stays small.
_ROWS = 4_000
_GATHERED = 250_000


@dataclass(frozen=True)
class Heads:
    """A stack of M heads with m outputs on bodies of one layout (K features, P columns).

    Attributes
    ----------
    body : MLPBody
    theta : dict of str to ndarray
        The body's parameters, with a leading axis of M, and a unit axis for the biases.
    omega : ndarray of shape (M, m, K)
        Prior mean of the coefficients.
    factor : ndarray of shape (M, m, K, P)
        Factor of their prior covariance.
    noise : ndarray of shape (M, m)
        Noise variance.
    """

    body: MLPBody
    theta: dict[str, np.ndarray]
    omega: np.ndarray
    factor: np.ndarray
    noise: np.ndarray

    @classmethod
    def stack(cls, problem: HeadProblem, members: Sequence[MetaParams]) -> Heads:
        """Stack the meta-parameters of heads that were learned one by one."""
        body = problem.body
        theta = {name: np.stack([member[name] for member in members]) for name in body.shapes}
        for name in theta:
            if name.startswith("bias"):
                theta[name] = theta[name][:, None]
        return cls(
            body,
            theta,
            np.stack([member["omega"] for member in members]),
            np.stack([member["factor"] for member in members]),
            np.stack([problem.noise_variance(member["log_noise"]) for member in members]),
        )

    @property
    def n_heads(self) -> int:
        """How many heads."""
        return len(self.omega)

    def features(self, X: np.ndarray) -> np.ndarray:
        """Return the features of rows, of shape (M, 1, n_rows, K); M is 1 where all share them."""
        z, _ = self.body.forward(self.theta, X)
        return z[:, None] if z.ndim == 3 else z[None, None]

    def with_precision(self, strength: float) -> Heads:
        """Return the same heads with the prior precision multiplied by ``strength``."""
        if strength == 1.0:
            return self
        factor = self.factor / np.sqrt(strength)
        return Heads(self.body, self.theta, self.omega, factor, self.noise)

    def adapt(self, tasks: TaskRows) -> Posterior:
        """Return the posterior of each task, given its rows.

        Parameters
        ----------
        tasks : TaskRows
            Standardised rows.
        """
        n_columns = self.factor.shape[-1]
        n_tasks = tasks.n_tasks
        kept = np.append(np.minimum(tasks.sizes, n_columns), 0)
        starts = np.concatenate([[0], np.cumsum(kept)])
        shift = np.zeros((n_tasks + 1, *self.factor.shape[:2], n_columns))  # the last: the prior
        directions = np.empty((starts[-1], *self.factor.shape[:2], n_columns))
        if n_tasks == 1 and len(tasks.X):  # the common case, without the bookkeeping of many
            mean, rows = self._condition(tasks.X, tasks.y.T, tasks.weight, (1, len(tasks.X)))
            shift[0], directions[...] = mean[:, :, 0], np.moveaxis(rows[:, :, 0], 2, 0)
            return self._posterior(shift, directions, starts)
        filled = np.flatnonzero(tasks.sizes)
        for chosen, offsets, mask in padded_chunks(tasks.sizes[filled]):
            chosen = filled[chosen]
            place = (tasks.starts[chosen][:, None] + offsets).ravel()
            weight = tasks.weight[place] * mask.ravel()
            mean, rows = self._condition(tasks.X[place], tasks.y[place].T, weight, mask.shape)
            shift[chosen] = np.moveaxis(mean, 2, 0)
            # Padding leaves rows of zeros, which come first: their lengths ascend.
            n_kept, n_rows = kept[chosen], rows.shape[-2]
            real = np.arange(n_rows) >= n_rows - n_kept[:, None]
            first = starts[chosen][:, None] - (n_rows - n_kept[:, None])
            directions[(first + np.arange(n_rows))[real]] = np.moveaxis(rows, (2, 3), (0, 1))[real]
        return self._posterior(shift, directions, starts)

    def _posterior(
        self, shift: np.ndarray, directions: np.ndarray, starts: np.ndarray
    ) -> Posterior:
        coefficients = self.omega + (self.factor @ shift[..., None])[..., 0]
        return Posterior(self, coefficients, directions, starts)

    def _condition(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return posterior means of u, (M, m, t, P), and rows of V, (M, m, t, min(n, P), P).

        Parameters
        ----------
        X, y, weight : ndarray of shape (t * n, n_features), (m, t * n), (t * n,)
            Rows of t tasks, padded to n each; a padded row weighs nothing.
        shape : (int, int)
            t and n.
        """
        z = self.features(X)
        design = (z @ self.factor).reshape(*self.factor.shape[:2], *shape, -1)
        target = (y - (z @ self.omega[..., None])[..., 0]).reshape(design.shape[:-1])
        precision = weight.reshape(shape) / self.noise[..., None, None]
        system = LeastSquares.factorize(design, target, precision)
        root = system.root
        if system.form == "dual":
            # Rotated, V is the same covariance in principal directions.
            return system.u, np.linalg.eigh(root @ root.mT)[1].mT @ root
        values, vectors = np.linalg.eigh(np.eye(root.shape[-1]) - root.mT @ root)
        return system.u, np.sqrt(np.clip(values, 0.0, 1.0))[..., None] * vectors.mT


@dataclass(frozen=True)
class Posterior:
    """What a stack of heads knows of each task.

    Attributes
    ----------
    heads : Heads
    coefficients : ndarray of shape (n_tasks + 1, M, m, K)
        Posterior means; the last is the prior mean.
    directions : ndarray of shape (n_rows, M, m, P)
        The rows of V of all tasks.
    starts : ndarray of shape (n_tasks + 2,)
        The rows of task t are ``starts[t]:starts[t + 1]``; the last task, the prior, has none.
    """

    heads: Heads
    coefficients: np.ndarray
    directions: np.ndarray
    starts: np.ndarray

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Return the predictive mean and variance of rows of known tasks.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        codes : ndarray of shape (n_rows,)
            Task of each row; -1 for the prior.
        variance : bool, default=True
            Whether the variance is wanted.

        Returns
        -------
        mean, variance : ndarray of shape (M, m, n_rows)
        """
        shape = (*self.heads.noise.shape, len(X))
        mean, total = np.empty(shape), np.empty(shape) if variance else None
        for start in range(0, len(X), _ROWS):
            part = slice(start, start + _ROWS)
            z = self.heads.features(X[part])
            mean[..., part] = self._mean(z, codes[part])
            if total is not None:
                total[..., part] = self._variance(z, codes[part])
        return mean, total

    def _is_single(self, codes: np.ndarray) -> bool:
        """Tell whether all rows are of the one task there is."""
        return len(self.coefficients) == 2 and (codes == codes[0]).all()

    def _mean(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        if self._is_single(codes):
            return (z @ self.coefficients[codes[0]][..., None])[..., 0]
        return (z * np.moveaxis(self.coefficients[codes], 0, 2)).sum(-1)

    def _variance(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return noise + |a|^2 - |V a|^2, a the whitened features."""
        a = z @ self.heads.factor
        total = self.heads.noise[..., None] + (a**2).sum(-1)
        if self._is_single(codes):
            v = self.directions if codes[0] == 0 else self.directions[:0]
            total -= ((a @ np.moveaxis(v, 0, -1)) ** 2).sum(-1)
        else:
            counts = np.diff(self.starts)[codes]
            # Runs of rows that have about as many directions as may be gathered.
            numbers = max(self.heads.factor[..., 0, :].size, 1)
            at_once = max(_GATHERED // numbers, 1)
            run = np.cumsum(counts) // at_once
            for part in np.split(np.arange(len(codes)), np.flatnonzero(np.diff(run)) + 1):
                total[..., part] -= self._known(a[..., part, :], codes[part], counts[part])
        # Rounding may not take the variance below the noise.
        return np.maximum(total, self.heads.noise[..., None])

    def _known(self, a: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return |V a|^2 for rows of many tasks, whose V have ``counts`` rows."""
        known = np.zeros(a.shape[:-1])
        ends = np.cumsum(counts)
        if not ends[-1]:
            return known
        first = self.starts[:-1][codes] - (ends - counts)
        direction = np.arange(ends[-1]) + np.repeat(first, counts)
        row = np.repeat(np.arange(len(codes)), counts)
        squares = (np.moveaxis(self.directions[direction], 0, 2) * a[:, :, row]).sum(-1) ** 2
        known[..., counts > 0] = np.add.reduceat(squares, (ends - counts)[counts > 0], axis=-1)
        return known
