"""Networks in use: adapt every weight, or gains and shifts, to tasks, and predict.

What `Heads` is for linear heads, `TaskNetworks` is for `ProximalProblem`: a stack of networks that
were learned one by one, and what each makes of a task's rows. A posterior is the minimum of the
energy, and the scatter of numbers about it what held-out tasks of as many rows showed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from skcml.arrays import to_numpy
from skcml.episodes import Episode, TaskRows, padded_chunks
from skcml.problems.meta_params import MetaParams
from skcml.problems.scatter import scatter_of
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class TaskNetworks:
    """A stack of M networks with m outputs and P parameters of a task.

    Attributes
    ----------
    problem : ProximalProblem, or one on torch
    solver : InnerSolver
    members : sequence of MetaParams
    """

    problem: Any
    solver: InnerSolver
    members: Sequence[MetaParams]

    def __getstate__(self) -> dict[str, Any]:
        # Without `prior`, which holds the networks themselves: not every format can save a circle.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_heads(self) -> int:
        """How many networks."""
        return len(self.members)

    @cached_property
    def prior(self) -> NetworkPosterior:
        """What is known of a task without rows."""
        nothing = np.empty((0, 0))
        return self.adapt(TaskRows(nothing, nothing, np.empty(0), np.zeros(1, dtype=int)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the meta-parameters, stacked over networks."""
        return {name: np.stack([m[name] for m in self.members]) for name in self.problem.shapes}

    def with_precision(self, strength: float) -> TaskNetworks:
        """Return the same networks with all strengths multiplied by ``strength``."""
        if strength == 1.0:
            return self
        members = [member.copy() for member in self.members]
        for member in members:
            member["log_strength"][...] += np.log(strength)
        return replace(self, members=members)

    def adapt(self, tasks: TaskRows) -> NetworkPosterior:
        """Return what each network makes of each task.

        Parameters
        ----------
        tasks : TaskRows
            Standardised rows.
        """
        phi = np.stack(
            [np.tile(member["omega"], (tasks.n_tasks + 1, 1)) for member in self.members], axis=1
        )
        kept = np.zeros((len(phi), len(self.members), self.problem.network.n_statistics))
        solved = np.ones(len(phi), dtype=bool)
        for chosen, episode in _supports(tasks):
            for m, member in enumerate(self.members):
                batch = self.problem.embed(member, episode)
                found = self.solver(self.problem, member, batch)
                usable = to_numpy(found.usable)
                phi[chosen[usable], m] = to_numpy(found.phi)[0, usable]
                solved[chosen] &= to_numpy(found.settled)
                kept[chosen, m] = self.problem.statistics(found.phi, member, batch)
        totals = np.add.reduceat(np.append(tasks.weight, 0.0), tasks.starts[:-1])
        n_rows = np.append(np.where(tasks.sizes > 0, totals, 0.0), 0.0)
        return NetworkPosterior(self, phi, n_rows, kept, solved)


@dataclass(frozen=True)
class NetworkPosterior:
    """What a stack of networks makes of each task.

    Attributes
    ----------
    heads : TaskNetworks
    phi : ndarray of shape (n_tasks + 1, M, P)
        The last is the prior's.
    n_rows : ndarray of shape (n_tasks + 1,)
        Total weight of the rows that were adapted to.
    statistics : ndarray of shape (n_tasks + 1, M, n_statistics)
        What batch normalisation keeps of them; mostly nothing.
    solved : ndarray of shape (n_tasks + 1,), bool
        Whether the solver came near a minimum, with every network.
    """

    heads: TaskNetworks
    phi: np.ndarray
    n_rows: np.ndarray
    statistics: np.ndarray
    solved: np.ndarray

    @property
    def n_tasks(self) -> int:
        """How many tasks, the prior not counted."""
        return len(self.phi) - 1

    def subset(self, tasks: np.ndarray) -> NetworkPosterior:
        """Return copies of what is known of some tasks, in the given order."""
        tasks = np.append(tasks, self.n_tasks).astype(np.intp)
        return replace(
            self,
            phi=self.phi[tasks],
            n_rows=self.n_rows[tasks],
            statistics=self.statistics[tasks],
            solved=self.solved[tasks],
        )

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
        problem, members = self.heads.problem, self.heads.members
        eta = np.empty((len(members), problem.network.n_outputs, len(X)))
        for tasks, rows, mask in _rows_by_task(codes):
            for m, member in enumerate(members):
                kept = self.statistics[tasks, m]
                out = problem.outputs(self.phi[None, tasks, m], member, X[rows], kept)
                eta[m][:, rows[mask]] = out[:, mask]
        mean = np.stack([problem.cost.mean(part[:, None])[:, 0] for part in eta])
        if not variance:
            return mean, None
        if not problem.cost.is_gaussian:
            return mean, problem.cost.variance(mean)
        n_rows = self.n_rows[codes]
        return mean, np.stack([scatter_of(member["log_scatter"], n_rows) for member in members])


def _supports(tasks: TaskRows) -> Iterator[tuple[np.ndarray, Episode]]:
    """Yield tasks of similar size, as episodes without a query row that counts."""
    filled = np.flatnonzero(tasks.sizes)
    for chosen, offsets, mask in padded_chunks(tasks.sizes[filled]):
        chosen = filled[chosen]
        place = tasks.starts[chosen][:, None] + offsets
        x, y = tasks.X[place], np.moveaxis(tasks.y[place], -1, 0)
        weight = tasks.weight[place] * mask
        yield chosen, Episode(x, y, weight, x[:, :1], y[..., :1], 0.0 * weight[:, :1])


def _rows_by_task(codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield tasks, their rows of shape (n_tasks, n), and which of these are not padding."""
    order = np.argsort(codes, kind="stable")
    found, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    for chosen, offsets, mask in padded_chunks(sizes):
        yield found[chosen], order[starts[chosen][:, None] + offsets], mask
