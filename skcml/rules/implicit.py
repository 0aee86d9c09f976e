"""The implicit gradient by conjugate gradients: iMAML.

Rajeswaran, Finn, Kakade and Levine, NeurIPS 2019 (arXiv 1909.04630), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skcml.arrays import Array, to_numpy
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.autograd import Graph, implicit_gradient, tensor
from skcml.rules.base import MetaGradient, check_needs, check_positive
from skcml.solvers.base import InnerSolver
from skcml.solvers.newton_cg import conjugate_gradients


@dataclass(frozen=True)
class Implicit:
    """The implicit gradient, with the energy's exact curvature.

    Exact at a minimum, but for the residual of the conjugate gradients. Where the energy is not
    convex in phi they stop at a direction of negative curvature, if they meet one.

    Parameters
    ----------
    max_iter : int, default=100
        Products with the curvature at most.
    tol : float, default=1e-10
        Residual at which to stop, relative to dL/dphi.
    """

    max_iter: int = 100
    tol: float = 1e-10
    needs_autograd: ClassVar[bool] = True
    needs_every_weight_adapted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what is no number of products, and no residual."""
        check_positive(whole=True, max_iter=self.max_iter)
        check_positive(tol=self.tol)

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        check_needs(self, problem)
        return implicit_gradient(problem, solver, theta, episode, self._solve)

    def _solve(self, graph: Graph, phi: Array, slope: Array) -> Array:
        curve = graph.curvature(phi)

        def apply(direction: Array) -> Array:
            return to_numpy(curve(tensor(direction)))

        return tensor(conjugate_gradients(apply, to_numpy(slope), self.tol, self.max_iter))
