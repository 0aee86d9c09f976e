import pytest

from benchmarks.limits.run import many_rows, week_ahead

QUICK = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}


def test_last_weeks_value_as_a_column_is_better_than_either_alone():
    error = week_ahead(0, **QUICK)
    assert list(error) == ["last value", "skcml", "skcml, last value"]
    assert error["last value"] == pytest.approx(0.24079, abs=1e-5)  # of the table alone
    assert error["skcml, last value"] < min(error["last value"], error["skcml"])


def test_other_airports_help_with_few_flights_and_boosting_is_ahead_with_many():
    error = many_rows((30, 1000), n_learned=100, **QUICK)
    assert list(error) == [30, 1000]
    (few, few_alone), (many, many_alone) = error.values()
    assert few < few_alone
    assert many_alone < many < few
