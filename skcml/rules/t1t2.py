r"""The implicit gradient with the prior's curvature in place of the energy's: T1-T2.

Luketina, Berglund, Greff and Raiko, ICML 2016 (arXiv 1511.06727), section 2.2, take the identity
for :math:`H^{-1}`. Here it is :math:`P^{-1}`, P the curvature of the energy's prior, which has the
units of phi and is H itself for a task without support rows. For a whitened head it is the
identity; in general it is the first term of `Neumann`, with a step of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.along import terms_along
from skcml.rules.base import MetaGradient, average_over_tasks, check_needs
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class T1T2:
    """The implicit gradient as if tasks had no support rows to speak of.

    Exact without them, and too large in the directions of phi that they determine.
    """

    needs_autograd: ClassVar[bool] = False
    needs_every_weight_adapted: ClassVar[bool] = False

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        check_needs(self, problem)
        free = solver(problem, theta, problem.embed(theta, episode))

        def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
            batch = problem.embed(theta, episode.subset(tasks))
            phi = free.phi[:, tasks]
            move = -problem.solve_prior(problem.loss_phi_grad(phi, theta, batch), theta)
            grad = problem.theta_grad(terms_along(problem, phi, move), theta, batch)
            grad.vector /= len(tasks)
            return grad, float(problem.loss(phi, theta, batch).mean())

        return average_over_tasks(theta, free.usable, gradient_of)
