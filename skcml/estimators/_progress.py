"""From the descents of `meta_fit` to scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext

from skcml.outer_loop import History
from skcml.problems.meta_params import MetaParams
from skcml.selection.folds import OnStep


def hook_data(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Return what the hooks get; groups are left out, since no metric takes them."""
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    return {"X": X, "y": y, "metadata": metadata}


class CallbackProgress:
    """Shows each descent as a subtask of `meta_fit`, and each meta-step as a subtask of that.

    Parameters
    ----------
    estimator : estimator
    context : CallbackContext
        Of `meta_fit`.
    n_steps : int
        Meta-steps of a descent, at most.
    data : dict
        ``X``, ``y`` and ``metadata`` as the hooks get them.
    attributes : callable or None
        Makes, of a start and of meta-parameters, what a callback needs to predict; None where
        nothing can be predicted before `fit`.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        context: CallbackContext,
        n_steps: int,
        data: dict[str, Any],
        attributes: Callable[..., dict[str, Any]] | None,
    ) -> None:
        self.estimator = estimator
        self.context = context
        self.n_steps = n_steps
        self.data = data
        self.attributes = attributes
        self.current: CallbackContext | None = None
        context.call_on_fit_task_begin(estimator=estimator, **data)

    def descent(self, start: Any) -> OnStep:
        """Begin a descent; see `skcml.selection.folds.Progress`."""
        self._end_descent()
        descent = self.context.subcontext(task_name="descent", max_subtasks=self.n_steps)
        descent.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self.current = descent

        def on_step(step: int, theta: MetaParams, history: History) -> bool:
            context = descent.subcontext(task_name="meta-step")
            context.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            attributes = None
            if self.attributes is not None:
                attributes = partial(self.attributes, start, theta)
            stop = context.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=attributes,
                **self.data,
            )
            return bool(stop)

        return on_step

    def _end_descent(self) -> None:
        if self.current is not None:
            self.current.call_on_fit_task_end(estimator=self.estimator, **self.data)
            self.current = None

    def end(self) -> None:
        """End the last descent and `meta_fit` itself."""
        self._end_descent()
        self.context.call_on_fit_task_end(estimator=self.estimator, **self.data)
