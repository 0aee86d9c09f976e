"""Every bad input gets a sentence that names the argument."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from skcml import CMLClassifier, CMLRegressor
from tests.estimators import (
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    pool,
    quick,
    quick_classifier,
)

X, Y, GROUPS = grouped()
TWO = np.column_stack([Y, Y])
FRAME = pd.DataFrame(X, columns=["a", "b"])
DATA = {"X": X, "y": Y, "groups": GROUPS}


def changed(array, value, place=3):
    """Return a copy with one value changed."""
    array = np.array(array, dtype=float if isinstance(value, float) else object)
    array[place] = value
    return array


COMMON = {
    "X with NaN": ({"X": changed(X, np.nan)}, "Input X contains NaN"),
    "X infinite": ({"X": changed(X, np.inf)}, "Input X contains infinity"),
    "X with text": (
        {"X": changed(X, "red", (3, 1))},
        "X: .*Column 1 of X holds 'red', which is not a number: encode it, .* group_column",
    ),
    "X with dates": (
        {"X": changed(X, pd.Timestamp("2024-01-01"), (0, 0))},
        "X: .*Column 0 of X holds Timestamp",
    ),
    "X of dates": (
        {"X": pd.DataFrame({"d": pd.date_range("2024", periods=len(X))})},
        "X holds dates or durations in column 'd', which are no numbers",
    ),
    "X lazy": ({"X": pl.DataFrame(X).lazy()}, r"X is a LazyFrame: call its collect\(\) first"),
    "X huge": ({"X": changed(X, 1e61)}, r"X holds a value of size 1\.0e\+61; at most 1e\+60"),
    "X beyond floats": ({"X": changed(X, 10**400)}, "X: .*too large"),
    "y of dates": ({"y": np.full(len(Y), np.datetime64("2024"))}, "y holds dates or durations"),
    "y huge": ({"y": changed(Y, -1e61)}, "y holds a value of size 1.0e\\+61"),
    "X complex": ({"X": X + 1j}, "X: Complex data not supported"),
    "X sparse": ({"X": scipy.sparse.csr_matrix(X)}, "Sparse data was passed for X"),
    "X of one dimension": ({"X": Y}, "X: Expected 2D array, got 1D array"),
    "X of three dimensions": ({"X": X[:, :, None]}, "X: Found array with dim 3"),
    "X missing": ({"X": None}, "X: Expected 2D array"),
    "X ragged": ({"X": [[1.0, 2.0], [3.0]], "y": Y[:2], "groups": [0, 1]}, "X: .*inhomogeneous"),
    "X without rows": ({"X": X[:0], "y": Y[:0], "groups": GROUPS[:0]}, r"X: .*0 sample\(s\)"),
    "X without columns": ({"X": X[:, :0]}, r"X: .*0 feature\(s\)"),
    "y with NaN": ({"y": changed(Y, np.nan)}, "Input y contains NaN"),
    "y infinite": ({"y": changed(Y, -np.inf)}, "Input y contains infinity"),
    "y text": ({"y": ["a"] * len(Y)}, "y: could not convert string to float: 'a'"),
    "y too short": ({"y": Y[:-1]}, "y has 71 rows, but X has 72"),
    "y missing": ({"y": None}, "requires y to be passed"),
    "y of three dimensions": ({"y": TWO[:, :, None]}, "y: Found array with dim 3"),
    "y without columns": ({"y": TWO[:, :0]}, r"y: .*0 feature\(s\)"),
    "groups too short": ({"groups": GROUPS[:-1]}, "groups has 71 labels for 72 rows"),
    "groups with NaN": (
        {"groups": changed(GROUPS, np.nan)},
        r"groups has 1 missing label \(None, NaN, NA or NaT\), the first in row 3",
    ),
    "groups with NaN in a tuple": (
        {"groups": [(float("nan") if g == 3 else g, 0) for g in GROUPS]},
        "groups has 6 missing labels",
    ),
    "groups with None": ({"groups": changed(GROUPS, None)}, "groups has 1 missing label"),
    "groups a name": ({"groups": "ward"}, "groups must be a list, array or Series .* 'ward'"),
    "groups a table": (
        {"groups": np.column_stack([GROUPS, GROUPS])},
        r"groups must have one dimension, .* shape \(72, 2\)",
    ),
    "groups unhashable": ({"groups": [[g] for g in GROUPS]}, "groups has a label that cannot be"),
    "weights negative": (
        {"sample_weight": -np.ones(72)},
        "Negative values in sample_weight, the least of them -1",
    ),
    "weights too short": ({"sample_weight": np.ones(3)}, "sample_weight.shape == "),
    "weights zero": ({"sample_weight": np.zeros(72)}, "sample_weight: .*at least one non-zero"),
    "weights with NaN": ({"sample_weight": changed(Y, np.nan)}, "sample_weight"),
}
META_FIT = {
    "X with a column of text": ({"X": FRAME.assign(c="red")}, "Column 'c' of X holds 'red'"),
    "X with a column of dates": (
        {"X": FRAME.assign(day=pd.Timestamp("2024-01-01"))},
        "X holds dates or durations in column 'day'",
    ),
    "groups missing": ({"groups": None}, r"meta_fit needs the group of each .*72 rows.*group_col"),
    "one group": ({"groups": np.zeros(72)}, r"at least two groups.* got 1 in n_samples = 72"),
    "groups of one row": ({"groups": np.arange(72)}, "Each of the 72 groups has one row"),
    "one group with weight": (
        {"sample_weight": (GROUPS == 1).astype(float)},
        "at least two groups",
    ),
    "X_val alone": ({"X_val": X}, "X_val was passed without y_val"),
    "X_val without groups": ({"X_val": X, "y_val": Y}, "X_val was passed without groups_val"),
    "y_val alone": ({"y_val": Y}, "y_val or groups_val was passed without X_val"),
    "groups_val alone": ({"groups_val": GROUPS}, "y_val or groups_val was passed without X_val"),
}
VALIDATION = {"X_val": X, "y_val": Y, "groups_val": GROUPS}
for _name, _values, _sentence in [
    ("too wide", {"X_val": TWO[:, [0, 0, 1]]}, "X_val: X has 3 features, but .* expecting 2"),
    ("with NaN", {"X_val": changed(X, np.nan)}, "X_val: Input X contains NaN"),
    ("y with NaN", {"y_val": changed(Y, np.nan)}, "Input y_val contains NaN"),
    ("y too short", {"y_val": Y[:-1]}, "y_val has 71 rows, but X_val has 72"),
    ("y with other outputs", {"y_val": TWO}, "y_val has 2 output\\(s\\), but meta_fit saw 1"),
    ("groups too short", {"groups_val": GROUPS[:-1]}, "groups_val has 71 labels for 72 rows"),
    ("groups of one row", {"groups_val": np.arange(72)}, "Every group of groups_val has one row"),
]:
    META_FIT[f"X_val {_name}"] = (VALIDATION | _values, _sentence)
FIT = {
    "X too narrow": ({"X": X[:, :1]}, "X has 1 features, but CMLRegressor is expecting 2"),
    "y with other outputs": ({"y": TWO}, r"y has 2 output\(s\), but meta_fit saw 1"),
}


@pytest.mark.parametrize("case", COMMON | META_FIT)
def test_meta_fit_refuses(case):
    values, sentence = (COMMON | META_FIT)[case]
    with pytest.raises((ValueError, TypeError), match=sentence):
        quick().meta_fit(**DATA | values)


@pytest.mark.parametrize("is_learned", [True, False])
@pytest.mark.parametrize("case", COMMON)
def test_fit_refuses(case, is_learned):
    values, sentence = COMMON[case]
    if is_learned and case == "X without columns":
        sentence = "X"  # the width is compared first
    with pytest.raises((ValueError, TypeError), match=sentence):
        (learned() if is_learned else quick()).fit(**DATA | values)


@pytest.mark.parametrize("case", FIT)
def test_fit_after_meta_fit_refuses(case):
    values, sentence = FIT[case]
    with pytest.raises(ValueError, match=sentence):
        learned().fit(**DATA | values)


@pytest.mark.parametrize("method", ["predict", "predict_quantiles", "score"])
@pytest.mark.parametrize("case", [c for c in COMMON if c.startswith(("X", "groups"))])
def test_predictions_refuse(case, method):
    values, sentence = COMMON[case]
    estimator = learned().fit(**DATA)
    arguments = DATA | values
    if method != "score":
        del arguments["y"]
    if case == "X without columns":
        sentence = "X"  # the width is compared first
    with pytest.raises((ValueError, TypeError), match=sentence):
        getattr(estimator, method)(**arguments)


def test_predict_needs_the_groups_that_fit_had():
    estimator = learned().fit(**DATA)
    with pytest.raises(ValueError, match=r"predict needs the group of each row.*group_column"):
        estimator.predict(X)
    with pytest.raises(ValueError, match=r"groups are strings here.* are numbers; convert one"):
        estimator.predict(X, groups=[str(g) for g in GROUPS])
    estimator.fit(X, Y)
    with pytest.raises(ValueError, match="groups were passed, but fit was called without groups"):
        estimator.predict(X, groups=GROUPS)


def test_names_of_columns_must_be_those_learned():
    estimator = quick(early_stopping=False).meta_fit(FRAME, Y, groups=GROUPS)
    other = FRAME.rename(columns={"a": "z"})
    for method in (lambda x: estimator.fit(x, Y), estimator.predict):
        with pytest.raises(ValueError, match=r"(?s)X: The feature names should match.*- z"):
            method(other)
        with pytest.raises(ValueError, match=r"(?s)X: The feature names .* must be in the same o"):
            method(FRAME[["b", "a"]])


@pytest.mark.parametrize("q", [0.0, 1.0, [0.5, 2.0], "half", [], [[0.5]], None, np.nan])
def test_quantiles_are_between_zero_and_one(q):
    with pytest.raises(ValueError, match="q must be probabilities between 0 and 1"):
        learned().predict_quantiles(X, q=q)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("ward", "group_column='ward' is not one of the 2 columns of X"),
        (2, "group_column=2 is not a position in X"),
        (-3, "group_column=-3 is not a position in X"),
        (1.5, "'group_column' parameter of CMLRegressor must be"),
        (True, "group_column must be the name"),
    ],
)
def test_the_group_column_must_be_there(column, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        quick(group_column=column).meta_fit(FRAME, Y)


def test_a_group_column_is_not_enough():
    with pytest.raises(ValueError, match=r"X: .*0 feature\(s\)"):
        quick(group_column=0).meta_fit(GROUPS[:, None], Y)
    with pytest.raises(ValueError, match="group_column='ward' is a name, but X has no column nam"):
        quick(group_column="ward").meta_fit(X, Y)
    with pytest.raises(ValueError, match="X: Expected 2D array"):
        quick(group_column=0).meta_fit(Y, Y)


BAD_PARAMS = {
    "model": ["linear"],
    "strength": ["x", None],
    "body": [3, "net"],
    "transductive": ["no", None],
    "device": [0, None],
    "inner_max_iter": [0, 2.5, "many"],
    "inner_tol": [-1.0, "fine"],
    "loss": ["absolute_error"],
    "hidden_layer_sizes": [0, (0,), (-1,), (2.5,), "32", None, [[4]], ("4",)],
    "activation": ["gelu"],
    "prior_covariance": ["block"],
    "prior_strength": [0, -1.0, np.nan, np.inf, "1"],
    "solver": ["newton"],
    "rule": ["maml"],
    "scheme": ["central"],
    "beta": [0, -1.0, "large"],
    "meta_loss": ["mse"],
    "n_shots": [0, 1.5, "5", (3, 2), (1, 2, 3), (1.5, 2), (0, 2), [1]],
    "n_queries": [0, 1.5],
    "support": ["last"],
    "meta_batch_size": [0],
    "meta_max_iter": [-1, 1.5],
    "meta_learning_rate": [0],
    "early_stopping": ["no"],
    "validation_fraction": [0.0, 1.0],
    "n_iter_no_change": [0],
    "tol": [-1.0],
    "standardize": ["yes"],
    "compile": ["yes", 1, None],
    "n_jobs": [0, 1.5],
    "random_state": ["seed", -1],
    "verbose": ["loud"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_PARAMS for value in BAD_PARAMS[name]]
)
def test_bad_parameters_are_named(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        quick(**{name: value}).meta_fit(**DATA)


def test_every_parameter_is_tried():
    assert set(BAD_PARAMS) | {"group_column"} == set(quick().get_params())


# --- classes

LABELS = labelled()[1]
SHARED = dict(zip(("X", "y", "groups"), labelled(), strict=True))
POOL = dict(zip(("X", "y"), pool(), strict=True))

BAD_LABELS = {
    "one class": ({"y": ["a"] * 72}, "y has one class, 'a'; CMLClassifier needs rows of at least"),
    "y with None": ({"y": changed(LABELS, None)}, "Input y contains NaN: 1 missing label"),
    "y with NaN": ({"y": changed(X[:, 0] > 0, np.nan)}, "Input y contains NaN: 1 missing label"),
    "y infinite": ({"y": changed(X[:, 0] > 0, np.inf)}, "Input y contains infinity"),
    "y with NA": (
        {"y": pd.Series(LABELS, dtype="string").where(GROUPS > 0)},
        "Input y contains NaN: 6 missing label",
    ),
    "y of dates": ({"y": np.full(72, np.datetime64("2024"))}, "y holds dates or durations"),
    "a list of dates": ({"y": [np.datetime64("2024")] * 72}, "y holds dates or durations"),
    "y continuous": ({"y": X[:, 0]}, "y: Unknown label type: continuous.*for numbers use CMLReg"),
    "two columns": (
        {"y": np.column_stack([LABELS, LABELS])},
        r"y must have one dimension, a label for each row; it has the shape \(72, 2\)",
    ),
    "y missing": ({"y": None}, "y requires y to be passed, but the target y is None"),
    "y too short": ({"y": LABELS[:-1]}, "y has 71 rows, but X has 72"),
    "y lazy": ({"y": pl.DataFrame({"y": LABELS}).lazy()}, r"y is a LazyFrame: call its collect"),
    "y of tuples": ({"y": [("a", 1)] * 72}, "y must have one dimension"),
    "y mixed": (
        {"y": np.array(["a", 1] * 36, dtype=object)},
        "y mixes labels that cannot be compared",
    ),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_a_classifier_refuses(case):
    values, sentence = BAD_LABELS[case]
    # What is known after meta_fit may come alone, and what is not known is no class.
    known = {"one class": "y has one class", "a list of dates": "y holds dates"}
    calls = [
        lambda: quick_classifier().meta_fit(**SHARED | values),
        lambda: quick_classifier().fit(**SHARED | values),
        lambda: quick_classifier().meta_fit(
            **SHARED, X_val=X, groups_val=GROUPS, y_val=values["y"]
        ),
    ]
    if case not in known:
        calls.append(lambda: learned_classifier().fit(**SHARED | values))
    sentences = [sentence, sentence, sentence, sentence]
    if case == "y missing":
        sentences[2] = "X_val was passed without y_val"
    for number, (call, expected) in enumerate(zip(calls, sentences, strict=False)):
        if number == 2:
            if case == "one class":
                continue  # groups to judge by may have rows of one class
            expected = expected.replace("y ", "y_val ", 1).replace("y:", "y_val:")
            expected = expected.replace("but X ", "but X_val ")
            if case == "y infinite":
                expected = "Input y_val contains infinity"
            if case == "y missing":
                expected = "X_val was passed without y_val"
        with pytest.raises((ValueError, TypeError), match=expected):
            call()


@pytest.mark.parametrize("case", [c for c in COMMON if not c.startswith("y")])
def test_a_classifier_refuses_what_a_regressor_refuses(case):
    values, sentence = COMMON[case]
    if "y" in values and case not in ("X ragged", "X without rows"):
        raise AssertionError(case)
    values = {k: LABELS[: len(v)] if k == "y" else v for k, v in values.items()}
    for call in (quick_classifier().meta_fit, quick_classifier().fit):
        with pytest.raises((ValueError, TypeError), match=sentence):
            call(**SHARED | values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"y": np.arange(128)}, "Of the 128 classes of y, 128 have one row; learning needs two"),
        (
            {"y": np.append(np.arange(126), [0, 0])},
            "Of the 126 classes of y, 125 have one row",
        ),
        ({"y": ["a", "b"] * 64}, "meta_fit was called without groups, so that the 2 classes of y"),
        (
            {"y": np.arange(128) % 64, "groups": np.arange(128) % 64},
            "Of the 64 classes of y, 0 have one row; learning needs two classes .of one group",
        ),
        ({"X_val": POOL["X"]}, "X_val was passed without y_val"),
        ({"X_val": POOL["X"], "y_val": ["a"] * 128}, "y_val has one class, 'a'"),
        ({"X_val": POOL["X"], "y_val": np.arange(128)}, "y_val has no two classes of two rows"),
        (
            {"X_val": POOL["X"], "y_val": POOL["y"], "groups_val": [1, 2]},
            "groups_val has 2 labels for 128 rows",
        ),
    ],
)
def test_a_pool_must_be_one(values, sentence):
    params = {"n_ways": 2, "n_shots": 1}
    if "groups" in values:
        params["classes"] = "exchangeable"
    with pytest.raises(ValueError, match=sentence):
        quick_classifier(**params).meta_fit(**POOL | values)


@pytest.mark.parametrize("n_ways", [17, (17, 20)])
def test_there_are_no_more_ways_than_classes(n_ways):
    with pytest.raises(ValueError, match=r"n_ways=.* is more than the 16 classes with two rows"):
        quick_classifier(n_ways=n_ways).meta_fit(**POOL)


def test_labels_that_meta_fit_has_not_seen_are_no_classes():
    with pytest.raises(ValueError, match="y holds 'z', which meta_fit has not seen; it has seen"):
        learned_classifier().fit(X, np.where(GROUPS == 3, "z", LABELS))
    with pytest.raises(ValueError, match="y holds 0, 1, which meta_fit has not seen"):
        learned_classifier().fit(X, (LABELS == "a").astype(int))


def test_a_task_of_exchangeable_classes_has_two_of_them():
    x, y = pool(seed=1)
    with pytest.raises(ValueError, match="y has one class, 'class 00'; CMLClassifier needs rows"):
        learned_pool().fit(x[:8], y[:8])


BAD_CLASSIFIER_PARAMS = {
    name: values for name, values in BAD_PARAMS.items() if name not in ("loss", "meta_loss")
} | {
    "classes": ["both", None],
    "class_weight": ["even", [1.0, 2.0], {"a": -1}, {"a": np.nan}, {"a": "2"}, {"a": 1e61}],
    "solver": ["magic", None],
    "n_queries": [0, 1.5, "all"],
    "n_ways": [1, 1.5, "5", (3, 2), (1, 2), (2, 3, 4), (2.5, 3), [2]],
    "meta_max_iter": [-1, 1.5, "many"],
}
# Not read where classes are exchangeable, or where they are shared.
OF_SHARED = {"hidden_layer_sizes", "n_jobs"}
OF_EXCHANGEABLE = {"n_ways"}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in BAD_CLASSIFIER_PARAMS for value in BAD_CLASSIFIER_PARAMS[name]],
)
def test_bad_parameters_of_a_classifier_are_named(name, value):
    calls = []
    if name not in OF_EXCHANGEABLE:
        calls.append(lambda: CMLClassifier(**{name: value}).meta_fit(**SHARED))
    if name not in OF_SHARED:
        calls.append(lambda: CMLClassifier(**{name: value}).meta_fit(**POOL))
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=name):
            call()


def test_every_parameter_of_a_classifier_is_tried():
    params = set(CMLClassifier().get_params())
    assert set(BAD_CLASSIFIER_PARAMS) | {"group_column"} == params
    with pytest.raises(ValueError, match="'group_column' parameter of CMLClassifier must be"):
        quick_classifier(group_column=1.5).meta_fit(**SHARED)
    with pytest.raises(ValueError, match="group_column='ward' is not one of the 2 columns of X"):
        quick_classifier(group_column="ward").meta_fit(FRAME, LABELS)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_a_column_too_small_for_its_square_is_refused_where_its_scale_is_learned(loss):
    y = np.round(np.exp(Y)) if loss == "poisson" else Y
    small = X * [1.0, 1e-200]
    sentence = "Column 1 of X holds nothing larger than"
    for call in (quick(loss=loss).meta_fit, quick(loss=loss).fit):
        with pytest.raises(ValueError, match=sentence):
            call(small, y, groups=GROUPS)
    for call in (quick_classifier().meta_fit, quick_classifier().fit):
        with pytest.raises(ValueError, match=sentence):
            call(small, LABELS, groups=GROUPS)
    with pytest.raises(ValueError, match="Column 0 of X holds nothing larger than"):
        quick_classifier().meta_fit(1e-200 * POOL["X"], POOL["y"])
    with pytest.raises(ValueError, match="Column 0 of y holds nothing larger than"):
        quick().meta_fit(X, 1e-200 * Y, groups=GROUPS)
    # Where a scale is known, or none is wanted, what is small is small.
    assert np.isfinite(learned().fit(small, Y).predict(small)).all()
    assert np.isfinite(CMLRegressor(standardize=False).fit(small, Y).predict(small)).all()
