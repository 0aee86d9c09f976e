"""REML-EM, against statsmodels on real tables and against the likelihood itself."""

import dataclasses
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose

from skcml.datasets import load_grouped
from skcml.episodes import TaskRows
from skcml.grouping import encode_groups
from skcml.mixed_model import CompressedGroups, fit_mixed_model
from skcml.random_effects import STRUCTURES, MixedModel, cholesky_psd, shrink_to_diagonal
from tests.builders import linear_tasks

TO_THE_END = {"shrinkage": 0.0, "max_iter": 5000, "tol": 1e-9}


def standardize(array):
    return (array - array.mean(0)) / array.std(0)


def table(name, columns):
    """Return a real table's tasks, standardised, and its codes in the order of their rows."""
    loaded = load_grouped(name)
    X = standardize(loaded.data[columns].to_numpy(float))
    y = standardize(loaded.target.to_numpy(float))[:, None]
    codes, index = encode_groups(loaded.groups, len(y))
    tasks = TaskRows.from_codes(X, y, np.ones(len(y)), codes, len(index.labels))
    return tasks, np.repeat(np.arange(tasks.n_tasks), tasks.sizes)


def reference(tasks, codes, *, n_varying):
    """Fit statsmodels' MixedLM, whose first ``n_varying`` columns vary between groups."""
    z = np.column_stack([np.ones(len(tasks.X)), tasks.X])
    model = sm.MixedLM(tasks.y[:, 0], z, codes, exog_re=z[:, :n_varying])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.fit(reml=True, method="lbfgs", gtol=1e-9)
    assert result.converged
    return result


def covariance(model):
    return model.factor @ model.factor.T


def reml(tasks, omega, sigma, noise):
    """Return the restricted log-likelihood, up to a constant, at omega as well as at its best."""
    total, gram, moment, rows = 0.0, 0.0, 0.0, []
    for start, stop in zip(tasks.starts[:-1], tasks.starts[1:], strict=True):
        z = np.column_stack([np.ones(stop - start), tasks.X[start:stop]])
        k = noise * np.eye(len(z)) + z @ sigma @ z.T
        inverse, y = np.linalg.inv(k), tasks.y[start:stop, 0]
        total -= 0.5 * np.linalg.slogdet(k)[1]
        gram, moment = gram + z.T @ inverse @ z, moment + z.T @ inverse @ y
        rows.append((z, y, inverse))
    if omega is None:
        omega = np.linalg.solve(gram, moment)
    total -= 0.5 * np.linalg.slogdet(gram)[1]
    return total - 0.5 * sum((y - z @ omega) @ k @ (y - z @ omega) for z, y, k in rows)


def two_outputs(tasks, seed=0):
    """Append an output of another kind to the first."""
    rng = np.random.default_rng(seed)
    second = 2 * tasks.X[:, :1] + 0.2 * rng.normal(size=tasks.y.shape)
    return dataclasses.replace(tasks, y=np.hstack([tasks.y, second]))


def assert_same(found, expected, rtol=1e-9):
    assert found.n_iter == expected.n_iter
    assert_allclose(found.omega, expected.omega, rtol=rtol, atol=1e-10)
    assert_allclose(found.noise, expected.noise, rtol=rtol)
    assert_allclose(covariance(found), covariance(expected), rtol=rtol, atol=1e-9)


# --- truth


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sleepstudy", ["Days"]),
        ("Oxboys", ["age"]),
        ("Exam", ["standLRT"]),
        ("Orthodont", ["age"]),
    ],
)
def test_full_covariance_agrees_with_statsmodels(name, columns):
    tasks, codes = table(name, columns)
    expected = reference(tasks, codes, n_varying=2)
    found = fit_mixed_model(CompressedGroups.from_tasks(tasks), **TO_THE_END)
    assert found.n_iter < 5000
    assert_allclose(found.omega, expected.fe_params, atol=1e-4)
    cov = np.asarray(expected.cov_re)
    assert_allclose(covariance(found), cov, rtol=1e-3, atol=1e-3 * abs(cov).max())
    assert_allclose(found.noise, expected.scale, rtol=1e-3)


@pytest.mark.parametrize(("name", "columns"), [("sleepstudy", ["Days"]), ("Orthodont", ["age"])])
def test_random_intercept_agrees_with_statsmodels(name, columns):
    tasks, codes = table(name, columns)
    expected = reference(tasks, codes, n_varying=1)
    groups = CompressedGroups.from_tasks(tasks)
    found = fit_mixed_model(groups, structure="intercept", **TO_THE_END)
    assert_allclose(found.omega, expected.fe_params, atol=1e-4)
    assert_allclose(covariance(found)[0, 0], expected.cov_re[0, 0], rtol=1e-3)
    assert_allclose(found.noise, expected.scale, rtol=1e-3)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_restricted_likelihood_never_falls(structure):
    tasks = linear_tasks(n_tasks=15, sizes=(3, 9))
    groups = CompressedGroups.from_tasks(tasks)
    options = {"structure": structure, "shrinkage": 0.0}
    # From far away: next to no variance between groups, and much noise.
    far = MixedModel(np.zeros(3), 0.05 * np.eye(3), 5.0, "full", 0)
    model, seen = far, []
    for _ in range(25):
        model = fit_mixed_model(groups, max_iter=1, init=model, **options)
        seen.append(reml(tasks, None, covariance(model), model.noise))
    assert (np.diff(seen) > -1e-9).all()
    assert seen[-1] > seen[0] + 1
    # Step by step or at once is the same.
    at_once = fit_mixed_model(groups, max_iter=25, tol=0.0, init=far, **options)
    assert_allclose(covariance(at_once), covariance(model), atol=1e-8)


def test_fixed_effects_are_best_for_their_covariance():
    tasks = linear_tasks(n_tasks=15, sizes=(3, 9))
    found = fit_mixed_model(CompressedGroups.from_tasks(tasks), **TO_THE_END)
    at_best = reml(tasks, None, covariance(found), found.noise)
    assert reml(tasks, found.omega, covariance(found), found.noise) == pytest.approx(at_best)
    for j in range(3):
        moved = found.omega + 0.01 * np.eye(3)[j]
        assert reml(tasks, moved, covariance(found), found.noise) < at_best


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_truth_is_recovered_from_many_groups(structure):
    omega = np.array([1.0, -2.0, 0.5])
    factor = np.array([[0.8, 0, 0], [0.3, 0.5, 0], [-0.2, 0.1, 0.3]])
    if structure == "diagonal":
        factor = np.diag(factor.diagonal())
    elif structure == "intercept":
        factor = np.diag([0.8, 0, 0])
    tasks = linear_tasks(n_tasks=2000, sizes=(4, 12), omega=omega, factor=factor, noise=0.3)
    groups = CompressedGroups.from_tasks(tasks)
    found = fit_mixed_model(groups, structure=structure, shrinkage=0.0, tol=1e-5)
    # Five standard errors: 0.02 for the intercept, 0.02 for its variance, 0.001 for the noise.
    assert_allclose(found.omega, omega, atol=0.1)
    assert_allclose(covariance(found), factor @ factor.T, atol=0.1)
    assert_allclose(found.noise, 0.09, atol=0.006)


# --- what must make no difference


def test_a_weight_is_a_number_of_equal_rows():
    tasks = linear_tasks(n_tasks=12)
    counts = np.random.default_rng(1).integers(1, 4, len(tasks.y))
    weighted = dataclasses.replace(tasks, weight=counts.astype(float))
    codes = np.repeat(np.arange(tasks.n_tasks), tasks.sizes)
    repeated = TaskRows.from_codes(
        np.repeat(tasks.X, counts, axis=0),
        np.repeat(tasks.y, counts, axis=0),
        np.ones(counts.sum()),
        np.repeat(codes, counts),
        tasks.n_tasks,
    )
    for structure in STRUCTURES:
        found, expected = (
            fit_mixed_model(CompressedGroups.from_tasks(t), structure=structure)
            for t in (weighted, repeated)
        )
        assert_same(found, expected)


def test_rows_of_weight_zero_are_not_there():
    tasks = linear_tasks(n_tasks=12, sizes=(5, 9))
    weight = np.ones(len(tasks.y))
    weight[tasks.starts[:-1]] = 0
    kept = np.flatnonzero(weight)
    codes = np.repeat(np.arange(tasks.n_tasks), tasks.sizes)
    without = TaskRows.from_codes(
        tasks.X[kept], tasks.y[kept], weight[kept], codes[kept], tasks.n_tasks
    )
    found, expected = (
        fit_mixed_model(CompressedGroups.from_tasks(t))
        for t in (dataclasses.replace(tasks, weight=weight), without)
    )
    assert_same(found, expected)


def test_compression_changes_nothing():
    # Groups of 2 to 200 rows, of which none keeps more than five.
    tasks = linear_tasks(n_tasks=20, sizes=(2, 200))
    groups = CompressedGroups.from_tasks(tasks)
    assert max(z.shape[1] for z in groups.z) <= 4
    assert groups.n_rows == len(tasks.y)
    assert groups.n_groups == 20
    rows = [np.arange(*tasks.starts[t : t + 2]) for t in range(20)]
    z = np.column_stack([np.ones(len(tasks.X)), tasks.X])
    plain = CompressedGroups(
        [z[r][None] for r in rows], [tasks.y[r][None] for r in rows], groups.n_rows, 20
    )
    assert_same(fit_mixed_model(groups), fit_mixed_model(plain))
    found = fit_mixed_model(groups, **TO_THE_END)
    at_best = reml(tasks, None, covariance(found), found.noise)
    for factor in (0.9, 1.1):
        assert reml(tasks, None, factor * covariance(found), found.noise) < at_best
        assert reml(tasks, None, covariance(found), factor * found.noise) < at_best


def test_compressed_groups_have_the_products_of_their_rows():
    tasks = two_outputs(linear_tasks(n_tasks=20, sizes=(2, 30)))
    groups = CompressedGroups.from_tasks(tasks)
    found = sum(
        np.tensordot(joint, joint, ((0, 1), (0, 1)))
        for joint in (np.concatenate(pair, 2) for pair in zip(groups.z, groups.y, strict=True))
    )
    rows = np.column_stack([np.ones(len(tasks.X)), tasks.X, tasks.y])
    assert_allclose(found, rows.T @ rows, rtol=1e-10, atol=1e-10)
    assert sum(len(z) for z in groups.z) == 20


def test_the_order_of_groups_and_rows_makes_no_difference():
    tasks = linear_tasks(n_tasks=20, sizes=(2, 30))
    rng = np.random.default_rng(2)
    codes = np.repeat(rng.permutation(20), tasks.sizes)
    order = rng.permutation(len(codes))
    other = TaskRows.from_codes(
        tasks.X[order], tasks.y[order], np.ones(len(order)), codes[order], 20
    )
    found, expected = (
        fit_mixed_model(CompressedGroups.from_tasks(t), tol=1e-6) for t in (other, tasks)
    )
    assert_same(found, expected, rtol=1e-7)


# --- several outputs, structures, shrinkage, where it starts and stops


def test_each_output_is_a_model_of_its_own():
    tasks = two_outputs(linear_tasks(n_tasks=20))
    groups = CompressedGroups.from_tasks(tasks)
    for output in range(2):
        alone = dataclasses.replace(tasks, y=tasks.y[:, [output]])
        expected = fit_mixed_model(CompressedGroups.from_tasks(alone))
        assert_same(fit_mixed_model(groups, output), expected)
    second = fit_mixed_model(groups, 1)
    assert_allclose(second.omega, [0, 2, 0], atol=0.1)
    assert_allclose(second.noise, 0.04, rtol=0.3)


def test_structures_leave_out_what_they_do_not_have():
    groups = CompressedGroups.from_tasks(linear_tasks(n_tasks=20))
    sigma = {s: covariance(fit_mixed_model(groups, structure=s)) for s in STRUCTURES}
    assert (sigma["full"] != 0).all()
    assert (sigma["diagonal"].diagonal() > 0.01).all()
    assert (sigma["diagonal"][~np.eye(3, dtype=bool)] == 0).all()
    assert sigma["intercept"][0, 0] > 0.01
    assert np.count_nonzero(sigma["intercept"]) == 1
    for structure in STRUCTURES:
        factor = fit_mixed_model(groups, structure=structure).factor
        np.testing.assert_array_equal(factor, np.tril(factor))


def test_shrinkage_takes_from_correlations_and_leaves_variances():
    sigma = np.array([[4.0, 1.0], [1.0, 9.0]])
    np.testing.assert_array_equal(shrink_to_diagonal(sigma, 10, 0.0), sigma)
    assert_allclose(shrink_to_diagonal(sigma, 6, 2.0), [[4, 0.75], [0.75, 9]])
    factor = np.array([[0.8, 0], [0.6, 0.4]])
    groups = CompressedGroups.from_tasks(
        linear_tasks(n_tasks=20, omega=(1.0, 2.0), factor=factor, noise=0.2)
    )

    def correlation(shrinkage):
        s = covariance(fit_mixed_model(groups, shrinkage=shrinkage))
        return s[0, 1] / np.sqrt(s[0, 0] * s[1, 1])

    seen = [correlation(shrinkage) for shrinkage in (0.0, 2.0, 20.0, 1e9)]
    assert (np.diff(seen) < 0).all()
    assert seen[0] > 0.5
    assert seen[-1] == pytest.approx(0, abs=1e-6)


def test_it_goes_on_from_where_another_ended():
    groups = CompressedGroups.from_tasks(linear_tasks(n_tasks=20))
    first = fit_mixed_model(groups, tol=1e-6)
    again = fit_mixed_model(groups, tol=1e-5, init=first)
    assert first.n_iter > 3
    assert again.n_iter == 1
    assert_allclose(covariance(again), covariance(first), atol=1e-4)


def test_max_iter_and_tol_end_it():
    groups = CompressedGroups.from_tasks(linear_tasks(n_tasks=20))
    assert fit_mixed_model(groups, max_iter=3, tol=0.0).n_iter == 3
    loose, tight = (fit_mixed_model(groups, tol=tol).n_iter for tol in (1e-2, 1e-6))
    assert 1 <= loose < tight < 100


# --- what data can do


@pytest.mark.parametrize("structure", STRUCTURES)
def test_constant_and_collinear_columns_stay_finite(structure):
    tasks = linear_tasks(n_tasks=20)
    X = np.column_stack([tasks.X, np.zeros(len(tasks.X)), tasks.X[:, 0], np.ones(len(tasks.X))])
    groups = CompressedGroups.from_tasks(dataclasses.replace(tasks, X=X))
    found = fit_mixed_model(groups, structure=structure)
    plain = fit_mixed_model(CompressedGroups.from_tasks(tasks), structure=structure)
    for array in (found.omega, found.factor, found.noise):
        assert np.isfinite(array).all()
    assert found.omega[3] == 0
    # Equal columns share an effect.
    assert_allclose(found.omega[1], found.omega[4], rtol=1e-4)
    assert_allclose(found.omega[1] + found.omega[4], plain.omega[1], atol=0.05)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("target", ["constant", "linear"])
def test_data_without_noise_stay_finite(structure, target):
    tasks = linear_tasks(n_tasks=20)
    y = np.zeros_like(tasks.y) if target == "constant" else tasks.X[:, :1] + 1
    groups = CompressedGroups.from_tasks(dataclasses.replace(tasks, y=y))
    found = fit_mixed_model(groups, structure=structure)
    expected = [0, 0, 0] if target == "constant" else [1, 1, 0]
    assert_allclose(found.omega, expected, atol=1e-6)
    assert 0 < found.noise < 1e-2
    assert np.isfinite(found.factor).all()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (40, 40)])
@pytest.mark.parametrize("n_tasks", [1, 2, 5])
def test_few_groups_and_few_rows_stay_finite(n_tasks, sizes):
    groups = CompressedGroups.from_tasks(linear_tasks(n_tasks=n_tasks, sizes=sizes))
    for structure in STRUCTURES:
        found = fit_mixed_model(groups, structure=structure)
        assert np.isfinite(found.omega).all()
        assert np.isfinite(found.factor).all()
        assert found.noise > 0


def test_factor_of_a_covariance_with_zero_rows():
    sigma = np.zeros((4, 4))
    sigma[np.ix_([0, 2], [0, 2])] = [[4.0, 3.0], [3.0, 9.0]]
    factor = cholesky_psd(sigma)
    np.testing.assert_array_equal(factor, np.tril(factor))
    assert_allclose(factor @ factor.T, sigma, atol=1e-8)
    assert (factor[[1, 3]] == 0).all()


def test_factor_of_a_perfect_correlation():
    direction = np.array([1.0, -2.0, 1e-3])
    sigma = np.outer(direction, direction)
    assert_allclose(cholesky_psd(sigma) @ cholesky_psd(sigma).T, sigma, rtol=1e-9)


def with_weights(tasks, weight):
    return CompressedGroups.from_tasks(dataclasses.replace(tasks, weight=weight))


def test_huge_weights_say_no_more_than_large_ones():
    # At 1e20 the noise has no digit left beside the variance of a group's rows.
    tasks, _ = table("Orthodont", ["age"])
    large, huge = (
        fit_mixed_model(with_weights(tasks, np.full(len(tasks.X), weight)), **TO_THE_END)
        for weight in (1e5, 1e20)
    )
    assert_allclose(huge.omega, large.omega, rtol=1e-4)
    assert_allclose(covariance(huge), covariance(large), rtol=1e-4)
    assert_allclose(huge.noise, large.noise, rtol=1e-4)


def test_noise_that_rounding_hides_is_no_singular_matrix():
    rng = np.random.default_rng(0)
    z, y = np.ones((40, 2, 2)), np.ones((40, 2, 1))
    z[..., 1] = 1e10 * rng.normal(size=(40, 1))
    y[..., 0] = rng.normal(size=(40, 1))
    model = fit_mixed_model(CompressedGroups([z], [y], 80.0, 40))
    assert np.isfinite(model.omega).all()
    assert np.isfinite(covariance(model)).all()
    assert model.noise > 0


def test_numbers_too_large_are_refused():
    rng = np.random.default_rng(0)
    z, y = 1e120 * rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 1))
    with pytest.raises(np.linalg.LinAlgError, match="overflow"):
        fit_mixed_model(CompressedGroups([z], [y], 12.0, 4))
