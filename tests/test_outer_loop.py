"""The outer loop: what it learns, what it keeps, and when it ends."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.episodes import EpisodeSampler
from skcml.mixed_model import CompressedGroups, fit_mixed_model
from skcml.outer_loop import History, OuterOptions, learning_rate, meta_train
from skcml.problems.meta_params import MetaParams
from skcml.rules.base import MetaGradient
from skcml.rules.contrastive import Contrastive
from skcml.solvers.closed_form import closed_form
from tests.builders import head_problem, linear_tasks

OMEGA = np.array([1.0, -2.0, 0.5])
PROBLEM = head_problem((), n_inputs=2)


def start():
    theta = MetaParams(PROBLEM.shapes)
    theta["factor"][0] = np.eye(3)
    return theta


def sampler(seed=0, n_tasks=100):
    tasks = linear_tasks(seed=1, n_tasks=n_tasks, sizes=(6, 12), omega=OMEGA)
    return EpisodeSampler(
        tasks,
        n_shots=(2, 5),
        n_queries=None,
        support="random",
        batch_size=20,
        rng=np.random.default_rng(seed),
    )


def train(theta=None, *, seed=0, rule=None, validate=None, on_step=None, **options):
    options = {"max_iter": 20, "learning_rate": 0.05} | options
    return meta_train(
        PROBLEM,
        closed_form,
        rule or Contrastive(),
        sampler(seed),
        start() if theta is None else theta,
        OuterOptions(**options),
        validate=validate,
        on_step=on_step,
    )


class Scripted:
    """A rule that returns given gradients, one a step, and then zeros."""

    def __init__(self, gradients, losses=None, n_left_out=0):
        self.gradients, self.losses, self.n_left_out = list(gradients), losses, n_left_out
        self.calls = 0

    def __call__(self, problem, solver, theta, episode):
        i, self.calls = self.calls, self.calls + 1
        grad = theta.zeros_like()
        if i < len(self.gradients):
            grad.vector[:] = self.gradients[i]
        return MetaGradient(grad, 1.0 if self.losses is None else self.losses[i], self.n_left_out)


class Script:
    """A validation that returns given losses, and remembers what it was shown."""

    def __init__(self, losses):
        self.losses, self.seen = list(losses), []

    def __call__(self, theta):
        self.seen.append(theta.copy())
        return self.losses[len(self.seen) - 1]


# --- what it learns


def test_loss_falls_and_omega_approaches_the_truth():
    theta, history = train(max_iter=200, learning_rate=0.1)
    assert np.mean(history.loss[-20:]) < np.mean(history.loss[:5]) - 0.5
    # Five standard errors of a hundred tasks' mean.
    assert_allclose(theta["omega"][0], OMEGA, atol=0.25)
    restricted = fit_mixed_model(CompressedGroups.from_tasks(sampler().tasks))
    assert_allclose(theta["omega"][0], restricted.omega, atol=0.1)
    assert_allclose(np.exp(theta["log_noise"]), 0.3, rtol=0.2)
    covariance = theta["factor"][0] @ theta["factor"][0].T
    assert_allclose(covariance, 0.25 * np.eye(3), atol=0.15)
    assert len(history.loss) == 200
    assert history.best_step == 200
    assert history.n_left_out == history.n_skipped == 0


def test_steps_are_those_of_adam_along_a_cosine():
    gradients = np.random.default_rng(0).normal(size=(12, 13))
    theta, _ = train(rule=Scripted(gradients), max_iter=12)
    vector = torch.tensor(start().vector)
    optimizer = torch.optim.Adam([vector], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    for gradient in gradients:
        vector.grad = torch.tensor(gradient)
        optimizer.step()
        schedule.step()
    assert_allclose(theta.vector, vector.numpy(), rtol=1e-12, atol=1e-14)


def test_learning_rate_falls_from_its_start_to_zero():
    options = OuterOptions(max_iter=10, learning_rate=0.3)
    rates = [learning_rate(step, options) for step in range(1, 15)]
    assert rates[0] == 0.3
    assert rates[5] == pytest.approx(0.15)
    assert (np.diff(rates[:11]) < 0).all()
    assert rates[10:] == [0.0] * 4


def test_same_seed_same_bits():
    (first, history), (second, other), (third, _) = (train(seed=seed) for seed in (0, 0, 1))
    assert first.vector.tobytes() == second.vector.tobytes()
    assert dataclasses.asdict(history) == dataclasses.asdict(other)
    assert (first.vector != third.vector).any()


def test_the_start_is_left_as_it_is():
    theta = start()
    found, _ = train(theta)
    np.testing.assert_array_equal(theta.vector, start().vector)
    assert not np.shares_memory(found.vector, theta.vector)
    assert (found["omega"] != theta["omega"]).all()


def test_entries_without_gradient_stay():
    found, _ = train()
    above = ~PROBLEM.factor_mask
    assert (found["factor"][0][above] == 0).all()
    assert (found["factor"][0][~above] != start()["factor"][0][~above]).all()


def test_an_anchor_keeps_near_the_start():
    distances = [
        np.linalg.norm(train(max_iter=60, anchor=anchor)[0].vector - start().vector)
        for anchor in (0.0, 0.3, 3.0, 100.0)
    ]
    assert (np.diff(distances) < 0).all()
    assert distances[-1] < 0.05 * distances[0]


def test_the_anchor_is_a_squared_distance_in_the_objective():
    # At rest the gradient of anchor * |theta - start|^2 balances the slope.
    slope = np.zeros(13)
    slope[:3] = [1.0, -2.0, 0.5]
    theta, _ = train(rule=Scripted([slope] * 400), max_iter=400, anchor=2.0)
    assert_allclose(theta.vector, start().vector - slope / 4, atol=1e-3)


# --- when it ends


def test_on_step_sees_every_step_and_may_stop():
    seen = []

    def on_step(step, theta, history):
        seen.append((step, theta.copy(), len(history.loss)))
        return step == 7

    theta, history = train(on_step=on_step)
    assert [(step, n) for step, _, n in seen] == [(i, i) for i in range(1, 8)]
    np.testing.assert_array_equal(theta.vector, seen[-1][1].vector)
    assert history.best_step == len(history.loss) == 7


def test_no_steps_return_the_start():
    theta, history = train(max_iter=0)
    np.testing.assert_array_equal(theta.vector, start().vector)
    assert history == History()
    theta, history = train(max_iter=0, validate=Script([3.0]))
    np.testing.assert_array_equal(theta.vector, start().vector)
    assert history.validation_loss == [3.0]


def test_the_best_state_is_returned():
    validate = Script([5.0, 3.0, 4.0, 2.0, 6.0])
    theta, history = train(validate=validate, validate_every=5)
    assert history.validation_step == [0, 5, 10, 15, 20]
    assert history.validation_loss == [5.0, 3.0, 4.0, 2.0, 6.0]
    assert history.best_step == 15
    np.testing.assert_array_equal(theta.vector, validate.seen[3].vector)
    assert (validate.seen[4].vector != theta.vector).any()
    assert len(history.loss) == 20


def test_nothing_better_than_the_start_returns_the_start():
    theta, history = train(validate=Script([1.0, 2.0, 2.0]), validate_every=10)
    np.testing.assert_array_equal(theta.vector, start().vector)
    assert history.best_step == 0


def test_a_validation_that_is_no_number_is_never_the_best():
    theta, history = train(validate=Script([np.nan, np.nan, np.nan]), validate_every=10)
    np.testing.assert_array_equal(theta.vector, start().vector)
    assert history.best_step == 0
    validate = Script([np.nan, 2.0, np.nan])
    theta, history = train(validate=validate, validate_every=10)
    np.testing.assert_array_equal(theta.vector, validate.seen[1].vector)
    assert history.best_step == 10


def test_it_ends_early_without_improvement():
    validate = Script([5.0, 4.0, 4.0, 4.0, 4.0, 1.0])
    _, history = train(validate=validate, validate_every=2, n_iter_no_change=6)
    assert history.validation_step == [0, 2, 4, 6, 8]
    assert len(history.loss) == 8
    assert history.best_step == 2


def test_gains_below_tol_are_kept_but_do_not_prolong():
    losses = [5.0, 4.99, 4.98, 4.97, 4.96]
    validate = Script(losses)
    options = {"validate_every": 2, "n_iter_no_change": 4}
    theta, history = train(validate=validate, tol=0.1, **options)
    assert history.validation_step == [0, 2, 4]
    assert history.best_step == 4
    np.testing.assert_array_equal(theta.vector, validate.seen[2].vector)
    _, history = train(validate=Script(losses), tol=1e-4, max_iter=8, **options)
    assert history.validation_step == [0, 2, 4, 6, 8]


def test_the_last_step_is_looked_at():
    _, history = train(validate=Script([5.0, 4.0, 3.0]), max_iter=7, validate_every=5)
    assert history.validation_step == [0, 5, 7]
    assert history.best_step == 7


# --- what goes wrong


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e160, -1e160])
def test_a_step_whose_gradient_is_not_finite_or_has_no_square_is_skipped(bad):
    good = np.random.default_rng(1).normal(size=(4, 13))
    spoiled = good[2].copy()
    spoiled[5] = bad
    states = []
    theta, history = train(
        rule=Scripted([spoiled, good[0], spoiled, good[1]]),
        max_iter=4,
        on_step=lambda step, theta, history: states.append(theta.vector.copy()),
    )
    assert history.n_skipped == 2
    assert len(history.loss) == 4
    np.testing.assert_array_equal(states[0], start().vector)
    assert (states[1] != states[0]).all()
    np.testing.assert_array_equal(states[2], states[1])
    assert (theta.vector != states[2]).all()
    assert np.isfinite(theta.vector).all()


def test_a_step_that_overflows_is_skipped_without_a_warning():
    class Overflowing(Scripted):
        def __call__(self, *args):
            found = super().__call__(*args)
            found.theta.vector[:] *= np.full(13, 1e300) * 1e10
            return found

    theta, history = train(rule=Overflowing(np.ones((2, 13))), max_iter=2)
    assert history.n_skipped == 2
    np.testing.assert_array_equal(theta.vector, start().vector)


def test_a_step_whose_loss_is_no_number_is_skipped():
    losses = [1.0, np.nan, 1.0]
    _, history = train(rule=Scripted(np.ones((3, 13)), losses), max_iter=3)
    assert history.n_skipped == 1
    np.testing.assert_array_equal(history.loss, losses)


def test_tasks_left_out_are_counted():
    _, history = train(rule=Scripted([], n_left_out=3), max_iter=4)
    assert history.n_left_out == 12


def test_a_log_objective_divides_the_gradient_by_the_loss():
    # Adam's first step is the sign of the gradient, so two steps are needed to tell.
    gradients = [np.ones(13), 3 * np.ones(13)]
    by_hand, _ = train(rule=Scripted([np.ones(13) / 4, 3 * np.ones(13) / 0.5]), max_iter=2)
    found, history = train(
        rule=Scripted(gradients, losses=[4.0, 0.5]), max_iter=2, log_objective=True
    )
    plain, _ = train(rule=Scripted(gradients), max_iter=2)
    np.testing.assert_allclose(found.vector, by_hand.vector, rtol=1e-12)
    assert abs(found.vector - plain.vector).max() > 1e-4
    assert history.loss == [4.0, 0.5]


def test_a_log_objective_survives_a_loss_of_zero():
    found, history = train(
        rule=Scripted([np.zeros(13)], losses=[0.0]), max_iter=1, log_objective=True
    )
    assert history.n_skipped == 0
    np.testing.assert_array_equal(found.vector, start().vector)
