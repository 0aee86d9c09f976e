"""The parts of an estimator: which one learns from many tasks, which one adapts to one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.utils.validation import has_fit_parameter


def wrapped(estimator: Any) -> Iterator[Any]:
    """Yield an estimator, what it wraps, what that wraps, and so on."""
    while estimator is not None:
        yield estimator
        estimator = getattr(estimator, "estimator", None)


def meta_learner(estimator: Any) -> Any:
    """Return the part that has ``meta_fit``: the estimator itself, or what a search wraps."""
    parts = () if isinstance(estimator, type) else wrapped(estimator)
    part = next((part for part in parts if hasattr(part, "meta_fit")), None)
    if part is None:
        hint = " The class was passed: pass an instance." if isinstance(estimator, type) else ""
        raise TypeError(
            "TaskLearner needs an estimator with meta_fit, as CMLRegressor() or CMLClassifier(), "
            f"or a search around one; got {estimator!r:.60}, which has none.{hint}"
        )
    return part


def adapting_part(estimator: Any) -> Any:
    """Return the part whose parameters say what a task is: the last step, what a search wraps."""
    while True:
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "estimator"):
            estimator = estimator.estimator
        else:
            return estimator


def group_column_of(group_column: str | int | None, estimator: Any) -> str | int | None:
    """Return the column that holds the groups, which may be named here, there, or in both."""
    theirs = getattr(adapting_part(estimator), "group_column", None)
    if group_column is None or theirs is None or group_column == theirs:
        return theirs if group_column is None else group_column
    raise ValueError(
        f"group_column is {group_column!r} in TaskLearner and {theirs!r} in its estimator; name it "
        "in one of them."
    )


def is_carried(estimator: Any) -> bool:
    """Whether the estimator takes the group of a row from a column of X."""
    return getattr(adapting_part(estimator), "group_column", None) is not None


def adapts_to_many(estimator: Any) -> bool:
    """Whether ``fit`` adapts to many groups at once, as if to one after the other."""
    is_one = adapting_part(estimator) is estimator and has_fit_parameter(estimator, "groups")
    return is_one and class_setting(estimator) == "shared"


def class_setting(estimator: Any) -> str:
    """Return whether classes are "shared" or "exchangeable"; "auto", where groups are to tell."""
    part = adapting_part(estimator)
    return str(getattr(part, "class_setting_", getattr(part, "classes", "shared")))
