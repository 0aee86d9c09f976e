"""Batched regularised least squares, against dense systems solved one at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skcml.least_squares import LeastSquares

SHAPES = [(1, 1), (1, 6), (3, 6), (6, 6), (9, 4), (20, 3)]


def random_system(seed, n_rows, n_columns, batch=(2, 3)):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(*batch, n_rows, n_columns))
    target = rng.normal(size=(*batch, n_rows))
    return design, target, rng.uniform(0.1, 3, size=(*batch, n_rows))


def stacked_lstsq(design, target, precision):
    """Solve one system as an ordinary least-squares problem with one more row per column."""
    root = np.sqrt(precision)
    n_columns = design.shape[-1]
    rows = np.vstack([root[:, None] * design, np.eye(n_columns)])
    return np.linalg.lstsq(rows, np.append(root * target, np.zeros(n_columns)))[0]


def hessian(design, precision):
    return np.eye(design.shape[-1]) + design.mT @ (precision[..., None] * design)


def one_at_a_time(solve, *arrays):
    flat = [a.reshape(-1, *a.shape[2:]) for a in arrays]
    return np.array([solve(*parts) for parts in zip(*flat, strict=True)]).reshape(
        *arrays[0].shape[:2], -1
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_solution_is_that_of_a_dense_least_squares_routine(seed, n_rows, n_columns):
    arrays = random_system(seed, n_rows, n_columns)
    system = LeastSquares.factorize(*arrays)
    assert (system.form == "dual") == (n_rows < n_columns)
    expected = one_at_a_time(stacked_lstsq, *arrays)
    assert_allclose(system.u, expected, rtol=1e-10, atol=1e-12)
    assert abs(system.gradient(system.u)).max() < 1e-11


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_primal_equals_dual(n_rows, n_columns):
    design, target, precision = random_system(0, n_rows, n_columns)
    system = LeastSquares.factorize(design, target, precision)
    # Rows without precision, or columns of zeros, turn one form into the other.
    if system.form == "dual":
        extra = n_columns - n_rows
        wider = [(0, 0), (0, 0), (0, extra)]
        other = LeastSquares.factorize(
            np.pad(design, [*wider, (0, 0)], constant_values=1.0),
            np.pad(target, wider, constant_values=7.0),
            np.pad(precision, wider),
        )
        assert other.form == "primal"
        solution = other.u
    else:
        extra = n_rows - n_columns + 1
        design = np.pad(design, [(0, 0), (0, 0), (0, 0), (0, extra)])
        other = LeastSquares.factorize(design, target, precision)
        assert other.form == "dual"
        assert (other.u[..., n_columns:] == 0).all()
        solution = other.u[..., :n_columns]
    assert_allclose(solution, system.u, rtol=1e-11, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_rows_without_precision_change_nothing(seed, n_rows, n_columns, n_padded):
    design, target, precision = random_system(seed, n_rows, n_columns)
    system = LeastSquares.factorize(design, target, precision)
    rng = np.random.default_rng(seed)
    place = rng.integers(0, n_rows + 1)

    def pad(array, values, axis):
        return np.insert(array, [place] * n_padded, values, axis=axis)

    padded = LeastSquares.factorize(
        pad(design, 5.0, 2),
        pad(target, -7.0, 2),
        pad(precision, 0.0, 2),
    )
    rows = rng.normal(size=(2, 3, 2, n_columns))
    assert_allclose(padded.u, system.u, rtol=1e-11, atol=1e-13)
    assert_allclose(padded.solve_h(rows), system.solve_h(rows), rtol=1e-11, atol=1e-13)
    u = rng.normal(size=(2, 3, n_columns))
    assert_allclose(padded.gradient(u), system.gradient(u), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_what_padding_holds_leaves_no_trace(n_rows, n_columns):
    design, target, precision = random_system(1, n_rows, n_columns)
    precision[..., -1] = 0
    system = LeastSquares.factorize(design, target, precision)
    design, target = design.copy(), target.copy()
    design[..., -1, :] *= 3
    target[..., -1] = 1e6
    other = LeastSquares.factorize(design, target, precision)
    assert_allclose(other.u, system.u, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_negative_precisions_within_limits(n_rows, n_columns):
    design, target, precision = random_system(2, n_rows, n_columns)
    # One row pushed away from its target, by less than what keeps H positive definite.
    precision[..., 0] = -0.5 / (design[..., 0, :] ** 2).sum(-1)
    h = hessian(design, precision)
    assert np.linalg.eigvalsh(h).min() > 0.4
    system = LeastSquares.factorize(design, target, precision)
    moment = (design.mT @ (precision * target)[..., None])[..., 0]
    expected = np.linalg.solve(h, moment[..., None])[..., 0]
    assert_allclose(system.u, expected, rtol=1e-10, atol=1e-12)
    assert abs(system.gradient(system.u)).max() < 1e-10


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_solve_h_inverts_the_hessian(n_rows, n_columns):
    design, target, precision = random_system(3, n_rows, n_columns)
    system = LeastSquares.factorize(design, target, precision)
    rows = np.random.default_rng(4).normal(size=(2, 3, 5, n_columns))
    expected = rows @ np.linalg.inv(hessian(design, precision))
    assert_allclose(system.solve_h(rows), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_gradient_is_that_of_the_objective(n_rows, n_columns):
    arrays = random_system(5, n_rows, n_columns)
    u = np.random.default_rng(6).normal(size=(2, 3, n_columns))
    design, target, precision, point = (torch.tensor(a) for a in (*arrays, u))
    point.requires_grad_(True)
    residual = target - (design @ point[..., None])[..., 0]
    (0.5 * (precision * residual**2).sum() + 0.5 * (point**2).sum()).backward()
    found = LeastSquares.factorize(*arrays).gradient(u)
    assert_allclose(found, point.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(3, 6), (9, 4)])
def test_torch_gives_what_numpy_gives(n_rows, n_columns):
    arrays = random_system(7, n_rows, n_columns)
    ours, theirs = (
        LeastSquares.factorize(*kind) for kind in (arrays, [torch.tensor(a) for a in arrays])
    )
    assert_allclose(theirs.u.numpy(), ours.u, rtol=1e-12, atol=1e-13)
    assert_allclose(
        theirs.solve_h(theirs.design).numpy(), ours.solve_h(ours.design), rtol=1e-12, atol=1e-13
    )


def test_no_rows_leave_the_prior():
    system = LeastSquares.factorize(np.ones((2, 0, 3)), np.ones((2, 0)), np.ones((2, 0)))
    assert (system.u == np.zeros((2, 3))).all()
    rows = np.random.default_rng(0).normal(size=(2, 4, 3))
    assert (system.solve_h(rows) == rows).all()


def test_a_gram_matrix_is_as_good_as_its_rows():
    design, target, precision = random_system(8, 9, 4)
    rows = LeastSquares.factorize(design, target, precision)
    gram = design.mT @ (precision[..., None] * design)
    system = LeastSquares.from_gram(gram)
    assert system.form == "primal"
    directions = np.random.default_rng(9).normal(size=(2, 3, 5, 4))
    assert_allclose(system.solve_h(directions), rows.solve_h(directions), rtol=1e-10, atol=1e-12)
    v, w = system.reduction()[0], rows.reduction()[0]
    assert_allclose(v.mT @ v, w.mT @ w, atol=1e-10)
    assert_allclose(np.eye(4) - v.mT @ v, np.linalg.inv(np.eye(4) + gram), atol=1e-10)
    assert_array_equal(system.u, np.zeros((2, 3, 4)))
    theirs = LeastSquares.from_gram(torch.tensor(gram))
    found = theirs.solve_h(torch.tensor(directions))
    assert_allclose(found.numpy(), system.solve_h(directions), rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_principal_directions_hold_covariance_and_minimiser(seed, n_rows, n_columns):
    design, target, precision = random_system(seed, n_rows, n_columns)
    system = LeastSquares.factorize(design, target, precision)
    v, c = system.reduction()
    assert v.shape == (2, 3, min(n_rows, n_columns), n_columns)
    assert_allclose(
        np.eye(n_columns) - v.mT @ v, np.linalg.inv(hessian(design, precision)), atol=1e-12
    )
    gram = v @ v.mT
    lengths = np.diagonal(gram, axis1=-2, axis2=-1)
    assert_allclose(gram, lengths[..., None] * np.eye(v.shape[-2]), atol=1e-14)
    assert (np.diff(lengths) > -1e-14).all()
    assert_allclose((v.mT @ c[..., None])[..., 0], system.u, atol=1e-12)


def test_directions_of_padding_come_first_and_take_nothing_along():
    # A row that repeats another leaves a direction that is zero but for rounding.
    design, target, precision = random_system(3, 3, 8, batch=(1, 1))
    design[..., 2, :] = design[..., 1, :]
    alone = LeastSquares.factorize(design, target, precision)
    padded = LeastSquares.factorize(
        np.pad(design, [(0, 0), (0, 0), (0, 3), (0, 0)]),
        np.pad(target, [(0, 0), (0, 0), (0, 3)], constant_values=5.0),
        np.pad(precision, [(0, 0), (0, 0), (0, 3)]),
    )
    (v, c), (w, d) = alone.reduction(), padded.reduction()
    assert (w[..., :3, :] == 0).all()
    w, d = w[..., 3:, :], d[..., 3:]
    assert_allclose(w.mT @ w, v.mT @ v, atol=1e-14)
    assert_allclose(abs(d), abs(c), atol=1e-14)
    assert abs(d[..., 0]).min() > 0.01  # how the two rows differ


def test_a_gram_matrix_of_nothing_leaves_the_prior():
    system = LeastSquares.from_gram(np.zeros((2, 3, 3)))
    rows = np.random.default_rng(0).normal(size=(2, 4, 3))
    assert_allclose(system.solve_h(rows), rows)
