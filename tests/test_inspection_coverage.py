"""The interval of a share, over rows and over groups."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skcml.inspection._coverage import ends_of, interval_of_shares, read_intervals


def test_without_groups_it_is_wilsons():
    hits = np.repeat([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], [13, 27], axis=0)
    low, high, n_groups = interval_of_shares(hits, None)
    assert n_groups is None
    for place, n_hits in enumerate([13, 0, 40]):
        ends = stats.binomtest(n_hits, 40).proportion_ci(0.95, "wilson")
        assert_allclose([low[place], high[place]], [ends.low, ends.high], atol=1e-15)


@pytest.mark.parametrize("n_groups", [8, 30])
def test_the_interval_over_groups_holds_the_truth_as_often_as_it_says(n_groups):
    rng, held = np.random.default_rng(0), []
    levels = np.array([0.5, 0.95])
    for _ in range(1000):
        groups = np.repeat(np.arange(n_groups), rng.integers(2, 12, size=n_groups))
        y = (rng.normal(size=n_groups)[groups] + rng.normal(size=len(groups))) / np.sqrt(2)
        hits = abs(y[:, None]) <= stats.norm.ppf(0.5 + levels / 2)
        low, high, _ = interval_of_shares(hits.astype(float), groups)
        held.append((low <= levels) & (levels <= high))
    assert (np.mean(held, axis=0) > 0.93).all()
    assert (np.mean(held, axis=0) < 0.99).all()


def test_rows_count_for_no_less_than_one_and_no_more_than_they_are():
    # Shares that differ less between groups than those of independent rows would.
    hits, groups = np.tile([1.0, 0.0], 50)[:, None], np.repeat(np.arange(10), 10)
    hits[0] = 0.0
    low, high, _ = interval_of_shares(hits, groups)
    t = stats.t.ppf(0.975, 9)
    for end in (low, high):
        assert_allclose((0.49 - end) ** 2, t**2 * end * (1 - end) / 100)
    # Two groups, one all inside and one all outside: a single row.
    low, high, _ = interval_of_shares(np.repeat([[1.0], [0.0]], 6, axis=0), np.repeat([0, 1], 6))
    assert low < 0.01
    assert high > 0.99


def test_levels_are_ends_of_intervals():
    assert_allclose(ends_of([0.9, 0.5]), [0.05, 0.25, 0.75, 0.95])
    y, table, q = read_intervals([1.0], [[0.0, 2.0]], [0.05, 0.95])
    assert_array_equal(y, [1.0])
    assert_array_equal(table, [[0.0, 2.0]])
    assert_array_equal(q, [0.05, 0.95])
