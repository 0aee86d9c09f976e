"""Learning from a pool of exchangeable classes, and adapting to new ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_random_state
from threadpoolctl import threadpool_limits

from skcml.class_pool import ClassPool
from skcml.estimators._adapted_classes import AdaptedClasses
from skcml.estimators._bodies import shape_of_rows
from skcml.estimators._class_networks import class_network_of
from skcml.estimators._inputs import Rows
from skcml.estimators._meta_options import (
    check_compile,
    check_descent,
    int_range,
    rule_of,
    warn_of_many_shots,
)
from skcml.estimators._meta_state import verdict, watched_params
from skcml.estimators._progress import CallbackProgress
from skcml.estimators._scaling import refuse_tiny
from skcml.estimators._warnings import warn, warn_of_unsolved
from skcml.grouping import GroupIndex, encode_groups
from skcml.selection.class_networks import TaskWeights
from skcml.selection.classes import LearnedClasses, adapt_tasks, learn_classes
from skcml.selection.constants import PROBLEM, ClassOptions
from skcml.solvers.base import InnerSolver

# What n_ways=None and n_shots=None draw from, and what "auto" stands for.
WAYS, SHOTS = ClassOptions.n_ways, ClassOptions.n_shots
DEFAULT_STEPS, DEFAULT_QUERIES = ClassOptions.meta_max_iter, ClassOptions.n_queries
EVERY_ROW = 2**31
# Meta-steps by which a network is learned from classes, where the estimator leaves them to "auto".
NETWORK_STEPS = 600
TOO_FEW_TO_GUESS = 3
# With fewer classes than this and so many rows of each, groups may have been forgotten.
FEW_TO_GUESS, MANY_ROWS = 5, 10
# With so many labels, a few that occur in two groups do not make the others shared.
MANY_LABELS = 10
# A class of no weight has a probability of about this.
SMALLEST = 1e-300


def are_exchangeable(setting: str, rows: Rows) -> bool:
    """Tell whether each task has classes of its own.

    The data say so where there are no groups, or where no label occurs in two groups, and a group
    has several.
    """
    if setting != "auto":
        return setting == "exchangeable"
    if rows.groups is None:
        return True
    codes, index = encode_groups(rows.groups, len(rows.X))
    n_labels = len(_labels(rows))
    pairs = np.unique(codes * n_labels + rows.y[:, 0])
    n_pairs = len(pairs)
    _refuse_a_mixture(_labels(rows), np.bincount(pairs % n_labels))
    if n_pairs == n_labels == len(index):
        raise ValueError(
            f"Each of the {n_labels} groups has one class, and each class is in one group: there "
            "is nothing to tell apart in a group. Leave groups out to learn from a pool of "
            "classes, or check that groups holds the group of each row."
        )
    return bool(len(index) < n_pairs == n_labels)


def _refuse_a_mixture(labels: np.ndarray, n_groups: np.ndarray) -> None:
    """Leave to the user what is neither: most labels in one group each, and some in several.

    ``n_groups`` says in how many groups a label occurs.
    """
    n_single, shared = int((n_groups == 1).sum()), int(n_groups.argmax())
    if len(labels) < MANY_LABELS or n_groups[shared] == 1 or 2 * n_single <= len(labels):
        return
    raise ValueError(
        f"Of the {len(labels)} labels of y, {n_single} occur in one group only, but "
        f"{labels.tolist()[shared]!r} occurs in {n_groups[shared]}: pass classes='exchangeable' if "
        "each group has classes of its own, or classes='shared' if a label means the same "
        "everywhere."
    )


def _labels(rows: Rows) -> np.ndarray:
    labels = rows.targets.classes
    assert labels is not None
    return labels


@dataclass(frozen=True)
class PoolState:
    """What was learned from a pool of classes.

    Attributes
    ----------
    learned : LearnedClasses
    params : dict of str to object
    n_classes, n_rows : int
        What it was learned from.
    """

    learned: LearnedClasses
    params: dict[str, Any]
    n_classes: int
    n_rows: int
    targets: ClassVar[None] = None
    needs_rows_at_once: ClassVar[str] = (
        "exchangeable classes are found by a search over all their rows"
    )

    def attributes(self) -> dict[str, Any]:
        """See `MetaState`; there is nothing to predict before `fit` has brought classes."""
        learned = self.learned
        return {
            "_meta": self,
            "_group_column": self.params["group_column"],
            "class_setting_": "exchangeable",
            "meta_params_": {
                **self.summary(),
                **deepcopy(vars(learned.transform)),
                **({} if learned.network is None else {"networks": learned.theta_arrays()}),
            },
            "meta_history_": deepcopy(learned.histories),
            "n_meta_iter_": max((len(h["loss"]) for h in learned.histories), default=0),
            "meta_gain_": None if learned.gain is None else dict(learned.gain),
        }

    def solved_by(self, resolve: Callable[[Any], InnerSolver]) -> PoolState:
        """See `MetaState`; prototypes have no choice."""
        learned = self.learned.network
        if learned is None:
            return self
        network: Any = learned.network
        network = replace(network, fit_solver=resolve(network.problem))
        learned = replace(learned, network=network)
        return replace(self, learned=replace(self.learned, network=learned))

    def adapt(self, rows: Rows, prior_strength: float) -> AdaptedClasses:
        """See `MetaState`; each group has the classes of its own rows."""
        # Of a model without an intercept, named weights of classes move the odds; balanced ones
        # give the rows of each class the same say.
        factor, offset = rows.targets.class_weight, None
        is_balanced = rows.targets.is_balanced
        if factor is not None and not factor.any():
            raise ValueError(
                "class_weight is zero for every class of y, so that none can be predicted: give "
                "one a weight above zero."
            )
        if factor is not None and not is_balanced:
            offset = np.log(np.maximum(factor, SMALLEST))
        pool, label, index = pool_of(rows, rows.weight if is_balanced else rows.given_weight)
        n_tasks = 1 if index is None else len(index)
        weights = adapt_tasks(self.learned, pool, n_tasks, prior_strength)
        warn_of_unsolved([task.solved for task in weights if isinstance(task, TaskWeights)])
        labels = [label[pool.group == task] for task in range(n_tasks)]
        return AdaptedClasses(self.learned, weights, labels, len(_labels(rows)), index, offset)

    def summary(self) -> Bunch:
        """See `MetaState`."""
        theta = self.learned.theta
        if "log_strength" in theta:
            return Bunch(strength=float(np.exp(np.median(theta["log_strength"]))))
        return Bunch(
            prototype_scale=float(np.exp(theta["log_scale"][0])),
            prior_precision=float(np.exp(theta["log_precision"][0])),
        )

    def report(self) -> str:
        """See `MetaState`."""
        gain = verdict("log loss", self.learned.gain)
        return f"{self.n_classes} exchangeable classes, {self.n_rows} rows; {gain}"


def pool_of(
    rows: Rows, weight: np.ndarray | None, name: str = "groups"
) -> tuple[ClassPool, np.ndarray, GroupIndex | None]:
    """Return rows by class, the label of each class, and the groups; rows of weight zero go.

    The same label in two groups is two classes.
    """
    n_rows, n_labels = len(rows.X), len(_labels(rows))
    weight = np.ones(n_rows) if weight is None else weight
    codes, index = np.zeros(n_rows, dtype=np.intp), None
    if rows.groups is not None:
        codes, index = encode_groups(rows.groups, n_rows, name=name)
    keep = weight > 0
    pairs = (codes * n_labels + rows.y[:, 0])[keep]
    classes, of_row = np.unique(pairs, return_inverse=True)
    group, label = np.divmod(classes, n_labels)
    pool = ClassPool.from_codes(rows.X[keep], weight[keep], of_row, len(classes), group)
    return pool, label, index


def learn_pool(
    estimator: BaseEstimator, rows: Rows, validation: Rows | None, data: dict[str, Any]
) -> PoolState:
    """Learn how far to trust a few rows of a class.

    Parameters
    ----------
    estimator : estimator
        Its parameters are validated.
    rows : Rows
    validation : Rows or None
        The user's own classes to judge by.
    data : dict
        What callbacks get.
    """
    options = class_options(estimator, rows.X.shape[1])
    check_compile(estimator, PROBLEM if options.network is None else options.network.problem)
    pool, _, _ = pool_of(rows, rows.given_weight)
    check_pool(pool, rows, estimator)
    if estimator.standardize:
        refuse_tiny(rows.X, "X")
    warn_of_a_guess(pool, rows, estimator)
    warn_of_many_shots(estimator.n_shots, pool.sizes, "class")
    judges = None
    if validation is not None:
        judges, _, _ = pool_of(validation, None, "groups_val")
        if not judges.usable():
            raise ValueError(
                "y_val has no two classes of two rows in the same group; judging needs a row of "
                "each class to learn from and one to predict. Pass more rows."
            )
    rng = np.random.default_rng(check_random_state(estimator.random_state).randint(2**31))
    params = watched_params(estimator)
    del params["class_weight"]  # names classes of `fit`

    def state_of(learned: LearnedClasses) -> PoolState:
        return PoolState(learned, params, pool.n_classes, len(rows.X))

    context = estimator._init_callback_context(task_name="meta_fit", max_subtasks=1)
    progress = None
    if getattr(estimator, "_skl_callbacks", None):
        # Before `fit` has brought classes, a callback has nothing to score.
        progress = CallbackProgress(estimator, context, options.meta_max_iter, data, None)
    with threadpool_limits(1):
        learned = learn_classes(pool, judges, options, rng, progress)
    logs = [abs(a) for name, a in learned.theta.items() if name.startswith("log_")]
    with np.errstate(over="ignore"):
        # Neither zero nor infinite.
        check_descent([learned.theta.vector, *map(np.exp, logs)], options.meta_learning_rate)
    if progress is not None:
        progress.end()
    return state_of(learned)


def class_options(estimator: BaseEstimator, n_features: int) -> ClassOptions:
    """Translate validated parameters, for rows of a length."""
    n_queries, max_iter = estimator.n_queries, estimator.meta_max_iter
    network = class_network_of(estimator, n_features)
    steps = DEFAULT_STEPS if network is None else NETWORK_STEPS
    if n_queries is None:
        n_queries = EVERY_ROW
    return ClassOptions(
        rule=rule_of(estimator, PROBLEM if network is None else network.problem),
        n_ways=_choices(estimator.n_ways, WAYS, "n_ways"),
        n_shots=_choices(estimator.n_shots, SHOTS, "n_shots"),
        n_queries=DEFAULT_QUERIES if n_queries == "auto" else n_queries,
        support=estimator.support,
        meta_batch_size=estimator.meta_batch_size,
        meta_max_iter=steps if max_iter == "auto" else max_iter,
        meta_learning_rate=estimator.meta_learning_rate,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
        standardize=estimator.standardize,
        n_iter_no_change=estimator.n_iter_no_change,
        tol=estimator.tol,
        network=network,
        input_shape=() if network is None else shape_of_rows(estimator),
    )


def _choices(value: Any, default: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return the numbers to draw from."""
    if value is None:
        return default
    low, high = int_range(value, name, least=2 if name == "n_ways" else 1)
    return tuple(range(low, high + 1))


def check_pool(pool: ClassPool, rows: Rows, estimator: BaseEstimator) -> None:
    """Refuse a pool from which nothing can be learned about classes."""
    usable, n_labels = pool.usable(), len(_labels(rows))
    if rows.groups is None and estimator.classes == "auto" and n_labels < TOO_FEW_TO_GUESS:
        raise ValueError(
            f"meta_fit was called without groups, so that the {n_labels} classes of y would be a "
            "pool of exchangeable ones. Pass groups= if they are the same in every group, or name "
            "a column of X as group_column; if they are a pool, pass classes='exchangeable'."
        )
    if not usable:
        once = int((pool.sizes == 1).sum())
        raise ValueError(
            f"Of the {pool.n_classes} classes of y, {once} have one row; learning needs two "
            "classes (of one group) with a row to learn from and a row to predict. Pass more rows "
            "of each class, or classes='shared' if the labels are the same in every group."
        )
    most = max(map(len, usable))
    asked = estimator.n_ways
    if asked is not None and int_range(asked, "n_ways", least=2)[0] > most:
        raise ValueError(
            f"n_ways={asked!r} is more than the {most} classes with two rows or more"
            f"{'' if rows.groups is None else ' that a group has'}: lower it, or pass more classes."
        )


def warn_of_a_guess(pool: ClassPool, rows: Rows, estimator: BaseEstimator) -> None:
    """Say that a few large classes were taken to be a pool: they look like shared ones."""
    n_labels, n_rows = len(_labels(rows)), len(pool.X)
    is_guess = estimator.classes == "auto" and rows.groups is None
    if is_guess and n_labels < FEW_TO_GUESS and n_rows >= MANY_ROWS * n_labels:
        warn(
            f"meta_fit was called without groups, so that the {n_labels} classes of y, of {n_rows} "
            "rows, were taken to be a pool of exchangeable classes, in whose place fit brings "
            "others. If they are the same in every group, pass groups=, or name a column of X as "
            "group_column; if they are a pool, say so by classes='exchangeable'."
        )
