"""From an estimator that has learned, and a user's rows, to an inner problem on an episode."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skcml.episodes import Episode, EpisodeSampler
from skcml.estimators._adapting import task_rows
from skcml.estimators._inputs import Rows
from skcml.estimators._meta_options import learn_options
from skcml.estimators._meta_state import GroupsState
from skcml.estimators._naming import naming
from skcml.heads import Heads
from skcml.inspection._learned import Learned, what_learned
from skcml.problems.meta_params import MetaParams
from skcml.selection.members import head_problem, linear_problem


class TaskSample(NamedTuple):
    """What a rule is called with, but for its solver.

    Attributes
    ----------
    problem : InnerProblem
    theta : MetaParams
        As `meta_fit` left them and `fit` takes them.
    episode : Episode
        Tasks drawn from the rows, in standardised units.
    member : {"networks", "mixed_model"}
        Whose meta-parameters they are.
    estimator : estimator
        What has learned them: of a pipeline the last step.
    """

    problem: Any
    theta: MetaParams
    episode: Episode
    member: str
    estimator: Any


def sample_tasks(
    estimator: Any, X: Any, y: Any, groups: Any, n_tasks: int, random_state: Any
) -> TaskSample:
    """Draw tasks as `meta_fit` does, for the network of the first fold or the mixed model."""
    learned, state = _learned_from_groups(estimator)
    estimator = learned.estimator
    rows = estimator._read(learned.rows(X), y, groups, None, known=state.targets)
    options = learn_options(estimator, estimator._family(rows))
    with naming("random_state"):
        rng = check_random_state(random_state)
    sampler = EpisodeSampler(
        _usable_tasks(rows, state),
        n_shots=options.n_shots,
        n_queries=options.n_queries,
        support=options.support,
        batch_size=n_tasks,
        rng=np.random.default_rng(rng.randint(2**31)),
    )
    n_inputs, n_outputs = len(state.scaling.x_mean), len(state.scaling.y_mean)
    members = state.learned.members
    name = "networks" if "networks" in members else "mixed_model"
    networks = members[name].with_precision(estimator.prior_strength)
    if name == "mixed_model":
        problem = linear_problem(n_inputs, n_outputs, options)
    elif isinstance(networks, Heads):
        # On the body that was learned: one that is made anew may have drawn other constants.
        problem = head_problem(n_inputs, n_outputs, options, networks.body)
    else:
        problem = networks.problem
    thetas = networks.unstack(problem) if isinstance(networks, Heads) else networks.members
    return TaskSample(problem, thetas[0].copy(), sampler.draw(), name, estimator)


def _learned_from_groups(estimator: Any) -> tuple[Learned, GroupsState]:
    """Return what has learned from groups and what it learned, or say what an estimator lacks."""
    purpose = "are no meta-parameters to differentiate by"
    learned = what_learned(estimator, "meta_gradient_error", purpose)
    if not isinstance(learned.state, GroupsState):
        raise ValueError(
            "What was learned from exchangeable classes has no second derivatives here, and so no "
            "exact gradient to compare with; meta_gradient_error is about shared classes and "
            "numbers."
        )
    return learned, learned.state


def _usable_tasks(rows: Rows, state: GroupsState) -> Any:
    """Return the standardised rows of the groups from which a task can be drawn."""
    n_rows = len(rows.X)
    if rows.groups is None:
        raise ValueError(
            f"meta_gradient_error needs the group of each of the n_samples = {n_rows} rows: pass "
            "groups=, or keep the groups in a column of X and name it as group_column."
        )
    tasks, _ = task_rows(rows, state.scaling)
    usable = np.flatnonzero(tasks.sizes > 1)
    if len(usable) < 2:
        raise ValueError(
            "meta_gradient_error needs at least two groups with a row to adapt to and a row to "
            f"predict; got {len(usable)} in n_samples = {n_rows} rows. Check groups."
        )
    return tasks.subset(usable)
