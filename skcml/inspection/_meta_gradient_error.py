"""How far a rule's meta-gradient is from the exact one, on a user's own tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skcml.estimators._inputs import check_whole
from skcml.inspection._exact import Exact, exact_gradient
from skcml.inspection._task_sample import TaskSample, sample_tasks
from skcml.rules.contrastive import ORDER, Contrastive
from skcml.rules.strength import nudge_limit
from skcml.solvers.base import InnerSolution, InnerSolver
from skcml.solvers.choice import resolve_solver

# Solvers whose accuracy can be chosen, and steps enough for any of it.
ITERATIVE = ("gauss_newton", "lbfgs", "sgd", "adam")
MAX_ITER = 1000
# Strengths by default, as shares of beta_lim.
SHARES = np.geomspace(1e-6, 1.0, 25)


def meta_gradient_error(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    betas: ArrayLike | None = None,
    tols: ArrayLike = (1e-3, 1e-5, 1e-7),
    schemes: Sequence[str] = tuple(ORDER),
    n_tasks: int = 10,
    random_state: Any = None,
) -> Bunch:
    r"""Compare the contrastive rule with the exact meta-gradient.

    The error of a finite scheme is about :math:`C_1 \delta / \beta + C_2 \beta^p`: a weak nudge
    drowns in what the inner solver leaves of its tolerance :math:`\delta`, and a strong one is no
    derivative any more. Tasks are drawn from the rows as `meta_fit` draws them, and differentiated
    by the meta-parameters that were learned: those of the network of the first fold or, without
    networks, of the linear mixed model; ``prior_strength`` counts as it does in `fit`.

    The exact gradient is that of the implicit function theorem, with the energy's exact curvature,
    at a minimum found to 1e-10. Tasks whose energy is not positive definite there have none, and
    are left out; that may happen with networks for each task. There the tangent scheme takes the
    curvature of Gauss and Newton, which always is positive definite and is not the exact one: its
    distance is then no error of a solver. Of a head with a squared error the two are the same.

    Parameters
    ----------
    estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
        After `meta_fit`, from groups that have their classes in common, if they are classes.
    X : array-like or frame of shape (n_samples, n_features)
        Rows of two groups or more.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Outputs.
    groups : array-like of shape (n_samples,), optional
        Group of each row; not needed with ``group_column``.
    betas : array-like of shape (n_betas,), optional
        Nudging strengths; by default from 1e-6 of the smallest ``beta_limit`` up to it.
    tols : array-like of shape (n_tols,), default=(1e-3, 1e-5, 1e-7)
        Tolerances of the inner solver, relative to the gradient where it starts. The solver is the
        estimator's own if it has a tolerance, else L-BFGS.
    schemes : sequence of {"forward", "symmetric", "second_order"}
        Finite schemes to compare; all by default.
    n_tasks : int, default=10
        Tasks to draw; all groups, if they are fewer.
    random_state : int, RandomState instance or None, default=None
        Source of the tasks.

    Returns
    -------
    Bunch
        With the attributes

        beta : ndarray of shape (n_betas,)
            Strengths. A task whose ``beta_limit`` is less is nudged by that.
        tol : ndarray of shape (n_tols,)
            Tolerances.
        error : dict of str to ndarray of shape (n_tols, n_betas)
            Of each scheme, the norm of the difference to the exact gradient over that of the exact
            one.
        best_beta, best_error : dict of str to ndarray of shape (n_tols,)
            Where the error is least, and how large it is.
        auto_beta, auto_error : dict of str to ndarray of shape (n_tols,)
            The same with ``beta="auto"``; the strength is the median over tasks.
        tangent_error : ndarray of shape (n_tols,)
            Of the scheme "tangent", the limit of all others, with a factor of the curvature.
        beta_limit, beta_limit_median : float
            The strength at which a nudge away from the target has no minimum any more: the smallest
            and the median over tasks.
        n_tasks, n_left_out : int
            Tasks that were compared, and others that have no exact gradient.
        member : {"networks", "mixed_model"}
            Whose meta-parameters the gradient is of.

    Raises
    ------
    TypeError
        If the estimator is none of skcml's.
    ValueError
        If the estimator has not learned, learned from exchangeable classes, or has no task with an
        exact gradient; if groups are missing or fewer than two; if a strength or tolerance is not
        positive, or a scheme is not known.

    See Also
    --------
    MetaGradientErrorDisplay : Draws it.

    References
    ----------
    N. Zucchet, S. Schug, J. von Oswald, D. Zhao, J. Sacramento, "A contrastive rule for
    meta-learning", NeurIPS 2022, arXiv 2104.01677, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcml import CMLRegressor
    >>> from skcml.inspection import meta_gradient_error
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat(np.arange(20), 8)
    >>> X = rng.normal(size=(160, 2))
    >>> y = (X * rng.normal(size=(20, 2))[groups]).sum(axis=1) + 0.3 * rng.normal(size=160)
    >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    >>> est.meta_fit(X, y, groups=groups)
    CMLRegressor(...)
    >>> found = meta_gradient_error(est, X, y, groups, tols=[1e-6], random_state=0)
    >>> bool(found.auto_error["symmetric"][0] < 3 * found.best_error["symmetric"][0])
    True
    >>> bool(found.auto_error["symmetric"][0] < found.auto_error["forward"][0])
    True
    """
    schemes = _checked_schemes(schemes)
    tols = _positive("tols", tols)
    strengths = None if betas is None else _positive("betas", betas)
    check_whole(n_tasks=n_tasks)
    sample = sample_tasks(estimator, X, y, groups, n_tasks, random_state)
    exact = exact_gradient(sample.problem, sample.theta, sample.episode)
    batch = sample.problem.embed(sample.theta, exact.episode)
    limit = nudge_limit(sample.problem, sample.theta, batch, exact.free)
    if strengths is None:
        strengths = SHARES * limit.min()
    learned = sample.estimator
    name = learned.solver if learned.solver in ITERATIVE else "lbfgs"
    max_iter = learned.inner_max_iter or MAX_ITER
    rows = [
        _at_tolerance(
            resolve_solver(name, sample.problem, max_iter, tol), sample, exact, strengths, schemes
        )
        for tol in tols
    ]
    return Bunch(
        beta=strengths,
        tol=tols,
        **{
            part: {scheme: np.array([row[part][scheme] for row in rows]) for scheme in schemes}
            for part in ("error", "best_beta", "best_error", "auto_beta", "auto_error")
        },
        tangent_error=np.array([row["tangent_error"] for row in rows]),
        beta_limit=float(limit.min()),
        beta_limit_median=float(np.median(limit)),
        n_tasks=len(limit),
        n_left_out=exact.n_left_out,
        member=sample.member,
    )


def _at_tolerance(
    solver: InnerSolver,
    sample: TaskSample,
    exact: Exact,
    betas: np.ndarray,
    schemes: Sequence[str],
) -> dict[str, Any]:
    """Return the errors with one solver."""
    problem, theta, episode = sample.problem, sample.theta, exact.episode
    bare = _Once(solver)
    # With the factor a strength is held below beta_lim itself, not below what the prior tells.
    factored = replace(bare, solve_h=exact.free.solve_h)

    def error(scheme: str, beta: float | str, by: InnerSolver) -> float:
        found = Contrastive(scheme, beta)(problem, by, theta, episode).theta.vector
        size = max(float(np.linalg.norm(exact.gradient)), np.finfo(float).tiny)
        return float(np.linalg.norm(found - exact.gradient)) / size

    batch = problem.embed(theta, episode)
    free = bare(problem, theta, batch)
    limit = nudge_limit(problem, theta, batch, free)
    errors = {s: np.array([error(s, float(beta), factored) for beta in betas]) for s in schemes}
    chosen = {s: Contrastive(s).strength(s, problem, theta, batch, free, limit) for s in schemes}
    return {
        "error": errors,
        "best_beta": {s: betas[errors[s].argmin()] for s in schemes},
        "best_error": {s: errors[s].min() for s in schemes},
        "auto_beta": {s: float(np.median(chosen[s])) for s in schemes},
        "auto_error": {s: error(s, "auto", bare) for s in schemes},
        "tangent_error": error("tangent", "auto", factored),
    }


@dataclass(frozen=True)
class _Once:
    """A solver that solves each phase of one theta and one episode once.

    ``solve_h`` takes the place of the factor that it may lack.
    """

    solver: InnerSolver
    solve_h: Any = None
    found: dict[bytes, InnerSolution] = field(default_factory=dict)

    def __call__(
        self, problem: Any, theta: Any, batch: Any, beta: Any = 0.0, init: Any = None
    ) -> InnerSolution:
        key = np.asarray(beta, dtype=float).tobytes()
        if key not in self.found:
            self.found[key] = self.solver(problem, theta, batch, beta, init)
        solution = self.found[key]
        return solution if self.solve_h is None else replace(solution, solve_h=self.solve_h)


def _checked_schemes(schemes: Sequence[str]) -> list[str]:
    names = [schemes] if isinstance(schemes, str) else list(schemes)
    for name in names:
        if name not in ORDER:
            advice = " That of the tangent is in tangent_error." if name == "tangent" else ""
            raise ValueError(
                f"schemes holds {name!r}; those with a strength to vary are "
                f"{', '.join(map(repr, ORDER))}.{advice}"
            )
    if not names:
        raise ValueError("schemes is empty; name at least one.")
    return names


def _positive(name: str, values: Any) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values, dtype=float))
    if array.ndim != 1 or not len(array) or not ((array > 0) & np.isfinite(array)).all():
        raise ValueError(f"{name} must be one or more positive numbers; got {values!r}.")
    return array
