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
tangent      (E'(phi + h phi') - E'(phi - h phi')) / 2 h + L'(phi)          O(h^2); none, if
                                                                            E is quadratic
============ ============================================================== ==========

The tangent form is the limit of beta to 0, taken: :math:`\phi' = -H^{-1} \partial_\phi L` is the
direction in which a nudge moves the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from skcml.arrays import Array, namespace, to_numpy
from skcml.episodes import Episode
from skcml.problems.base import InnerProblem, Term
from skcml.problems.meta_params import MetaParams
from skcml.rules.along import terms_along
from skcml.rules.base import MetaGradient, average_over_tasks, no_gradient
from skcml.rules.strength import automatic_strength, nudge_limit
from skcml.solvers.base import InnerSolution, InnerSolver

SCHEMES = ("auto", "tangent", "symmetric", "forward", "second_order")
# Order of the error in beta, for the finite schemes.
ORDER = {"forward": 1, "symmetric": 2, "second_order": 2}
# A nudge away from the target may take this share of beta_lim, which is known to a few percent.
SAFE_SHARE = 0.9
# That which beta="auto" takes at most: near the limit such a phase is hard to solve.
LARGEST_SHARE = 0.5
NO_FACTOR = (
    "scheme='tangent' needs a solver that has a factor of the energy's curvature, and this one "
    "has none; choose scheme='symmetric' or another solver."
)


@dataclass(frozen=True)
class Contrastive:
    """The contrastive rule.

    Tasks whose loss or gradient is not finite are left out of the mean, as are those that a solver
    could not do.

    Parameters
    ----------
    scheme : {"auto", "tangent", "symmetric", "forward", "second_order"}, default="auto"
        "auto" is "tangent" where the solver has a factor of the curvature, else "symmetric".
    beta : float or "auto", default="auto"
        Nudging strength of the finite schemes, at most beta_lim of a task, the strength beyond
        which the -beta phase has no minimum; near it, "symmetric" contrasts with the free phase.
        "auto" balances the bias of a strong nudge with what a solver leaves unsolved, which drowns
        a weak one; see `automatic_strength`.
    """

    scheme: str = "auto"
    beta: float | str = "auto"
    needs_autograd: ClassVar[bool] = False
    needs_every_weight_adapted: ClassVar[bool] = False

    def __call__(
        self, problem: InnerProblem, solver: InnerSolver, theta: MetaParams, episode: Episode
    ) -> MetaGradient:
        """Return the meta-gradient of one episode, averaged over its tasks."""
        batch = problem.embed(theta, episode)
        free = solver(problem, theta, batch)
        losses = problem.loss(free.phi, theta, batch)
        slope = problem.loss_phi_grad(free.phi, theta, batch)
        lost = to_numpy(free.usable & ~_are_finite(losses, slope))
        if lost.all():
            return MetaGradient(no_gradient(theta), float("nan"), len(lost))
        if lost.any():
            # Begin again without: what overflows by itself must not meet a nudged phase's solver.
            found = self(problem, solver, theta, episode.subset(np.flatnonzero(~lost)))
            return replace(found, n_left_out=found.n_left_out + int(lost.sum()))
        if resolve_scheme(self.scheme, free) == "tangent":
            terms, usable = tangent_terms(problem, free, slope), free.usable
        else:
            terms, usable = self._finite_terms(problem, solver, theta, batch, free)

        def gradient_of(tasks: np.ndarray) -> tuple[MetaParams, float]:
            is_part = len(tasks) < len(usable)
            part = problem.embed(theta, episode.subset(tasks)) if is_part else batch
            chosen = tasks if is_part else slice(None)
            averaged = [_averaged(term, chosen, len(tasks)) for term in terms]
            loss = float((losses[chosen] * (1 / len(tasks))).sum())
            return problem.theta_grad(averaged, theta, part), loss

        return average_over_tasks(theta, usable, gradient_of)

    def _finite_terms(
        self,
        problem: InnerProblem,
        solver: InnerSolver,
        theta: MetaParams,
        batch: Any,
        free: InnerSolution,
    ) -> tuple[list[Term], Array]:
        """Solve the nudged phases, from the free one, and weigh them.

        Returns
        -------
        terms : list of Term
        usable : array of shape (n_tasks,), bool
            Whether every phase of a task can be used.
        """
        scheme = resolve_scheme(self.scheme, free)
        limit = None  # takes many products, and some never ask for it
        if scheme == "symmetric" or self.beta != "auto":
            limit = nudge_limit(problem, theta, batch, free)
        beta = self.strength(scheme, problem, theta, batch, free, limit)
        one = 1 + 0 * beta
        first = solver(problem, theta, batch, beta, init=free.phi)
        if scheme == "forward":
            terms = [Term(first.phi, one / beta, one), Term(free.phi, -one / beta, None)]
            return terms, free.usable & first.usable
        if scheme == "second_order":
            second = solver(problem, theta, batch, 2 * beta, init=free.phi)
            usable = free.usable & first.usable & second.usable
            terms = [
                Term(free.phi, -1.5 / beta, None),
                Term(first.phi, 2 / beta, 2 * one),
                Term(second.phi, -0.5 / beta, -one),
            ]
            return terms, usable
        assert limit is not None
        # Where -beta has no minimum, the other phase is the free one.
        back = beta * (beta < SAFE_SHARE * limit)
        second = solver(problem, theta, batch, -back, init=free.phi)
        usable = free.usable & first.usable & second.usable
        width = beta + back
        terms = [
            Term(first.phi, 1 / width, beta / width),
            Term(second.phi, -1 / width, back / width),
        ]
        return terms, usable

    def strength(
        self,
        scheme: str,
        problem: InnerProblem,
        theta: MetaParams,
        batch: Any,
        free: InnerSolution,
        limit: Array | None,
    ) -> Array:
        """Return the beta of a finite scheme for each task, of shape (n_tasks,).

        Parameters
        ----------
        scheme : {"symmetric", "forward", "second_order"}
        problem, theta, batch : as for a solver
        free : InnerSolution
            The free phase.
        limit : array of shape (n_tasks,) or None
            As `nudge_limit` gave it; None where neither the scheme nor beta asks for it.
        """
        if self.beta != "auto":
            beta = float(self.beta)
            if not 0 < beta < float("inf"):
                raise ValueError(f"beta={self.beta!r} must be 'auto' or a positive number.")
            assert limit is not None
            # Far beyond it the difference is no derivative any more, and may point uphill.
            return namespace(limit).clip(limit, None, beta)
        best = automatic_strength(ORDER[scheme], problem, theta, batch, free)
        if scheme == "symmetric":
            assert limit is not None
            return namespace(limit).minimum(best, LARGEST_SHARE * limit)
        return best


def resolve_scheme(scheme: str, free: InnerSolution) -> str:
    """Turn "auto" into a scheme, and refuse an unknown one."""
    if scheme == "auto":
        return "symmetric" if free.solve_h is None else "tangent"
    if scheme not in SCHEMES:
        raise ValueError(f"scheme={scheme!r} is none of {', '.join(map(repr, SCHEMES))}.")
    return scheme


def tangent_terms(problem: InnerProblem, free: InnerSolution, slope: Array) -> list[Term]:
    """Contrast the energy along the direction in which a nudge moves the minimum.

    Parameters
    ----------
    problem : InnerProblem
    free : InnerSolution
        The free phase.
    slope : array of phi's shape
        Derivative of the loss there.
    """
    if free.solve_h is None:
        raise ValueError(NO_FACTOR)
    return terms_along(problem, free.phi, -free.solve_h(slope))


def _are_finite(losses: Array, slope: Array) -> Array:
    """Return whether the loss of each task and its slope are finite, (n_tasks,)."""
    xp = namespace(losses)
    return xp.isfinite(losses) & xp.isfinite(slope).all(-1).all(0)


def _averaged(term: Term, tasks: Any, n_tasks: int) -> Term:
    """Return the share that some tasks have of a summand of their mean."""
    energy, loss = (
        None if c is None else c[tasks] * (1 / n_tasks) for c in (term.energy, term.loss)
    )
    return Term(term.phi[:, tasks], energy, loss)
