"""Which part of an estimator learns from many tasks, and which adapts to one."""

import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier, CMLRegressor
from skcml.model_selection._parts import (
    adapting_part,
    adapts_to_many,
    class_setting,
    group_column_of,
    is_carried,
    meta_learner,
)
from tests.estimators import learned_classifier, learned_pool

ONE = CMLRegressor(group_column="ward")
SEARCH = GridSearchCV(ONE, {"prior_strength": [1.0]})
PIPELINE = make_pipeline(StandardScaler(), ONE)


def test_the_part_that_learns():
    assert meta_learner(ONE) is ONE
    assert meta_learner(SEARCH) is ONE
    assert meta_learner(GridSearchCV(SEARCH, {})) is ONE
    for wrong in (Ridge(), PIPELINE, CMLRegressor, None):
        with pytest.raises(TypeError, match="needs an estimator with meta_fit"):
            meta_learner(wrong)


def test_the_part_that_adapts():
    for whole in (ONE, SEARCH, PIPELINE, GridSearchCV(PIPELINE, {}), FrozenEstimator(ONE)):
        assert adapting_part(whole) is ONE
        assert is_carried(whole)
    assert not is_carried(make_pipeline(StandardScaler(), CMLRegressor()))


def test_the_column_of_the_groups():
    assert group_column_of(None, PIPELINE) == "ward"
    assert group_column_of("ward", PIPELINE) == "ward"
    assert group_column_of("shop", Ridge()) == "shop"
    assert group_column_of(None, CMLRegressor()) is None
    with pytest.raises(ValueError, match="'shop' in TaskLearner and 'ward' in its estimator"):
        group_column_of("shop", SEARCH)


def test_what_adapts_to_many_groups_as_if_to_one_after_the_other():
    assert adapts_to_many(ONE)
    assert adapts_to_many(learned_classifier())
    # Each group has classes of its own; a search would choose for all; a step is not asked.
    for alone in (learned_pool(), SEARCH, PIPELINE):
        assert not adapts_to_many(alone)


def test_the_setting_of_classes():
    assert class_setting(CMLRegressor()) == "shared"
    assert class_setting(CMLClassifier()) == "auto"
    assert class_setting(make_pipeline(CMLClassifier(classes="exchangeable"))) == "exchangeable"
    assert class_setting(learned_classifier()) == "shared"
    assert class_setting(learned_pool()) == "exchangeable"
