r"""The contrastive rule: run the learner twice, take the difference.

With the augmented energy :math:`A(\phi, \theta, \beta) = E + \beta L` and its minimum
:math:`\phi^*_\beta`, the gradient of :math:`L(\phi^*_0(\theta), \theta)` is
:math:`\frac{d}{d\beta} \partial_\theta A(\phi^*_\beta, \theta, \beta)` at :math:`\beta = 0`
(Zucchet et al., NeurIPS 2022, arXiv 2104.01677, equation 6). Each scheme is a weighted sum of
energies and losses at a few phases, hence a list of `Term`:

============ ============================================================== ==========
scheme       estimate                                                       error
============ ============================================================== ==========
forward      (A'(beta) - A'(0)) / beta                                      O(beta)
symmetric    (A'(beta) - A'(-beta)) / 2 beta                                O(beta^2)
second_order (-3 A'(0) + 4 A'(beta) - A'(2 beta)) / 2 beta                  O(beta^2)
tangent      (E'(phi + phi') - E'(phi - phi')) / 2 + L'(phi)                none, if E is
                                                                            quadratic
============ ============================================================== ==========

The tangent form is the limit of beta to 0, taken: :math:`\phi' = -H^{-1} \partial_\phi L` is the
direction in which a nudge moves the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.arrays import Array, namespace
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem, Term
from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradient, usable_mean
from skcml.solvers.base import InnerSolution, InnerSolver

SCHEMES = ("auto", "tangent", "symmetric", "forward", "second_order")
# Order of the error in beta, for the finite schemes.
ORDER = {"forward": 1, "symmetric": 2, "second_order": 2}


@dataclass(frozen=True)
class Contrastive:
    """The contrastive rule.

    Parameters
    ----------
    scheme : {"auto", "tangent", "symmetric", "forward", "second_order"}, default="auto"
        "auto" is "tangent" where the solver has a factor of the curvature, else "symmetric".
    beta : float or "auto", default="auto"
        Nudging strength of the finite schemes. "auto" takes a share of each task's beta_lim, the
        strength beyond which the -beta phase has no minimum; the share follows the accuracy of
        the solver, which is what limits how small beta may be.
    """

    scheme: str = "auto"
    beta: float | str = "auto"

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        batch = problem.embed(theta, episode)
        free = solver(problem, theta, batch)
        share = usable_mean(free.converged)
        loss = float((share * problem.loss(free.phi, theta, batch)).sum())
        if resolve_scheme(self.scheme, free) == "tangent":
            terms = tangent_terms(problem, theta, batch, free)
        else:
            terms = self._finite_terms(problem, solver, theta, batch, free)
        terms = [
            Term(t.phi, _scaled(t.energy, share), _scaled(t.loss, share)) for t in terms
        ]
        grad = problem.theta_grad(terms, theta, batch)
        return MetaGradient(grad, loss, int((~free.converged).sum()))

    def _finite_terms(
        self,
        problem: InnerProblem,
        solver: InnerSolver,
        theta: MetaParams,
        batch: Any,
        free: InnerSolution,
    ) -> list[Term]:
        """Solve the nudged phases, from the free one, and weigh them."""
        scheme = resolve_scheme(self.scheme, free)
        limit = nudge_limit(problem, theta, batch, free)
        beta = self._strength(scheme, limit, free)

        def phase(strength: Array) -> Array:
            return solver(problem, theta, batch, strength, init=free.phi).phi

        one = beta / beta
        if scheme == "second_order":
            return [
                Term(free.phi, -1.5 / beta, None),
                Term(phase(beta), 2 / beta, 2 * one),
                Term(phase(2 * beta), -0.5 / beta, -one),
            ]
        # Where -beta has no minimum, or forward is asked for, the other phase is the free one.
        back = beta * (beta < 0.9 * limit) if scheme == "symmetric" else 0 * beta
        width = beta + back
        return [
            Term(phase(beta), 1 / width, beta / width),
            Term(phase(-back), -1 / width, back / width),
        ]

    def _strength(self, scheme: str, limit: Array, free: InnerSolution) -> Array:
        """Return beta for each task, of shape (n_tasks,)."""
        if self.beta != "auto":
            return 0 * limit + float(self.beta)
        # The error is C1 delta / beta + C2 (beta / limit)^order: smallest at delta^(1/(1+order)).
        xp = namespace(limit)
        delta = xp.clip(free.grad_norm, 1e-16, 1e-2)
        return limit * delta ** (1.0 / (1 + ORDER[scheme]))


def resolve_scheme(scheme: str, free: InnerSolution) -> str:
    """Turn "auto" into a scheme, and refuse a tangent without a factor."""
    if scheme == "auto":
        return "symmetric" if free.solve_h is None else "tangent"
    if scheme == "tangent" and free.solve_h is None:
        raise ValueError(
            "scheme='tangent' needs a solver that has a factor of the energy's curvature, and this "
            "one has none; choose scheme='symmetric' or another solver."
        )
    return scheme


def tangent_terms(
    problem: InnerProblem, theta: MetaParams, batch: Any, free: InnerSolution
) -> list[Term]:
    """Contrast the energy along the direction in which a nudge moves the minimum."""
    move = -free.solve_h(problem.loss_phi_grad(free.phi, theta, batch))
    half = 0.5 + 0 * free.grad_norm
    return [
        Term(free.phi + move, half, None),
        Term(free.phi - move, -half, None),
        Term(free.phi, None, 2 * half),
    ]


def nudge_limit(
    problem: InnerProblem,
    theta: MetaParams,
    batch: Any,
    free: InnerSolution,
    n_iter: int = 50,
) -> Array:
    """Return beta_lim of each task: E - beta L has a minimum for every smaller beta.

    It is the inverse of the largest eigenvalue of H^-1 Q, Q the curvature of the loss; found by
    power iteration with the Rayleigh quotient in the metric of Q.

    Returns
    -------
    array of shape (n_tasks,)
    """
    if free.solve_h is None:
        return 1.0 + 0 * free.grad_norm
    direction = free.solve_h(problem.loss_phi_grad(free.phi, theta, batch))
    # A start that is not orthogonal to the leading direction by accident of the data.
    direction = direction + 1e-3 * abs(direction).max() * _ramp(direction)
    largest = 0 * free.grad_norm
    for _ in range(n_iter):
        pushed = problem.loss_curvature(direction, free.phi, theta, batch)
        direction_next = free.solve_h(pushed)
        energy = (direction * pushed).sum(-1)
        largest = ((pushed * direction_next).sum(-1) / (energy + 1e-300)).max(0)
        scale = abs(direction_next).max()
        direction = direction_next / (scale + 1e-300)
    return 1.0 / np.maximum(largest, 1e-300)


def _ramp(like: Array) -> Array:
    """Return 1, 2, ... along the last axis, alternating in sign."""
    n = like.shape[-1]
    return np.arange(1, n + 1) * (-1.0) ** np.arange(n) / n


def _scaled(coefficient: Array | None, share: Array) -> Array | None:
    return None if coefficient is None else coefficient * share
