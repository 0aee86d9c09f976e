r"""The implicit gradient by a truncated Neumann series.

Lorraine, Vicol and Duvenaud, AISTATS 2020 (arXiv 1911.02590), equation 7 and algorithm 3, in the
metric of the energy's prior, whose curvature is P:

.. math:: H^{-1} = \alpha \sum_{j \ge 0} (1 - \alpha P^{-1} H)^j P^{-1} .

For a convex energy and :math:`\alpha = 1 / \lambda`, :math:`\lambda` the largest eigenvalue of
:math:`P^{-1} H`, whose smallest is at least one, the error of n terms is at most
:math:`(1 - 1 / \lambda)^n`, relative to :math:`H^{-1} \partial_\phi L` in the metric of H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skcml.arrays import Array
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.autograd import Graph, implicit_gradient, largest_curvature
from skcml.rules.base import MetaGradient, check_needs, check_positive
from skcml.solvers.base import InnerSolver


@dataclass(frozen=True)
class Neumann:
    """The implicit gradient, with a few terms of a series for the inverse of the curvature.

    Parameters
    ----------
    n_terms : int, default=10
        With a single one, and a step of one, the rule is `T1T2`.
    step : float or "auto", default="auto"
        The series converges if it is below two over the largest curvature; "auto" is one over it,
        in each task.
    """

    n_terms: int = 10
    step: float | str = "auto"
    needs_autograd: ClassVar[bool] = True
    needs_every_weight_adapted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what is no number of terms, and no step."""
        check_positive(whole=True, n_terms=self.n_terms)
        if self.step != "auto":
            check_positive(step=self.step)

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        check_needs(self, problem)
        return implicit_gradient(problem, solver, theta, episode, self._solve)

    def _solve(self, graph: Graph, phi: Array, slope: Array) -> Array:
        curve, step = graph.curvature(phi), self.step
        if step == "auto":
            step = (1.0 / largest_curvature(graph, phi)[0])[:, None]
        term = total = step * graph.solve_prior(slope).detach()
        for _ in range(self.n_terms - 1):
            term = term - step * graph.solve_prior(curve(term)).detach()
            total = total + term
        return total
