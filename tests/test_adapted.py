"""A mixture of posteriors in users' units."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skcml import CMLClassifier
from skcml.selection.mixture import LEVELS, IntervalShape
from tests.estimators import grouped, labelled, learned

X, Y, GROUPS = grouped(seed=3)


def fitted(groups=GROUPS, n_outputs=None):
    y = grouped(seed=3, n_outputs=n_outputs)[1]
    return learned(n_outputs).fit(X, y, groups=groups)._adapted


# --- codes


def test_each_row_gets_its_group_and_strangers_get_the_prior():
    assert_array_equal(fitted().codes([3, 99, 0], 3), [3, -1, 0])


def test_groups_are_needed_after_fit_with_groups():
    with pytest.raises(ValueError, match=r"predict needs the group of each row.*group_column"):
        fitted().codes(None, 3)


def test_a_single_task_takes_every_row_and_no_groups():
    adapted = fitted(groups=None)
    assert_array_equal(adapted.codes(None, 3), [0, 0, 0])
    with pytest.raises(ValueError, match="fit was called without groups"):
        adapted.codes([1, 2, 3], 3)


def test_the_prior_takes_rows_with_and_without_groups():
    adapted = learned()._adapted
    assert_array_equal(adapted.codes(None, 2), [-1, -1])
    assert_array_equal(adapted.codes(["a", 1], 2), [-1, -1])
    with pytest.raises(ValueError, match="groups has 1 labels for 2 rows"):
        adapted.codes(["a"], 2)
    with pytest.raises(ValueError, match="groups has 1 missing label"):
        adapted.codes(["a", None], 2)


def test_a_group_without_rows_was_not_seen():
    adapted = dataclasses.replace(fitted(), seen=np.arange(12) != 3)
    assert_array_equal(adapted.codes([3, 4, 99], 3), [-1, 4, -1])


def test_a_group_is_seen_even_where_nothing_is_left_open():
    x, y, groups = labelled()
    adapted = CMLClassifier().fit(x, y, groups=groups)._adapted
    assert len(adapted.linear.directions) == 0
    assert_array_equal(adapted.codes([3, 99, 0], 3), [3, -1, 0])
    weight = (groups != 3).astype(float)
    adapted = CMLClassifier().fit(x, y, groups=groups, sample_weight=weight)._adapted
    assert_array_equal(adapted.codes([3, 4, 0], 3), [-1, 4, 0])


# --- predict


def heads_one_by_one(adapted, blend, codes):
    """Return means, variances and shares of all heads, of shape (n_heads, n_outputs, n_rows)."""
    z = adapted.scaling.features(X)
    parts = [posterior.predict(z, codes) for posterior, _ in blend.parts]
    means, variances = (np.concatenate(part) for part in zip(*parts, strict=True))
    shares = [np.tile(share, (posterior.heads.n_heads, 1)) for posterior, share in blend.parts]
    return means, variances, np.concatenate(shares)[..., None]


@pytest.mark.parametrize("which", ["known", "unseen"])
@pytest.mark.parametrize("n_outputs", [None, 2])
def test_mean_and_variance_are_those_of_the_mixture(n_outputs, which):
    adapted = dataclasses.replace(
        fitted(n_outputs=n_outputs), variance_scale=np.array([2.0, 3.0][: n_outputs or 1])
    )
    codes = adapted.codes(GROUPS if which == "known" else 100 + GROUPS, len(X))
    mean, variance = adapted.predict(X, codes, variance=True)
    means, variances, share = heads_one_by_one(adapted, getattr(adapted, which), codes)
    if which == "known":
        assert len(means) == 11  # one mixed model and ten networks
    assert_allclose(share.sum(0), 1)
    expected = (share * means).sum(0)
    # Law of total variance.
    spread = (share * variances).sum(0) + (share * (means - expected) ** 2).sum(0)
    scale, centre = adapted.scaling.y_scale[:, None], adapted.scaling.y_mean[:, None]
    assert_allclose(mean, expected * scale + centre, rtol=1e-10)
    assert_allclose(variance, spread * scale**2 * adapted.variance_scale[:, None], rtol=1e-10)


def test_variance_is_worked_out_only_if_wanted():
    adapted = fitted()
    codes = adapted.codes(GROUPS, len(X))
    mean, variance = adapted.predict(X, codes, variance=False)
    assert variance is None
    assert_allclose(mean, adapted.predict(X, codes, variance=True)[0], rtol=1e-12)


def test_known_and_unseen_rows_are_predicted_side_by_side():
    adapted = fitted()
    groups = np.where(np.arange(len(X)) % 3 == 0, 99, GROUPS)
    codes = adapted.codes(groups, len(X))
    mean, variance = adapted.predict(X, codes, variance=True)
    only, nothing = adapted.predict(X, codes, variance=False)
    assert nothing is None
    assert_allclose(only, mean, rtol=1e-12)
    for rows in (codes < 0, codes >= 0):
        part, spread = adapted.predict(X[rows], codes[rows], variance=True)
        assert_allclose(mean[:, rows], part, rtol=1e-12)
        assert_allclose(variance[:, rows], spread, rtol=1e-12)


def test_known_and_unseen_rows_have_intervals_of_their_own():
    wide = IntervalShape(np.full((1, len(LEVELS)), 2.0))
    adapted = fitted()
    adapted = dataclasses.replace(
        adapted,
        known=dataclasses.replace(adapted.known, shape=IntervalShape.gaussian(1)),
        unseen=dataclasses.replace(adapted.unseen, shape=wide),
    )
    q = np.array([0.05, 0.5, 0.95])
    gaussian = stats.norm.ppf(q)
    assert_allclose(adapted.steps(np.array([0, 1]), q), gaussian[None, None], atol=1e-12)
    assert_allclose(adapted.steps(np.array([-1]), q), 2 * gaussian[None, None], atol=1e-12)
    found = adapted.steps(np.array([0, -1, 1]), q)
    assert_allclose(found, np.array([1, 2, 1])[None, :, None] * gaussian, atol=1e-12)


# --- without


def test_tasks_leave_and_the_others_keep_their_bits():
    adapted = fitted()
    left, classes = adapted.without(np.array([3, 0]))
    assert classes == slice(None)
    assert left.n_tasks == 10
    assert not left.is_prior
    assert_array_equal(left.groups.labels, np.delete(np.arange(12), [0, 3]))
    codes = left.codes(GROUPS, len(GROUPS))
    rows = codes >= 0
    found = left.predict(X[rows], codes[rows], variance=True)
    assert_array_equal(found, adapted.predict(X[rows], GROUPS[rows], variance=True))
    # Once each, however many mixtures hold it.
    assert all(any(p is part for part in left.posteriors.values()) for p, _ in left.known.parts)


def test_where_no_task_is_left_there_is_the_prior():
    left, _ = fitted().without(np.arange(12))
    assert left.is_prior
    assert left.groups is None
    codes = np.full(len(X), -1)
    found = left.predict(X, codes, variance=True)
    assert_array_equal(found, fitted().predict(X, codes, variance=True))
    assert fitted(groups=None).without(np.array([0]))[0].is_prior


# --- as_output


def test_the_output_has_the_layout_of_y():
    values = np.arange(12.0).reshape(2, 6)
    assert_array_equal(fitted().as_output(values[:1]), values[0])
    assert_array_equal(fitted(n_outputs=2).as_output(values), values.T)
    assert fitted(n_outputs=2).as_output(np.zeros((2, 6, 3))).shape == (6, 2, 3)
