"""Errors that name the argument, and the column that is wrong."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skcml import CMLRegressor
from skcml.estimators._inputs import read_features, read_outputs
from skcml.estimators._naming import naming

X = np.arange(12.0).reshape(6, 2)
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(ward=list("uvuvwu"))


def test_what_names_the_argument_already_is_left_and_what_does_not_gets_its_name():
    with pytest.raises(ValueError, match=r"^beta: too much$"), naming("beta"):
        raise ValueError("too much")
    with pytest.raises(TypeError, match=r"^beta: no number$"), naming("beta"):
        raise TypeError("no number")
    with pytest.raises(ValueError, match=r"^beta is too much$"), naming("beta"):
        raise ValueError("beta is too much")
    with pytest.raises(ValueError, match=r"^beta: beta overflows$"), naming("beta"):
        raise OverflowError("beta overflows")
    with pytest.raises(KeyError), naming("beta"):
        raise KeyError("beta")


def test_strings_as_a_target_are_classes():
    with pytest.raises(ValueError, match=r"^y: .*For labels of classes use CMLClassifier\.$"):
        read_outputs(["a", "b"], 2, CMLRegressor())


@pytest.mark.parametrize(
    ("values", "group_column", "column"),
    [
        (lambda t: t[["a", "b"]], None, "'b'"),
        (lambda t: t[["a", "b"]].astype("Float64"), None, "'b'"),
        (lambda t: pl.from_pandas(t[["a", "b"]]), None, "'b'"),
        (lambda t: t[["a", "b"]].to_numpy(), None, "1"),
        (lambda t: t[["a", "b"]].to_numpy().tolist(), None, "1"),
        (lambda t: t, "ward", "'b'"),
        (lambda t: t[["ward", "a", "b"]], 0, "'b'"),
        (lambda t: t[["ward", "a", "b"]].to_numpy(), 0, "2"),
        (lambda t: t[["a", "ward", "b"]].to_numpy().tolist(), -2, "2"),
        (lambda t: t[["a", "b", "ward"]].to_numpy(), -1, "1"),
    ],
)
@pytest.mark.parametrize(("bad", "kind"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_the_first_column_that_is_not_finite_is_named(values, group_column, column, bad, kind):
    table = FRAME.assign(b=[0.0, 1.0, bad, 3.0, bad, 5.0])
    estimator = CMLRegressor(group_column=group_column)
    sentence = rf"^Input X contains {kind}.* The first column that holds it is {column}\.(\n|$)"
    with pytest.raises(ValueError, match=sentence):
        read_features(estimator, values(table), None, reset=True)


def test_the_output_that_is_not_finite_is_named_where_there_are_several():
    y = np.where(X == 3, np.nan, X)
    with pytest.raises(ValueError, match=r"^Input y contains NaN\. The first column .* is 1\.$"):
        read_outputs(y, 6, CMLRegressor())
    with pytest.raises(ValueError, match=r"^Input y contains NaN\.$"):
        read_outputs(y[:, 1], 6, CMLRegressor())


def test_errors_name_the_argument_and_the_column():
    estimator = CMLRegressor()
    advice = "encode it, leave it out, or name it as group_column"
    with pytest.raises(ValueError, match=rf"^X: .*Column 'ward' of X holds 'u'.*: {advice}"):
        read_features(estimator, FRAME, None, reset=True)
    rows = np.array([[1.0, 2.0], [3.0, "red"]], dtype=object)
    with pytest.raises(ValueError, match=r"^X_val: .*Column 1 of X_val holds 'red'"):
        read_features(estimator, rows, None, reset=True, name="X_val")
    with pytest.raises(TypeError, match=r"^X: .*Column 0 of X holds \{"):
        read_features(estimator, np.array([[{}, 1.0]], dtype=object), None, reset=True)
    with pytest.raises(ValueError, match=r"^X: .*inhomogeneous"):
        read_features(estimator, [[1.0, 2.0], [3.0]], None, reset=True)
