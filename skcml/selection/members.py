"""The members of the final mixture: the linear mixed model, and networks that start from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skcml.episodes import EpisodeSampler, TaskRows
from skcml.outer_loop import History, OuterOptions, meta_train
from skcml.problems.features import Body, LinearHead
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.random_effects import STRUCTURES, MixedModel, cholesky_psd, leading
from skcml.selection.held_out import HeldOut
from skcml.selection.options import FULL_UP_TO, LearnOptions

# Columns of the low-rank part of a wide head's prior covariance.
LOW_RANK = 16
# Prior standard deviation of a hidden feature's coefficient at the start: as large as the effects
# of standardised inputs tend to be, so that the features are of use before they are learned.
HIDDEN_SCALE = 0.3
# Pull of the meta-parameters to their start, divided by the number of groups.
ANCHOR = 3.0
# Prior standard deviation of any coefficient, relative to the noise and over the root of their
# number, at least: a group with many rows may contradict every other group, and a variance that
# starts at zero has no gradient.
SPREAD_FLOOR = 0.17
VALIDATE_EVERY = 20


def structures_for(n_columns: int, prior_covariance: str, *, reml: bool = False) -> tuple[str, ...]:
    """Return the covariance structures that are worth a try; of a REML fit, the richest alone.

    The last is "none", the pooled model: groups may hardly differ.
    """
    if reml:
        return structures_for(n_columns, prior_covariance)[:1]
    if prior_covariance == "diagonal" or n_columns > FULL_UP_TO:
        return *STRUCTURES[1:], "none"
    return *(STRUCTURES if n_columns > 1 else STRUCTURES[-1:]), "none"


def head_problem(
    n_inputs: int, n_outputs: int, options: LearnOptions, body: Body | None = None
) -> LinearHead:
    """Return the network's inner problem, on the built-in body if there is no other."""
    body = body or MLPBody(n_inputs, options.hidden_layer_sizes, options.activation)
    mask = factor_mask(body.n_features, options.prior_covariance)
    return options.family.problem(body, mask, n_outputs, options.meta_loss)


def linear_problem(n_inputs: int, n_outputs: int, options: LearnOptions) -> LinearHead:
    """Return the linear mixed model as an inner problem."""
    body = MLPBody(n_inputs)
    mask = np.tril(np.ones((body.n_features, body.n_features), dtype=bool))
    return options.family.problem(body, mask, n_outputs, options.meta_loss)


def factor_mask(n_features: int, prior_covariance: str) -> np.ndarray:
    """Return which entries of the prior factor are learned: triangular, or diagonal | low rank."""
    if prior_covariance == "diagonal":
        return np.eye(n_features, dtype=bool)
    if n_features <= FULL_UP_TO:
        return np.tril(np.ones((n_features, n_features), dtype=bool))
    low_rank = np.ones((n_features, LOW_RANK), dtype=bool)
    return np.concatenate([np.eye(n_features, dtype=bool), low_rank], axis=1)


def linear_theta(
    problem: LinearHead, mixed: Sequence[MixedModel], *, reml: bool = False
) -> MetaParams:
    """Write mixed models into the linear part of a head; the rest is zero.

    Variances are raised to a floor, but for those of a REML fit.
    """
    n_columns = len(mixed[0].omega)
    floor = 0.0 if reml else SPREAD_FLOOR / np.sqrt(n_columns)
    theta = MetaParams(problem.shapes)
    for output, model in enumerate(mixed):
        n = len(model.omega)
        theta["omega"][output, :n] = model.omega
        sigma = model.factor @ model.factor.T
        lacking = np.maximum(floor**2 * model.noise - sigma.diagonal(), 0.0)
        factor = cholesky_psd(sigma + np.diag(lacking))
        theta["factor"][output] = _fit_mask(factor, problem.factor_mask)
        problem.write_noise(theta, output, model.noise)
    return theta


def _fit_mask(factor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Write a triangular factor into the layout of ``mask``."""
    n, (n_features, n_columns) = len(factor), mask.shape
    written = np.zeros(mask.shape)
    if mask[n_features - 1, 0] and n_columns == n_features:
        written[:n, :n] = factor
        return written
    sigma = factor @ factor.T
    if n_columns > n_features:
        values, vectors = np.linalg.eigh(sigma)
        leading = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :LOW_RANK]
        written[:n, n_features : n_features + leading.shape[1]] = leading
        sigma = sigma - leading @ leading.T
    written[range(n), range(n)] = np.sqrt(np.maximum(sigma.diagonal(), 0.0))
    return written


def start_network(
    problem: LinearHead, mixed: Sequence[MixedModel], rng: np.random.Generator
) -> MetaParams:
    """Start where the mixed model ends: hidden features have no mean effect yet, but a variance."""
    theta = linear_theta(problem, [leading(model, problem.body.n_linear) for model in mixed])
    problem.body.initialize(theta, rng)
    hidden = np.arange(problem.body.n_linear, problem.body.n_features)
    theta["factor"][:, hidden, hidden] = HIDDEN_SCALE
    n_features, n_columns = problem.factor_mask.shape
    if n_columns > n_features:
        # A low-rank part that is exactly zero would have no gradient.
        theta["factor"][..., n_features:] += 1e-2 * rng.standard_normal((n_features, LOW_RANK))
    return theta


def train_network(
    problem: Any,
    mixed: Sequence[MixedModel],
    tasks: TaskRows,
    held_out: HeldOut | None,
    options: LearnOptions,
    rng: np.random.Generator,
    on_step: Callable[[int, MetaParams, History], bool] | None = None,
) -> tuple[MetaParams, History]:
    """Learn one network on ``tasks``, stopped early by the held-out tasks if there are any."""
    model = options.model
    sampler = EpisodeSampler(
        tasks.subset(np.flatnonzero(tasks.sizes > 1)),
        n_shots=options.n_shots,
        n_queries=options.n_queries,
        support=options.support,
        batch_size=options.meta_batch_size,
        rng=rng,
    )
    validate = None
    if held_out is not None and options.early_stopping:

        def validate(theta: MetaParams) -> float:
            return held_out.mean_loss(problem, options.solver, theta)

    theta, history = meta_train(
        problem,
        options.solver,
        options.rule,
        sampler,
        model.start(problem, mixed, rng),
        OuterOptions(
            max_iter=options.meta_max_iter,
            learning_rate=options.meta_learning_rate,
            anchor=ANCHOR / tasks.n_tasks,
            log_objective=options.is_squared,
            validate_every=VALIDATE_EVERY,
            n_iter_no_change=options.n_iter_no_change,
            tol=options.tol,
        ),
        validate=validate,
        on_step=on_step,
    )
    # Drawn only by a model that looks at them.
    drawn = (sampler.draw() for _ in range(10))
    episodes = drawn if held_out is None else held_out.episodes
    model.calibrate(problem, theta, options, episodes)
    return theta, history
