"""From an estimator's parameters to what `learn` takes, and what learning needs of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcml.episodes import TaskRows
from skcml.estimators._bodies import head_body_of, module_of, task_network_of
from skcml.estimators._warnings import warn
from skcml.problems.task_mlp import Dense, Layer, Modulated
from skcml.rules.base import MetaGradientRule, what_lacks
from skcml.rules.contrastive import Contrastive
from skcml.rules.first_order import FirstOrder
from skcml.rules.implicit import Implicit
from skcml.rules.neumann import Neumann
from skcml.rules.reptile import Reptile
from skcml.rules.t1t2 import T1T2
from skcml.rules.unrolled import Unrolled
from skcml.selection import LearnOptions
from skcml.selection.families import Family
from skcml.selection.head_model import HeadModel
from skcml.selection.models import Model
from skcml.selection.network_model import NetworkModel
from skcml.solvers.base import InnerSolver
from skcml.solvers.choice import can_compile, choose_solver, resolve_solver
from skcml.solvers.compiled import check_compiler

# What n_shots=None draws from: from a single row to as many as make adaptation easy.
DEFAULT_SHOTS = (1, 8)
# Meta-steps, and query rows of a group, where a classifier leaves them to "auto".
DEFAULT_STEPS, DEFAULT_QUERIES = 600, 20
# What of a hidden layer is adapted to a task.
LAYERS: dict[str, Layer] = {"synaptic": Dense(), "modulatory": Modulated()}
# Steps and tolerance of solvers where the estimator leaves them open: while learning, when a
# meta-gradient is about as good from tasks that are about solved, and at `fit`.
TRAINING = {"gauss_newton": (10, 1e-2), "lbfgs": (50, 1e-2)}
ADAPTING = {"gauss_newton": (50, 1e-6)}
# Rules to compare with, as their authors would set them.
REFERENCE_RULES: dict[str, Callable[[], MetaGradientRule]] = {
    "implicit": Implicit,
    "neumann": Neumann,
    "t1t2": T1T2,
    "unrolled": Unrolled,
    "truncated": partial(Unrolled, truncate=5),
    "first_order": FirstOrder,
    "reptile": Reptile,
}
RULES = {"contrastive", *REFERENCE_RULES}
# Coefficients of several shared classes from which learning them takes long.
MANY_LOGITS = 150


def learn_options(estimator: BaseEstimator, family: Family) -> LearnOptions:
    """Translate validated parameters."""
    max_iter, n_queries = estimator.meta_max_iter, estimator.n_queries
    options = LearnOptions(
        family=family,
        model=model_of(estimator),
        hidden_layer_sizes=layer_sizes(estimator.hidden_layer_sizes),
        activation=estimator.activation,
        prior_covariance=estimator.prior_covariance,
        meta_loss=meta_loss_of(estimator, family),
        n_shots=shots(estimator.n_shots),
        n_queries=DEFAULT_QUERIES if n_queries == "auto" else n_queries,
        support=estimator.support,
        meta_batch_size=estimator.meta_batch_size,
        meta_max_iter=DEFAULT_STEPS if max_iter == "auto" else max_iter,
        meta_learning_rate=estimator.meta_learning_rate,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
        n_iter_no_change=estimator.n_iter_no_change,
        tol=estimator.tol,
        n_jobs=estimator.n_jobs,
    )
    # Of any size, a problem shows which solvers and rules go with it.
    problem = options.model.problem(1, 1, options)
    return replace(
        options,
        rule=rule_of(estimator, problem),
        solver=solver_of(estimator, problem, TRAINING, compile=estimator.compile),
        fit_solver=solver_of(estimator, problem, ADAPTING),
    )


def rule_of(estimator: BaseEstimator, problem: Any) -> MetaGradientRule:
    """Return the rule of the meta-gradient, or refuse one that asks more than the problem has."""
    if estimator.rule == "contrastive":
        return Contrastive(estimator.scheme, estimator.beta)
    rule = REFERENCE_RULES[estimator.rule]()
    if wanted := what_lacks(rule, problem):
        rules = {"contrastive": Contrastive, **REFERENCE_RULES}
        allowed = [name for name, make in rules.items() if not what_lacks(make(), problem)]
        body = "" if estimator.body is None else " with a body of one's own"
        raise ValueError(
            f"rule={estimator.rule!r} needs {wanted}, and model={estimator.model!r}{body} is none "
            f"here; choose one of {', '.join(map(repr, allowed))}."
        )
    return rule


def solver_of(
    estimator: BaseEstimator,
    problem: Any,
    effort: dict[str, tuple[int, float]],
    *,
    compile: bool = False,
) -> InnerSolver:
    """Return the inner solver that was asked for, or that the problem's energy offers.

    Parameters
    ----------
    estimator : estimator
    problem : InnerProblem
    effort : dict of str to (int, float)
        Steps and tolerance of solvers by name, where the estimator leaves them open.
    compile : bool, default=False
        Whether torch compiles it, if it can. A solve of `fit` is too short to be worth it.
    """
    max_iter, tol = effort.get(choose_solver(estimator.solver, problem), (None, None))
    if estimator.inner_max_iter is not None:
        max_iter = estimator.inner_max_iter
    if estimator.inner_tol is not None:
        tol = estimator.inner_tol
    return resolve_solver(estimator.solver, problem, max_iter, tol, compile=compile)


def check_compile(estimator: BaseEstimator, problem: Any) -> None:
    """Refuse to compile where torch has nothing to do it by; say where nothing is compiled."""
    if not estimator.compile:
        return
    if can_compile(estimator.solver, problem):
        check_compiler()
        return
    warn(
        "compile=True has no effect here: what is compiled are the steps of solver='adam' and "
        "'sgd' with model='synaptic' and 'modulatory', and this is "
        f"solver={estimator.solver!r} with model={estimator.model!r}."
    )


def model_of(estimator: BaseEstimator) -> Model:
    """Return what is adapted to a task."""
    if estimator.model == "head":
        return HeadModel(None if estimator.body is None else head_body_of(estimator))
    network = None
    if estimator.body is not None:
        network = partial(task_network_of, estimator, module_of(estimator))
    return NetworkModel(LAYERS[estimator.model], estimator.strength, network, estimator.device)


def meta_loss_of(estimator: BaseEstimator, family: Family) -> str:
    """Return what a network is judged by on query rows."""
    asked = str(getattr(estimator, "meta_loss", "auto"))
    if estimator.model != "head":
        if asked == "log_predictive":
            raise ValueError(
                "meta_loss='log_predictive' is for model='head', and model is "
                f"{estimator.model!r}; choose meta_loss='auto' or 'loss'."
            )
        return "loss"
    if family.likelihood is None:
        return "log_predictive" if asked == "auto" else asked
    if asked == "log_predictive":
        raise ValueError(
            f"meta_loss='log_predictive' is for loss='squared_error', and loss is "
            f"{estimator.loss!r}; choose meta_loss='auto' or 'loss'."
        )
    return "loss"


def layer_sizes(value: Any) -> tuple[int, ...]:
    """Return hidden layer sizes as a tuple."""
    sizes = [value] if isinstance(value, Integral) else list(value)
    if not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes):
        raise ValueError(
            f"hidden_layer_sizes must be positive integers, or () for none; got {value!r}."
        )
    return tuple(int(size) for size in sizes)


def shots(value: Any) -> tuple[int, int]:
    """Return the lowest and highest number of shots."""
    return DEFAULT_SHOTS if value is None else int_range(value, "n_shots", least=1)


def int_range(value: Any, name: str, *, least: int) -> tuple[int, int]:
    """Return an integer, or a pair of them, as the lowest and the highest number."""
    pair = [value, value] if isinstance(value, Integral) else list(value)
    if len(pair) == 2 and all(isinstance(n, Integral) for n in pair):
        low, high = int(pair[0]), int(pair[1])
        if least <= low <= high:
            return low, high
    raise ValueError(
        f"{name} must be an integer, a pair (low, high) of them with {least} <= low <= high, or "
        f"None; got {value!r}."
    )


def check_tasks(tasks: TaskRows) -> None:
    """Refuse data from which nothing can be learned about groups."""
    n_rows = len(tasks.X)
    filled = int((tasks.sizes > 0).sum())
    if filled < 2:
        raise ValueError(
            f"meta_fit needs at least two groups to learn what groups share; got {filled} in "
            f"n_samples = {n_rows} rows. Check groups, or call fit for a single group."
        )
    if not (tasks.sizes > 1).any():
        raise ValueError(
            f"Each of the {filled} groups has one row, n_samples = {n_rows} in all; learning needs "
            "groups with a row to adapt to and a row to predict. Check that groups holds the group "
            "of each row, not a row number."
        )


def check_descent(arrays: Iterable[np.ndarray], learning_rate: float) -> None:
    """Refuse what a descent has left behind if it is not finite."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            f"The descent of meta_fit diverged: meta_learning_rate={learning_rate!r} is too high "
            "for these data; lower it."
        )


def warn_of_few_rows(tasks: TaskRows) -> None:
    """Say that a REML fit needs more rows than coefficients."""
    n_rows, n_coefficients = len(tasks.X), 1 + tasks.X.shape[1]
    if n_rows <= n_coefficients:
        warn(
            f"A REML fit of {n_coefficients} coefficients needs more than the n_samples = {n_rows} "
            "rows there are: variances are left at their start. Leave features out."
        )


def warn_of_many_logits(tasks: TaskRows, family: Family) -> None:
    """Say that several classes and many columns take long: the logits of a row go together."""
    n_classes, n_columns = tasks.y.shape[1], 1 + tasks.X.shape[1]
    if family.likelihood is None or not family.likelihood.is_coupled:
        return
    if n_classes * n_columns > MANY_LOGITS:
        warn(
            f"{n_classes} shared classes with {n_columns} coefficients each are estimated together "
            "in every group, which may take minutes or hours. Reduce the columns of X, by a "
            "projection or by leaving some out; or pass classes='exchangeable', if each group has "
            "classes of its own."
        )


def warn_of_many_shots(asked: Any, sizes: np.ndarray, unit: str) -> None:
    """Say that no group, or class, is so large that it could give the rows that are asked for.

    Parameters
    ----------
    asked : int, (int, int) or None
        The parameter ``n_shots``.
    sizes : ndarray of shape (n_units,), int
        Rows of each group or class.
    unit : {"group", "class"}
    """
    most = int(sizes.max()) - 1  # one is left to predict
    # Of None, which stands for a choice of ours, a single row is part.
    if asked is not None and int_range(asked, "n_shots", least=1)[0] > most:
        warn(
            f"n_shots={asked!r} is more than any {unit} can give: the largest has {most + 1} rows, "
            f"of which one must be left to predict, so that at most {most} are given. Lower "
            f"n_shots, or pass more rows of each {unit}."
        )
