"""The contrastive rule, against torch's gradient through the solve."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.episodes import Episode
from skcml.rules.contrastive import SCHEMES, Contrastive, resolve_scheme
from skcml.rules.strength import MAX_LIMIT, nudge_limit
from skcml.solvers.closed_form import closed_form
from tests.asserts import (
    assert_mean_over_tasks,
    assert_meta_gradient,
    assert_order_does_not_matter,
)
from tests.builders import (
    BODIES,
    autograd_meta_gradient,
    head_problem,
    random_episode,
    random_theta,
    relative_error,
    solved_loss,
    take_tasks,
    tensor_episode,
)
from tests.rules import Doubled

GRID = [(h, m, loss) for h in BODIES for m in (1, 3) for loss in ("log_predictive", "loss")]
FINITE = ["forward", "symmetric", "second_order"]
ACCURACY = {"tangent": 1e-10, "symmetric": 1e-6, "second_order": 1e-6, "forward": 1e-4}


def case(hidden=(7,), n_outputs=1, meta_loss="log_predictive", seed=0, **options):
    problem = head_problem(hidden, n_outputs, meta_loss)
    return problem, random_theta(problem, seed), random_episode(problem, seed, **options)


def free_phase(problem, theta, episode):
    batch = problem.embed(theta, episode)
    return batch, closed_form(problem, theta, batch)


def without_factor(problem, theta, batch, beta=0.0, init=None):
    """Solve in closed form, and keep the factor to oneself."""
    return dataclasses.replace(closed_form(problem, theta, batch, beta, init), solve_h=None)


class Spoiled:
    """A solver that cannot do one of the tasks, from a given phase on (0 is the free one)."""

    def __init__(self, task, phase=0):
        self.task, self.phase, self.calls = task, phase, 0

    def __call__(self, problem, theta, batch, beta=0.0, init=None):
        assert np.isfinite(beta).all()  # even where the free phase failed
        solution = closed_form(problem, theta, batch, beta, init)
        self.calls += 1
        if self.calls <= self.phase:
            return solution
        phi, left, usable = (a.copy() for a in (solution.phi, solution.grad_norm, solution.usable))
        phi[:, self.task], left[self.task], usable[self.task] = np.nan, np.nan, False
        return dataclasses.replace(solution, phi=phi, grad_norm=left, usable=usable)


# --- the gradient


@pytest.mark.parametrize("scheme", ACCURACY)
@pytest.mark.parametrize(("hidden", "n_outputs", "meta_loss"), GRID)
def test_schemes_agree_with_the_gradient_through_the_solve(hidden, n_outputs, meta_loss, scheme):
    problem, theta, episode = case(hidden, n_outputs, meta_loss)
    rule = Contrastive(scheme)
    assert_meta_gradient(rule, problem, closed_form, theta, episode, ACCURACY[scheme])


@pytest.mark.parametrize("scheme", ACCURACY)
@pytest.mark.parametrize("noise", [-3.0, 1.0])
def test_schemes_agree_whatever_the_conditioning(noise, scheme):
    problem, theta, episode = case((6, 5), 2, n_support=12)
    theta["log_noise"][...] = noise
    rule = Contrastive(scheme)
    assert_meta_gradient(rule, problem, closed_form, theta, episode, ACCURACY[scheme])


def test_ridge_agrees_with_finite_differences_of_the_solved_loss():
    problem, theta, episode = case((), 1, "loss")
    found = Contrastive("tangent")(problem, closed_form, theta, episode)
    differences = theta.zeros_like()
    for i in range(len(theta.vector)):
        sides = []
        for step in (1e-5, -1e-5):
            moved = theta.copy()
            moved.vector[i] += step
            sides.append(solved_loss(problem, moved, episode))
        differences.vector[i] = (sides[0] - sides[1]) / 2e-5
    differences["factor"][...] *= problem.factor_mask
    assert relative_error(found.theta.vector, differences.vector) < 1e-8
    assert_allclose(found.loss, solved_loss(problem, theta, episode), rtol=1e-12)


@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
@pytest.mark.parametrize(
    ("scheme", "order"), [("forward", 1), ("symmetric", 2), ("second_order", 2)]
)
def test_error_falls_with_the_schemes_power_of_beta(scheme, order, meta_loss):
    problem, theta, episode = case((6, 5), 2, meta_loss)
    exact, _ = autograd_meta_gradient(problem, theta, episode)
    limit = nudge_limit(problem, theta, *free_phase(problem, theta, episode)).min()
    betas = limit * 0.02 / 2.0 ** np.arange(5)
    errors = [
        relative_error(
            Contrastive(scheme, beta)(problem, closed_form, theta, episode).theta.vector,
            exact.vector,
        )
        for beta in betas
    ]
    slopes = -np.diff(np.log2(errors))
    assert_allclose(slopes, order, atol=0.1)
    # Down to a floor that rounding sets.
    least = Contrastive(scheme, limit * 1e-6)(problem, closed_form, theta, episode)
    assert relative_error(least.theta.vector, exact.vector) < (1e-5 if order == 1 else 1e-6)


def test_the_variance_depends_on_theta_and_the_gradient_knows():
    # Holding the predictive variance fixed leaves out the direct term: it must not be close.
    for hidden in BODIES:
        problem, theta, episode = case(hidden, 1)
        found = Contrastive("tangent")(problem, closed_form, theta, episode)
        exact, _ = autograd_meta_gradient(problem, theta, episode)
        wrong, _ = autograd_meta_gradient(problem, theta, episode, fixed_variance=True)
        assert relative_error(found.theta.vector, exact.vector) < 1e-10
        assert relative_error(wrong.vector, exact.vector) > 0.05


def test_torch_batches_give_what_numpy_batches_give():
    problem, theta, episode = case((7,), 2)
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    for scheme in ACCURACY:
        ours = Contrastive(scheme)(problem, closed_form, theta, episode)
        theirs = Contrastive(scheme)(problem, closed_form, graph, tensor_episode(episode))
        assert_allclose(theirs.loss, ours.loss, rtol=1e-12)
        assert relative_error(theirs.theta.vector, ours.theta.vector) < ACCURACY[scheme]


# --- schemes and strengths


def test_auto_is_tangent_with_a_factor_and_symmetric_without():
    problem, theta, episode = case()
    auto, tangent, symmetric = (Contrastive(s) for s in ("auto", "tangent", "symmetric"))

    def bits(rule, solver):
        return rule(problem, solver, theta, episode).theta.vector.tobytes()

    assert bits(auto, closed_form) == bits(tangent, closed_form)
    assert bits(auto, without_factor) == bits(symmetric, without_factor)
    assert bits(auto, closed_form) != bits(auto, without_factor)
    assert Contrastive() == auto


@pytest.mark.parametrize("scheme", FINITE)
def test_no_factor_is_needed_by_finite_schemes(scheme):
    problem, theta, episode = case((7,), 3)
    rule = Contrastive(scheme)
    assert_meta_gradient(rule, problem, without_factor, theta, episode, ACCURACY[scheme])


def test_refusals():
    problem, theta, episode = case()
    with pytest.raises(ValueError, match="scheme='tangent' needs a solver that has a factor"):
        Contrastive("tangent")(problem, without_factor, theta, episode)
    with pytest.raises(ValueError, match="scheme='backward' is none of 'auto', 'tangent'"):
        Contrastive("backward")(problem, closed_form, theta, episode)
    for beta in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="must be 'auto' or a positive number"):
            Contrastive("symmetric", beta)(problem, closed_form, theta, episode)
    assert {resolve_scheme(s, free_phase(problem, theta, episode)[1]) for s in SCHEMES} == {
        "tangent",
        *FINITE,
    }


def test_number_of_phases():
    problem, theta, episode = case()
    for scheme, n_phases in [("tangent", 1), ("forward", 2), ("symmetric", 3), ("second_order", 3)]:
        solver = Spoiled(task=0, phase=100)
        Contrastive(scheme)(problem, solver, theta, episode)
        assert solver.calls == n_phases


def test_phases_start_from_the_free_one():
    problem, theta, episode = case()
    starts = []

    def solver(problem, theta, batch, beta=0.0, init=None):
        starts.append(init)
        return closed_form(problem, theta, batch, beta, init)

    Contrastive("symmetric")(problem, solver, theta, episode)
    free = free_phase(problem, theta, episode)[1].phi
    assert starts[0] is None
    for start in starts[1:]:
        np.testing.assert_array_equal(start, free)


# --- the limit


def dense_curvatures(batch):
    """Return H and Q of each output and task, as matrices."""
    rows = batch.w_support / batch.noise
    h = np.eye(batch.a_query.shape[-1]) + batch.a_support.mT @ (rows[..., None] * batch.a_support)
    rows = batch.w_query / batch.v_query
    return h, batch.a_query.mT @ (rows[..., None] * batch.a_query)


@pytest.mark.parametrize(("hidden", "n_outputs", "meta_loss"), GRID)
def test_limit_is_where_a_nudged_energy_stops_having_a_minimum(hidden, n_outputs, meta_loss):
    problem, theta, episode = case(hidden, n_outputs, meta_loss)
    batch, free = free_phase(problem, theta, episode)
    h, q = dense_curvatures(batch)
    exact = 1 / np.linalg.eigvals(np.linalg.solve(h, q)).real.max(-1).max(0)
    limit = nudge_limit(problem, theta, batch, free, n_iter=2000)
    assert_allclose(limit, exact, rtol=1e-5)
    limit = limit[:, None, None]
    assert (np.linalg.eigvalsh(h - 0.999 * limit * q) > 0).all()
    just_above = np.linalg.eigvalsh(h - 1.001 * limit * q).min(-1)
    assert (just_above.min(0) < 0).all()
    # A few iterations err to the high side, by less than what SAFE_SHARE leaves.
    rough = nudge_limit(problem, theta, batch, free)
    assert (rough > 0.999999 * exact).all()
    assert (rough < 1.03 * exact).all()


def test_limit_is_each_tasks_own():
    # One task's curvature is 1e16 times another's: neither may drown the other.
    problem, theta, episode = case((), n_tasks=3)
    x = episode.x_query.copy()
    x[1] *= 1e4
    theta["factor"][:, 0] = 0
    scale = np.array([1.0, 1.0, 1e-4])[:, None, None]
    episode = dataclasses.replace(episode, x_query=x * scale)
    batch, free = free_phase(problem, theta, episode)
    found = nudge_limit(problem, theta, batch, free)
    h, q = dense_curvatures(batch)
    largest = np.linalg.eigvals(np.linalg.solve(h, q)).real.max(-1).max(0)
    expected = np.minimum(1 / largest, MAX_LIMIT)
    assert expected[2] == MAX_LIMIT
    assert_allclose(found, expected, rtol=0.03)
    for t in range(3):
        one = take_tasks(episode, [t])
        alone = nudge_limit(problem, theta, *free_phase(problem, theta, one))
        assert_allclose(alone[0], found[t], rtol=1e-9)


def test_without_a_factor_the_limit_is_too_low_if_anything():
    problem, theta, episode = case((7,), 3)
    batch, free = free_phase(problem, theta, episode)
    found = nudge_limit(problem, theta, batch, without_factor(problem, theta, batch))
    _, q = dense_curvatures(batch)
    assert_allclose(found, 1 / np.linalg.eigvalsh(q).max(-1).max(0), rtol=0.03)
    assert (found <= nudge_limit(problem, theta, batch, free)).all()


@pytest.mark.parametrize("scheme", ["tangent", *FINITE])
def test_a_loss_without_curvature_leaves_the_strength_finite(scheme):
    # Without random effects no nudge moves phi, and only the direct gradient is left.
    problem, theta, episode = case((7,), 2)
    theta["factor"][...] = 0
    batch, free = free_phase(problem, theta, episode)
    np.testing.assert_array_equal(nudge_limit(problem, theta, batch, free), np.full(4, MAX_LIMIT))
    for beta in ("auto", 0.1):
        rule = Contrastive(scheme, beta)
        assert_meta_gradient(rule, problem, closed_form, theta, episode, 1e-9)


def test_a_query_without_curvature_beside_others():
    problem, theta, episode = case((), 1, "loss")
    x = episode.x_query.copy()
    x[2] = 0
    theta["factor"][:, 0] = 0  # the intercept does not vary, hence rows of zeros do not either
    episode = dataclasses.replace(episode, x_query=x)
    limit = nudge_limit(problem, theta, *free_phase(problem, theta, episode))
    assert limit[2] == MAX_LIMIT
    assert (np.delete(limit, 2) < 1e3).all()
    for scheme in FINITE:
        rule = Contrastive(scheme)
        assert_meta_gradient(rule, problem, closed_form, theta, episode, ACCURACY[scheme])


def test_symmetric_falls_back_to_forward_where_the_other_phase_has_no_minimum():
    problem, theta, episode = case((7,), 2)
    limit = nudge_limit(problem, theta, *free_phase(problem, theta, episode))
    order = np.argsort(limit)
    beta = np.sqrt(0.9 * limit[order[1]] * 0.9 * limit[order[2]])  # two tasks beyond, two within
    found = Contrastive("symmetric", beta)(problem, closed_form, theta, episode)
    parts = []
    for t in range(4):
        scheme = "symmetric" if beta < 0.9 * limit[t] else "forward"
        one = take_tasks(episode, [t])
        parts.append(Contrastive(scheme, beta)(problem, closed_form, theta, one).theta.vector)
    assert relative_error(found.theta.vector, np.mean(parts, axis=0)) < 1e-9


@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
@pytest.mark.parametrize("scheme", FINITE)
@pytest.mark.parametrize("beyond", [1.0, 30.0, 1e8])
def test_far_beyond_the_limit_there_is_still_a_way_down(scheme, beyond, meta_loss):
    for seed in range(5):
        problem, theta, episode = case((7,), 2, meta_loss, seed)
        limit = nudge_limit(problem, theta, *free_phase(problem, theta, episode))
        exact, before = autograd_meta_gradient(problem, theta, episode)
        found = Contrastive(scheme, beyond * limit.max())(problem, closed_form, theta, episode)
        size = np.linalg.norm(found.theta.vector)
        assert found.theta.vector @ exact.vector > 0.5 * size * np.linalg.norm(exact.vector)
        moved = theta.copy()
        moved.vector -= 1e-3 * found.theta.vector / size
        assert solved_loss(problem, moved, episode) < before


def test_no_task_is_nudged_beyond_its_limit():
    problem, theta, episode = case((7,), 2)
    limit = nudge_limit(problem, theta, *free_phase(problem, theta, episode))
    strengths = []

    def solver(problem, theta, batch, beta=0.0, init=None):
        strengths.append(beta)
        return closed_form(problem, theta, batch, beta, init)

    beta = np.sort(limit)[1] * 1.05
    Contrastive("symmetric", beta)(problem, solver, theta, episode)
    np.testing.assert_array_equal(strengths[1], np.minimum(beta, limit))
    np.testing.assert_array_equal(strengths[2], -beta * (beta < 0.9 * limit))
    assert set(np.sign(strengths[2])) == {0, -1}


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_automatic_strength_does_not_depend_on_the_unit_of_the_loss(scale):
    # Noise and prior in other units give the same problem, and must be nudged the same way.
    problem, theta, episode = case((), 1, "loss")
    other = theta.copy()
    other["omega"][...] *= scale
    other["factor"][...] *= scale
    other["log_noise"][...] += np.log(scale)
    scaled = dataclasses.replace(
        episode, y_support=scale * episode.y_support, y_query=scale * episode.y_query
    )
    assert_meta_gradient(Contrastive("symmetric"), problem, closed_form, theta, episode, 1e-6)
    assert_meta_gradient(Contrastive("symmetric"), problem, closed_form, other, scaled, 1e-6)


def test_a_rough_solver_gets_a_larger_strength():
    problem, theta, episode = case((7,), 2)
    exact, _ = autograd_meta_gradient(problem, theta, episode)
    rng = np.random.default_rng(0)

    def rough(tolerance, claimed):
        def solver(problem, theta, batch, beta=0.0, init=None):
            solution = closed_form(problem, theta, batch, beta, init)
            shift = rng.normal(size=solution.phi.shape)
            shift *= tolerance / np.linalg.norm(shift, axis=(0, -1))[:, None]
            left = np.full_like(solution.grad_norm, claimed)
            return dataclasses.replace(solution, phi=solution.phi + shift, grad_norm=left)

        return solver

    def error(tolerance, claimed):
        found = Contrastive("symmetric")(problem, rough(tolerance, claimed), theta, episode)
        return relative_error(found.theta.vector, exact.vector)

    for tolerance in (1e-6, 1e-4):
        # A solver that owns up to its tolerance serves better than one that claims to be exact.
        assert error(tolerance, tolerance) < 0.1 * error(tolerance, 1e-15)
    assert error(1e-6, 1e-6) < 1e-2


# --- properties


@pytest.mark.parametrize("scheme", ACCURACY)
@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
def test_order_does_not_matter(scheme, meta_loss):
    problem, theta, episode = case((7,), 2, meta_loss)
    tolerance = ACCURACY[scheme]
    assert_order_does_not_matter(
        Contrastive(scheme), problem, closed_form, theta, episode, tolerance
    )
    if scheme != "tangent":
        rule = Contrastive(scheme, 0.05)
        assert_order_does_not_matter(rule, problem, closed_form, theta, episode, 1e-10)


@pytest.mark.parametrize("scheme", ACCURACY)
def test_an_episodes_gradient_is_the_mean_of_its_tasks(scheme):
    problem, theta, episode = case((7,), 2)
    rule = Contrastive(scheme)
    assert_mean_over_tasks(rule, problem, closed_form, theta, episode, ACCURACY[scheme])


@pytest.mark.parametrize("scheme", ACCURACY)
def test_twice_the_loss_has_twice_the_gradient(scheme):
    problem, theta, episode = case((7,), 2)
    rule = Contrastive(scheme)
    once = rule(problem, closed_form, theta, episode)
    twice = rule(Doubled(problem), closed_form, theta, episode)
    assert_allclose(twice.loss, 2 * once.loss, rtol=1e-13)
    assert relative_error(twice.theta.vector, 2 * once.theta.vector) < ACCURACY[scheme]


def test_only_the_proportions_of_query_weights_count():
    problem, theta, episode = case((7,), 2)
    other = dataclasses.replace(episode, w_query=2 * episode.w_query)
    expected, found = (
        Contrastive()(problem, closed_form, theta, e).theta.vector for e in (episode, other)
    )
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("scheme", ACCURACY)
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_task_that_did_not_converge_is_left_out(scheme, phase):
    problem, theta, episode = case((7,), 2)
    rule = Contrastive(scheme)
    found = rule(problem, Spoiled(task=2, phase=phase), theta, episode)
    n_phases = {"tangent": 1, "forward": 2}.get(scheme, 3)
    left_out = int(phase < n_phases)
    assert found.n_left_out == left_out
    kept = [0, 1, 3] if left_out else [0, 1, 2, 3]
    expected = rule(problem, closed_form, theta, take_tasks(episode, kept))
    assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert relative_error(found.theta.vector, expected.theta.vector) < ACCURACY[scheme]


@pytest.mark.parametrize("scheme", ACCURACY)
@pytest.mark.parametrize("meta_loss", ["log_predictive", "loss"])
@pytest.mark.parametrize("array", [np.asarray, torch.asarray])
@pytest.mark.parametrize("which", ["y_query", "x_query"])
def test_a_task_whose_query_overflows_is_left_out(which, array, meta_loss, scheme):
    problem, theta, episode = case((), 2, meta_loss)
    huge = getattr(episode, which).copy()
    task = (slice(None), 1) if which == "y_query" else 1
    huge[task] *= 1e250
    episode = dataclasses.replace(episode, **{which: huge})
    rule = Contrastive(scheme)
    expected = rule(problem, closed_form, theta, take_tasks(episode, [0, 2, 3]))
    episode = Episode(**{name: array(value) for name, value in vars(episode).items()})
    theta = {name: array(value) for name, value in theta.items()}
    strengths = []

    def solver(problem, theta, batch, beta=0.0, init=None):
        strengths.append(np.asarray(beta))
        return closed_form(problem, theta, batch, beta, init)

    with np.errstate(over="ignore", invalid="ignore"):
        found = rule(problem, solver, theta, episode)
    assert found.n_left_out == 1
    assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert relative_error(found.theta.vector, expected.theta.vector) < ACCURACY[scheme]
    # Beside the free phases, none has seen that task.
    assert all(np.isfinite(beta).all() for beta in strengths)
    assert {beta.shape for beta in strengths} <= {(), (3,)}


def test_a_gradient_that_overflows_though_its_loss_does_not_is_left_out_too(monkeypatch):
    problem, theta, episode = case((), 1, "loss")
    expected = Contrastive()(problem, closed_form, theta, take_tasks(episode, [1, 2, 3]))
    right = type(problem).theta_grad
    first = problem.embed(theta, episode).a_query[0, 0]

    def wrong_of_the_first_task(problem, terms, theta, batch):
        grad = right(problem, terms, theta, batch)
        if np.array_equal(batch.a_query[0, 0], first):
            grad.vector[0] = np.inf
        return grad

    monkeypatch.setattr(type(problem), "theta_grad", wrong_of_the_first_task)
    found = Contrastive()(problem, closed_form, theta, episode)
    assert found.n_left_out == 1
    assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert_allclose(found.theta.vector, expected.theta.vector, rtol=1e-9, atol=1e-12)


def test_no_task_at_all_gives_no_gradient_and_no_loss():
    problem, theta, episode = case((7,), 2)
    for scheme in ACCURACY:
        found = Contrastive(scheme)(problem, Spoiled(slice(None)), theta, episode)
        assert found.n_left_out == 4
        assert np.isnan(found.loss)
        assert (found.theta.vector == 0).all()
        huge = dataclasses.replace(episode, y_query=1e250 + 0 * episode.y_query)
        with np.errstate(over="ignore", invalid="ignore"):
            lost = Contrastive(scheme)(problem, closed_form, theta, huge)
        assert (lost.n_left_out, lost.theta.vector.any()) == (4, False)
        assert np.isnan(lost.loss)


def test_theta_and_episode_are_left_as_they_are():
    problem, theta, episode = case((7,), 2)
    before = theta.copy()
    arrays = [a.copy() for a in dataclasses.astuple(episode)]
    for scheme in ACCURACY:
        Contrastive(scheme)(problem, closed_form, theta, episode)
    np.testing.assert_array_equal(theta.vector, before.vector)
    for array, copy in zip(dataclasses.astuple(episode), arrays, strict=True):
        np.testing.assert_array_equal(array, copy)
