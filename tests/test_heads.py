"""Heads in use, against the inner problem, against dense Gaussian conditioning, and by property."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skcml.heads
import skcml.singular_form
from skcml.episodes import Episode, TaskRows
from skcml.glm import GLM, solve
from skcml.heads import Heads
from skcml.problems.head import NOISE_FLOOR
from tests.builders import (
    LIKELIHOODS,
    glm_episode,
    glm_problem,
    head_problem,
    random_theta,
)

# Without rows in the middle and at the end; fewer rows than columns and more, within a chunk too.
SIZES = (3, 0, 40, 12, 9, 5, 1, 10, 2, 13, 0)
N_TASKS = len(SIZES)
HIDDEN = [(), (7,)]
LAYOUTS = ["full", "diagonal", "low rank"]


def layout(n_features, kind="full"):
    if kind == "full":
        return np.tril(np.ones((n_features, n_features), bool))
    diagonal = np.eye(n_features, dtype=bool)
    low_rank = np.ones((n_features, 3 if kind == "low rank" else 0), bool)
    return np.concatenate([diagonal, low_rank], axis=1)


def heads_of(hidden=(), n_heads=1, n_outputs=1, kind="full"):
    """Return an inner problem, random meta-parameters of some heads, and their stack."""
    mask = layout(head_problem(hidden).body.n_features, kind)
    problem = head_problem(hidden, n_outputs, mask=mask)
    thetas = [random_theta(problem, seed) for seed in range(n_heads)]
    for i, theta in enumerate(thetas):
        theta["log_noise"][...] -= 0.3 * i
    return problem, thetas, Heads.stack(problem, thetas)


def tasks_of(n_outputs=1, sizes=SIZES, seed=0, n_inputs=3):
    """Draw tasks with weights."""
    rng = np.random.default_rng([seed, 7])
    n = sum(sizes)
    return TaskRows(
        rng.normal(size=(n, n_inputs)),
        rng.normal(size=(n, n_outputs)),
        rng.uniform(0.3, 2.0, n),
        np.cumsum([0, *sizes]),
    )


def rows_of(tasks, t):
    return slice(tasks.starts[t], tasks.starts[t + 1])


def queries(n=30, n_tasks=N_TASKS, seed=0):
    """Draw rows of all tasks, and of none (-1), in no order."""
    rng = np.random.default_rng([seed, 8])
    codes = np.concatenate([np.arange(-1, n_tasks), rng.integers(-1, n_tasks, n)])
    return rng.normal(size=(len(codes), 3)), rng.permutation(codes)


def predict_one(problem, theta, tasks, t, X):
    """Return what the inner problem predicts for rows of a task, of shape (n_outputs, n_rows)."""
    rows = rows_of(tasks, t) if t >= 0 else slice(0, 0)
    n_outputs = problem.n_outputs
    mean, variance = problem.predict(
        theta,
        Episode(
            tasks.X[rows][None],
            tasks.y[rows].T[:, None],
            tasks.weight[rows][None],
            X[None],
            np.zeros((n_outputs, 1, len(X))),
            np.ones((1, len(X))),
        ),
    )
    return mean[:, 0], variance[:, 0]


def condition_densely(problem, theta, tasks, t, X):
    """Condition the joint Gaussian of a task's support and query rows, without any trick."""
    rows = rows_of(tasks, t) if t >= 0 else slice(0, 0)
    z, z_query = (problem.body.forward(theta, x)[0] for x in (tasks.X[rows], X))
    means, variances = [], []
    for output in range(problem.n_outputs):
        omega, factor = theta["omega"][output], theta["factor"][output]
        noise = np.exp(2 * theta["log_noise"][output]) + NOISE_FLOOR
        sigma = factor @ factor.T
        known = z @ sigma @ z.T + np.diag(noise / tasks.weight[rows])
        gain = np.linalg.solve(known, z @ sigma @ z_query.T).T
        means.append(z_query @ omega + gain @ (tasks.y[rows, output] - z @ omega))
        total = z_query @ sigma @ z_query.T - gain @ z @ sigma @ z_query.T
        variances.append(total.diagonal() + noise)
    return np.stack(means), np.stack(variances)


def assert_predicts_as(oracle, problem, thetas, heads, tasks, rtol=1e-10):
    X, codes = queries(n_tasks=tasks.n_tasks)
    mean, variance = heads.adapt(tasks).predict(X, codes)
    assert mean.shape == variance.shape == (len(thetas), problem.n_outputs, len(X))
    for i, theta in enumerate(thetas):
        for t in np.unique(codes):
            expected = oracle(problem, theta, tasks, t, X[codes == t])
            assert_allclose(mean[i][:, codes == t], expected[0], rtol=rtol, atol=rtol)
            assert_allclose(variance[i][:, codes == t], expected[1], rtol=rtol)


def arrays_of(thing):
    """Yield every array in an object of dataclasses and mappings."""
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from arrays_of(value)
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from arrays_of(getattr(thing, field.name))


def design_of(heads, tasks, t):
    """Return B of H = I + B'B, of shape (n_heads, n_outputs, n_rows, P)."""
    rows = rows_of(tasks, t)
    root = np.sqrt(tasks.weight[rows] / heads.noise[..., None])
    return root[..., None] * (heads.features(tasks.X[rows]) @ heads.factor)


def directions_of(posterior, t):
    """Return V of a task, of shape (n_heads, n_outputs, n_kept, P)."""
    rows = posterior.directions[posterior.starts[t] : posterior.starts[t + 1]]
    return np.moveaxis(rows, 0, 2)


# --- truth


def test_unstacked_is_what_was_stacked():
    for problem, thetas, heads in (heads_of((4,), 3, n_outputs=2), heads_of(n_heads=2)):
        for ours, theirs in zip(heads.unstack(problem), thetas, strict=True):
            assert_allclose(ours.vector, theirs.vector, rtol=1e-12)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("n_heads", [1, 3])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_mean_and_variance_are_those_of_the_inner_problem(hidden, n_heads, n_outputs):
    problem, thetas, heads = heads_of(hidden, n_heads, n_outputs)
    assert_predicts_as(predict_one, problem, thetas, heads, tasks_of(n_outputs))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("n_heads", [1, 3])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_mean_and_variance_are_those_of_gaussian_conditioning(hidden, n_heads, kind):
    problem, thetas, heads = heads_of(hidden, n_heads, 2, kind)
    assert_predicts_as(condition_densely, problem, thetas, heads, tasks_of(2))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("size", [0, 1, 4, 40])
def test_a_single_task_is_one_of_many(hidden, size):
    problem, thetas, heads = heads_of(hidden, 3, 2)
    tasks = tasks_of(2, sizes=(size,))
    assert_predicts_as(condition_densely, problem, thetas, heads, tasks)
    # All rows of one task, and all of none, go another way than a mixture of them.
    X, _ = queries()
    posterior = heads.adapt(tasks)
    for t in (0, -1):
        found = posterior.predict(X, np.full(len(X), t))
        for i, theta in enumerate(thetas):
            expected = condition_densely(problem, theta, tasks, t, X)
            assert_allclose(found[0][i], expected[0], rtol=1e-10, atol=1e-10)
            assert_allclose(found[1][i], expected[1], rtol=1e-10)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_posterior_covariance_is_the_inverse_of_the_curvature(hidden):
    _, _, heads = heads_of(hidden, 3, 2)
    tasks = tasks_of(2)
    posterior = heads.adapt(tasks)
    eye = np.eye(heads.factor.shape[-1])
    for t in range(tasks.n_tasks):
        v = directions_of(posterior, t)
        covariance = eye - v.mT @ v
        design = design_of(heads, tasks, t)
        assert_allclose(covariance, np.linalg.inv(eye + design.mT @ design), atol=1e-12)
        values = np.linalg.eigvalsh(covariance)
        assert (values > 0).all()
        assert (values < 1 + 1e-12).all()
        if tasks.sizes[t]:
            assert (values[..., 0] < 0.9).all()


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_directions_are_orthogonal_and_no_more_than_rows_or_columns(hidden, kind):
    _, _, heads = heads_of(hidden, 3, 2, kind)
    tasks = tasks_of(2)
    posterior = heads.adapt(tasks)
    kept = np.diff(posterior.starts)
    expected = np.minimum(tasks.sizes, heads.factor.shape[-1])
    assert_array_equal(kept, np.append(expected, 0))
    assert len(posterior.directions) == expected.sum()
    for t in range(tasks.n_tasks):
        v = directions_of(posterior, t)
        gram = v @ v.mT
        squares = np.diagonal(gram, axis1=-2, axis2=-1)
        assert (squares < 1).all()
        if kept[t]:
            assert (squares[..., -1] > 0.1).all()
        assert_allclose(gram, squares[..., None] * np.eye(kept[t]), atol=1e-12)


# --- what must make no difference


@pytest.mark.parametrize("hidden", HIDDEN)
def test_an_integer_weight_is_a_number_of_equal_rows(hidden):
    _, _, heads = heads_of(hidden, 3, 2)
    tasks = tasks_of(2)
    counts = np.random.default_rng(1).integers(1, 4, len(tasks.X))
    codes = np.repeat(np.arange(tasks.n_tasks), tasks.sizes)
    weighted = dataclasses.replace(tasks, weight=counts.astype(float))
    repeated = TaskRows.from_codes(
        *(np.repeat(a, counts, axis=0) for a in (tasks.X, tasks.y, np.ones(len(counts)), codes)),
        tasks.n_tasks,
    )
    X, query_codes = queries()
    for found, expected in zip(
        heads.adapt(weighted).predict(X, query_codes),
        heads.adapt(repeated).predict(X, query_codes),
        strict=True,
    ):
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_row_without_weight_is_not_there():
    _, _, heads = heads_of((7,), 3, 2)
    tasks = tasks_of(2, sizes=(6, 5, 30))
    weight, keep = tasks.weight.copy(), np.ones(41, bool)
    # The first of a task, whose place padding takes, the last, and one in the middle.
    gone = [0, 10, 20]
    weight[gone], keep[gone] = 0.0, False
    codes = np.repeat(np.arange(3), tasks.sizes)[keep]
    without = TaskRows.from_codes(tasks.X[keep], tasks.y[keep], weight[keep], codes, 3)
    X, query_codes = queries(n_tasks=3)
    for found, expected in zip(
        heads.adapt(dataclasses.replace(tasks, weight=weight)).predict(X, query_codes),
        heads.adapt(without).predict(X, query_codes),
        strict=True,
    ):
        assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_each_task_is_adapted_by_itself(hidden):
    # Enough rows for several chunks, and tasks of many sizes in each.
    rng = np.random.default_rng(2)
    tasks = tasks_of(1, sizes=tuple(rng.integers(0, 60, 700)))
    assert len(tasks.X) > 20_000
    _, _, heads = heads_of(hidden)
    together = heads.adapt(tasks)
    for t in rng.choice(700, 60, replace=False):
        alone = heads.adapt(tasks.subset(np.array([t])))
        assert_allclose(together.coefficients[t], alone.coefficients[0], rtol=1e-9, atol=1e-9)
        v, v_alone = directions_of(together, t), directions_of(alone, 0)
        assert v.shape == v_alone.shape
        assert_allclose(v.mT @ v, v_alone.mT @ v_alone, atol=1e-11)


@pytest.mark.parametrize("n_tasks", [1, N_TASKS])
def test_how_many_rows_are_predicted_at_once_changes_nothing(n_tasks):
    _, _, heads = heads_of((7,), 3, 2)
    posterior = heads.adapt(tasks_of(2, sizes=SIZES[2 : 2 + n_tasks] if n_tasks == 1 else SIZES))
    X, codes = queries(9_000, n_tasks)
    if n_tasks == 1:
        codes[:] = 0
    mean, variance = posterior.predict(X, codes)
    order = np.random.default_rng(3).permutation(len(X))
    for part in np.array_split(order, 13):
        found = posterior.predict(X[part], codes[part])
        assert_allclose(found[0], mean[..., part], rtol=1e-12, atol=1e-12)
        assert_allclose(found[1], variance[..., part], rtol=1e-12)


@pytest.mark.parametrize("gathered", [1, 300, 10**9])
def test_how_much_is_gathered_at_once_changes_nothing(monkeypatch, gathered):
    problem, thetas, heads = heads_of((7,), 3, 2)
    monkeypatch.setattr(skcml.singular_form, "_GATHERED", gathered)
    assert_predicts_as(condition_densely, problem, thetas, heads, tasks_of(2))


def test_memory_does_not_grow_with_the_rows_that_are_predicted():
    import tracemalloc

    _, _, heads = heads_of((7,), 3, 2)
    posterior = heads.adapt(tasks_of(2, sizes=(40, 40)))
    peaks = []
    for n in (8_000, 32_000):
        X, codes = np.zeros((n, 3)), np.arange(n) % 2
        tracemalloc.start()
        posterior.predict(X, codes)
        peaks.append(tracemalloc.get_traced_memory()[1] - 2 * 6 * 8 * n)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_mean_alone_is_the_same_mean():
    _, _, heads = heads_of((7,), 3, 2)
    posterior = heads.adapt(tasks_of(2))
    X, codes = queries()
    mean, nothing = posterior.predict(X, codes, variance=False)
    assert nothing is None
    assert_array_equal(mean, posterior.predict(X, codes)[0])


def test_no_rows_are_predicted_as_no_rows():
    _, _, heads = heads_of((7,), 3, 2)
    mean, variance = heads.adapt(tasks_of(2)).predict(np.empty((0, 3)), np.empty(0, int))
    assert mean.shape == variance.shape == (3, 2, 0)


# --- the prior


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("sizes", [(), (0,), (0, 0), (5,), (5, 0, 3)])
def test_a_task_never_seen_and_a_task_without_rows_have_the_prior(hidden, sizes):
    problem, thetas, heads = heads_of(hidden, 3, 2)
    tasks = tasks_of(2, sizes=sizes)
    posterior = heads.adapt(tasks)
    X, _ = queries()
    for t in (-1, *np.flatnonzero(tasks.sizes == 0)):
        mean, variance = posterior.predict(X, np.full(len(X), t))
        assert_array_equal(posterior.coefficients[t], heads.omega)
        for i, theta in enumerate(thetas):
            z, _ = problem.body.forward(theta, X)
            assert_allclose(mean[i], theta["omega"] @ z.T, rtol=1e-12, atol=1e-12)
            spread = ((z @ theta["factor"]) ** 2).sum(-1)
            noise = np.exp(2 * theta["log_noise"])[:, None] + NOISE_FLOOR
            assert_allclose(variance[i], spread + noise, rtol=1e-12)


def test_precision_is_that_of_the_prior():
    problem, thetas, heads = heads_of((7,), 3, 2)
    assert heads.with_precision(1.0) is heads
    tighter = heads.with_precision(4.0)
    assert_allclose(tighter.factor, heads.factor / 2, rtol=1e-15)
    assert_array_equal(tighter.omega, heads.omega)
    assert_array_equal(tighter.noise, heads.noise)
    scaled = [theta.copy() for theta in thetas]
    for theta in scaled:
        theta["factor"][...] *= 0.5
    assert_predicts_as(predict_one, problem, scaled, tighter, tasks_of(2))
    # Without bounds, the prior or the task alone decides.
    X, codes = queries()
    tasks = tasks_of(2, sizes=(40,) * N_TASKS)
    prior, _ = heads.adapt(tasks).predict(X, np.full(len(X), -1))
    strong, _ = heads.with_precision(1e12).adapt(tasks).predict(X, codes)
    assert_allclose(strong, prior, atol=1e-8)


# --- variances


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("log_noise", [-0.5, -5.0, -40.0])
def test_variance_is_never_below_the_noise(hidden, log_noise):
    problem, thetas, _ = heads_of(hidden, 3)
    for theta in thetas:
        theta["log_noise"][...] = log_noise
    heads = Heads.stack(problem, thetas)
    # A row a thousand times over is known exactly.
    tasks = tasks_of(1, sizes=(2_000, 30))
    tasks.X[:1_000] = tasks.X[0]
    X = np.concatenate([tasks.X[:10], tasks.X[-40:]])
    _, variance = heads.adapt(tasks).predict(X, np.repeat([0, 1], 25))
    noise = np.exp(2 * log_noise) + NOISE_FLOOR
    assert (variance >= noise).all()
    assert variance[..., 0] == pytest.approx(noise, rel=0.01)


@pytest.mark.parametrize("sizes", [(30,), (30, 30)])
def test_rounding_does_not_take_the_variance_below_the_noise(sizes):
    # Prior variances of 1e18, next to which the noise is lost.
    problem, thetas, _ = heads_of((), 1)
    thetas[0]["factor"][...] *= 1e9
    heads = Heads.stack(problem, thetas)
    X, codes = queries(300, len(sizes))
    codes[:] = np.arange(len(X)) % len(sizes)
    _, variance = heads.adapt(tasks_of(sizes=sizes)).predict(X, codes)
    assert (variance >= heads.noise[0, 0]).all()


def test_variance_is_accurate_where_noise_is_next_to_nothing():
    # H has eigenvalues up to 1e11 here: the variance is a small difference of large numbers.
    problem, thetas, _ = heads_of((7,), 1)
    thetas[0]["log_noise"][...] = -40.0
    heads = Heads.stack(problem, thetas)
    X, _ = queries()
    for size in (5, 11, 30):
        tasks = tasks_of(1, sizes=(size,))
        _, variance = heads.adapt(tasks).predict(X, np.zeros(len(X), int))
        # A singular value decomposition never squares the small numbers.
        _, s, vt = np.linalg.svd(design_of(heads, tasks, 0)[0, 0])
        rest = np.append(1 / (1 + s**2), np.ones(11 - len(s)))
        a = (heads.features(X) @ heads.factor)[0, 0] @ vt.T
        assert_allclose(variance[0, 0], NOISE_FLOOR + a**2 @ rest, rtol=1e-4)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_variance_shrinks_with_every_row(hidden):
    _, _, heads = heads_of(hidden, 3, 2)
    tasks = tasks_of(2, sizes=(25,))
    X, _ = queries()
    codes = np.zeros(len(X), int)
    seen = []
    for n in range(26):
        some = TaskRows(tasks.X[:n], tasks.y[:n], tasks.weight[:n], np.array([0, n]))
        seen.append(heads.adapt(some).predict(X, codes)[1])
    assert (np.diff(seen, axis=0) < 1e-12).all()
    assert (seen[-1] < seen[0]).all()
    assert np.median(seen[-1] / seen[0]) < 0.3


# --- layout, and what is kept


def test_a_stack_is_its_heads():
    problem, thetas, heads = heads_of((7,), 3, 2)
    assert heads.n_heads == 3
    X, _ = queries()
    features = heads.features(X)
    assert features.shape == (3, 1, len(X), 11)
    for i, theta in enumerate(thetas):
        assert_allclose(features[i, 0], problem.body.forward(theta, X)[0], rtol=1e-14)
        for name in ("omega", "factor"):
            assert_array_equal(getattr(heads, name)[i], theta[name])
        assert_allclose(heads.noise[i], np.exp(2 * theta["log_noise"]) + NOISE_FLOOR)


def test_linear_heads_share_their_features():
    _, _, heads = heads_of((), 3, 2)
    X, _ = queries()
    assert_array_equal(heads.features(X)[0, 0], np.column_stack([np.ones(len(X)), X]))
    assert heads.features(X).shape == (1, 1, len(X), 4)


def test_a_stack_is_a_copy():
    _, thetas, heads = heads_of((7,), 2)
    before = heads.factor.copy()
    thetas[0].vector[:] = 0.0
    assert_array_equal(heads.factor, before)
    assert (heads.theta["weight_0"] != 0).all()


@pytest.mark.parametrize("hidden", HIDDEN)
def test_no_training_row_is_kept(hidden):
    _, _, heads = heads_of(hidden, 3, 1)
    tasks = tasks_of(1, sizes=(5, 2, 40, 9))
    posterior = heads.adapt(tasks)
    numbers = np.concatenate([array.ravel() for array in arrays_of(posterior)])
    assert len(numbers) > 100
    trained = np.concatenate([tasks.X.ravel(), tasks.y.ravel()])
    assert abs(numbers[:, None] - trained).min() > 1e-9
    # Nor is the direction of a row's features, from which they follow but for a factor.
    for t in range(tasks.n_tasks):
        v, rows = directions_of(posterior, t), design_of(heads, tasks, t)
        along = (v @ rows.mT) ** 2
        both = (v**2).sum(-1)[..., None] * (rows**2).sum(-1)[..., None, :]
        assert (along <= (1 - 1e-6) * both).all()


# --- classes and counts


def glm_heads(kind, hidden, n_heads=2):
    problem = glm_problem(kind, hidden)
    thetas = [random_theta(problem, seed) for seed in range(n_heads)]
    return problem, thetas, Heads.stack(problem, thetas)


def glm_tasks(problem, sizes=(3, 1, 0, 8, 25), seed=0):
    """Draw tasks, one without rows, whose y the likelihood is about."""
    rng = np.random.default_rng(seed)
    n, starts = sum(sizes), np.concatenate([[0], np.cumsum(sizes)])
    like = glm_episode(problem, seed, n_tasks=1, n_support=n)
    X, y = rng.normal(size=(n, 3)), like.y_support[:, 0].T
    return TaskRows(X, y, rng.uniform(0.5, 2.0, n), starts)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_heads_with_a_likelihood_predict_as_the_inner_problem(kind, hidden, monkeypatch):
    monkeypatch.setattr("skcml.heads.TOL", 1e-8)
    problem, thetas, heads = glm_heads(kind, hidden)
    tasks = glm_tasks(problem)
    posterior = heads.adapt(tasks)
    X = np.random.default_rng(1).normal(size=(7, 3))
    for t in range(tasks.n_tasks):
        rows = slice(*tasks.starts[t : t + 2])
        episode = Episode(
            tasks.X[None, rows],
            tasks.y[rows].T[:, None],
            tasks.weight[None, rows],
            X[None],
            np.zeros((problem.n_outputs, 1, 7)),
            np.ones((1, 7)),
        )
        mean, variance = posterior.predict(X, np.full(7, t))
        for i, theta in enumerate(thetas):
            expected = problem.predict(theta, episode)
            assert_allclose(mean[i], expected[0][:, 0], rtol=1e-4, atol=1e-5)
            assert_allclose(variance[i], expected[1][:, 0], rtol=5e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_rows_of_many_tasks_are_predicted_as_those_of_one(kind):
    problem, _, heads = glm_heads(kind, (7,))
    tasks = glm_tasks(problem)
    codes = np.array([4, -1, 0, 3, 2, 0, 1, 4, 4])
    X = np.random.default_rng(2).normal(size=(len(codes), 3))
    mean, variance = heads.adapt(tasks).predict(X, codes)
    only, nothing = heads.adapt(tasks).predict(X, codes, variance=False)
    assert nothing is None
    assert_allclose(only, mean, rtol=1e-12)
    for t in (0, 1, 3, 4):
        alone = heads.adapt(tasks.subset(np.array([t])))
        found = alone.predict(X[codes == t], np.zeros((codes == t).sum(), int))
        assert_allclose(mean[..., codes == t], found[0], rtol=1e-5, atol=1e-7)
        assert_allclose(variance[..., codes == t], found[1], rtol=1e-5, atol=1e-7)
    prior = heads.prior.predict(X, np.full(len(codes), -1))
    unseen = (codes == -1) | (codes == 2)
    assert_allclose(mean[..., unseen], prior[0][..., unseen], rtol=1e-9)
    if kind == "categorical":
        assert_allclose(mean.sum(1), 1.0)


def test_a_head_that_does_not_integrate_predicts_by_the_mode():
    problem, (theta,), heads = glm_heads("categorical", (), 1)
    tasks = glm_tasks(problem)
    posterior = dataclasses.replace(heads, integrates=False).adapt(tasks)
    rows = slice(*tasks.starts[3:5])
    X = np.random.default_rng(1).normal(size=(7, 3))
    z, asked = (np.column_stack([np.ones(len(x)), x]) for x in (tasks.X[rows], X))
    design = (z @ theta["factor"])[:, None]
    offset = (z @ theta["omega"].T).T[:, None]
    y, weight = tasks.y[rows].T[:, None], tasks.weight[None, rows]
    mode = solve(GLM(problem.likelihood, design, offset, y, weight)).u[:, 0]
    coefficients = theta["omega"] + (theta["factor"] @ mode[..., None])[..., 0]
    expected = problem.likelihood.mean((asked @ coefficients.T).T[:, None])[:, 0]
    mean, _ = posterior.predict(X, np.full(7, 3))
    assert_allclose(mean[0], expected, atol=1e-6)


def test_heads_of_one_layout_are_concatenated():
    _, thetas, heads = glm_heads("poisson", (7,), 3)
    problem = glm_problem("poisson", (7,))
    parts = [Heads.stack(problem, thetas[:1]), Heads.stack(problem, thetas[1:])]
    joined = Heads.concatenate(parts)
    tasks = glm_tasks(problem)
    X, codes = tasks.X, np.repeat(np.arange(5), tasks.sizes)
    for found, expected in zip(
        joined.adapt(tasks).predict(X, codes), heads.adapt(tasks).predict(X, codes), strict=True
    ):
        assert_array_equal(found, expected)
    assert Heads.concatenate(parts[:1]) is parts[0]


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_heads_that_do_not_integrate_are_certain(kind):
    problem, _, heads = glm_heads(kind, ())
    certain = dataclasses.replace(heads, integrates=False)
    assert certain.is_certain
    assert not heads.is_certain
    tasks = glm_tasks(problem)
    posterior = certain.adapt(tasks)
    assert len(posterior.directions) == 0  # nothing is kept but the mode
    assert_array_equal(posterior.starts, np.zeros(7))
    X, codes = tasks.X, np.repeat(np.arange(5), tasks.sizes)
    mean, variance = posterior.predict(X, codes)
    z = np.column_stack([np.ones(len(X)), X])
    eta = np.einsum("nk,nmck->mcn", z, posterior.coefficients[codes])[..., None, :]
    assert_allclose(mean, problem.likelihood.mean(eta)[..., 0, :], rtol=1e-9)
    of_y = mean if kind == "poisson" else mean * (1 - mean)
    assert_allclose(variance, of_y, rtol=1e-9)


def test_gaussian_heads_are_never_certain():
    _, _, heads = heads_of()
    assert not dataclasses.replace(heads, integrates=False).is_certain


# --- some of the tasks


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_subset_is_the_same_tasks_bit_for_bit(n_outputs):
    _, _, heads = heads_of((7,), 2, n_outputs)
    posterior = heads.adapt(tasks_of(n_outputs))
    assert posterior.n_tasks == N_TASKS
    chosen = np.array([8, 2, 1, 10])
    subset = posterior.subset(chosen)
    assert subset.n_tasks == 4
    X, codes = queries(n_tasks=4)
    of_all = np.append(chosen, -1)[codes]
    for some, every in zip(subset.predict(X, codes), posterior.predict(X, of_all), strict=True):
        assert_array_equal(some, every)
    for t, task in enumerate(chosen):
        assert_array_equal(directions_of(subset, t), directions_of(posterior, task))
    assert not any(
        np.shares_memory(a, b)
        for a, b in zip(
            (subset.coefficients, subset.directions, subset.along),
            (posterior.coefficients, posterior.directions, posterior.along),
            strict=True,
        )
    )
    assert posterior.subset(chosen[:0]).n_tasks == 0


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_coordinates_along_the_directions_are_those_of_the_mean(hidden, kind):
    _, _, heads = heads_of(hidden, 2, 2, kind)
    for sizes in (SIZES, (5,), (40,)):
        tasks = tasks_of(2, sizes)
        posterior = heads.adapt(tasks)
        for t in range(tasks.n_tasks):
            along = posterior.along[posterior.starts[t] : posterior.starts[t + 1]]
            u = (directions_of(posterior, t).mT @ np.moveaxis(along, 0, 2)[..., None])[..., 0]
            found = heads.omega + (heads.factor @ u[..., None])[..., 0]
            assert_allclose(found, posterior.coefficients[t], rtol=1e-10, atol=1e-12)
