"""`CalibrationDisplay` of intervals, drawn without a window."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.linear_model import Ridge

from skcml import CMLRegressor
from skcml.inspection import CalibrationDisplay
from skcml.pipeline import make_pipeline
from tests.estimators import grouped, learned, learned_classifier, linear, quick
from tests.pipelines import encoding, learned_seller, sales, seller_by_hand

X, Y, GROUPS = grouped(seed=1)
FEW = np.tile(np.arange(6) < 3, 12)
Q = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


def normal_quantiles(n, q=Q, scale=1.0):
    return np.tile(scale * stats.norm.ppf(q), (n, 1))


def adapted():
    return learned().fit(X[FEW], Y[FEW], groups=GROUPS[FEW])


def test_coverage_is_counted(plt):
    y = np.random.default_rng(0).normal(size=300)
    display = CalibrationDisplay.from_predictions(y, normal_quantiles(300), Q, name="normal")
    assert_allclose(display.nominal, [0.5, 0.9])
    expected = [np.mean(abs(y) <= stats.norm.ppf(0.5 + level / 2)) for level in (0.5, 0.9)]
    assert_allclose(display.observed, expected)
    assert_allclose(display.observed_inside, expected)
    assert_array_equal(display.line_.get_xydata(), np.stack([display.nominal, expected], 1))
    for place, share in enumerate(expected):
        ends = stats.binomtest(round(300 * share), 300).proportion_ci(0.95, "wilson")
        assert_allclose([display.low[place], display.high[place]], [ends.low, ends.high])
    assert (display.n_rows, display.n_groups) == (300, None)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["as said", "95 % interval over 300 rows", "normal"]
    assert display.ax_.get_aspect() == 1
    display.figure_.canvas.draw()


def test_intervals_that_are_too_wide_or_too_narrow_lie_off_the_diagonal(plt):
    y = np.random.default_rng(0).normal(size=2000)
    wide, narrow = (
        CalibrationDisplay.from_predictions(y, normal_quantiles(2000, scale=scale), Q)
        for scale in (1.5, 0.6)
    )
    assert (wide.low > wide.nominal).all()
    assert (narrow.high < narrow.nominal).all()


def assert_ends_as_far_as_t_allows(display, share, n):
    """Check that at either end n rows of a true share scatter by 1/t of the way to the observed."""
    for end in (display.low, display.high):
        t = stats.t.ppf(0.975, display.n_groups - 1)
        assert_allclose((share - end) ** 2, t**2 * end * (1 - end) / n, atol=1e-15)


def test_the_band_allows_for_what_the_rows_of_a_group_have_in_common(plt):
    # Of the groups' own errors alone: as many rows as groups tell something.
    rng, groups = np.random.default_rng(1), np.repeat(np.arange(40), 25)
    y = rng.normal(size=40)[groups]
    display = CalibrationDisplay.from_predictions(y, normal_quantiles(1000), Q, groups=groups)
    assert display.n_groups == 40
    hits = np.stack([abs(y[::25]) <= stats.norm.ppf(0.5 + level / 2) for level in (0.5, 0.9)], 1)
    # 40 groups, of which one has gone into the scatter between them.
    assert_ends_as_far_as_t_allows(display, hits.mean(0), n=39)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "95 % interval over 40 groups" in labels


def test_a_single_group_is_as_no_group(plt):
    y = np.random.default_rng(0).normal(size=50)
    one = CalibrationDisplay.from_predictions(y, normal_quantiles(50), Q, groups=np.ones(50))
    none = CalibrationDisplay.from_predictions(y, normal_quantiles(50), Q)
    assert one.n_groups is None
    assert_array_equal(one.low, none.low)


def test_groups_whose_shares_do_not_differ_have_a_band_all_the_same(plt):
    groups, bounds = np.repeat(np.arange(20), 3), normal_quantiles(60)
    display = CalibrationDisplay.from_predictions(np.zeros(60), bounds, Q, groups=groups)
    assert_ends_as_far_as_t_allows(display, np.ones(2), n=20)
    assert_allclose(display.high, 1)
    y = np.tile([0.0, 9.0, -9.0], 20)  # of each group one of three inside
    display = CalibrationDisplay.from_predictions(y, bounds, Q, groups=groups)
    assert_ends_as_far_as_t_allows(display, np.full(2, 1 / 3), n=20)
    assert display.n_groups == 20


def test_counts_have_bars_that_the_diagonal_crosses(plt):
    q = np.linspace(0.05, 0.95, 19)
    y = np.random.default_rng(0).poisson(2.0, size=4000)
    display = CalibrationDisplay.from_predictions(y, np.tile(stats.poisson(2).ppf(q), (4000, 1)), q)
    noise = 3 * np.sqrt(0.25 / 4000)
    assert (display.observed > display.nominal - noise).all()
    assert (display.observed_inside < display.nominal + noise).all()
    assert (display.observed - display.observed_inside > 0.1).all()
    middle = (display.observed + display.observed_inside) / 2
    assert_allclose(display.line_.get_ydata(), middle)
    (bars,) = display.ax_.collections[1:]
    segments = np.array(bars.get_segments())
    assert_allclose(segments[:, 0, 1], display.observed_inside)
    assert_allclose(segments[:, 1, 1], display.observed)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "without and with the ends of intervals" in labels


# --- estimators


def test_from_estimator_asks_for_the_quantiles(plt):
    rest = {"X": X[~FEW], "y": Y[~FEW], "groups": GROUPS[~FEW]}
    display = CalibrationDisplay.from_estimator(adapted(), **rest, levels=(0.8, 0.5))
    assert_allclose(display.nominal, [0.5, 0.8])
    q = adapted().predict_quantiles(X[~FEW], [0.1, 0.25, 0.75, 0.9], GROUPS[~FEW])
    inside = [(q[:, a] <= Y[~FEW]) & (Y[~FEW] <= q[:, b]) for a, b in ((1, 2), (0, 3))]
    assert_allclose(display.observed, np.mean(inside, axis=1))
    assert display.n_groups == 12
    assert display.name == "CMLRegressor"
    assert len(CalibrationDisplay.from_estimator(adapted(), **rest).nominal) == 10
    named = CalibrationDisplay.from_estimator(adapted(), **rest, name="ours")
    assert named.line_.get_label() == "ours"


def test_groups_in_a_column(plt):
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(ward=GROUPS)
    est = quick(group_column="ward", early_stopping=False).meta_fit(frame, Y)
    display = CalibrationDisplay.from_estimator(est.fit(frame[FEW], Y[FEW]), frame[~FEW], Y[~FEW])
    assert display.n_groups == 12


def test_a_single_task(plt):
    display = CalibrationDisplay.from_estimator(learned().fit(X[:3], Y[:3]), X[3:], Y[3:])
    assert display.n_groups is None


def test_one_of_several_outputs(plt):
    x, y, groups = grouped(seed=1, n_outputs=2)
    est = learned(2).fit(x[FEW], y[FEW], groups=groups[FEW])
    rest = (x[~FEW], y[~FEW], groups[~FEW])
    display = CalibrationDisplay.from_estimator(est, *rest, output=1, levels=0.9)
    q = est.predict_quantiles(x[~FEW], [0.05, 0.95], groups[~FEW])[:, 1]
    assert display.observed == np.mean((q[:, 0] <= y[~FEW, 1]) & (y[~FEW, 1] <= q[:, 1]))
    with pytest.raises(ValueError, match="output=None names no output: pass one of 0, 1"):
        CalibrationDisplay.from_estimator(est, *rest)
    with pytest.raises(ValueError, match="output=1 names no output: pass one of 0"):
        CalibrationDisplay.from_estimator(adapted(), X, Y, GROUPS, output=1)


def test_counts(plt):
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * X[:, 0] + 1))
    est = linear(loss="poisson", early_stopping=False).meta_fit(X, counts, groups=GROUPS)
    est.fit(X[FEW], counts[FEW], groups=GROUPS[FEW])
    display = CalibrationDisplay.from_estimator(est, X[~FEW], counts[~FEW], GROUPS[~FEW])
    assert (display.observed >= display.observed_inside).all()
    assert (display.observed > display.observed_inside).any()


def test_plot_into_given_axes_and_again(plt):
    y = np.random.default_rng(0).normal(size=50)
    display = CalibrationDisplay.from_predictions(y, normal_quantiles(50), Q)
    _, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert len(display.plot(ax=right, ref_line=False, name="again").ax_.lines) == 1
    assert display.line_.get_label() == "again"
    assert display.plot().ax_ not in (left, right)


# --- refusals


def test_classifiers_are_sent_to_scikit_learn():
    with pytest.raises(TypeError, match=r"CMLClassifier predicts .* use sklearn.calibration.Calib"):
        CalibrationDisplay.from_estimator(learned_classifier(), X, Y)
    for thing in (None, CMLRegressor):
        with pytest.raises(TypeError, match=r"estimator=.* must be an instance with predict_quant"):
            CalibrationDisplay.from_estimator(thing, X, Y)
    with pytest.raises(TypeError, match="needs predict_quantiles, which str has not"):
        CalibrationDisplay.from_estimator("model", X, Y)
    with pytest.raises(TypeError, match="needs predict_quantiles, which Ridge has not: use from_p"):
        CalibrationDisplay.from_estimator(Ridge(), X, Y)


TABLE = normal_quantiles(4)
BAD = {
    "q descends": ({"q": Q[::-1]}, r"q=\[0.95, .* must ascend, and hold with each probability"),
    "q without its other half": ({"q": [0.1, 0.2, 0.5, 0.8, 0.95]}, "must ascend, and hold with"),
    "q outside": ({"q": [0.0, 0.25, 0.5, 0.75, 1.0]}, "q must be probabilities between 0 and 1"),
    "only the median": ({"q": [0.5], "quantiles": TABLE[:, :1]}, "must ascend, and hold with each"),
    "columns": (
        {"quantiles": TABLE[:, :4]},
        r"quantiles of shape \(4, 4\) and q of shape \(5,\) do",
    ),
    "rows": ({"y_true": np.ones(3)}, r"y_true of shape \(3,\), .* do not belong together"),
    "outputs": (
        {"y_true": np.ones((4, 2))},
        r"y_true of shape \(4, 2\), .* Of several outputs take",
    ),
    "nan": ({"y_true": [1, 2, 3, np.nan]}, "Input y_true contains NaN"),
    "nan in quantiles": ({"quantiles": TABLE * np.nan}, "Input quantiles contains NaN"),
    "masked": ({"y_true": np.ma.masked_array(np.ones(4), [1, 0, 0, 0])}, "y_true is a masked arr"),
    "masked table": ({"quantiles": np.ma.masked_array(TABLE, TABLE > 1)}, "quantiles is a masked"),
    "masked q": ({"q": np.ma.masked_array(Q, Q > 0.9)}, "q is a masked array with 1 masked value"),
    "text": ({"y_true": ["a", "b", "c", "d"]}, "y_true: could not convert string to float"),
    "no quantiles": ({"quantiles": None}, "quantiles: Expected 2D array"),
    "crossing": (
        {"quantiles": np.where(np.arange(4)[:, None] == 2, TABLE[:, ::-1], TABLE)},
        r"quantiles cross in 1 row\(s\), the first of them row 2",
    ),
    "groups": ({"groups": [1, 2]}, r"groups .*2.*4"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case):
    changed, message = BAD[case]
    arguments = {"y_true": np.ones(4), "quantiles": TABLE, "q": Q} | changed
    with pytest.raises(ValueError, match=message):
        CalibrationDisplay.from_predictions(**arguments)


@pytest.mark.parametrize("name", ["y_true", "quantiles"])
def test_dates_are_no_numbers(name):
    dates = np.full(4 if name == "y_true" else (4, 5), np.datetime64("2020-01-01"))
    arguments = {"y_true": np.ones(4), "quantiles": TABLE, "q": Q} | {name: dates}
    with pytest.raises(TypeError, match=f"{name} holds dates or durations"):
        CalibrationDisplay.from_predictions(**arguments)


@pytest.mark.parametrize("levels", [[0.5, 0.5], 1e-20, np.nextafter(1, 0)])
def test_levels_that_cannot_be_told_apart_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels=.* must differ from each other, and from 0 and"):
        CalibrationDisplay.from_estimator(adapted(), X, Y, GROUPS, levels=levels)


@pytest.mark.parametrize("levels", [90, [0.5, 1.0], [], "wide"])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(ValueError, match="levels must be probabilities between 0 and 1, both"):
        CalibrationDisplay.from_estimator(adapted(), X, Y, GROUPS, levels=levels)


def test_rows_of_y_are_counted():
    with pytest.raises(ValueError, match="y has 5 rows, but X has 72"):
        CalibrationDisplay.from_estimator(adapted(), X, Y[:5], GROUPS)


def test_outputs_are_those_that_are_predicted():
    for y in (np.ones((72, 2)), np.ones((72, 3))):
        message = rf"y has {y.shape[1]} output\(s\), but CMLRegressor predicts 1; pass y with 1"
        with pytest.raises(ValueError, match=message):
            CalibrationDisplay.from_estimator(adapted(), X, y, GROUPS)
    x, y, groups = grouped(seed=1, n_outputs=2)
    est = learned(2).fit(x[FEW], y[FEW], groups=groups[FEW])
    with pytest.raises(ValueError, match=r"y has 1 output\(s\), but CMLRegressor predicts 2"):
        CalibrationDisplay.from_estimator(est, x, y[:, 0], groups, output=1)
    for output in (True, np.array([0, 1]), np.array(1)):
        with pytest.raises(ValueError, match=r"output=.* names no output: pass one of 0, 1"):
            CalibrationDisplay.from_estimator(est, x, y, groups, output=output)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'CalibrationDisplay draws with .*"skcml\[plot\]"'):
        CalibrationDisplay.from_estimator(None, X, Y)


# --- pipelines


def assert_same(display, expected):
    assert_allclose(display.observed, expected.observed)
    assert_allclose([display.low, display.high], [expected.low, expected.high])
    assert display.n_groups == expected.n_groups == 12


def test_of_a_pipeline(plt):
    x, y, shops = sales(seed=1)
    encode, last = seller_by_hand()
    pipeline = learned_seller().fit(x[FEW], y[FEW], groups=shops[FEW])
    last.fit(encode.transform(x[FEW]), y[FEW], groups=shops[FEW])
    assert_same(
        CalibrationDisplay.from_estimator(pipeline, x[~FEW], y[~FEW], shops[~FEW]),
        CalibrationDisplay.from_estimator(last, encode.transform(x[~FEW]), y[~FEW], shops[~FEW]),
    )


def test_the_band_allows_for_groups_in_a_column_that_a_pipeline_lets_through(plt):
    (x, y, shops), (seen_x, seen_y, seen_shops) = sales(), sales(seed=1)
    columns = encoding().set_params(remainder="passthrough")
    pipeline = make_pipeline(columns, linear(group_column=-1, early_stopping=False))
    pipeline.meta_fit(x.assign(shop=shops), y)
    table = seen_x.assign(shop=seen_shops)
    pipeline.fit(table[FEW], seen_y[FEW])
    rest = table[~FEW], seen_y[~FEW]
    assert_same(
        CalibrationDisplay.from_estimator(pipeline, *rest),
        CalibrationDisplay.from_estimator(pipeline, *rest, seen_shops[~FEW]),
    )
