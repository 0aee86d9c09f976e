"""`AdaptationDisplay`, drawn without a window."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import ProgressBar

from skcml import CMLRegressor
from skcml.inspection import AdaptationDisplay
from tests.estimators import (
    both,
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    pool,
    quick,
)

X, Y, GROUPS = grouped(seed=1, n_groups=5)
FEW = np.tile(np.arange(6) < 3, 5)
SUPPORT = {"X_support": X[FEW], "y_support": Y[FEW], "groups": GROUPS[FEW]}
QUERY = {"X_query": X[~FEW], "y_query": Y[~FEW], "groups_query": GROUPS[~FEW]}


def from_estimator(est, **options):
    return AdaptationDisplay.from_estimator(est, **SUPPORT | {"feature": 0} | options)


def test_each_panel_shows_its_group(plt):
    display = from_estimator(learned(), **QUERY, level=0.8)
    assert display.axes_.shape == (4,)
    assert display.ax_ is display.axes_[0]
    for group, (panel, task) in enumerate(zip(display.axes_, display.tasks, strict=True)):
        prior, after, seen, not_seen = panel.lines
        assert_array_equal(prior.get_ydata(), task.prior)
        assert_array_equal(after.get_ydata(), task.mean)
        rows = group == GROUPS
        assert_array_equal(seen.get_xydata(), np.column_stack([X[:, 0], Y])[rows & FEW])
        assert_array_equal(not_seen.get_xydata(), np.column_stack([X[:, 0], Y])[rows & ~FEW])
        before_band, after_band = panel.collections
        for band, low, high in (
            (before_band, task.prior_low, task.prior_high),
            (after_band, task.low, task.high),
        ):
            y = band.get_paths()[0].vertices[:, 1]
            assert_allclose([y.min(), y.max()], [low.min(), high.max()])
        assert panel.get_title() == str(group)
    labels = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert labels == [
        "before fit: the prior",
        "80 % before",
        "after fit",
        "80 % after",
        "rows seen",
        "rows not seen",
    ]
    display.figure_.canvas.draw()


def test_names_come_from_columns(plt):
    frame = pd.DataFrame(X, columns=["age", "dose"])
    est = learned()
    x, y, groups = grouped()
    est.meta_fit(pd.DataFrame(x, columns=["age", "dose"]), y, groups=groups)
    display = AdaptationDisplay.from_estimator(
        est,
        frame[FEW],
        pd.Series(Y[FEW], name="height"),
        pd.Series(GROUPS[FEW], name="boy"),
        feature="dose",
        n_tasks=5,
    )
    assert display.axes_.shape == (5,)
    assert [panel.get_title() for panel in display.axes_] == [f"boy {g}" for g in range(5)]
    # Of two rows of three, the last place is empty: the panel above it names the axis.
    assert [panel.get_xlabel() for panel in display.axes_] == ["", "", "dose", "dose", "dose"]
    assert [panel.get_ylabel() for panel in display.axes_] == ["height", "", "", "height", ""]
    labels = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert "rows not seen" not in labels


def test_outputs_of_a_frame_have_its_names(plt):
    x, y, groups = grouped(seed=1, n_outputs=2, n_groups=5)
    y = pd.DataFrame(y, columns=["height", "weight"])
    display = AdaptationDisplay.from_estimator(
        learned(2), x[FEW], y[FEW], groups[FEW], feature=0, output=1, n_tasks=2
    )
    assert display.ax_.get_ylabel() == "weight"


def test_classes_have_probabilities_and_no_band(plt):
    x, y, groups = labelled(seed=5, n_groups=5)
    y = pd.Series(y, name="wheeze")
    display = AdaptationDisplay.from_estimator(
        learned_classifier(), x[FEW], y[FEW], groups[FEW], feature=1, n_tasks=2
    )
    assert display.ax_.get_ylabel() == "probability of wheeze = b"
    assert not display.ax_.collections
    assert display.ax_.get_ylim() == (-0.04, 1.04)
    assert_array_equal(display.ax_.lines[2].get_ydata(), y[FEW][:3] == "b")


def test_the_estimator_is_left_as_it_is(plt, capsys):
    est = learned().fit(X, Y, groups=GROUPS).set_callbacks(ProgressBar())
    before = both(est, X, GROUPS)
    from_estimator(est)
    assert_array_equal(both(est, X, GROUPS), before)
    assert capsys.readouterr().out == ""


def test_weights_of_support_rows_count(plt):
    weight = np.random.default_rng(0).uniform(0.1, 3, FEW.sum())
    weighted = from_estimator(learned(), sample_weight=weight, n_tasks=1).tasks[0]
    first = slice(0, 3)
    fitted = learned().fit(X[:3], Y[:3], sample_weight=weight[first])
    x = np.column_stack([weighted.grid, np.full(len(weighted.grid), X[:3, 1].mean())])
    assert_allclose(weighted.mean, fitted.predict(x), rtol=1e-8)


def test_plot_into_given_axes_and_again(plt):
    display = from_estimator(learned(), n_tasks=2)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert display.plot(ax=right) is display
    assert display.figure_ is figure
    assert not right.axison
    figure.canvas.draw()
    legend = next(legend for axes in figure.axes if (legend := axes.get_legend()))
    at = legend.get_window_extent()
    for panel in display.axes_:
        assert panel.get_position().x0 > left.get_position().x1
        assert not at.overlaps(panel.get_window_extent())
    assert display.plot().figure_ is not figure


BAD = {
    "feature": ({"feature": None}, "feature=None is not one of the 2 features"),
    "tasks": ({"n_tasks": 0}, "n_tasks=0 must be a whole number of 1 or more"),
    "tasks without groups": ({"groups": None, "tasks": [1]}, "tasks were named, but no groups"),
    "level": ({"level": 1.0}, "level=1.0 must be between 0 and 1, both excluded"),
    "level in percent": ({"level": 90}, "level=90 must be between 0 and 1"),
    "half a query": ({"X_query": X}, "X_query was passed without y_query; pass both"),
    "the other half": ({"y_query": Y}, "y_query or groups_query was passed without X_query"),
    "no groups": (QUERY | {"groups_query": None}, "X_query was passed without groups_query"),
    "images": ({"X_support": np.zeros((15, 2, 2))}, r"X_support has rows of shape \(2, 2\)"),
    "y": ({"y_support": Y[:3]}, "y_support has 3 rows, but X_support has 15"),
    "X": ({"X_support": X[FEW][:, :1]}, "X_support: X has 1 features, but CMLRegressor is"),
    "query rows": (QUERY | {"y_query": Y[:3]}, "y_query has 3 rows, but X_query has 15"),
    "query nan": (QUERY | {"X_query": np.full((15, 2), np.nan)}, "X_query: Input X contains NaN"),
    "query y nan": (QUERY | {"y_query": np.full(15, np.nan)}, "Input y_query contains NaN"),
    "query text": (
        QUERY | {"y_query": ["a"] * 15},
        "y_query: could not convert string .* use CMLClassifier",
    ),
    "query groups": (QUERY | {"groups_query": [1]}, "groups_query has 1 labels for 15 rows"),
    "output": ({"output": np.array([0, 1])}, r"output=array.* names no output: pass one of 0"),
    "ragged output": ({"output": [[0], [0, 1]]}, "output=.* names no output: pass one of 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        from_estimator(learned(), **changed)


def test_a_picture_of_nothing_is_refused(plt):
    with pytest.raises(ValueError, match="tasks is empty: pass what is to be drawn"):
        AdaptationDisplay(tasks=[], feature_name="x", target_name="y").plot()


def test_groups_that_contradict_a_column_are_named():
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(ward=GROUPS)
    est = quick(group_column="ward", early_stopping=False).meta_fit(frame, Y)
    rows = {"X_support": frame[FEW], "y_support": Y[FEW], "groups": None, "feature": "a"}
    asked = {"X_query": frame[~FEW], "y_query": Y[~FEW]}
    with pytest.raises(ValueError, match=r"^groups and group_column='ward' disagree.* of X_sup"):
        from_estimator(est, **rows | {"groups": GROUPS[FEW] + 1})
    with pytest.raises(ValueError, match=r"^groups_query and group_column='ward' disagree.* of X_"):
        from_estimator(est, **rows | asked, groups_query=GROUPS[~FEW] + 1)


def test_other_estimators_are_refused():
    with pytest.raises(ValueError, match="has not learned yet, so that there is nothing to adapt"):
        from_estimator(CMLRegressor())
    x, y = pool()
    with pytest.raises(
        ValueError, match=r"Exchangeable classes are new at fit, .* ShotCurveDisplay"
    ):
        AdaptationDisplay.from_estimator(learned_pool(), x, y)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'AdaptationDisplay draws with .*"skcml\[plot\]"'):
        AdaptationDisplay.from_estimator(None, X, Y)
