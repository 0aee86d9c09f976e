"""The steps before the last: how they are frozen and thawed, and how X goes through them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Self

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

Step = tuple[str, Any]
# What a step of scikit-learn's pipelines is that does nothing.
NO_STEP = (None, "passthrough")


class FrozenTransformer(FrozenEstimator):
    """A transformer that `meta_fit` has fitted; also one that keeps nothing of what it saw."""

    def fit(self, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Do nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


def frozen(steps: Iterable[Step]) -> list[Step]:
    """Return transformers that have been fitted so that `fit` leaves them as they are."""
    return [(name, t if t in NO_STEP else FrozenTransformer(t)) for name, t in steps]


def to_be_fitted(steps: Iterable[Step]) -> list[Step]:
    """Return transformers that have learned nothing; those that the user froze stay as they are."""
    return [(name, _unlearned(t)) for name, t in steps]


def thawed(steps: Iterable[Step], names: Container[str]) -> list[Step]:
    """Return the steps, of which those of these names that `frozen` froze are to be fitted."""
    return [
        (name, _unlearned(t) if name in names and isinstance(t, FrozenTransformer) else t)
        for name, t in steps
    ]


def transformed(steps: Iterable[Step], X: Any) -> Any:
    """Return what transformers, one after the other, make of X."""
    for _, t in steps:
        if t not in NO_STEP:
            X = t.transform(X)
    return X


def _unlearned(step: Any) -> Any:
    return clone(step.estimator if isinstance(step, FrozenTransformer) else step, safe=False)
