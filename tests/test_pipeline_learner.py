"""What stands in the last place while a pipeline learns: rows, judges, callbacks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from skcml.pipeline import make_pipeline
from skcml.pipeline._learner import MetaFit
from tests.estimators import both, quick
from tests.pipelines import GROUPS, NEW_GROUPS, NEW_X, NEW_Y, Stateless, X, Y, quickest
from tests.test_progress import Recorder


class Noting(BaseEstimator):
    """A last step that keeps what its `meta_fit` was passed."""

    def meta_fit(self, X, y, **params):
        self.passed_ = X, y, params


class Shortening(Stateless):
    def transform(self, X):
        return X[:-2]


def test_its_fit_is_the_last_steps_meta_fit():
    scale, last = StandardScaler(), Noting()

    def validation():  # asked when the transformers have been fitted
        return {"X_val": scale.transform(NEW_X)}

    learner = plain_pipeline(scale, MetaFit(last, len(X), validation))
    learner.fit(X, Y, metafit__groups=GROUPS)
    made, outputs, params = last.passed_
    assert_array_equal(made, scale.transform(X))
    assert outputs is Y
    assert params.keys() == {"groups", "X_val"}
    assert params["groups"] is GROUPS
    assert_array_equal(params["X_val"], scale.transform(NEW_X))
    assert "_parent_callback_ctx" not in vars(last)


def test_it_asks_for_groups_and_weights_by_itself(routing):
    last = Noting()
    learner = plain_pipeline(StandardScaler(), MetaFit(last, len(X), dict))
    learner.fit(X, Y, groups=GROUPS)
    assert last.passed_[2].keys() == {"groups"}
    # Of the two, the transformer is the one that has not said whether it wants weights.
    learner[0].set_fit_request(sample_weight=False)
    learner.fit(X, Y, groups=GROUPS, sample_weight=Y)
    assert last.passed_[2].keys() == {"groups", "sample_weight"}


def test_too_many_rows_do_not_reach_the_last_step():
    last = Noting()
    with pytest.raises(ValueError, match=r"made 72 rows of the 71 rows of X"):
        plain_pipeline(MetaFit(last, len(X) - 1, dict)).fit(X, Y)
    assert not hasattr(last, "passed_")


def test_what_learns_a_last_step_is_left_neither_in_it_nor_in_the_pipeline():
    last = Noting()
    pipeline = make_pipeline(StandardScaler(), last).meta_fit(X, Y)
    assert pipeline[-1] is last
    assert vars(last).keys() == {"passed_"}
    assert last.passed_[2] == {}  # and no argument that was not passed


def test_groups_to_judge_by_are_transformed_too():
    scale = StandardScaler().fit(X)
    judges = {"y_val": NEW_Y, "groups_val": NEW_GROUPS}
    last = quick().meta_fit(
        scale.transform(X), Y, groups=GROUPS, X_val=scale.transform(NEW_X), **judges
    )
    pipeline = make_pipeline(StandardScaler(), quick())
    pipeline.meta_fit(X, Y, groups=GROUPS, X_val=NEW_X, **judges)
    assert pipeline.meta_gain_ == last.meta_gain_
    assert_array_equal(pipeline[0].mean_, X.mean(0))
    with pytest.raises(ValueError, match="X_val was passed without y_val"):
        pipeline.meta_fit(X, Y, groups=GROUPS, X_val=NEW_X)


def test_target_encoders_cross_fit_the_rows_that_they_learn_from():
    kind = np.array(list("abc"))[np.random.default_rng(0).integers(0, 3, len(Y))][:, None]
    encoder = TargetEncoder(cv=KFold(3, shuffle=True, random_state=0), target_type="continuous")
    pipeline = make_pipeline(encoder, quickest())
    pipeline.meta_fit(kind, Y, groups=GROUPS)
    alone = clone(encoder)
    made = alone.fit_transform(kind, Y)
    assert not np.array_equal(made, alone.transform(kind))
    last = quickest().meta_fit(made, Y, groups=GROUPS)
    assert_array_equal(both(pipeline, kind), both(last, alone.transform(kind)))
    # What it has learned stays, whatever y is at fit.
    pipeline.fit(kind, -Y, groups=GROUPS)
    assert_array_equal(pipeline[0].encodings_[0], alone.encodings_[0])


def test_rows_may_not_be_dropped():
    with pytest.raises(ValueError, match=r"made 70 rows of the 72 rows of X.*before meta_fit"):
        make_pipeline(Shortening(), quickest()).meta_fit(X, Y, groups=GROUPS)


def test_callbacks_follow_the_last_step_through_meta_fit(capsys):
    recorder = Recorder()
    pipeline = make_pipeline(StandardScaler(), quick(early_stopping=False))
    pipeline.set_callbacks(recorder).meta_fit(X, Y, groups=GROUPS)
    assert recorder.events[0] == ("setup", "fit")
    assert recorder.events[-1] == ("teardown", "fit")
    pipeline.set_callbacks(ProgressBar()).meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y)
    assert "descent" in capsys.readouterr().out
    assert "_skl_callbacks" not in vars(pipeline[-1])
    assert "_parent_callback_ctx" not in vars(pipeline[-1])


class Outer(CallbackSupportMixin, BaseEstimator):
    """Meta-fits a pipeline as a task of its own."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    @with_callbacks
    def fit(self, X, y, groups):
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        part = context.subcontext(task_name="part")
        with part.propagate_callback_context(self.pipeline):
            part.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self.pipeline.meta_fit(X, y, groups=groups)
            part.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self


def test_callbacks_come_from_further_out(capsys):
    pipeline = make_pipeline(StandardScaler(), quick(early_stopping=False))
    outer = Outer(pipeline).set_callbacks(ProgressBar(max_propagation_depth=None))
    for _ in range(2):
        outer.fit(X, Y, GROUPS)
        assert "descent" in capsys.readouterr().out
    with pytest.raises(ValueError, match="NaN"):
        outer.fit(X, np.full(len(Y), np.nan), GROUPS)
    assert not {"_parent_callback_ctx", "_skl_callbacks"} & set(vars(pipeline))
