r"""Reptile: what tasks share moves towards what each task, with all of its rows, makes of it.

Nichol, Achiam and Schulman, 2018 (arXiv 1803.02999), algorithm 1: :math:`\omega` descends
:math:`\omega - \phi^*`, averaged over tasks. With a proximal energy, :math:`\lambda (\omega -
\phi^*)` is the gradient in :math:`\omega` of the energy's minimum, so that Reptile descends what
adaptation cannot repair; it does not learn the strengths :math:`\lambda`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skcml.arrays import namespace, to_numpy
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradient, average_over_tasks, check_needs
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class Reptile:
    """Reptile: omega moves towards the parameters of tasks; nothing else in theta is learned.

    There is no split into support and query: a task is adapted to all of its rows. The loss is
    still that of the query rows, which here have been seen.
    """

    needs_autograd: ClassVar[bool] = False
    needs_every_weight_adapted: ClassVar[bool] = True

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return omega - phi* and the loss, averaged over tasks."""
        check_needs(self, problem)
        batch = problem.embed(theta, with_all_rows(episode))
        free = solver(problem, theta, batch)
        phi, losses = to_numpy(free.phi), to_numpy(problem.loss(free.phi, theta, batch))
        shapes = {name: tuple(theta[name].shape) for name in theta}

        def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
            grad = MetaParams(shapes)
            grad["omega"][...] = to_numpy(theta["omega"]) - phi[0, tasks].mean(0)
            return grad, float(losses[tasks].mean())

        return average_over_tasks(theta, free.usable, gradient_of)


def with_all_rows(episode: Episode) -> Episode:
    """Return an episode whose support is all rows; the query is as it was."""
    xp = namespace(episode.x_support)
    return replace(
        episode,
        x_support=xp.concatenate([episode.x_support, episode.x_query], axis=1),
        y_support=xp.concatenate([episode.y_support, episode.y_query], axis=2),
        w_support=xp.concatenate([episode.w_support, episode.w_query], axis=1),
    )
