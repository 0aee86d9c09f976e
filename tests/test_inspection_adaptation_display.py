"""`AdaptationDisplay`, drawn without a window."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skcml import CMLRegressor
from skcml.inspection import AdaptationDisplay
from skcml.inspection._along import N_POINTS
from skcml.pipeline import make_pipeline
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
from tests.pipelines import encoding, learned_seller, sales, seller

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


# --- pipelines


SALES, SOLD, SHOPS = sales(seed=1, n_groups=5)


def of_pipeline(pipeline, table=SALES, feature="price", groups=SHOPS, take=None, **options):
    """Draw what three rows of each shop change."""
    take = (lambda rows: table[rows]) if take is None else take
    return AdaptationDisplay.from_estimator(
        pipeline,
        take(FEW),
        SOLD[FEW],
        None if groups is None else groups[FEW],
        feature=feature,
        X_query=take(~FEW),
        y_query=SOLD[~FEW],
        groups_query=None if groups is None else groups[~FEW],
        **options,
    )


def assert_predicted_on_raw_rows(display, pipeline, feature="price"):
    """Check curves against the pipeline's own predictions for rows in the user's units."""
    prior, adapted = clone(pipeline), clone(pipeline)
    adapted.fit(SALES[FEW], SOLD[FEW], groups=SHOPS[FEW])
    shown = SALES[SHOPS.isin(range(len(display.tasks)))]
    for shop, task in enumerate(display.tasks):
        own = SALES[shop == SHOPS]
        grid = np.linspace(shown[feature].min(), shown[feature].max(), N_POINTS)
        drink = own["drink"].mode()[0]
        rows = pd.DataFrame(
            {"price": own["price"].mean(), "drink": drink, "size": own["size"].mean()},
            index=range(N_POINTS),
        ).assign(**{feature: grid})
        assert_allclose(task.grid, grid)
        assert_allclose(task.prior, prior.predict(rows))
        assert_allclose(task.mean, adapted.predict(rows, groups=[shop] * N_POINTS))
        low, high = adapted.predict_quantiles(rows, [0.05, 0.95], groups=[shop] * N_POINTS).T
        assert_allclose([task.low, task.high], [low, high])
        assert task.others.tolist() == pytest.approx(
            [own["price"].mean(), drink, own["size"].mean()]
        )
        of_shop = shop == SHOPS
        assert_array_equal(task.x_support, SALES[feature][FEW & of_shop])
        assert_array_equal(task.x_query, SALES[feature][~FEW & of_shop])


@pytest.mark.parametrize("feature", ["price", "size"])
def test_along_a_column_that_goes_into_a_pipeline(plt, feature):
    pipeline = learned_seller()
    display = of_pipeline(pipeline, feature=feature)
    assert_predicted_on_raw_rows(display, pipeline, feature)
    assert (display.feature_name, display.target_name) == (feature, "sold")
    assert [panel.get_title() for panel in display.axes_] == [f"shop {g}" for g in range(4)]


def test_in_the_units_of_the_user(plt):
    display = of_pipeline(learned_seller())
    low, high = display.ax_.get_xlim()
    assert low > 5  # of a price; standardised it is below zero
    assert high > 25


@pytest.mark.parametrize("kind", ["polars", "categories", "array", "nested", "routing"])
def test_the_same_of_other_tables_and_pipelines(plt, kind, request):
    expected = of_pipeline(learned_seller())
    pipeline, table, feature, take = learned_seller(), SALES, "price", None
    if kind == "polars":
        table = pl.DataFrame(SALES.to_dict("list"))
        take = table.filter
    elif kind == "categories":
        table = SALES.astype({"drink": "category"})
    elif kind == "array":
        x, y, shops = sales()
        places = make_column_transformer(
            (StandardScaler(), [0, 2]), (OneHotEncoder(sparse_output=False), [1])
        )
        pipeline = make_pipeline(places, quick()).meta_fit(x.to_numpy(), y, groups=shops)
        table, feature = SALES.to_numpy(), 0
    elif kind == "nested":
        x, y, shops = sales()
        pipeline = make_pipeline("passthrough", seller()).meta_fit(x, y, groups=shops)
    else:
        request.getfixturevalue("routing")
    found = of_pipeline(pipeline, table, feature, take=take)
    for task, other in zip(found.tasks, expected.tasks, strict=True):
        for part in ("grid", "prior", "mean", "low", "high", "x_support", "x_query"):
            assert_allclose(task[part], other[part])


def test_missing_values_of_other_columns_are_the_transformers_business(plt):
    x, y, shops = sales()
    columns = make_column_transformer(
        (SimpleImputer(), ["price", "size"]),
        (
            OneHotEncoder(sparse_output=False, handle_unknown="infrequent_if_exist"),
            ["drink"],
        ),
    )
    x.loc[::7, "drink"] = None
    x.loc[::5, "size"] = np.nan
    pipeline = make_pipeline(columns, quick(early_stopping=False)).meta_fit(x, y, groups=shops)
    table = SALES.copy()
    table.loc[[0, 7, 14], ["drink", "size"]] = None, np.nan
    table.loc[SHOPS == 1, ["drink", "size"]] = None, np.nan  # all of a shop
    table.loc[3, "price"] = np.nan
    display = of_pipeline(pipeline, table)
    for shop, task in enumerate(display.tasks):
        assert np.isfinite([task.grid, task.mean, task.low, task.high]).all()
        own = table[shop == SHOPS]
        assert task.others[2] == pytest.approx(own["size"].mean(), nan_ok=True)
    assert np.isnan(display.tasks[0].x_query).sum() == 1
    display.figure_.canvas.draw()


@pytest.mark.parametrize("place", ["shop", -1])
def test_groups_in_a_column_that_a_pipeline_lets_through(plt, place):
    x, y, shops = sales()
    columns = encoding().set_params(remainder="passthrough", verbose_feature_names_out=False)
    if place == "shop":
        columns.set_output(transform="pandas")
    pipeline = make_pipeline(columns, quick(group_column=place, early_stopping=False))
    pipeline.meta_fit(x.assign(shop=shops.map("shop {:02d}".format)), y)
    plain = seller(early_stopping=False).meta_fit(x, y, groups=shops)
    table = SALES.assign(shop=SHOPS.map("shop {:02d}".format))
    found, expected = of_pipeline(pipeline, table, groups=None), of_pipeline(plain)
    assert [task.label for task in found.tasks] == [f"shop {g:02d}" for g in range(4)]
    for task, other in zip(found.tasks, expected.tasks, strict=True):
        for part in ("grid", "prior", "mean", "low", "high", "x_support"):
            assert_allclose(task[part], other[part], rtol=1e-4, atol=1e-4)


def test_a_pipeline_is_left_as_it_is(plt):
    pipeline = learned_seller().fit(SALES[:3], SOLD[:3])
    before, table = pipeline.predict(SALES), SALES.copy()
    of_pipeline(pipeline)
    assert_array_equal(pipeline.predict(SALES), before)
    pd.testing.assert_frame_equal(SALES, table)


def test_what_a_pipeline_cannot_be_drawn_along_is_refused():
    pipeline = learned_seller()
    with pytest.raises(ValueError, match="feature='drink' is a column of values such as 'coffee'"):
        of_pipeline(pipeline, feature="drink")
    with pytest.raises(ValueError, match=r"feature='x0' is not one of the 3 features: .* 'price'"):
        of_pipeline(pipeline, feature="x0")
    with pytest.raises(ValueError, match=r"X_support: columns are missing: \{'drink'\}"):
        of_pipeline(pipeline, SALES.drop(columns="drink"))
    with pytest.raises(ValueError, match=r"X_query: columns are missing: \{'drink'\}"):
        of_pipeline(
            pipeline, take=lambda rows: SALES[rows] if rows[0] else SALES[rows][["price", "size"]]
        )
    with pytest.raises(ValueError, match="The steps before the last have changed since meta_fit"):
        of_pipeline(pipeline.set_params(columntransformer__n_jobs=1))
    with pytest.raises(ValueError, match="This Pipeline has not learned yet, so that there is not"):
        of_pipeline(seller())
