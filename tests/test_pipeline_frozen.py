"""Steps before the last: frozen by `meta_fit`, thawed where they are to be learned again."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from skcml.pipeline import make_pipeline
from skcml.pipeline._frozen import FrozenTransformer, frozen, thawed, to_be_fitted, transformed
from tests.estimators import both
from tests.pipelines import (
    GROUPS,
    NEW_GROUPS,
    NEW_X,
    NEW_Y,
    Stateless,
    X,
    Y,
    curved,
    learned,
    quickest,
)

MODULES = ("skcml.pipeline._frozen", "skcml.pipeline")


def fitted():
    """Return steps of each kind: fitted, frozen by the user, none."""
    mine = FrozenEstimator(StandardScaler().fit(X + 10))
    return [("scale", StandardScaler().fit(X)), ("mine", mine), ("a", None), ("b", "passthrough")]


# --- steps by themselves


def test_frozen_steps_ignore_fit():
    steps = fitted()
    for (name, before), (same_name, after) in zip(steps, frozen(steps), strict=True):
        assert name == same_name
        if before in (None, "passthrough"):
            assert after is before
        else:
            assert isinstance(after, FrozenTransformer)
            assert after.estimator is before
            assert after.fit(X + 50, Y) is after
            assert clone(after) is after
    assert_array_equal(steps[0][1].mean_, X.mean(0))


def test_a_frozen_transformer_that_keeps_nothing_counts_as_fitted():
    with pytest.raises(NotFittedError):
        check_is_fitted(FrozenEstimator(Stateless()))
    check_is_fitted(FrozenTransformer(Stateless()))


def test_steps_to_be_fitted_are_new_and_have_the_same_parameters():
    for steps in (fitted(), frozen(fitted())):
        (_, scale), (_, mine), (_, none), (_, passing) = to_be_fitted(steps)
        assert isinstance(scale, StandardScaler)
        assert not hasattr(scale, "mean_")
        assert type(mine) is FrozenEstimator
        assert_array_equal(mine.mean_, (X + 10).mean(0))
        assert none is None
        assert passing == "passthrough"
    steps = frozen([("scale", StandardScaler(with_mean=False).fit(X))])
    assert not to_be_fitted(steps)[0][1].with_mean
    assert hasattr(steps[0][1].estimator, "scale_")


def test_only_the_named_and_only_what_meta_fit_froze_is_thawed():
    scale, last = StandardScaler().fit(X), StandardScaler().fit(X)
    steps = [*frozen([("scale", scale), ("curve", scale)]), *fitted()[1:], ("last", last)]
    found = dict(thawed(steps, {"scale", "mine", "a", "b", "last", "unknown"}))
    assert list(found) == [name for name, _ in steps]
    assert isinstance(found.pop("scale"), StandardScaler)
    for name, step in found.items():
        assert step is dict(steps)[name]


def test_rows_go_through_one_step_after_the_other():
    mine = fitted()[1][1]
    expected = mine.transform(StandardScaler().fit(X).transform(NEW_X))
    assert_array_equal(transformed(fitted(), NEW_X), expected)
    assert_array_equal(transformed(frozen(fitted()), NEW_X), expected)
    assert transformed([], NEW_X) is NEW_X
    assert transformed(fitted()[2:], NEW_X) is NEW_X


def test_pickles_of_when_the_package_was_a_module():
    step = frozen(fitted())[0][1]
    now, then = (f"c{place}\nFrozenTransformer".encode() for place in MODULES)
    written = pickle.dumps(step, protocol=0).replace(now, then)
    assert then in written
    assert_array_equal(pickle.loads(written).mean_, X.mean(0))


# --- in a pipeline


def test_fit_changes_the_last_step_alone():
    pipeline = learned()
    before_fit = pipeline[:-1].steps
    assert all(isinstance(step, FrozenEstimator) for _, step in before_fit)
    before = pipeline[0].mean_.copy()
    pipeline.fit(NEW_X + 100, NEW_Y, groups=NEW_GROUPS)
    assert all(a is b for (_, a), (_, b) in zip(before_fit, pipeline.steps[:-1], strict=True))
    assert_array_equal(pipeline[0].mean_, before)


def test_clones_of_the_unlearned_are_unlearned():
    assert not isinstance(clone(curved())[0], FrozenEstimator)
    assert not isinstance(clone(learned()[0]), StandardScaler)


def test_learning_again_is_learning_anew():
    pipeline = make_pipeline(StandardScaler(), quickest()).meta_fit(X + 10, Y, groups=GROUPS)
    pipeline.meta_fit(X, Y, groups=GROUPS)
    assert isinstance(pipeline[0], FrozenTransformer)
    assert isinstance(pipeline[0].estimator, StandardScaler)
    assert_array_equal(pipeline[0].mean_, X.mean(0))


def test_what_the_user_froze_stays_frozen():
    scale = FrozenEstimator(StandardScaler().fit(X + 10))
    pipeline = make_pipeline(scale, quickest())
    for _ in range(2):
        pipeline.meta_fit(X, Y, groups=GROUPS)
        assert_array_equal(pipeline[0].mean_, (X + 10).mean(0))
    assert pipeline[0].estimator is scale


def test_steps_that_learn_nothing():
    pipeline = make_pipeline(
        Stateless(), None, "passthrough", FunctionTransformer(np.tanh), quickest()
    )
    pipeline.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    last = quickest().meta_fit(np.tanh(2 * X), Y, groups=GROUPS)
    last.fit(np.tanh(2 * NEW_X), NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(both(pipeline, X, GROUPS), both(last, np.tanh(2 * X), GROUPS))
    assert pipeline[:-1].transform(X).shape == X.shape
