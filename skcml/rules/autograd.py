r"""Energy and loss as torch sees them, for rules that need their second derivatives.

Problems are written for numpy and torch alike, so that torch can differentiate them. By the
implicit function theorem, with :math:`H = \partial^2_\phi E` at a minimum,

.. math:: \frac{dL}{d\theta} = \partial_\theta L - v^\top \partial^2_{\phi\theta} E, \qquad
          H v = \partial_\phi L .

Rules differ in how, and how well, they solve for v.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from skcml.arrays import Array, to_numpy
from skcml.episodes import Episode
from skcml.problems.base import Curve, InnerProblem
from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradient, average_over_tasks
from skcml.solvers.base import InnerSolver

# Returns v, of phi's shape, given the graph, phi and dL/dphi.
Solve = Callable[["Graph", Array, Array], Array]


@dataclass(frozen=True)
class Graph:
    """A problem on an episode; phi, of shape (n_outputs, n_tasks, n_params), is a tensor.

    Attributes
    ----------
    problem : DifferentiableProblem
    theta : dict of str to tensor
        Leaves of the graph.
    batch : object
        As `problem.embed` gave it.
    """

    problem: Any
    theta: dict[str, Any]
    batch: Any

    @classmethod
    def of(cls, problem: Any, theta: Any, episode: Episode) -> Graph:
        """Embed an episode, of numpy or torch, with theta as leaves."""
        leaves = {name: tensor(theta[name]).requires_grad_() for name in theta}
        arrays = {f.name: tensor(getattr(episode, f.name)) for f in fields(episode)}
        return cls(problem, leaves, problem.embed(leaves, Episode(**arrays)))

    def start(self) -> Array:
        """Return where tasks start; it gathers a gradient."""
        phi = self.problem.start(self.theta, self.batch)
        return phi if phi.requires_grad else leaf(phi)

    def energy(self, phi: Array) -> Array:
        """Return E of each task, (n_tasks,)."""
        return self.problem.energy(phi, self.theta, self.batch)

    def loss(self, phi: Array) -> Array:
        """Return L of each task, (n_tasks,)."""
        return self.problem.loss(phi, self.theta, self.batch)

    def slope(self, phi: Array) -> Array:
        """Return dE/dphi, to be differentiated again; phi has to gather a gradient."""
        return _derivative(self.energy(phi).sum(), phi, create_graph=True)

    def curvature(self, phi: Array) -> Curve:
        """Return what applies d2E/dphi2 to a direction."""
        phi = leaf(phi)
        slope = self.slope(phi)
        return lambda direction: _derivative(slope, phi, grad_outputs=direction)

    def solve_prior(self, direction: Array) -> Array:
        """Apply the inverse of the prior's curvature."""
        return self.problem.solve_prior(direction, self.theta)

    def gather(self, objective: Array) -> MetaParams:
        """Return the derivative of a number in theta, zero where theta is not learned."""
        import torch

        found = torch.autograd.grad(objective, list(self.theta.values()), allow_unused=True)
        grad = MetaParams(self.problem.shapes)
        for name, derivative in zip(self.theta, found, strict=True):
            if derivative is not None:
                learned = self.problem.learned.get(name, True)
                grad[name][...] = np.where(learned, to_numpy(derivative), 0.0)
        return grad


def tensor(array: Array) -> Any:
    """Return a copy as a tensor on the host, in double precision, without a graph."""
    import torch

    return torch.tensor(to_numpy(array), dtype=torch.float64)


def leaf(phi: Array) -> Array:
    """Return phi without what it came from, ready to gather a gradient."""
    return phi.detach().requires_grad_()


def _derivative(value: Array, phi: Array, **options: Any) -> Array:
    import torch

    return torch.autograd.grad(value, phi, retain_graph=True, **options)[0]


def implicit_gradient(
    problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode, solve: Solve
) -> MetaGradient:
    """Return the meta-gradient by the implicit function theorem."""
    free = solver(problem, theta, problem.embed(theta, episode))

    def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
        graph = Graph.of(problem, theta, episode.subset(tasks))
        phi = tensor(free.phi[:, tasks]).requires_grad_()
        v = solve(graph, phi, _derivative(graph.loss(phi).sum(), phi)).detach()
        loss = graph.loss(phi).mean()
        along = (v * graph.slope(phi)).sum() / len(tasks)
        return graph.gather(loss - along), loss.item()

    return average_over_tasks(theta, free.usable, gradient_of)


def largest_curvature(
    graph: Graph, phi: Array, pushed: Array | None = None, n_iter: int = 30
) -> tuple[Array, Array]:
    """Return the largest curvature of E in the metric of the prior, by power iteration.

    Parameters
    ----------
    graph : Graph
    phi : tensor of shape (n_outputs, n_tasks, n_params)
    pushed : tensor of phi's shape, optional
        Where to start: what a call for a phi nearby returned.
    n_iter : int, default=30

    Returns
    -------
    largest : tensor of shape (n_tasks,)
        Of :math:`P^{-1} H`, in absolute value, P the prior's curvature; rather too low, by little.
    pushed : tensor of phi's shape
    """
    import torch

    curve = graph.curvature(phi)
    if pushed is None:
        # The same for each task, so that their order does not matter.
        draw = np.random.default_rng(0).normal(size=(phi.shape[0], 1, phi.shape[-1]))
        pushed = tensor(draw).expand(phi.shape)
    with torch.no_grad():
        direction = graph.solve_prior(pushed)
        length = (pushed * direction).sum((0, -1)) ** 0.5
        for _ in range(n_iter):
            pushed = curve(direction / length[:, None])
            direction = graph.solve_prior(pushed)
            length = (pushed * direction).sum((0, -1)) ** 0.5
    return length, pushed
