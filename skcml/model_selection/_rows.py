"""Reading the rows of tasks, with groups as an argument, in a column, or missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils.validation import _num_samples

from skcml.estimators._group_column import agreed_groups
from skcml.estimators._inputs import read_outputs, read_weights
from skcml.estimators._labels import read_labels
from skcml.estimators._naming import naming
from skcml.estimators._warnings import warn
from skcml.grouping import GroupIndex, encode_groups, pop_group_column
from skcml.model_selection._parts import class_setting, is_carried

Coded = tuple[np.ndarray, GroupIndex]

NO_GROUPS = (
    "TaskLearner.{method} got no groups, and no group_column is named. Without metadata routing, "
    "searches and cross-validation pass groups to the splitter alone. Two remedies: call "
    "sklearn.set_config(enable_metadata_routing=True) and pass groups to the search as before; or "
    "keep the groups in a column of X and name it, TaskLearner(..., group_column=...)."
)
OR_A_POOL = (
    " If y holds classes of which each task brings others, there are no groups: pass "
    "classes='exchangeable' to the classifier."
)


@dataclass(frozen=True)
class Table:
    """Rows of tasks, as they came.

    Attributes
    ----------
    X, y : array-like of n_rows
    weight : ndarray of shape (n_rows,) or None
    groups : (ndarray of shape (n_rows,), GroupIndex) or None
        Codes and labels; None for a pool of classes.
    """

    X: Any
    y: Any
    weight: np.ndarray | None
    groups: Coded | None

    @property
    def classes(self) -> Coded:
        """Codes and labels of the classes in y."""
        return encode_groups(column_or_1d(self.y), _num_samples(self.y), name="y")

    @property
    def units(self) -> Coded:
        """What is held out as a whole: groups, or classes of a pool."""
        return self.classes if self.groups is None else self.groups

    def take(self, rows: np.ndarray) -> tuple[Any, Any, dict[str, Any]]:
        """Return X, y and, as a keyword, the weights of some rows."""
        weight = {} if self.weight is None else {"sample_weight": self.weight[rows]}
        return _safe_indexing(self.X, rows), _safe_indexing(self.y, rows), weight

    def subset(self, rows: np.ndarray) -> Table:
        """Return some rows."""
        X, y, weight = self.take(rows)
        groups = None
        if self.groups is not None:
            groups = self.groups[0][rows], self.groups[1]
        return Table(X, y, weight.get("sample_weight"), groups)


def read_table(
    X: Any,
    y: Any,
    groups: Any,
    sample_weight: Any,
    *,
    estimator: Any,
    group_column: str | int | None,
    method: str,
) -> Table:
    """Read what a user passed.

    Parameters
    ----------
    X : array-like of n_rows
    y : array-like of n_rows
    groups : array-like of shape (n_rows,) or None
    sample_weight : array-like of shape (n_rows,) or None
    estimator : estimator
        Whose rows they are.
    group_column : str, int or None
        The column of X that holds the groups. It stays where the estimator looks for it.
    method : str
        What errors call the method.
    """
    if y is None:
        raise ValueError(f"TaskLearner.{method} requires y to be passed, but the target y is None.")
    n_rows, n_outputs = _n_rows(X, "X"), _n_rows(y, "y")
    if n_outputs != n_rows:
        raise ValueError(f"y has {n_outputs} rows, but X has {n_rows}; pass one for each row.")
    if group_column is not None:
        rest, column = pop_group_column(X, group_column)
        groups = agreed_groups(groups, column, group_column, "X")
        X = X if is_carried(estimator) else rest
    weight = read_weights(sample_weight, X)
    coded = None if groups is None else encode_groups(groups, n_rows)
    table = Table(X, y, weight, coded)
    setting = class_setting(estimator)
    if coded is None and setting != "exchangeable":
        hint = OR_A_POOL if setting == "auto" else ""
        raise ValueError(NO_GROUPS.format(method=method) + hint)
    if coded is not None and setting != "shared" and _are_same(coded, table.classes):
        return Table(X, y, weight, None)  # a splitter of classes is passed them as groups
    return table


def _n_rows(values: Any, name: str) -> int:
    """Return the number of rows, or an error that names what has none."""
    with naming(name):
        return int(_num_samples(values))


def check_outputs(y: Any, estimator: Any) -> None:
    """Refuse outputs that are not numbers, or labels, of the kind that the estimator predicts.

    An estimator sees the rows to adapt to; those to predict, the scorer alone.
    """
    n_rows = _num_samples(y)
    if is_classifier(estimator):
        read_labels(y, n_rows, None)
    else:
        read_outputs(y, n_rows, estimator)


def _are_same(groups: Coded, classes: Coded) -> bool:
    """Whether each group is a class."""
    pairs = len(np.unique(groups[0] * len(classes[1]) + classes[0]))
    return pairs == len(groups[1]) == len(classes[1])


@dataclass(frozen=True)
class KnownUnits:
    """The groups, or classes of a pool, that were learned from.

    Attributes
    ----------
    index : GroupIndex
    sizes : ndarray of shape (n_units,), int
        Rows of each.
    """

    index: GroupIndex
    sizes: np.ndarray


def known_units(table: Table) -> KnownUnits:
    """Return what was learned from."""
    codes, index = table.units
    return KnownUnits(index, np.bincount(codes, minlength=len(index)))


def warn_of_known_units(table: Table, known: KnownUnits) -> None:
    """Say that a splitter has cut groups, or classes, in two.

    Whole ones are scored on purpose, where scores of the training part are wanted.
    """
    codes, index = table.units
    try:
        place = known.index.lookup(index.labels, len(index))
    except ValueError:  # labels of another kind
        return
    sizes = np.bincount(codes, minlength=len(index))
    cut = (place >= 0) & (known.sizes[place] != sizes)
    if cut.any():
        unit, passed = ("groups", "") if table.groups is not None else ("classes", "=y")
        warn(
            f"{int(cut.sum())} of the {len(index)} {unit} to score have labels of {unit} that fit "
            "has learned from, with other rows. If they are the same, the score is too good: hold "
            f"out whole {unit}, by cv=GroupKFold() and groups{passed}."
        )
