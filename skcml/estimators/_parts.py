"""The classes of which fitted state consists, and what must hold in an object of each.

Constructors do not ask whether arrays go together: where they are called, they do. What comes from
a file may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skcml.estimators._adapted import Adapted, Blend
from skcml.estimators._adapted_classes import AdaptedClasses
from skcml.estimators._inputs import Targets
from skcml.estimators._meta_state import GroupsState
from skcml.estimators._pool import PoolState
from skcml.estimators._scaling import Scaling
from skcml.estimators._shelves import Shelves
from skcml.estimators._updated import Updated
from skcml.grouping import GroupIndex
from skcml.heads import Heads, Posterior
from skcml.likelihoods import Bernoulli, Categorical, Poisson, SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.problems.module_body import ModuleBody
from skcml.problems.module_network import ModuleNetwork
from skcml.problems.on_torch import OnTorch
from skcml.problems.prototype_body import PrototypeBodyProblem
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, Modulated, TaskMLP
from skcml.random_effects import MixedModel
from skcml.selection import Learned
from skcml.selection.class_networks import (
    BodyOfPrototypes,
    LearnedNetwork,
    NetworkOfClasses,
    TaskWeights,
)
from skcml.selection.classes import LearnedClasses
from skcml.selection.mixture import LEVELS, MEMBERS, IntervalShape, Mixture
from skcml.selection.transform import Transform
from skcml.solvers.adam import Adam
from skcml.solvers.gauss_newton import GaussNewton
from skcml.solvers.lbfgs import LBFGS
from skcml.solvers.newton_cg import newton_cg
from skcml.solvers.sgd import SGD
from skcml.task_networks import NetworkPosterior, TaskNetworks


def _heads(heads: Heads) -> bool:
    body, omega = heads.body, heads.omega
    return (
        omega.ndim == 3
        and omega.shape[2] == body.n_features
        and heads.factor.ndim == 4
        and heads.factor.shape[:3] == omega.shape
        and heads.noise.shape == omega.shape[:2]
        and set(heads.theta) == set(body.shapes)
        and all(
            array.shape in ((len(omega), *body.shapes[name]), (len(omega), 1, *body.shapes[name]))
            for name, array in heads.theta.items()
        )
    )


def _is_theta_of(theta: Mapping[str, np.ndarray], problem: Any) -> bool:
    """Return whether meta-parameters are a problem's; sizes first, which take no memory."""
    network = getattr(problem, "network", None)
    if network is not None:
        size = sum(math.prod(shape) for shape in network.fast.values())
        if "omega" not in theta or theta["omega"].shape != (size,):
            return False
    return {name: array.shape for name, array in theta.items()} == dict(problem.shapes)


def _networks(networks: TaskNetworks) -> bool:
    return bool(networks.members) and all(
        _is_theta_of(theta, networks.problem) for theta in networks.members
    )


def _network_of_classes(learned: LearnedNetwork) -> bool:
    return _is_theta_of(learned.theta, learned.network.problem)


def _posterior(posterior: Posterior) -> bool:
    heads, starts = posterior.heads, posterior.starts
    return (
        posterior.coefficients.shape[1:] == heads.omega.shape
        and posterior.directions.shape[1:] == (*heads.omega.shape[:2], heads.factor.shape[-1])
        and starts.dtype.kind == "i"
        and starts.shape == (len(posterior.coefficients) + 1,)
        and starts[0] == 0
        and starts[-1] == len(posterior.directions)
        and bool((np.diff(starts) >= 0).all())
        and (posterior.along is None) == (heads.likelihood is not None)
        and (posterior.along is None or posterior.along.shape == posterior.directions.shape[:-1])
    )


def _network_posterior(posterior: NetworkPosterior) -> bool:
    phi, heads = posterior.phi, posterior.heads
    stack = (len(phi), len(heads.members))
    return (
        phi.shape == (*stack, len(heads.members[0]["omega"]))
        and posterior.n_rows.shape == (len(phi),)
        and posterior.statistics.shape == (*stack, heads.problem.network.n_statistics)
        and posterior.solved.shape == (len(phi),)
        and posterior.solved.dtype == bool
    )


def _adapted(adapted: Adapted) -> bool:
    n_tasks = 1 if adapted.groups is None else len(adapted.groups)
    known = [posterior for posterior, _ in adapted.known.parts]
    members = adapted.posteriors
    return (
        not adapted.is_prior
        and set(members) <= set(MEMBERS)
        and isinstance(members.get("mixed_model"), Posterior)
        and all(isinstance(member, (Posterior, NetworkPosterior)) for member in members.values())
        and all(any(part is member for member in members.values()) for part in known)
        and 0 < adapted.prior_strength < np.inf
        and adapted.seen.shape == (n_tasks,)
        and adapted.seen.dtype == bool
        and len(adapted.linear.coefficients) == n_tasks + 1
        and all(len(_of_tasks(posterior)) == n_tasks + 1 for posterior in known)
        and all(len(_of_tasks(posterior)) for posterior, _ in adapted.unseen.parts)
        and adapted.variance_scale.shape == adapted.scaling.y_mean.shape
    )


def _updated(updated: Updated) -> bool:
    learned, factors = updated.learned, updated.factors
    n_tasks = 1 if updated.groups is None else len(updated.groups)
    return (
        set(factors) == {name for name in learned.members if learned.speaks_of_known(name)}
        and all(_factors_of(learned.members[name], kept) for name, kept in factors.items())
        and all(len(kept) == n_tasks for kept in factors.values())
        and 0 < updated.prior_strength < np.inf
    )


def _factors_of(heads: Any, kept: Shelves) -> bool:
    if not isinstance(heads, Heads) or heads.likelihood is not None:
        return False
    n_heads, n_outputs, _, n_columns = heads.factor.shape
    shape = (n_heads, n_outputs, n_columns + 1)
    return all(len(factor) <= n_columns and factor.shape[1:] == shape for factor in kept)


def _of_tasks(posterior: Posterior | NetworkPosterior) -> np.ndarray:
    return posterior.coefficients if isinstance(posterior, Posterior) else posterior.phi


def _adapted_classes(adapted: AdaptedClasses) -> bool:
    n_tasks = 1 if adapted.groups is None else len(adapted.groups)
    return len(adapted.weights) == len(adapted.labels) == n_tasks and all(
        labels.dtype.kind == "i"
        and labels.ndim == 1
        and bool(((labels >= 0) & (labels < adapted.n_classes)).all())
        for labels in adapted.labels
    )


def _scaling(scaling: Scaling) -> bool:
    return (
        scaling.x_mean.ndim == scaling.y_mean.ndim == 1
        and scaling.x_scale.shape == scaling.x_mean.shape
        and scaling.y_scale.shape == scaling.y_mean.shape
    )


def _mixture(mixture: Mixture) -> bool:
    return mixture.weights.ndim == 2 and len(mixture.weights) == len(MEMBERS)


def _interval_shape(shape: IntervalShape) -> bool:
    return shape.ratio.ndim == 2 and shape.ratio.shape[1] == len(LEVELS)


def _transform(transform: Transform) -> bool:
    return transform.center.ndim == 1 and transform.scale.shape == transform.center.shape


def _groups_state(state: GroupsState) -> bool:
    learned = state.learned
    return (
        "mixed_model" in learned.members
        and isinstance(learned.members["mixed_model"], Heads)
        and all(isinstance(m, (Heads, TaskNetworks)) for m in learned.members.values())
        and set(learned.members) <= set(MEMBERS)
    )


# In the file, all have the names of their classes: a name that is there once stays.
PARTS: dict[Any, Callable[[Any], bool] | None] = {
    GroupsState: _groups_state,
    Learned: None,
    MixedModel: None,
    Mixture: _mixture,
    IntervalShape: _interval_shape,
    Scaling: _scaling,
    Targets: None,
    Adapted: _adapted,
    Updated: _updated,
    Shelves: None,
    Blend: None,
    GroupIndex: None,
    Heads: _heads,
    Posterior: _posterior,
    TaskNetworks: _networks,
    NetworkPosterior: _network_posterior,
    PoolState: None,
    LearnedClasses: None,
    Transform: _transform,
    AdaptedClasses: _adapted_classes,
    LearnedNetwork: _network_of_classes,
    BodyOfPrototypes: None,
    NetworkOfClasses: None,
    TaskWeights: None,
    MetaParams: None,
    MLPBody: None,
    TaskMLP: None,
    Dense: None,
    Modulated: None,
    ProximalProblem: None,
    PrototypeBodyProblem: None,
    OnTorch: None,
    ModuleBody: None,
    ModuleNetwork: None,
    Bernoulli: None,
    Categorical: None,
    Poisson: None,
    SquaredError: None,
    GaussNewton: None,
    LBFGS: None,
    SGD: None,
    Adam: None,
    newton_cg: None,
}
