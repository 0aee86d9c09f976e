"""What a pipeline hands on to its last step, with what the transformers make of X."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from skcml import CMLRegressor
from skcml.pipeline import Pipeline, make_pipeline
from skcml.pipeline._last_step import LastStepMixin, last_step_has
from tests.estimators import both, labelled, pool, quick_classifier
from tests.pipelines import (
    GROUPS,
    NEW_GROUPS,
    NEW_X,
    NEW_Y,
    Stateless,
    X,
    Y,
    by_hand,
    curved,
    learned,
)

HANDED_ON = (
    "decision_function",
    "forget",
    "group_effects",
    "partial_fit",
    "predict_quantiles",
    "prior_summary",
    "score",
)


class Answering(BaseEstimator):
    """A last step whose methods return what they were passed."""

    meta_gain_ = "gain"

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        return self

    def score(self, X, y, **params):
        return X, y, params

    def predict_quantiles(self, X, q, groups):
        return X, q, groups

    def forget(self, groups):
        self.forgot_ = groups


# --- against a last step that notes what it gets


def test_arguments_reach_the_last_step_and_nothing_is_added():
    pipeline = Pipeline([("double", Stateless()), ("last", Answering())])
    for weight, expected in ((None, {"groups": 1}), (2, {"groups": 1, "sample_weight": 2})):
        made, y, params = pipeline.score(X, Y, sample_weight=weight, groups=1)
        assert_array_equal(made, 2 * X)
        assert y is Y
        assert params == expected
    made, q, groups = pipeline.predict_quantiles(X, groups=GROUPS)
    assert_array_equal(made, 2 * X)
    assert q == (0.05, 0.5, 0.95)
    assert groups is GROUPS
    assert pipeline.meta_gain_ == "gain"
    for some in ([3], None):
        assert pipeline.forget(some) is pipeline
        assert pipeline[-1].forgot_ is some


@pytest.mark.parametrize("name", [*HANDED_ON, "meta_gain_"])
def test_a_method_is_there_if_the_last_step_has_it(name):
    assert hasattr(learned(), name) == hasattr(learned()[-1], name)
    assert hasattr(Pipeline([("last", Answering())]), name) == hasattr(Answering, name)
    for none in (None, "passthrough"):
        assert not hasattr(Pipeline([("scale", StandardScaler()), ("last", none)]), name)
    assert not hasattr(Pipeline([]), name)


def test_no_method_is_handed_on_beyond_these():
    own = {name for name in vars(LastStepMixin) if not name.startswith(("_", "set_"))}
    assert own == {*HANDED_ON, "meta_gain_"}


def test_the_error_of_the_last_step_is_the_cause():
    counts = CMLRegressor(loss="poisson")
    with pytest.raises(AttributeError, match="'Pipeline' has no attribute 'partial_fit'") as found:
        make_pipeline(counts).partial_fit(X, Y)
    assert "partial_fit" in str(found.value.__cause__)
    assert last_step_has("fit")(make_pipeline(counts))


def test_what_has_not_learned_or_has_changed_since_is_not_asked():
    changed = learned().set_params(polynomialfeatures__degree=3)
    for pipeline in (curved(), changed):
        with pytest.raises(NotFittedError):
            pipeline.predict_quantiles(X)
        with pytest.raises(NotFittedError):
            pipeline.score(X, Y)
    for method, arguments in (
        ("predict_quantiles", (X,)),
        ("score", (X, Y)),
        ("partial_fit", (X, Y)),
        ("forget", ()),
        ("group_effects", ()),
        ("prior_summary", ()),
    ):
        with pytest.raises(NotFittedError, match=r"changed since meta_fit.* call meta_fit again"):
            getattr(changed, method)(*arguments)


# --- against the steps, one after the other


def test_each_method_does_what_the_steps_do():
    scale, curve, last = by_hand()
    pipeline = learned().fit(NEW_X[::2], NEW_Y[::2], groups=NEW_GROUPS[::2])
    made = curve.transform(scale.transform(NEW_X))
    last.fit(made[::2], NEW_Y[::2], groups=NEW_GROUPS[::2])

    assert_array_equal(pipeline.predict(NEW_X, groups=NEW_GROUPS), last.predict(made, NEW_GROUPS))
    assert_array_equal(both(pipeline, NEW_X, NEW_GROUPS), both(last, made, NEW_GROUPS))
    assert_array_equal(
        pipeline.predict_quantiles(NEW_X, [0.1, 0.8], groups=NEW_GROUPS),
        last.predict_quantiles(made, [0.1, 0.8], groups=NEW_GROUPS),
    )
    weight = np.arange(1.0, len(NEW_Y) + 1)
    for extra in ({}, {"sample_weight": weight}):
        found = pipeline.score(NEW_X, NEW_Y, groups=NEW_GROUPS, **extra)
        assert found == last.score(made, NEW_Y, groups=NEW_GROUPS, **extra)
    for options in ({}, {"deviations": True}):
        pd.testing.assert_frame_equal(
            pipeline.group_effects(**options), last.group_effects(**options)
        )
    pd.testing.assert_frame_equal(pipeline.prior_summary(), last.prior_summary())
    assert_array_equal(pipeline.group_effects(as_frame=False), last.group_effects(as_frame=False))


def test_rows_that_come_by_and_by_go_through_the_transformers():
    pipeline, (scale, curve, last) = learned(), by_hand()
    for rows in np.array_split(np.arange(len(NEW_Y)), 3):
        groups = NEW_GROUPS[rows]
        pipeline.partial_fit(NEW_X[rows], NEW_Y[rows], groups=groups)
        made = curve.transform(scale.transform(NEW_X[rows]))
        last.partial_fit(made, NEW_Y[rows], groups=groups)
    asked = curve.transform(scale.transform(NEW_X))
    expected = both(last, asked, groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, NEW_X, groups=NEW_GROUPS), expected)
    some = NEW_GROUPS[0]
    assert_array_equal(
        both(pipeline.forget(some), NEW_X, groups=NEW_GROUPS),
        both(last.forget(some), asked, groups=NEW_GROUPS),
    )
    assert not hasattr(make_pipeline(StandardScaler(), Ridge()), "partial_fit")
    assert not hasattr(make_pipeline(StandardScaler(), Ridge()), "forget")


def test_shared_classes():
    x, y, groups = labelled()
    scale = StandardScaler().fit(x)
    shared = quick_classifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
    last = clone(shared).meta_fit(scale.transform(x), y, groups=groups)
    last.fit(scale.transform(x[::2]), y[::2], groups=groups[::2])
    pipeline = make_pipeline(StandardScaler(), shared).meta_fit(x, y, groups=groups)
    pipeline.fit(x[::2], y[::2], groups=groups[::2])
    made = scale.transform(x)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        found = getattr(pipeline, method)(x, groups=groups)
        assert_array_equal(found, getattr(last, method)(made, groups=groups))
    assert pipeline.score(x, y, groups=groups) == last.score(made, y, groups=groups)
    assert_array_equal(pipeline.classes_, ["a", "b"])
    with pytest.raises(ValueError, match="predict needs the group of each row"):
        pipeline.decision_function(x)


def test_classes_that_are_new_at_fit():
    x, y = pool()
    old = np.arange(len(y)) < 80
    scale = StandardScaler().fit(x[old])
    unlearned = quick_classifier(n_ways=4, n_shots=2, early_stopping=False)
    last = clone(unlearned).meta_fit(scale.transform(x[old]), y[old])
    pipeline = make_pipeline(StandardScaler(), unlearned)
    pipeline.meta_fit(x[old], y[old])
    with pytest.raises(NotFittedError):
        pipeline.predict_proba(x)
    last.fit(scale.transform(x[~old][::4]), y[~old][::4])
    pipeline.fit(x[~old][::4], y[~old][::4])
    assert_array_equal(pipeline.predict_proba(x), last.predict_proba(scale.transform(x)))
    assert pipeline.score(x[~old], y[~old]) > 0.8


def test_frames_give_their_names():
    frame = pd.DataFrame(X, columns=["dose", "age"])
    pipeline = curved().set_output(transform="pandas").meta_fit(frame, Y, groups=GROUPS)
    pipeline.fit(frame, Y, groups=GROUPS)
    made = ["dose", "age", "dose^2", "dose age", "age^2"]
    assert list(pipeline.group_effects().columns) == ["intercept", *made]
    assert list(pipeline.prior_summary().index) == ["intercept", *made]
    assert list(pipeline[:-1].get_feature_names_out()) == made
    assert list(pipeline.feature_names_in_) == ["dose", "age"]
    assert pipeline.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline.predict(frame[["age", "dose"]], groups=GROUPS)


# --- with metadata routing


def test_groups_find_the_last_step_with_routing(routing):
    scale, curve, last = by_hand()
    pipeline = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    last.fit(curve.transform(scale.transform(NEW_X)), NEW_Y, groups=NEW_GROUPS)
    made = curve.transform(scale.transform(X))
    assert_array_equal(both(pipeline, X, GROUPS), both(last, made, GROUPS))
    assert_array_equal(
        pipeline.predict_quantiles(X, groups=GROUPS), last.predict_quantiles(made, groups=GROUPS)
    )
    assert pipeline.score(X, Y, groups=GROUPS) == last.score(made, Y, groups=GROUPS)


def test_classes_find_the_last_step_with_routing(routing):
    x, y, groups = labelled()
    pipeline = make_pipeline(StandardScaler(), quick_classifier(early_stopping=False))
    pipeline.meta_fit(x, y, groups=groups).fit(x, y, groups=groups)
    p = pipeline.predict_proba(x, groups=groups)
    assert_array_equal(np.exp(pipeline.predict_log_proba(x, groups=groups)).round(9), p.round(9))
    assert_allclose(pipeline.decision_function(x, groups=groups), np.log(p[:, 1] / p[:, 0]))
    assert pipeline.score(x, y, groups=groups) == np.mean(pipeline.predict(x, groups=groups) == y)
