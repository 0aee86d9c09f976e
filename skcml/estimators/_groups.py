"""Learning from groups that have their outputs in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from skcml.dispersion import dispersion
from skcml.episodes import TaskRows
from skcml.estimators._adapting import scaling_of, task_rows
from skcml.estimators._inputs import Rows
from skcml.estimators._meta_options import (
    check_compile,
    check_descent,
    check_tasks,
    learn_options,
    warn_of_few_rows,
    warn_of_many_logits,
    warn_of_many_shots,
)
from skcml.estimators._meta_state import GroupsState, learned_arrays, watched_params
from skcml.estimators._progress import CallbackProgress
from skcml.estimators._scaling import Scaling
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection import Learned, learn
from skcml.selection.families import Family
from skcml.selection.folds import n_descents
from skcml.selection.learning import snapshot


def learn_groups(
    estimator: BaseEstimator,
    family: Family,
    rows: Rows,
    validation: Rows | None,
    data: dict[str, Any],
) -> GroupsState:
    """Learn what groups share.

    Parameters
    ----------
    estimator : estimator
        Its parameters are validated.
    family : Family
        Kind of outputs.
    rows : Rows
    validation : Rows or None
        The user's own groups to judge by.
    data : dict
        What callbacks get.
    """
    options = learn_options(estimator, family)
    n_rows = len(rows.X)
    if rows.groups is None:
        raise ValueError(
            f"meta_fit needs the group of each of the n_samples = {n_rows} rows: pass groups=, "
            "or keep the groups in a column of X and name it as group_column."
        )
    check_compile(estimator, options.model.problem(1, 1, options))
    scaling = scaling_of(rows, family.likelihood, standardize=estimator.standardize)
    tasks, _ = task_rows(rows, scaling)
    tasks = tasks.subset(np.flatnonzero(tasks.sizes))
    check_tasks(tasks)
    if family.likelihood is not None and family.likelihood.has_exposure:
        with _in_float64(estimator):
            scaling = replace(scaling, dispersion=dispersion(tasks))
        tasks = replace(tasks, weight=tasks.weight / scaling.dispersion)
    if options.is_reml:
        warn_of_few_rows(tasks)
    if options.early_stopping or not options.is_reml:  # else there are no episodes
        warn_of_many_shots(estimator.n_shots, tasks.sizes, "group")
    warn_of_many_logits(tasks, family)
    judges = None if validation is None else _validation_tasks(validation, scaling)
    rng = np.random.default_rng(check_random_state(estimator.random_state).randint(2**31))
    params = watched_params(estimator)

    def state_of(learned: Learned) -> GroupsState:
        # Of Poisson counts there is nothing that networks could explain.
        share = learned.scatter if scaling.dispersion > 1 else 1.0
        of_rows = replace(scaling, scatter=scaling.dispersion * share)
        return GroupsState(
            learned, of_rows, params, rows.targets, tasks.n_tasks, n_rows, family.metric
        )

    progress = None
    context = estimator._init_callback_context(
        task_name="meta_fit",
        max_subtasks=n_descents(int((tasks.sizes > 1).sum()), judges is not None, options),
    )
    if getattr(estimator, "_skl_callbacks", None):

        def attributes(mixed: list[MixedModel], theta: MetaParams) -> dict[str, Any]:
            return state_of(snapshot(mixed, theta, options)).attributes()

        progress = CallbackProgress(estimator, context, options.meta_max_iter, data, attributes)
    with _in_float64(estimator):
        learned = learn(tasks, judges, options, rng, progress)
    if not options.is_reml:
        check_descent(learned_arrays(learned), options.meta_learning_rate)
    if progress is not None:
        progress.end()
    return state_of(learned)


@contextmanager
def _in_float64(estimator: BaseEstimator) -> Iterator[None]:
    """Compute on one thread, and say what to do about numbers that are too far apart."""
    try:
        with threadpool_limits(1):
            yield
    except np.linalg.LinAlgError as error:
        advice = "" if estimator.standardize else ", or set standardize=True"
        raise ValueError(
            "The columns of X, y or sample_weight differ too much in scale for float64 "
            f"({error}): rescale them{advice}."
        ) from error


def _validation_tasks(rows: Rows, scaling: Scaling) -> TaskRows:
    """Return the user's own groups to judge by."""
    if rows.groups is None:
        raise ValueError("X_val was passed without groups_val; pass both.")
    tasks, _ = task_rows(rows, scaling, name="groups_val")
    usable = np.flatnonzero(tasks.sizes > 1)
    if len(usable) == 0:
        raise ValueError(
            "Every group of groups_val has one row; judging needs a row to learn from and one to "
            "predict. Pass groups of two rows or more."
        )
    return tasks.subset(usable)
