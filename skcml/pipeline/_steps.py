"""What the steps of a pipeline may be, and whether they are those that have learned."""

from __future__ import annotations

from typing import Any, Self

import sklearn.pipeline
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from skcml.estimators._base import BaseCML
from skcml.pipeline._frozen import NO_STEP, Step


def are_pairs(steps: Any) -> bool:
    """Return whether steps are a list of names and of what they name; it may be empty."""
    return isinstance(steps, (list, tuple)) and all(
        isinstance(step, (list, tuple)) and len(step) == 2 and isinstance(step[0], str)
        for step in steps
    )


def check_steps(steps: Any) -> None:
    """Raise if these are no steps, or a class is among them."""
    if not are_pairs(steps) or not steps:
        raise ValueError(
            "steps must be a list of pairs of a name and an estimator, as [('scale', "
            f"StandardScaler()), ('last', CMLRegressor())], and not empty; got {steps!r:.80}. "
            "make_pipeline names estimators by itself."
        )
    for name, step in steps:
        if isinstance(step, type):
            raise TypeError(
                f"{name!r} of steps is the class {step.__name__}. A class was passed: pass an "
                f"instance, {step.__name__}()."
            )


def has_learned(last: Any) -> bool | None:
    """Return whether a last step has; None for one that is not of skcml and does not tell."""
    while isinstance(last, sklearn.pipeline.Pipeline):
        check_steps(last.steps)
        last = last.steps[-1][1]
    return hasattr(last, "_meta") if isinstance(last, BaseCML) else None


def is_refitted(transformer: Any) -> bool:
    """Return whether `fit` of a pipeline changes what a transformer does."""
    if transformer in NO_STEP or isinstance(transformer, FrozenEstimator):
        return False
    return not hasattr(transformer, "__sklearn_tags__") or get_tags(transformer).requires_fit


class StepsMixin(sklearn.pipeline.Pipeline):
    """A pipeline that knows with which transformers its last step has learned."""

    steps: list[Step]
    # The transformers as `meta_fit` has left them; None before it.
    _learned: list[Step] | None = None

    def _check_unchanged(self, error: type[ValueError] = ValueError) -> None:
        """Raise if these are no steps, or after `meta_fit` others than have learned."""
        check_steps(self.steps)
        if self._learned is None:
            return
        *transformers, (_, last) = self.steps
        if transformers != self._learned:
            raise error(
                f"The steps before the last have changed since meta_fit was called, and are "
                f"{dict(transformers)} now. The last step has learned from the columns that "
                "they made then: call meta_fit again, or set them back."
            )
        if has_learned(last) is False:
            raise error(
                f"The last step has changed since meta_fit was called, and is {last!r} now, which "
                "has not learned: call meta_fit again, or set it back."
            )

    def _check_fit(self) -> None:
        """Raise if `fit` would refit what made the rows that the last step has learned from."""
        self._check_unchanged()
        *transformers, (_, last) = self.steps
        refitted = [name for name, step in transformers if is_refitted(step)]
        if self._learned is None and refitted and has_learned(last):
            raise ValueError(
                f"The last step has learned and the pipeline has not: fit would fit {refitted} to "
                "these rows, and make other columns than those that the last step has learned "
                "from. Call meta_fit of the pipeline, or freeze the transformers "
                "(sklearn.frozen.FrozenEstimator) that the rows it learned from went through."
            )

    def _last(self) -> Any:
        """Return the last step of a pipeline that has not changed since it learned."""
        self._check_unchanged(NotFittedError)
        return self.steps[-1][1]

    def __sklearn_is_fitted__(self) -> bool:
        self._check_unchanged(NotFittedError)
        return super().__sklearn_is_fitted__()

    def __sklearn_clone__(self) -> Self:
        """Clone the steps; frozen ones are the same in the clone."""
        twin: Self = super().__sklearn_clone__()
        twin._learned = self._learned
        return twin
