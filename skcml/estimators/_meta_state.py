"""What `meta_fit` leaves behind, and what may change afterwards."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from skcml.episodes import TaskRows
from skcml.estimators._adapted import Adapted
from skcml.estimators._adapting import AdaptedTasks, adapt_learned, task_rows
from skcml.estimators._body_params import body_params
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._scaling import Scaling
from skcml.estimators._updated import Updated
from skcml.estimators._warnings import warn
from skcml.selection import Learned
from skcml.solvers.base import InnerSolver
from skcml.task_networks import TaskNetworks

# Parameters that `fit` itself reads, and those that it does not even look at.
READ_BY_FIT = frozenset({"prior_strength", "solver", "inner_max_iter", "inner_tol"})
UNREAD_BY_FIT = frozenset({"random_state", "n_jobs", "verbose", "compile"})
# Those that say what the data are, with `meta_fit` and without; the others shape `meta_fit` alone.
ABOUT_DATA = frozenset({"classes", "class_weight", "group_column", "loss", "standardize"})


class NotSet(enum.Enum):
    """Stands for a parameter ``body__...`` that is not there."""

    NOT_SET = enum.auto()

    def __repr__(self) -> str:
        return "not set"


NOT_SET = NotSet.NOT_SET


class MetaState(Protocol):
    """What `meta_fit` learned, and what `fit` does with it."""

    @property
    def params(self) -> dict[str, Any]:
        """All parameters that may not change unseen, as they were."""

    @property
    def targets(self) -> Targets | None:
        """What y was, and is again at `fit`; None where `fit` brings classes of its own."""

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that `meta_fit` sets."""

    def solved_by(self, resolve: Callable[[Any], InnerSolver]) -> MetaState:
        """Return the same with tasks solved by what is returned for a network's problem."""

    def adapt(self, rows: Rows, prior_strength: float) -> AdaptedTasks:
        """Adapt to rows of one task, or of many."""

    @property
    def needs_rows_at_once(self) -> str:
        """Why a task's rows must come in a single call, as a clause.

        Empty if they need not: then there is a method `update`, as `GroupsState` has it.
        """

    def summary(self) -> Bunch:
        """Return what was learned, in words that a reader of mixed models knows."""

    def report(self) -> str:
        """Return the verdict in one line."""


@dataclass(frozen=True)
class GroupsState:
    """What was learned from groups that have their outputs in common.

    Attributes
    ----------
    learned : Learned
    scaling : Scaling
    params : dict of str to object
    targets : Targets
    n_groups, n_rows : int
        What it was learned from.
    metric : str
        What ``learned.gain`` holds.
    """

    learned: Learned
    scaling: Scaling
    params: dict[str, Any]
    targets: Targets
    n_groups: int
    n_rows: int
    metric: str

    def attributes(self) -> dict[str, Any]:
        """See `MetaState`; after it, an estimator predicts the prior."""
        learned = self.learned
        n_features, n_outputs = len(self.scaling.x_mean), len(self.scaling.y_mean)
        nothing = TaskRows(
            np.empty((0, n_features)), np.empty((0, n_outputs)), np.empty(0), np.zeros(1, dtype=int)
        )
        found = {
            "_meta": self,
            "_group_column": self.params["group_column"],
            "_adapted": adapt_learned(
                learned,
                self.scaling,
                nothing,
                None,
                prior_strength=self.params["prior_strength"],
                targets=self.targets,
            ),
            "meta_params_": {
                **{name: heads.arrays() for name, heads in learned.members.items()},
                "weights": learned.known.weights.copy(),
                "prior_weights": learned.unseen.weights.copy(),
            },
            "meta_history_": deepcopy(learned.histories),
            "n_meta_iter_": max((len(h["loss"]) for h in learned.histories), default=0),
            "meta_gain_": None if learned.gain is None else dict(learned.gain),
        }
        if self.targets.classes is not None:
            found |= {"classes_": self.targets.classes.copy(), "class_setting_": "shared"}
        return found

    def solved_by(self, resolve: Callable[[Any], InnerSolver]) -> GroupsState:
        """See `MetaState`; a linear head has no choice."""
        networks = self.learned.members.get("networks")
        if not isinstance(networks, TaskNetworks):
            return self
        networks = replace(networks, solver=resolve(networks.problem))
        members = {**self.learned.members, "networks": networks}
        return replace(self, learned=replace(self.learned, members=members))

    def adapt(self, rows: Rows, prior_strength: float) -> Adapted:
        """See `MetaState`."""
        tasks, index = task_rows(rows, self.scaling)
        return adapt_learned(
            self.learned,
            self.scaling,
            tasks,
            index,
            prior_strength=prior_strength,
            targets=rows.targets,
        )

    @property
    def needs_rows_at_once(self) -> str:
        """See `MetaState`."""
        if self.params["model"] != "head":
            return f"model={self.params['model']!r} searches for the parameters of a group anew"
        if self.learned.members["mixed_model"].likelihood is None:
            return ""
        what = "counts" if self.targets.classes is None else "classes"
        return f"the posterior of {what} is found by a search over all rows of a group"

    def update(self, before: Any, rows: Rows, prior_strength: float) -> Updated:
        """Adapt to more rows, of known tasks or new ones, and to those that were adapted to."""
        tasks, index = task_rows(rows, self.scaling)
        if before.n_tasks and (index is None) != (before.groups is None):
            raise ValueError(
                "The rows so far came without groups, as a single task, and these have groups: "
                "leave groups out, or call forget() first to begin anew."
                if before.groups is None
                else "The rows so far came with groups, and these have none: pass groups=, or keep "
                "the groups in a column of X and name it as group_column; or call forget() first "
                "to begin anew."
            )
        updated = Updated.start(self.learned, before) if isinstance(before, Adapted) else before
        return updated.with_rows(tasks, index, prior_strength, rows.targets)

    def summary(self) -> Bunch:
        """See `MetaState`: mean, spread and correlation of linear coefficients, and the noise."""
        mixed, scaling = self.learned.mixed, self.scaling
        spreads, correlations = [], []
        for output, model in enumerate(mixed):
            matrix = scaling.coefficient_map(output)
            covariance = matrix @ model.factor @ model.factor.T @ matrix.T
            spread = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
            safe = np.where(spread > 0, spread, 1.0)
            correlation = covariance / np.outer(safe, safe)
            np.fill_diagonal(correlation, 1.0)
            spreads.append(spread)
            correlations.append(correlation)
        summary = Bunch(
            mean=scaling.coefficients(np.stack([model.omega for model in mixed])),
            sd_between_groups=np.stack(spreads),
            correlation=np.stack(correlations),
            covariance_structure=mixed[0].structure,
            network_weight=self.learned.known.share("networks").copy(),
        )
        likelihood = self.learned.members["mixed_model"].likelihood
        if likelihood is not None and likelihood.has_exposure:
            # Less than a Poisson count has is no dispersion.
            summary.dispersion = max(scaling.scatter, 1.0)
        if likelihood is None:
            summary.noise_sd = np.sqrt([model.noise for model in mixed]) * scaling.y_scale
        return summary

    def report(self) -> str:
        """See `MetaState`."""
        gain = verdict(self.metric, self.learned.gain)
        return f"{self.n_groups} groups, {self.n_rows} rows; {gain}"


def verdict(metric: str, gain: dict[str, float] | None) -> str:
    """Return held-out scores as text."""
    scores = ", ".join(f"{name} {score:.4g}" for name, score in (gain or {}).items())
    return f"held-out {metric}: {scores}"


def learned_arrays(learned: Learned) -> list[np.ndarray]:
    """Return all numbers by which tasks are adapted to and predicted."""
    parts = [array for heads in learned.members.values() for array in heads.arrays().values()]
    return [*parts, learned.known.weights, learned.unseen.weights]


def watched_params(estimator: BaseEstimator) -> dict[str, Any]:
    """Return a copy of the parameters that `check_params` compares later."""
    params = estimator.get_params(deep=False)
    names = [name for name in params if name not in UNREAD_BY_FIT]
    return {name: deepcopy(_watched(name, params[name])) for name in names}


def _watched(name: str, value: Any) -> Any:
    """Return what is compared: of what no copy is equal to, such as a module, how it looks."""
    is_plain = value is None or inspect.isclass(value) or inspect.isroutine(value)
    if is_plain or not name.startswith("body"):
        return value
    if name != "body" and _are_equal(value, deepcopy(value)):
        return value
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _are_equal(value: Any, other: Any) -> bool:
    try:
        return value is other or np.array_equal(value, other)
    except (RuntimeError, TypeError, ValueError):  # they have no equality
        return False


@cache
def _shaping_defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults of the parameters that `meta_fit` alone reads, by name."""
    parameters = inspect.signature(kind.__init__).parameters
    known = READ_BY_FIT | UNREAD_BY_FIT | ABOUT_DATA | {"self"}
    return {
        name: parameter.default
        for name, parameter in parameters.items()
        if name not in known and parameter.default is not parameter.empty
    }


def warn_of_unused_params(estimator: BaseEstimator, kind: str, *, is_grouped: bool) -> None:
    """Say that parameters were set that shape nothing without `meta_fit`.

    Parameters
    ----------
    estimator : estimator
    kind : {"ridge", "logistic", "Poisson"}
        The regression that `fit` is without it.
    is_grouped : bool
        Whether it is one for each group.
    """
    defaults = _shaping_defaults(estimator.__class__)
    unused = [name for name in defaults if not _are_equal(getattr(estimator, name), defaults[name])]
    unused += body_params(estimator)
    if unused:
        have = "has" if len(unused) == 1 else "have"
        warn(
            f"meta_fit has not been called, without which {', '.join(unused)} {have} no effect: "
            f"fit is {kind} regression{', one for each group' * is_grouped}; to learn from groups "
            "or other classes, call meta_fit first; in a search or cross-validation, use "
            "skcml.model_selection.TaskLearner."
        )


def _free_params(estimator: BaseEstimator, state: MetaState) -> list[str]:
    """Return the names of the parameters that may change between `meta_fit` and `fit`."""
    bound = set(state.params) - READ_BY_FIT
    return [name for name in estimator._get_param_names() if name not in bound]


def check_params(estimator: BaseEstimator, state: MetaState) -> bool:
    """Raise if a parameter that shaped what was learned has changed since, or one is bad.

    Returns
    -------
    bool
        Whether one that `fit` reads is another than it was.
    """
    is_new = False
    for name in {**state.params, **body_params(estimator)}:
        value, current = state.params.get(name, NOT_SET), getattr(estimator, name, NOT_SET)
        current = _watched(name, current)
        if _are_equal(current, value):
            continue
        is_new = True
        if name not in READ_BY_FIT:
            raise ValueError(
                f"{name} was {value!r} when meta_fit was called and is {current!r} now. It shaped "
                "what was learned, so fit cannot follow it: call meta_fit again, or set it back; "
                "to search over it, put the estimator into skcml.model_selection.TaskLearner. "
                f"Between meta_fit and fit only {', '.join(_free_params(estimator, state))} may "
                "change."
            )
    if is_new:  # what was good for meta_fit need not be validated again
        estimator._validate_params()
    return is_new
