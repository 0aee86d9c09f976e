r"""The gradient with task parameters that move with their start, and with nothing else.

First-order MAML: Finn, Abbeel and Levine, ICML 2017 (arXiv 1703.03400), section 5.2. The Jacobian
of the adaptation is taken to be the identity,

.. math:: \frac{dL}{d\theta} \approx
          \partial_\theta L + (\partial_\theta \phi_0)^\top \partial_\phi L ,

at :math:`\phi^*`, with :math:`\phi_0(\theta)` the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.autograd import Graph, tensor
from skcml.rules.base import MetaGradient, average_over_tasks, check_needs
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class FirstOrder:
    """First-order MAML: how a task moves away from its start does not depend on theta.

    The start of a whitened head is zero, whatever theta is: there it is the direct derivative, at
    fixed task parameters.
    """

    needs_autograd: ClassVar[bool] = True
    needs_every_weight_adapted: ClassVar[bool] = False

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        check_needs(self, problem)
        free = solver(problem, theta, problem.embed(theta, episode))

        def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
            graph = Graph.of(problem, theta, episode.subset(tasks))
            start = graph.start()
            moved = tensor(free.phi[:, tasks]) - start.detach()
            loss = graph.loss(start + moved).mean()
            return graph.gather(loss), loss.item()

        return average_over_tasks(theta, free.usable, gradient_of)
