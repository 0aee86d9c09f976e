"""`MetaLearningCurveDisplay`, drawn without a window."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml import CMLRegressor
from skcml.inspection import MetaLearningCurveDisplay
from tests.estimators import grouped, learned, learned_pool, linear, quick
from tests.pipelines import learned_seller, seller_by_hand

X, Y, GROUPS = grouped()


def labels_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_a_line_for_each_fold(plt):
    est = quick(meta_max_iter=45).meta_fit(X, Y, groups=GROUPS)
    display = MetaLearningCurveDisplay.from_estimator(est)
    assert len(est.meta_history_) == 10
    drawn = zip(
        est.meta_history_, display.lines_, display.validation_lines_, display.best_, strict=True
    )
    for history, line, held_out, best in drawn:
        assert_array_equal(line.get_xdata(), 1 + np.arange(len(history["loss"])))
        assert_array_equal(line.get_ydata(), history["loss"])
        assert_array_equal(held_out.get_xdata(), history["validation_step"])
        assert_array_equal(held_out.get_ydata(), history["validation_loss"])
        assert best.get_xdata() == [history["best_step"]]
        assert best.get_ydata() == [min(history["validation_loss"])]
    assert display.mean_lines_ == []
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xlabel() == "meta-step"
    assert labels_of(display) == [
        "each step's episode, 10 folds",
        "groups held out",
        "least: what was taken",
    ]
    display.figure_.canvas.draw()


def test_a_descent_that_held_nothing_out_has_a_running_mean(plt):
    est = quick(meta_max_iter=50, early_stopping=False).meta_fit(X, Y, groups=GROUPS)
    display = MetaLearningCurveDisplay.from_estimator(est)
    (line,), loss = display.mean_lines_, np.array(est.meta_history_[0]["loss"])
    assert_array_equal(line.get_xdata(), np.arange(20, 51))
    assert_allclose(line.get_ydata(), [loss[end - 20 : end].mean() for end in range(20, 51)])
    assert display.validation_lines_ == display.best_ == []
    assert labels_of(display) == ["each step's episode, one descent", "their running mean"]


def test_exchangeable_classes(plt):
    display = MetaLearningCurveDisplay.from_estimator(learned_pool())
    assert_array_equal(display.lines_[0].get_ydata(), learned_pool().meta_history_[0]["loss"])
    assert_allclose(display.mean_lines_[0].get_ydata(), [np.mean(display.history[0]["loss"])])


def test_plot_into_given_axes_and_again(plt):
    display = MetaLearningCurveDisplay(history=learned().meta_history_)
    _, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert len(display.plot(ax=right).lines_) == 10
    assert display.plot().ax_ not in (left, right)


def test_refusals():
    with pytest.raises(
        ValueError, match="has not learned yet, so that there is no descent to draw"
    ):
        MetaLearningCurveDisplay.from_estimator(CMLRegressor())
    est = linear().meta_fit(X, Y, groups=GROUPS)
    with pytest.raises(ValueError, match=r"meta_fit took no meta-step \(meta_max_iter=0\)"):
        MetaLearningCurveDisplay.from_estimator(est)
    for history in ([], est.meta_history_):
        with pytest.raises(ValueError, match="history must hold one descent or more, each with a"):
            MetaLearningCurveDisplay(history=history).plot()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'MetaLearningCurveDisplay draws .*"skcml\[plot\]"'):
        MetaLearningCurveDisplay.from_estimator(None)


def test_of_a_pipeline_the_last_step_is_drawn(plt):
    display = MetaLearningCurveDisplay.from_estimator(learned_seller())
    assert display.history == seller_by_hand()[1].meta_history_
