"""What all rules have in common: the interface, what they need, and which tasks they average."""

import dataclasses
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.problems.meta_params import MetaParams
from skcml.rules.base import (
    MetaGradient,
    MetaGradientRule,
    average_over_tasks,
    check_needs,
    check_positive,
)
from skcml.rules.contrastive import Contrastive
from skcml.rules.reptile import Reptile
from skcml.rules.t1t2 import T1T2
from skcml.solvers.newton_cg import newton_cg
from tests.asserts import (
    assert_follows,
    assert_inputs_are_left_alone,
    assert_left_out,
    assert_linear_in_the_loss,
    assert_mean_over_tasks,
    assert_only_the_learned_moves,
    assert_order_does_not_matter,
)
from tests.builders import relative_error, tensor_episode
from tests.class_tasks import PROBLEM, class_episode
from tests.rules import CASES, FOR_HEADS, RULES, Doubled, head_case, network_case, spoiled

FEW = ("ridge", "categorical", "synapses", "linear synapses", "gains")
PAIRS = [
    pytest.param(rule, CASES[name], id=f"{type(rule).__name__}-{name}")
    for name in FEW
    for rule in (RULES if "synapses" in name else FOR_HEADS)
]
over_pairs = pytest.mark.parametrize(("rule", "case"), PAIRS)
# The tangent form contrasts energies that are not quadratic, and so do rules like it.
RTOL = 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_rules_follow_the_interface(rule):
    assert_follows(rule, MetaGradientRule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.needs_autograd = False
    assert type(rule)() == type(rule)()


# --- properties


@over_pairs
def test_order_does_not_matter(rule, case):
    assert_order_does_not_matter(rule, *case(), rtol=RTOL)


@over_pairs
def test_an_episodes_gradient_is_the_mean_of_its_tasks(rule, case):
    assert_mean_over_tasks(rule, *case(), rtol=RTOL)


@over_pairs
def test_twice_the_loss_has_twice_the_gradient(rule, case):
    problem, *rest = case()
    if not isinstance(rule, Reptile):  # it does not look at the loss
        assert_linear_in_the_loss(rule, problem, Doubled(problem), *rest, rtol=RTOL)


@over_pairs
def test_what_is_not_learned_has_no_gradient(rule, case):
    assert_only_the_learned_moves(rule, *case())


@pytest.mark.parametrize("rule", RULES)
def test_fixed_strengths_have_no_gradient(rule):
    problem, solver, theta, episode = network_case(strength="fixed")
    found = rule(problem, solver, theta, episode)
    assert (found.theta["log_strength"] == 0).all()
    assert (found.theta["omega"] != 0).all()


@over_pairs
def test_theta_and_episode_are_left_as_they_are(rule, case):
    assert_inputs_are_left_alone(rule, *case())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["ridge", "linear synapses"])
def test_torch_batches_give_what_numpy_batches_give(rule, name):
    problem, solver, theta, episode = CASES[name]()
    if rule.needs_every_weight_adapted > problem.adapts_everything:
        return
    graph = {name: torch.tensor(array) for name, array in theta.items()}
    ours = rule(problem, solver, theta, episode)
    theirs = rule(problem, solver, graph, tensor_episode(episode))
    assert_allclose(theirs.loss, ours.loss, rtol=1e-12)
    assert relative_error(theirs.theta.vector, ours.theta.vector) < RTOL


# --- tasks left out


@over_pairs
def test_a_task_that_cannot_be_used_is_left_out(rule, case):
    problem, solver, theta, episode = case()
    if type(rule).__name__ == "Unrolled":  # it does not use the solver
        return
    found = rule(problem, spoiled(solver, 2), theta, episode)
    expected = rule(problem, solver, theta, episode.subset(np.array([0, 1, 3])))
    assert found.n_left_out == 1
    assert_allclose(found.loss, expected.loss, rtol=RTOL)
    assert relative_error(found.theta.vector, expected.theta.vector) < RTOL


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("which", ["y_support", "y_query"])
def test_a_task_whose_numbers_overflow_is_left_out(rule, which):
    problem, solver, theta, episode = network_case(hidden=())
    y = getattr(episode, which).copy()
    y[:, 1] = 1e200
    episode = dataclasses.replace(episode, **{which: y})
    with np.errstate(over="ignore", invalid="ignore"):
        assert_left_out(rule, problem, solver, theta, episode, 1, RTOL)


@pytest.mark.parametrize("rule", RULES)
def test_no_task_at_all_gives_no_gradient_and_no_loss(rule):
    problem, solver, theta, episode = network_case(hidden=())
    huge = dataclasses.replace(episode, y_query=1e200 + 0 * episode.y_query)
    with np.errstate(over="ignore", invalid="ignore"):
        found = rule(problem, solver, theta, huge)
    assert found.n_left_out == 4
    assert np.isnan(found.loss)
    assert (found.theta.vector == 0).all()


def test_tasks_are_taken_one_at_a_time_where_one_is_not_finite():
    theta, calls = MetaParams({"omega": (2,)}), []
    slopes = np.array([[1.0, 2.0], [np.inf, 0.0], [3.0, 4.0], [5.0, 6.0]])

    def gradient_of(tasks, bad_loss=None):
        calls.append(list(tasks))
        loss = np.nan if bad_loss in tasks else float(np.mean(tasks))
        return MetaParams(theta.shapes, slopes[tasks].mean(0)), loss

    everyone = np.ones(4, bool)
    found = average_over_tasks(theta, everyone, gradient_of)
    np.testing.assert_allclose(found.theta["omega"], [3, 4])
    assert (found.loss, found.n_left_out) == (5 / 3, 1)
    assert calls == [[0, 1, 2, 3], [0], [1], [2], [3]]
    found = average_over_tasks(theta, everyone, partial(gradient_of, bad_loss=3))
    np.testing.assert_allclose(found.theta["omega"], [2, 3])
    assert (found.loss, found.n_left_out) == (1.0, 2)
    calls.clear()
    found = average_over_tasks(theta, np.array([True, False, True, False]), gradient_of)
    np.testing.assert_allclose(found.theta["omega"], [2, 3])
    assert (found.n_left_out, calls) == (2, [[0, 2]])


# --- needs


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_needs_and_a_model_lacks_is_said(rule):
    prototypes, theta, episode = PROBLEM, PROBLEM.constants(3.0, 0.2), class_episode()
    if not rule.needs_autograd and not rule.needs_every_weight_adapted:
        found = rule(prototypes, newton_cg, theta, episode)
        assert found.n_left_out == 0
        assert np.isfinite(found.theta.vector).all()
        return
    with pytest.raises(ValueError, match=rf"^the rule {type(rule).__name__} needs "):
        rule(prototypes, newton_cg, theta, episode)


@pytest.mark.parametrize("case", [head_case, partial(network_case, "modulated")])
def test_reptile_is_for_models_of_which_everything_is_adapted(case):
    problem, *rest = case()
    with pytest.raises(
        ValueError, match="the rule Reptile needs a problem of which each task has every weight"
    ):
        Reptile()(problem, *rest)
    check_needs(Reptile(), network_case()[0])
    for rule in FOR_HEADS:
        check_needs(rule, problem)


def test_rules_that_take_first_derivatives_need_nothing():
    for rule in (Contrastive(), T1T2()):
        check_needs(rule, PROBLEM)


def test_numbers_have_to_be_positive():
    check_positive(rate=0.5, step=np.float32(2))
    check_positive(whole=True, n_steps=np.int64(3))
    for value in (0, -1.0, float("inf"), float("nan"), "many", None):
        with pytest.raises(ValueError, match=r"^rate=.* must be a positive number\.$"):
            check_positive(rate=value)
    for value in (0, 2.5, "auto"):
        with pytest.raises(ValueError, match=r"^n=.* must be a whole number of one or more\.$"):
            check_positive(whole=True, n=value)


def test_importing_rules_does_not_import_torch():
    names = ("along", "autograd", "contrastive", "first_order", "implicit", "neumann", "reptile")
    modules = ", ".join(f"skcml.rules.{name}" for name in (*names, "t1t2", "unrolled"))
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_meta_gradient_is_not_changed_afterwards():
    gradient = MetaGradient(MetaParams({}), 1.0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        gradient.loss = 2.0
