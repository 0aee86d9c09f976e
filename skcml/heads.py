r"""Heads in use: adapt to tasks, predict, in plain numpy.

Meta-learning ends with a few heads (the linear mixed model, the networks). `Heads` stacks those
that share a layout, so that five networks cost about as much to call as one; `Posterior` is what
`fit` keeps of a task: the posterior mean of its coefficients and, of the posterior covariance, the
rows of V in :math:`H^{-1} = I - V^\top V`, at most one per support row. The rows of V are
orthogonal (scaled principal directions): V says what the posterior covariance says, and no more. Of
a task of one or two rows, that is enough to compute their features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from skcml.episodes import TaskRows, padded_chunks
from skcml.glm import GLM, solve
from skcml.least_squares import LeastSquares
from skcml.likelihoods import Likelihood
from skcml.nearest_gaussian import gaussian_posterior
from skcml.problems.features import Body, LinearHead
from skcml.problems.meta_params import MetaParams
from skcml.singular_form import are_of_one_task, variance_left

# Rows predicted at a time: the working memory stays small.
_ROWS = 4_000
# Relative accuracy of the doubt about a row's predictor.
TOL = 1e-4


@dataclass(frozen=True)
class Heads:
    """A stack of M heads with m outputs on bodies of one layout (K features, P columns).

    Attributes
    ----------
    body : Body
    theta : dict of str to ndarray
        The body's parameters, with a leading axis of M, and a unit axis for the biases.
    omega : ndarray of shape (M, m, K)
        Prior mean of the coefficients.
    factor : ndarray of shape (M, m, K, P)
        Factor of their prior covariance.
    noise : ndarray of shape (M, m)
        Noise variance; zero with a likelihood.
    likelihood : Likelihood or None
        Of classes or counts, whose logits are the outputs; None for Gaussian outputs.
    integrates : bool
        Whether, with a likelihood, the posterior is the Gaussian nearest to it and predictions are
        integrated over it; else there is its mode.
    """

    body: Body
    theta: dict[str, np.ndarray]
    omega: np.ndarray
    factor: np.ndarray
    noise: np.ndarray
    likelihood: Likelihood | None = None
    integrates: bool = True

    @classmethod
    def stack(cls, problem: LinearHead, members: Sequence[MetaParams]) -> Heads:
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
            np.stack([problem.noise(member) for member in members]),
            problem.likelihood,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Heads]) -> Heads:
        """Stack heads of one layout."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return replace(
            first,
            theta={name: np.concatenate([p.theta[name] for p in parts]) for name in first.theta},
            omega=np.concatenate([p.omega for p in parts]),
            factor=np.concatenate([p.factor for p in parts]),
            noise=np.concatenate([p.noise for p in parts]),
        )

    def unstack(self, problem: LinearHead) -> list[MetaParams]:
        """Return the meta-parameters of each head, the opposite of `stack`."""
        thetas = [MetaParams(problem.shapes) for _ in range(self.n_heads)]
        for m, theta in enumerate(thetas):
            for name in problem.body.shapes:
                theta[name][...] = self.theta[name][m].reshape(theta[name].shape)
            theta["omega"][...], theta["factor"][...] = self.omega[m], self.factor[m]
            for output, variance in enumerate(self.noise[m]):
                problem.write_noise(theta, output, variance)
        return thetas

    @cached_property
    def prior(self) -> Posterior:
        """What is known of a task without rows."""
        n_inputs, n_outputs = self.body.n_inputs, self.omega.shape[1]
        X, y = np.empty((0, n_inputs)), np.empty((0, n_outputs))
        return self.adapt(TaskRows(X, y, np.empty(0), np.zeros(1, dtype=int)))

    def __getstate__(self) -> dict[str, Any]:
        # Without `prior`, which holds the heads themselves: not every format can save a circle.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_heads(self) -> int:
        """How many heads."""
        return len(self.omega)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of all arrays: a change of what users see is no change of what predicts."""
        parts = {**self.theta, "omega": self.omega, "factor": self.factor, "noise": self.noise}
        return {name: array.copy() for name, array in parts.items()}

    def features(self, X: np.ndarray) -> np.ndarray:
        """Return the features of rows, of shape (M, 1, n_rows, K); M is 1 where all share them."""
        z = self.body.stacked(self.theta, X)
        return z[:, None] if z.ndim == 3 else z[None, None]

    def with_precision(self, strength: float) -> Heads:
        """Return the same heads with the prior precision multiplied by ``strength``."""
        if strength == 1.0 or not self.factor.size:
            return self
        return replace(self, factor=self.factor / np.sqrt(strength))

    def adapt(self, tasks: TaskRows) -> Posterior:
        """Return the posterior of each task, given its rows.

        Parameters
        ----------
        tasks : TaskRows
            Standardised rows.
        """
        n_columns = self.factor.shape[-1]
        n_tasks = tasks.n_tasks
        # Coupled logits share their directions, of which each row then gives one for each.
        together = self.factor.shape[1] if self.is_coupled else 1
        kept = np.append(together * np.minimum(tasks.sizes, n_columns), 0)
        if self.is_certain:
            kept[...] = 0
        starts = np.concatenate([[0], np.cumsum(kept)])
        shift = np.zeros((n_tasks + 1, *self.factor.shape[:2], n_columns))  # the last: the prior
        directions = np.empty((starts[-1], *self.factor.shape[:2], n_columns))
        along = np.empty(directions.shape[:-1]) if self.likelihood is None else None
        if n_tasks == 1 and len(tasks.X):  # the common case, without the bookkeeping of many
            mean, rows, c = self._condition(tasks.X, tasks.y.T, tasks.weight, (1, len(tasks.X)))
            shift[0], directions[...] = mean[:, :, 0], rows[:, :, 0].transpose(2, 0, 1, 3)
            if along is not None:
                along[...] = c[:, :, 0].transpose(2, 0, 1)
            return self._posterior(shift, directions, starts, along)
        for chosen, offsets, mask in _chunks(tasks.sizes, n_columns):
            place = (tasks.starts[chosen][:, None] + offsets).ravel()
            weight = tasks.weight[place] * mask.ravel()
            mean, rows, c = self._condition(tasks.X[place], tasks.y[place].T, weight, mask.shape)
            shift[chosen] = np.moveaxis(mean, 2, 0)
            # Padding leaves rows of zeros, which come first: their lengths ascend.
            n_kept, n_rows = kept[chosen], rows.shape[-2]
            real = np.arange(n_rows) >= n_rows - n_kept[:, None]
            first = starts[chosen][:, None] - (n_rows - n_kept[:, None])
            place = (first + np.arange(n_rows))[real]
            directions[place] = np.moveaxis(rows, (2, 3), (0, 1))[real]
            if along is not None:
                along[place] = np.moveaxis(c, (2, 3), (0, 1))[real]
        return self._posterior(shift, directions, starts, along)

    def _posterior(
        self, shift: np.ndarray, directions: np.ndarray, starts: np.ndarray, along: Any
    ) -> Posterior:
        coefficients = self.omega + (self.factor @ shift[..., None])[..., 0]
        return Posterior(self, coefficients, directions, starts, along)

    def _condition(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return means of u, (M, m, t, P), rows of V, (M, m, t, r, P), and u along these.

        Parameters
        ----------
        X, y, weight : ndarray of shape (t * n, n_features), (m, t * n), (t * n,)
            Rows of t tasks, padded to n each; a padded row weighs nothing.
        shape : (int, int)
            t and n.
        """
        z = self.features(X)
        design = (z @ self.factor).reshape(*self.factor.shape[:2], *shape, -1)
        mean, weight = (z @ self.omega[..., None])[..., 0], weight.reshape(shape)
        if self.likelihood is not None:
            offset = mean.reshape(design.shape[:-1])
            glm = GLM(self.likelihood, design, offset, y.reshape(-1, *shape), weight)
            if self.is_certain:
                u = solve(glm).u
                return u, np.empty((*u.shape[:-1], 0, u.shape[-1])), None
            found, _ = gaussian_posterior(glm, tol=TOL)
            return found.u, found.curvature.reduction(), None
        target = (y - mean).reshape(design.shape[:-1])
        system = LeastSquares.factorize(design, target, weight / self.noise[..., None, None])
        return system.u, *system.reduction(has_padding=shape[0] > 1)

    @property
    def is_certain(self) -> bool:
        """Whether the posterior is its mode alone."""
        return self.likelihood is not None and not self.integrates

    @property
    def is_coupled(self) -> bool:
        """Whether the outputs are logits of one variable."""
        return self.likelihood is not None and self.likelihood.is_coupled


def _chunks(
    sizes: np.ndarray, n_columns: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield tasks that have rows, as `padded_chunks` does.

    Tasks of fewer rows than columns keep to themselves: padded to more, they could not tell their
    directions from those that rounding leaves.
    """
    few = sizes < n_columns
    for filled in (np.flatnonzero((sizes > 0) & few), np.flatnonzero((sizes > 0) & ~few)):
        for chosen, offsets, mask in padded_chunks(sizes[filled]):
            yield filled[chosen], offsets, mask


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
    along : ndarray of shape (n_rows, M, m) or None
        Where V has principal directions, and y is numbers: the posterior mean of u is the sum of
        the rows of V times these.
    """

    heads: Heads
    coefficients: np.ndarray
    directions: np.ndarray
    starts: np.ndarray
    along: np.ndarray | None = None

    @property
    def n_tasks(self) -> int:
        """How many tasks, the prior not counted."""
        return len(self.coefficients) - 1

    def subset(self, tasks: np.ndarray) -> Posterior:
        """Return copies of what is known of some tasks, in the given order."""
        tasks = np.append(tasks, self.n_tasks).astype(np.intp)
        sizes = np.diff(self.starts)[tasks]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[tasks] - starts[:-1], sizes)
        along = None if self.along is None else self.along[rows]
        return Posterior(self.heads, self.coefficients[tasks], self.directions[rows], starts, along)

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
        likelihood = self.heads.likelihood
        for start in range(0, len(X), _ROWS):
            part = slice(start, start + _ROWS)
            z = self.heads.features(X[part])
            mean[..., part] = self._mean(z, codes[part])
            if likelihood is not None:
                # The mean of y depends on the doubt about its predictor.
                found = likelihood.moments(
                    mean[..., None, part], self._doubt_of_rows(z, codes[part])
                )
                mean[..., part] = found[0][:, :, 0]
                if total is not None:
                    total[..., part] = found[1][:, :, 0]
            elif total is not None:
                total[..., part] = self.heads.noise[..., None] + self._doubt(z, codes[part])
        return mean, total

    def _mean(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        if are_of_one_task(self.starts, codes):
            return (z @ self.coefficients[codes[0]][..., None])[..., 0]
        return (z * np.moveaxis(self.coefficients[codes], 0, 2)).sum(-1)

    def _doubt_of_rows(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the doubt as a likelihood takes it, of a single task."""
        doubt = self._doubt(z, codes)
        if self.heads.is_certain:
            doubt = np.zeros_like(doubt)
        if self.heads.is_coupled:
            return np.moveaxis(doubt, -1, 1)[:, None]
        return doubt[:, :, None]

    def _doubt(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the variance of the predictors, or their covariance if logits are coupled."""
        return variance_left(
            z @ self.heads.factor,
            self.directions,
            self.starts,
            codes,
            is_coupled=self.heads.is_coupled,
        )
