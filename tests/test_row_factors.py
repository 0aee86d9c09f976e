"""Rows as triangular factors, against heads that are adapted to the rows themselves."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import skcml.row_factors
from skcml.episodes import TaskRows
from skcml.heads import Heads
from skcml.row_factors import add_rows, condition, factors_of, no_rows
from tests.builders import head_problem, random_theta
from tests.test_heads import HIDDEN, LAYOUTS, N_TASKS, SIZES, heads_of, queries, tasks_of


def nothing(heads, n_tasks=N_TASKS):
    return [no_rows(heads)] * n_tasks


def assert_same(found, expected, n_tasks=N_TASKS, rtol=1e-10):
    """Assert that two posteriors predict the same, and of the same coefficients."""
    X, codes = queries(n_tasks=n_tasks)
    for ours, theirs in zip(found.predict(X, codes), expected.predict(X, codes), strict=True):
        assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    assert_allclose(found.coefficients, expected.coefficients, rtol=rtol, atol=rtol)
    assert_array_equal(found.starts, expected.starts)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_the_factors_of_rows_say_what_the_rows_say(kind, hidden, n_outputs, strength):
    _, _, heads = heads_of(hidden, 2, n_outputs, kind)
    tasks = tasks_of(n_outputs)
    factors = add_rows(heads, tasks, nothing(heads))
    n_columns = heads.factor.shape[-1]
    for size, factor in zip(SIZES, factors, strict=True):
        assert factor.shape == (min(size, n_columns), 2, n_outputs, n_columns + 1)
    found = condition(heads, factors, strength)
    assert_same(found, heads.with_precision(strength).adapt(tasks))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4), max_size=6),
)
def test_rows_that_are_added_by_and_by_are_as_good_as_all_at_once(seed, sizes):
    _, _, heads = heads_of((7,), 2)
    batches = [tasks_of(1, of_batch, seed + i) for i, of_batch in enumerate(sizes)]
    factors = nothing(heads, 4)
    for batch in batches:
        factors = add_rows(heads, batch, factors)
    parts = [
        [batch.subset(np.array([task])) for batch in [*batches, tasks_of(1, (0, 0, 0, 0))]]
        for task in range(4)
    ]
    together = TaskRows(
        *(
            np.concatenate([getattr(part, name) for rows in parts for part in rows])
            for name in ("X", "y", "weight")
        ),
        np.cumsum([0, *(sum(len(part.X) for part in rows) for rows in parts)]),
    )
    assert_same(condition(heads, factors, 1.0), heads.adapt(together), n_tasks=4)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_a_posterior_gives_factors_back(kind, hidden, strength):
    _, _, heads = heads_of(hidden, 2, 2, kind)
    tasks, more = tasks_of(2), tasks_of(2, seed=1)
    posterior = heads.with_precision(strength).adapt(tasks)
    factors = factors_of(posterior, strength)
    assert_same(condition(heads, factors, strength), posterior)
    # And where the prior is another, or there are more rows.
    assert_same(condition(heads, factors, 1.0), heads.adapt(tasks))
    found = condition(heads, add_rows(heads, more, factors), 1.0)
    assert_same(
        found, condition(heads, add_rows(heads, more, add_rows(heads, tasks, nothing(heads))), 1.0)
    )


def test_a_posterior_of_rows_that_repeat_each_other_gives_factors_back():
    _, _, heads = heads_of((7,), 2)
    tasks = tasks_of()
    # Between tasks of fewer rows and of more, so that all are padded.
    tasks.X[tasks.starts[3] : tasks.starts[4]] = tasks.X[tasks.starts[3]]
    tasks.X[tasks.starts[7] + 1 : tasks.starts[8]] = tasks.X[tasks.starts[7]]
    factors = factors_of(heads.adapt(tasks), 1.0)
    assert_same(condition(heads, factors, 1.0), heads.adapt(tasks))


def test_columns_that_do_not_vary_take_no_part():
    _, _, heads = heads_of((), 1)
    factor = heads.factor.copy()
    factor[..., 1:] = 0.0  # a random intercept alone
    heads = dataclasses.replace(heads, factor=factor)
    tasks = tasks_of()
    assert_same(condition(heads, add_rows(heads, tasks, nothing(heads)), 1.0), heads.adapt(tasks))
    assert_same(condition(heads, factors_of(heads.adapt(tasks), 1.0), 1.0), heads.adapt(tasks))


def test_factors_that_are_passed_stay_as_they_were():
    _, _, heads = heads_of()
    first = add_rows(heads, tasks_of(), nothing(heads))
    copies = [factor.copy() for factor in first]
    second = add_rows(heads, tasks_of(seed=1), first)
    condition(heads, first, 0.5)
    for factor, copied in zip(first, copies, strict=True):
        assert_array_equal(factor, copied)
    # A task without a new row has the same factor, not one that was computed anew.
    assert [a is b for a, b in zip(first, second, strict=True)] == [size == 0 for size in SIZES]


def test_the_order_of_rows_leaves_no_trace():
    _, _, heads = heads_of((7,))
    tasks = tasks_of(sizes=(6,))
    order = np.random.default_rng(0).permutation(6)
    turned = TaskRows(tasks.X[order], tasks.y[order], tasks.weight[order], tasks.starts)
    (a,), (b,) = (add_rows(heads, rows, nothing(heads, 1)) for rows in (tasks, turned))
    a, b = (np.moveaxis(factor, 0, -2) for factor in (a, b))
    assert_allclose(a.mT @ a, b.mT @ b, atol=1e-12)
    assert_allclose(abs(a), abs(b), atol=1e-10)
    assert_allclose(np.tril(a[0, 0], -1), 0.0)


def test_long_tasks_and_many_come_in_pieces(monkeypatch):
    _, _, heads = heads_of((7,), 2)
    tasks = tasks_of()
    expected = heads.adapt(tasks)
    monkeypatch.setattr(skcml.row_factors, "_LONGEST", 7)
    monkeypatch.setattr(skcml.row_factors, "_ROWS", 11)
    factors = add_rows(heads, tasks, nothing(heads))
    assert_same(condition(heads, factors, 1.0), expected)
    assert_same(condition(heads, factors_of(expected, 1.0), 1.0), expected)


def test_no_task_at_all():
    _, _, heads = heads_of()
    found = condition(heads, [], 1.0)
    assert found.n_tasks == 0
    assert_allclose(found.coefficients, heads.prior.coefficients)
    assert add_rows(heads, tasks_of(sizes=()), []) == []
    assert factors_of(heads.adapt(tasks_of(sizes=())), 1.0) == []


def test_a_posterior_that_lacks_the_coordinates_is_refused():
    _, _, heads = heads_of()
    posterior = condition(heads, nothing(heads, 1), 1.0)
    with pytest.raises(ValueError, match="has no factors"):
        factors_of(posterior, 1.0)


def test_a_certain_direction_stays_certain():
    """Weights beyond the digits of a variance: what is settled is not settled anew by one row."""
    problem = head_problem(())
    heads = Heads.stack(problem, [random_theta(problem, 0)])
    tasks = tasks_of(sizes=(3,))
    sure = dataclasses.replace(tasks, weight=tasks.weight * 1e18)
    factors = add_rows(heads, tasks_of(sizes=(1,), seed=1), factors_of(heads.adapt(sure), 1.0))
    found = condition(heads, factors, 1.0)
    mean, _ = found.predict(tasks.X, np.zeros(3, dtype=int))
    assert np.isfinite(found.coefficients).all()
    assert_allclose(mean[0, 0], tasks.y[:, 0], atol=1e-4)
