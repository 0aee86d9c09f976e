"""Progress, scores per iteration and stopping through scikit-learn's callbacks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.callback import CallbackSupportMixin, ProgressBar, ScoringMonitor, with_callbacks
from sklearn.model_selection import GridSearchCV

from skcml.estimators._progress import hook_data
from tests.estimators import both, grouped, learned, pool, quick, quick_classifier

X, Y, GROUPS = grouped()
DATA = {"X": X, "y": Y, "groups": GROUPS}


class Recorder:
    """A callback that writes down what happens; `stop_at` ends the descents at that step."""

    def __init__(self, stop_at=None, fail_at=None):
        self.stop_at, self.fail_at = stop_at, fail_at
        self.events, self.tasks, self.fitted = [], [], []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(("end", context.task_name))
        names = [context.task_name]
        while context.parent is not None:
            context = context.parent
            names.append(context.task_name)
        self.tasks.append((" < ".join(names), X, y, metadata))
        if fitted_estimator is not None:
            self.fitted.append(fitted_estimator)
        if names[0] == "meta-step":
            step = sum(name == ("begin", "meta-step") for name in self.events)
            if step == self.fail_at:
                raise OSError("the disk is full")
            return step == self.stop_at
        return None


def test_the_tasks_form_a_tree():
    recorder = Recorder()
    quick(meta_max_iter=3).set_callbacks(recorder).meta_fit(**DATA)
    step = [("begin", "meta-step"), ("end", "meta-step")]
    descent = [("begin", "descent"), *3 * step, ("end", "descent")]
    assert recorder.events == [
        ("setup", "meta_fit"),
        ("begin", "meta_fit"),
        *10 * descent,
        ("end", "meta_fit"),
        ("teardown", "meta_fit"),
    ]
    assert {path for path, *_ in recorder.tasks} == {
        "meta-step < descent < meta_fit",
        "descent < meta_fit",
        "meta_fit",
    }


def test_hooks_get_the_data_as_passed():
    recorder = Recorder()
    weight = np.ones(len(X))
    quick(early_stopping=False).set_callbacks(recorder).meta_fit(**DATA, sample_weight=weight)
    for _, x, y, metadata in recorder.tasks:
        assert x is X
        assert y is Y
        assert metadata == {"sample_weight": weight}


def test_hook_data_leaves_out_what_was_not_passed():
    assert hook_data(X, Y, None) == {"X": X, "y": Y, "metadata": None}


def test_callbacks_change_nothing():
    idle = quick().set_callbacks(Recorder()).meta_fit(**DATA)
    assert_array_equal(both(idle, X), both(learned(), X))
    assert idle.meta_history_ == learned().meta_history_


def test_with_callbacks_the_folds_stay_in_this_process():
    recorder = Recorder()
    several = quick(n_jobs=2).set_callbacks(recorder).meta_fit(**DATA)
    assert len(recorder.fitted) == 50
    assert_array_equal(both(several, X), both(learned(), X))


def test_a_callback_that_returns_true_ends_the_descent():
    recorder = Recorder(stop_at=2)
    estimator = quick(early_stopping=False).set_callbacks(recorder).meta_fit(**DATA)
    assert estimator.n_meta_iter_ == 2
    assert len(recorder.fitted) == 2
    assert ("end", "descent") in recorder.events
    # The others go on.
    estimator = quick().set_callbacks(Recorder(stop_at=2)).meta_fit(**DATA)
    assert [len(history["loss"]) for history in estimator.meta_history_] == [2] + 9 * [5]


def test_each_step_hands_over_an_estimator_that_predicts():
    recorder = Recorder()
    estimator = quick(early_stopping=False).set_callbacks(recorder).meta_fit(**DATA)
    estimators = [fitted.set_callbacks() for fitted in list(recorder.fitted)]
    predictions = [both(fitted.fit(X[:3], Y[:3]), X) for fitted in estimators]
    assert all(np.isfinite(p).all() for p in predictions)
    assert len({p.tobytes() for p in predictions}) == 5
    # The last step of the only descent is what was learned.
    assert_array_equal(predictions[-1], both(estimator.set_callbacks().fit(X[:3], Y[:3]), X))


def test_callbacks_are_torn_down_after_a_failure_and_nothing_is_lost():
    estimator = learned()
    before = both(estimator, X)
    recorder = Recorder(fail_at=7)
    estimator.set_callbacks(recorder)
    attributes = set(vars(estimator))
    with pytest.raises(OSError, match="the disk is full"):
        estimator.meta_fit(**DATA)
    assert recorder.events[-1] == ("teardown", "meta_fit")
    assert recorder.events.count(("begin", "descent")) == 2
    assert set(vars(estimator)) == attributes
    assert_array_equal(both(estimator, X), before)


def test_without_steps_there_is_nothing_to_follow():
    recorder = Recorder()
    quick(meta_max_iter=0).set_callbacks(recorder).meta_fit(**DATA)
    assert recorder.events == [
        ("setup", "meta_fit"),
        ("begin", "meta_fit"),
        ("end", "meta_fit"),
        ("teardown", "meta_fit"),
    ]


def test_validation_groups_and_few_groups_have_as_many_descents_as_announced():
    class Widths(Recorder):
        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "meta_fit":
                self.announced = context.max_subtasks
            super().on_fit_task_begin(estimator, context)

    few = slice(0, 3 * 6)
    validation = {"X_val": X, "y_val": Y, "groups_val": GROUPS}
    for data, params, expected in [
        (DATA, {}, 10),
        (DATA, {"early_stopping": False}, 1),
        (DATA | validation, {}, 1),
        ({name: values[few] for name, values in DATA.items()}, {}, 3),
        (DATA, {"meta_max_iter": 0}, 0),
    ]:
        recorder = Widths()
        quick(**{"meta_max_iter": 1} | params).set_callbacks(recorder).meta_fit(**data)
        assert recorder.announced == expected
        assert recorder.events.count(("begin", "descent")) == expected


# --- fit


def test_fit_is_a_task_of_its_own():
    recorder = Recorder()
    estimator = learned().set_callbacks(recorder).fit(X, Y)
    assert recorder.events == [
        ("setup", "fit"),
        ("begin", "fit"),
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert_array_equal(both(recorder.fitted[0], X), both(estimator, X))
    assert_array_equal(both(estimator, X), both(learned().fit(X, Y), X))


def test_a_search_counts_its_fits(capsys):
    class Propagated(Recorder):
        max_propagation_depth = None

    recorder = Propagated()
    grid = {"prior_strength": [0.5, 1.0]}
    search = GridSearchCV(learned(), grid, cv=3, scoring="neg_mean_squared_error")
    search.set_callbacks(recorder).fit(X, Y)
    assert recorder.events.count(("end", "fit")) == 2 * 3 + 1 + 1  # fits, the refit, the search
    search.set_callbacks(ProgressBar()).fit(X, Y)
    assert "refit-with-best-params | CMLRegressor - fit" in capsys.readouterr().out


# --- scikit-learn's own callbacks


def test_progress_bars_are_shown(capsys):
    quick(early_stopping=False).set_callbacks(ProgressBar()).meta_fit(**DATA)
    out = capsys.readouterr().out
    assert "CMLRegressor - meta_fit" in out
    assert "CMLRegressor - descent #0" in out
    assert "100%" in out


def test_scores_are_recorded_at_each_step():
    monitor = ScoringMonitor(scoring=["r2", "neg_mean_squared_error"])
    estimator = quick(early_stopping=False).set_callbacks(monitor)
    estimator.meta_fit(**DATA, sample_weight=np.ones(len(X)))
    rows = monitor.get_logs().data
    assert [row["task_id"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(row["task_name"] == "meta-step" for row in rows)
    assert rows[-1]["r2"] == pytest.approx(estimator.score(X, Y))


def test_scores_are_recorded_with_a_group_column():
    table = np.column_stack([X, GROUPS])
    monitor = ScoringMonitor(scoring="r2")
    estimator = quick(group_column=-1, early_stopping=False).set_callbacks(monitor)
    estimator.meta_fit(table, Y)
    assert len(monitor.get_logs().data) == 5
    estimator.fit(table, Y)  # its score knows the groups
    assert monitor.get_logs().data[-1]["r2"] == pytest.approx(estimator.score(table, Y))
    assert monitor.get_logs().data[-1]["r2"] > 0.9


def test_scores_of_fit_are_left_out_where_the_groups_cannot_be_passed_on():
    monitor = ScoringMonitor(scoring="r2")
    learned().set_callbacks(monitor).fit(X, Y, groups=GROUPS)
    with pytest.raises(ValueError, match="No logs to retrieve"):
        monitor.get_logs()


def test_clones_keep_the_callbacks():
    recorder = Recorder()
    clone(learned().set_callbacks(recorder)).fit(X, Y)
    assert ("end", "fit") in recorder.events


class OverTasks(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """An estimator whose `fit` is the `meta_fit` of another."""

    def __init__(self, estimator=None):
        self.estimator = estimator

    @with_callbacks
    def fit(self, X, y):
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.estimator_ = clone(self.estimator)
        learning = context.subcontext(task_name="learning")
        learning.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with learning.propagate_callback_context(self.estimator_):
            self.estimator_.meta_fit(X, y)
        learning.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def predict(self, X):
        return self.estimator_.predict(X)


def test_a_search_over_meta_fit_shows_each(capsys):
    table = np.column_stack([X, GROUPS])
    outer = OverTasks(quick(group_column=-1, early_stopping=False, meta_max_iter=2))
    search = GridSearchCV(outer, {"estimator__activation": ["tanh", "relu"]}, cv=2, scoring="r2")
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(table, Y)
    out = capsys.readouterr().out
    assert "candidate-split-evaluation | OverTasks - fit" in out
    assert "learning | CMLRegressor - meta_fit" in out
    assert "CMLRegressor - descent" in out


def test_progress_of_a_pool_is_shown(capsys):
    quick_classifier(n_ways=4, n_shots=2).set_callbacks(ProgressBar()).meta_fit(*pool())
    out = capsys.readouterr().out
    assert "CMLClassifier - meta_fit" in out
    assert "CMLClassifier - descent #0" in out
    assert "100%" in out
