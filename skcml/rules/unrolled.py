r"""The gradient through the steps of a learner that descends: MAML.

.. math:: \phi_{k+1} = \phi_k - \alpha_k P^{-1} \partial_\phi E(\phi_k, \theta), \qquad
          \frac{d}{d\theta} L(\phi_K(\theta), \theta),

P the curvature of the energy's prior, and :math:`\phi_0(\theta)` the start (Finn, Abbeel and
Levine, ICML 2017, arXiv 1703.03400, equation 1, with many steps). Truncated back-propagation takes
a late :math:`\phi_k` for a constant (Shaban, Cheng, Hatch and Boots, AISTATS 2019, arXiv
1810.10667, section 3). With many steps before it that is the Neumann series of as many terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skcml.arrays import Array
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.autograd import Graph, largest_curvature, leaf
from skcml.rules.base import MetaGradient, average_over_tasks, check_needs, check_positive
from skcml.solvers.base import InnerSolver

# Power iterations in the first step, and in another, which goes on from the step before.
N_FIRST, N_MORE = 30, 3
# A step is halved so often at most, until the energy falls by this share of what the slope says.
MAX_HALVINGS, ARMIJO = 30, 1e-4
# An energy has risen if it did so by more than this share of it: less is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Unrolled:
    """The exact gradient of what a few steps of gradient descent make of theta.

    The rule brings its own learner, and does not use the solver: phi and the loss are those after
    its steps. Parameters whose prior is narrow take proportionally small steps.

    Parameters
    ----------
    n_steps : int, default=10
    truncate : int, optional
        How many of the last steps to differentiate; all by default, and the start with them.
    learning_rate : float or "auto", default="auto"
        "auto" is one over the largest curvature of each task, at each step, or less where its
        energy would rise; it is taken for a constant.
    """

    n_steps: int = 10
    truncate: int | None = None
    learning_rate: float | str = "auto"
    needs_autograd: ClassVar[bool] = True
    needs_every_weight_adapted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what is no number of steps, and no rate."""
        check_positive(whole=True, n_steps=self.n_steps)
        if self.truncate is not None:
            check_positive(whole=True, truncate=self.truncate)
        if self.learning_rate != "auto":
            check_positive(learning_rate=self.learning_rate)

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        check_needs(self, problem)

        def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
            graph = Graph.of(problem, theta, episode.subset(tasks))
            loss = graph.loss(self._descend(graph)).mean()
            return graph.gather(loss), loss.item()

        return average_over_tasks(theta, np.ones(len(episode.w_query), bool), gradient_of)

    def _descend(self, graph: Graph) -> Array:
        """Return phi after the last step, with the graph of those to be differentiated."""
        n_constant = 0 if self.truncate is None else self.n_steps - self.truncate
        phi, rate, pushed = graph.start(), self.learning_rate, None
        for k in range(self.n_steps):
            if 0 < n_constant >= k:
                phi = leaf(phi)
            slope = graph.slope(phi)
            direction = graph.solve_prior(slope)
            if self.learning_rate == "auto":
                fixed = phi.detach(), slope.detach(), direction.detach()
                rate, pushed = stable_rate(graph, *fixed, pushed)
            phi = phi - rate * direction
        return phi


def stable_rate(
    graph: Graph, phi: Array, slope: Array, direction: Array, pushed: Array | None
) -> tuple[Array, Array]:
    """Return a step size for each task with which descent is stable, and so is its derivative.

    Parameters
    ----------
    graph : Graph
    phi, slope, direction : tensor of shape (n_outputs, n_tasks, n_params)
        Where descent is, the energy's gradient there, and the same in the metric of the prior.
    pushed : tensor of phi's shape, optional
        What the step before returned.

    Returns
    -------
    rate : tensor of shape (n_tasks, 1)
    pushed : tensor of phi's shape
        Where to start the next power iteration.
    """
    import torch

    n_iter = N_FIRST if pushed is None else N_MORE
    steepest, pushed = largest_curvature(graph, phi, pushed, n_iter)
    rate = (1.0 / steepest)[:, None]
    with torch.no_grad():
        value = graph.energy(phi)
        # Curvature may grow along a step: that of counts does so exponentially.
        bound = value - ARMIJO * rate[:, 0] * (slope * direction).sum((0, -1))
        bound = bound + ROUNDING * abs(value)
        for _ in range(MAX_HALVINGS):
            rises = ~(graph.energy(phi - rate * direction) <= bound)
            if not rises.any():
                break
            rate = torch.where(rises[:, None], 0.5 * rate, rate)
    return rate, pushed
