"""`ShotCurveDisplay`, drawn without a window."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skcml.inspection import ShotCurveDisplay, shot_curve
from tests.estimators import grouped, learned, learned_pool, pool
from tests.pipelines import learned_seller, sales, seller_by_hand

X, Y, GROUPS = grouped(seed=1, n_groups=5)
DATA = {"X": X, "y": Y, "groups": GROUPS}
OPTIONS = {"n_shots": (0, 1, 3), "n_repeats": 1, "random_state": 0}


def ends_of(band):
    """Return the vertices of a band above each place, from left to right."""
    x, y = band.get_paths()[0].vertices.T
    return [y[x == place] for place in np.unique(x)]


def test_from_estimator_draws_what_was_found(plt):
    display = ShotCurveDisplay.from_estimator(learned(), **DATA, **OPTIONS)
    curve = shot_curve(learned(), **DATA, **OPTIONS)
    assert list(display.lines_) == ["final", "mixed_model", "per_task", "pooled"]
    for name, line in display.lines_.items():
        points = slice(1, None) if name == "per_task" else slice(None)
        assert_allclose(line.get_xdata(), curve.n_shots[points])
        assert_allclose(line.get_ydata(), -curve.mean[name][points])
    assert list(display.bands_) == ["final"]
    for found, low, high in zip(
        ends_of(display.bands_["final"]), curve.low["final"], curve.high["final"], strict=True
    ):
        assert_allclose([found.min(), found.max()], [-high, -low])
    ax = display.ax_
    assert display.figure_ is ax.figure
    assert ax.get_xlabel() == "rows of a new group that fit has seen"
    assert ax.get_ylabel() == "root mean squared error"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1", "3"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "CMLRegressor",
        "95 % interval over 5 groups",
        "mixed model alone",
        "each group by itself",
        "pooled over all groups",
    ]
    display.figure_.canvas.draw()


def test_baselines_may_have_bands_and_scores_their_sign(plt):
    result = shot_curve(learned(), **DATA, **OPTIONS)
    result.y_name = "protein"
    display = ShotCurveDisplay(result=result).plot(bands="all", negate_score=False)
    assert list(display.bands_) == list(display.lines_)
    assert_allclose(display.lines_["final"].get_ydata(), result.mean["final"])
    assert display.ax_.get_ylabel() == "root mean squared error of protein"
    named = ShotCurveDisplay(result=result).plot(score_name="error in grams")
    assert named.ax_.get_ylabel() == "error in grams"
    with pytest.raises(ValueError, match="bands='none' must be 'final' or 'all'"):
        display.plot(bands="none")


def test_the_band_of_an_error_does_not_reach_below_zero(plt):
    two = {name: values[:12] for name, values in DATA.items()}  # two groups: a wide band
    result = shot_curve(learned(), **two, **OPTIONS)
    assert (result.high["final"] > 0).any()
    error = ends_of(ShotCurveDisplay(result=result).plot().bands_["final"])
    assert_allclose(min(map(min, error)), 0.0)
    assert_allclose(max(map(max, error)), -result.low["final"].min())
    score = ends_of(ShotCurveDisplay(result=result).plot(negate_score=False).bands_["final"])
    assert_allclose(max(map(max, score)), 0.0)
    result.scoring = "neg_loss_of_ones_own"  # of which nothing is known
    own = ends_of(ShotCurveDisplay(result=result).plot().bands_["final"])
    assert_allclose(min(map(min, own)), -result.high["final"].max())


@pytest.mark.parametrize("negate", ["yes", 1, [True]])
def test_whether_to_negate_is_yes_or_no(negate):
    display = ShotCurveDisplay(result=shot_curve(learned(), **DATA, **OPTIONS))
    with pytest.raises(ValueError, match=r"negate_score=.* must be True, False or None"):
        display.plot(negate_score=negate)


def test_exchangeable_classes(plt):
    x, y = pool(seed=9)
    display = ShotCurveDisplay.from_estimator(
        learned_pool(), x, y, n_shots=(1, 2), n_ways=3, n_tasks=4, random_state=0
    )
    ax = display.ax_
    assert ax.get_xlabel() == "rows of each of 3 new classes that fit has seen"
    assert ax.get_ylabel() == "accuracy"
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[-2:] == ["nearest class mean", "logistic regression"]
    assert "95 % interval over 4 tasks" in names
    assert_allclose(display.lines_["final"].get_ydata(), display.result.mean["final"])


def test_plot_into_given_axes_and_again(plt):
    display = ShotCurveDisplay(result=shot_curve(learned(), **DATA, **OPTIONS))
    _, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert display.plot(ax=right).ax_ is right
    assert len(plt.get_fignums()) == 1
    assert display.plot().ax_ not in (left, right)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'ShotCurveDisplay draws with .*"skcml\[plot\]"'):
        ShotCurveDisplay.from_estimator(None, X, Y)  # said before all else


def test_of_a_pipeline(plt):
    x, y, shops = sales(seed=1, n_groups=5)
    encode, last = seller_by_hand()
    expected = shot_curve(last, encode.transform(x), y, shops, **OPTIONS)
    display = ShotCurveDisplay.from_estimator(learned_seller(), x, y, shops, **OPTIONS)
    assert_allclose(display.lines_["final"].get_ydata(), -expected.mean["final"])
    assert display.ax_.get_ylabel() == "root mean squared error of sold"
