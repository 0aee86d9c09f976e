"""A fitted estimator as JSON and arrays, and back, without files."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcml import CMLRegressor
from skcml.estimators._stored import (
    ATTRIBUTES,
    arguments_of_body,
    bare,
    body_like,
    encoded,
    kept_of_body,
    restore,
)
from tests import saved
from tests.estimators import both, grouped, learned

X, Y, GROUPS = grouped()


def through_json(estimator):
    config, arrays = encoded(estimator)
    return json.loads(json.dumps(config, allow_nan=False)), arrays


def back(kind, config, arrays, body=None, device=None):
    estimator = bare(kind, config, arrays, device)
    if body is not None:
        estimator.body = body_like(
            estimator, body, arguments_of_body(config, arrays), kept_of_body(config, arrays)
        )
    restore(estimator, config, arrays)
    return estimator


@pytest.mark.parametrize("name", saved.EXAMPLES)
def test_an_estimator_comes_back(name):
    estimator, x, groups = saved.EXAMPLES[name]()
    body = saved.module() if name.startswith("body") else None
    found = back(type(estimator), *through_json(estimator), body)
    assert_array_equal(saved.predictions(found, x, groups), saved.predictions(estimator, x, groups))
    assert vars(found).keys() == vars(estimator).keys()


def test_encoding_changes_nothing():
    estimator = learned().fit(X, Y)
    before = both(estimator, X)
    first, second = encoded(estimator), encoded(estimator)
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    assert_array_equal(both(estimator, X), before)


def test_the_prior_is_not_kept_since_it_follows_from_what_was_learned():
    config, arrays = encoded(learned())
    assert config["adapted"] is None
    assert not any(name.startswith("adapted") for name in arrays)
    config, arrays = encoded(learned().fit(X, Y, groups=GROUPS))
    assert any(name.startswith("adapted") for name in arrays)
    # What did not change at fit is there once.
    assert not any(name.endswith("linear.heads.omega") for name in arrays)


def test_arrays_are_named_by_their_places():
    _, arrays = encoded(learned())
    for name in ("meta.scaling.x_mean", "meta.learned.members.networks.theta.weight_0"):
        assert name in arrays


def test_attributes_are_kept_if_they_are_there():
    config, _ = encoded(CMLRegressor().fit(X, Y))
    assert set(config["attributes"]) == {"n_features_in_", "_row_shape", "_group_column"}
    estimator, *_ = saved.EXAMPLES["numbers"]()
    config, _ = encoded(estimator)
    assert set(config["attributes"]) == set(ATTRIBUTES) - {"classes_"}


def test_the_shape_of_rows_is_kept():
    from torch import nn

    rows = X.reshape(-1, 1, 2, 1)
    body = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    estimator = CMLRegressor(**{**saved.TINY, "body": body}).meta_fit(rows, Y, groups=GROUPS)
    found = back(CMLRegressor, *through_json(estimator), body)
    assert found._row_shape == (1, 2, 1)
    assert_array_equal(found.predict(rows), estimator.predict(rows))
    with pytest.raises(ValueError, match=r"Rows of X have the shape \(2, 1, 1\)"):
        found.predict(rows.reshape(-1, 2, 1, 1))


def test_the_device_may_be_another():
    estimator = learned()
    found = back(CMLRegressor, *through_json(estimator), device="cuda:7")
    assert (found.device, found._meta.params["device"]) == ("cuda:7", "cuda:7")
    assert_array_equal(both(found.fit(X, Y), X), both(estimator.fit(X, Y), X))


def test_what_was_kept_of_a_body_must_be_weights_and_outputs():
    estimator, *_ = saved.EXAMPLES["body"]()
    config, arrays = through_json(estimator)
    kept = kept_of_body(config, arrays)
    assert set(kept["weights"]) == {"0.weight", "0.bias"}
    for wrong in ({}, {"weights": kept}, {**config["body"], "weights": 3}, []):
        with pytest.raises(ValueError, match=r"and no dict|are not its weights|must be|one key"):
            kept_of_body({"body": wrong}, arrays)


def test_a_network_of_classes_that_was_not_fitted_comes_back():
    estimator, x, _ = saved.EXAMPLES["networks_of_classes"]()
    estimator.meta_fit(saved.X, saved.WORDS)
    found = back(type(estimator), *through_json(estimator))
    few = np.repeat([0, 1], 3)
    for one in (found, estimator):
        one.fit(x[:6], few)
    assert_array_equal(found.predict_proba(x), estimator.predict_proba(x))
