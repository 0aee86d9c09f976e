"""The pipeline: its transformers learn once, its last step adapts."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

import sklearn.pipeline
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples

from skcml.estimators._diagram import DOCUMENTATION
from skcml.estimators._inputs import all_or_nothing
from skcml.estimators._naming import naming
from skcml.pipeline._arguments import addressed, given
from skcml.pipeline._frozen import frozen, thawed, to_be_fitted, transformed
from skcml.pipeline._last_step import LastStepMixin, last_step_has
from skcml.pipeline._learner import MetaFit
from skcml.pipeline._steps import check_steps


class Pipeline(LastStepMixin, sklearn.pipeline.Pipeline):
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

    @available_if(last_step_has("meta_fit"))
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
            If ``steps`` are no list of names and estimators, a transformer or the last step refuses
            what it gets, or rows were dropped. What was learned before is kept.
        TypeError
            If a class is among the steps, or X is no table.

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
        check_steps(self.steps)
        with naming("X"):
            n_rows = _num_samples(X)
        *transformers, (name, last) = self.steps
        learner = copy(self)  # has its cache and its callbacks
        learner._learned = None

        def validation() -> dict[str, Any]:
            rows = None if X_val is None else transformed(learner.steps[:-1], X_val)
            return given(X_val=rows, y_val=y_val, groups_val=groups_val)

        stand_in = MetaFit(last, n_rows, validation)
        learner.steps = [*to_be_fitted(transformers), (name, stand_in)]
        learner.fit(X, y, **given(groups=groups, sample_weight=sample_weight), **params)
        self._learned = frozen(learner.steps[:-1])
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
            If steps have changed since `meta_fit`, or the last step has learned without the
            pipeline and a transformer is not frozen; if a parameter names no step, or one that is
            frozen or None; or a step refuses what it gets. What was fitted before is kept.
        TypeError
            If a class is among the steps.

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
        self._check_fit()
        with all_or_nothing(self):
            super().fit(X, y, **addressed(params, self.steps))
            if self._learned is not None:  # a cache returns copies
                self.steps = [*self._learned, self.steps[-1]]
        return self

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the pipeline and of its steps.

        Parameters
        ----------
        **params : dict
            ``scale__with_mean`` is the parameter ``with_mean`` of the step "scale". After
            `meta_fit`, a transformer of which a parameter changes is to be learned again: `fit` and
            `predict` raise until `meta_fit` has been called.

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
                self.steps = thawed(self.steps, changed)
            super().set_params(**params)
        return self


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
