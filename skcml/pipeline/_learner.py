"""What stands in a pipeline's last place while it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import _num_samples


class MetaFit(CallbackSupportMixin, BaseEstimator):
    """Stands for the last step while a pipeline learns: its `fit` is that step's `meta_fit`.

    Parameters
    ----------
    estimator : estimator
        The last step.
    n_rows : int
        Rows of X before the transformers.
    validation : callable
        Returns further arguments of `meta_fit`, asked once all transformers have been fitted.
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}

    def __init__(self, estimator: Any, n_rows: int, validation: Callable[[], dict[str, Any]]):
        self.estimator = estimator
        self.n_rows = n_rows
        self.validation = validation

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Learn from rows that all transformers have seen."""
        if _num_samples(X) != self.n_rows:
            raise ValueError(
                f"The transformers made {_num_samples(X)} rows of the {self.n_rows} rows of X, but "
                "y and groups have one for each of these: leave rows out before meta_fit, not in "
                "a step."
            )
        with self._parent_callback_ctx.propagate_callback_context(self.estimator):
            self.estimator.meta_fit(X, y, **params, **self.validation())
        return self
