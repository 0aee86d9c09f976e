"""`PriorDisplay`, drawn without a window."""

import copy
import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml import CMLRegressor
from skcml.inspection import PriorDisplay
from tests.estimators import grouped, learned, learned_classifier, learned_pool, linear
from tests.pipelines import learned_seller, sales, seller, seller_by_hand

X, Y, GROUPS = grouped()
NAMES = ["age", "dose"]


@pytest.fixture(scope="module")
def reml():
    """The linear mixed model, of a table with names and scales of its own."""
    frame = pd.DataFrame(X * [10.0, 0.1], columns=NAMES)
    return linear(early_stopping=False).meta_fit(frame, Y, groups=GROUPS)


def test_bars_are_the_summary_per_standard_deviation(plt, reml):
    display = PriorDisplay.from_estimator(reml)
    summary = reml.prior_summary()
    scale = np.append(1.0, X.std(0) * [10.0, 0.1])
    low, high = (summary["mean"] + sign * summary["sd_between_groups"] for sign in (-1, 1))
    drawn = np.concatenate([bars.get_segments() for bars in display.bars_])
    assert_allclose(drawn[:, 0, 0], scale * low)
    assert_allclose(drawn[:, 1, 0], scale * high)
    dots = np.concatenate([panel.lines[0].get_xdata() for panel in display.axes_[:2]])
    assert_allclose(dots, scale * summary["mean"])
    top, bottom, _ = display.axes_
    assert display.ax_ is bottom
    assert [text.get_text() for text in top.get_yticklabels()] == ["intercept"]
    assert [text.get_text() for text in bottom.get_yticklabels()] == NAMES
    assert bottom.get_xlabel() == "change of y per standard deviation of the feature"
    display.figure_.canvas.draw()


def test_correlations_are_those_of_the_summary(plt, reml):
    display = PriorDisplay.from_estimator(reml)
    expected = reml.prior_summary(as_frame=False).correlation[0]
    assert_allclose(display.image_.get_array(), expected)
    assert display.image_.get_clim() == (-1, 1)
    written = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in display.axes_[2].texts]
    assert_allclose([float(text) for text in written], expected.ravel(), atol=0.006)


def test_numbers_beside_are_in_users_units(plt, reml):
    display = PriorDisplay.from_estimator(reml)
    summary = reml.prior_summary()
    _, bottom, _ = display.axes_
    (right,) = (axes for axes in bottom.child_axes)
    for text, (_, row) in zip(right.get_yticklabels(), summary.iloc[1:].iterrows(), strict=True):
        mean, sd = text.get_text().replace("\N{MINUS SIGN}", "-").split(" ± ")
        assert float(mean) == pytest.approx(row["mean"], abs=row["sd_between_groups"] / 10)
        assert float(sd) == pytest.approx(row["sd_between_groups"], rel=0.06)


def test_what_does_not_vary_has_no_map(plt):
    est = learned()
    summary = est.prior_summary(as_frame=False)
    summary.covariance_structure = "intercept"
    est.prior_summary = lambda as_frame: summary
    display = PriorDisplay.from_estimator(est)
    assert display.correlation is None
    assert display.image_ is None
    assert display.axes_.shape == (2,)
    assert "sd of the noise" in display.axes_[0].get_title(loc="left")


def test_the_weight_of_networks_is_told(plt):
    weight = learned().prior_summary(as_frame=False).network_weight[0]
    assert (
        f"weight of networks beside it {weight:.2f}" in PriorDisplay.from_estimator(learned()).note
    )


def test_one_of_several_outputs(plt):
    est = learned(2)
    summary = est.prior_summary(as_frame=False)
    display = PriorDisplay.from_estimator(est, output=1)
    assert_array_equal(display.mean, summary.mean[1])
    assert display.effect_name == "y1"
    with pytest.raises(ValueError, match="output=None names no output: pass one of 0, 1"):
        PriorDisplay.from_estimator(est)


def test_classes(plt):
    two = PriorDisplay.from_estimator(learned_classifier())
    assert two.effect_name == "the log odds of b"
    assert "noise" not in two.note
    assert PriorDisplay.from_estimator(learned_classifier(), output="b").mean.shape == (3,)
    with pytest.raises(ValueError, match=r"output='a': of two classes .* of 'b' alone"):
        PriorDisplay.from_estimator(learned_classifier(), output="a")
    with pytest.raises(ValueError, match=r"output=array.* names no class: pass one of 'a', 'b'"):
        PriorDisplay.from_estimator(learned_classifier(), output=np.array(["a", "b"]))
    three = PriorDisplay.from_estimator(learned_classifier(3), output="c")
    assert_array_equal(three.mean, learned_classifier(3).prior_summary(as_frame=False).mean[2])
    assert three.effect_name == "the logit of c"
    with pytest.raises(ValueError, match="output=None names no class"):
        PriorDisplay.from_estimator(learned_classifier(3))


def test_counts(plt):
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * X[:, 0] + 1))
    est = linear(loss="poisson", early_stopping=False).meta_fit(X, counts, groups=GROUPS)
    display = PriorDisplay.from_estimator(est)
    assert display.effect_name == "the log mean"
    assert display.note.startswith("dispersion ")


def test_of_many_features_the_largest_are_drawn(plt):
    x, y, groups = grouped(n_features=5, n_rows=12)
    est = linear(early_stopping=False).meta_fit(x, y, groups=groups)
    display = PriorDisplay.from_estimator(est, max_features=2)
    summary = est.prior_summary(as_frame=False)
    size = (abs(summary.mean[0]) + summary.sd_between_groups[0])[1:] * x.std(0)
    largest = np.sort(np.argsort(-size)[:2])
    assert display.names == ["intercept", *(f"x{place}" for place in largest)]
    assert display.correlation.shape == (3, 3)
    assert display.note.endswith("3 smaller not drawn")


@pytest.mark.parametrize("n", [3, 25])
def test_labels_do_not_overlap(plt, n):
    rng = np.random.default_rng(0)
    display = PriorDisplay(
        names=["intercept", *(f"a feature {place}" for place in range(n))],
        mean=rng.normal(size=n + 1),
        sd=rng.uniform(size=n + 1),
        scale=np.ones(n + 1),
        correlation=np.eye(n + 1),
        effect_name="y",
    ).plot()
    figure = display.figure_
    figure.canvas.draw()
    for axis in (display.axes_[1].yaxis, display.axes_[2].yaxis):
        boxes = [text.get_window_extent() for text in axis.get_ticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    beside, of_map = (
        max(
            text.get_window_extent().x1 for text in display.axes_[1].child_axes[0].get_yticklabels()
        ),
        min(text.get_window_extent().x0 for text in display.axes_[2].get_yticklabels()),
    )
    assert beside < of_map
    assert bool(display.axes_[2].texts) == (n == 3)


def test_plot_into_given_axes_and_again(plt, reml):
    display = PriorDisplay.from_estimator(reml)
    figure, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=right) is display
    assert display.figure_ is figure
    assert all(panel.get_position().x0 > left.get_position().x1 for panel in display.axes_)
    assert display.plot().figure_ is not figure


def test_the_estimator_is_left_as_it_is(plt, reml):
    before = copy.deepcopy(reml.prior_summary())
    PriorDisplay.from_estimator(reml)
    pd.testing.assert_frame_equal(reml.prior_summary(), before)


def test_refusals(reml):
    with pytest.raises(ValueError, match="has not learned yet, so that there is no prior to draw"):
        PriorDisplay.from_estimator(CMLRegressor())
    with pytest.raises(
        ValueError, match="exchangeable classes has no coefficients to draw: prior_s"
    ):
        PriorDisplay.from_estimator(learned_pool())
    for number in (0, 2.5, True, None):
        with pytest.raises(ValueError, match=r"max_features=.* must be a whole number of 1"):
            PriorDisplay.from_estimator(reml, max_features=number)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'PriorDisplay draws with .*"skcml\[plot\]"'):
        PriorDisplay.from_estimator(None)


def test_of_a_pipeline_the_last_step_is_drawn(plt):
    display = PriorDisplay.from_estimator(learned_seller())
    expected = PriorDisplay.from_estimator(seller_by_hand()[1])
    assert display.names == expected.names == ["intercept", "x0", "x1", "x2", "x3", "x4"]
    for part in ("mean", "sd", "scale", "correlation"):
        assert_allclose(getattr(display, part), getattr(expected, part))
    assert display.note == expected.note
    x, y, shops = sales()
    named = seller(early_stopping=False).set_output(transform="pandas")
    display = PriorDisplay.from_estimator(named.meta_fit(x, y, groups=shops))
    assert display.names[1] == "standardscaler__price"
    assert display.names[-1] == "onehotencoder__drink_tea"
