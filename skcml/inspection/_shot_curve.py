"""What more rows of a new group, or of new classes, are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from skcml.estimators._inputs import check_whole
from skcml.estimators._naming import naming
from skcml.estimators._pool import PoolState
from skcml.grouping import encode_groups
from skcml.inspection._baselines import baselines
from skcml.inspection._learned import name_of, what_learned
from skcml.inspection._scorers import Scorer, scorer_of
from skcml.inspection._shot_tasks import (
    MAX_QUERIES,
    at_most,
    class_tasks,
    draws,
    group_tasks,
)
from skcml.model_selection._rows import Table
from skcml.model_selection._scoring import mean_and_interval, score_tasks
from skcml.model_selection._tasks import Task

# Draws of support rows of each group, where any may come first.
REPEATS = 3


def shot_curve(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    n_shots: ArrayLike | None = None,
    scoring: Any = None,
    n_ways: int | None = None,
    n_tasks: int = 50,
    n_repeats: int | None = None,
    random_state: Any = None,
) -> Bunch:
    """Score predictions of new groups against the number of their rows that `fit` saw.

    How many rows of a new patient does one need? Pass groups that `meta_fit` has not seen. Each is
    adapted to with no row, one row, two rows and so on, and scored on rows that are shown at no
    point; beside it, so are baselines made of what `meta_fit` has kept. All points of a curve are
    on the same groups and the same query rows, so only groups with more rows than the largest
    number of shots count. With ``support="first"`` the first rows of a group are shown first, else
    rows are shown in random order, ``n_repeats`` times, and scores are averaged.

    With exchangeable classes, pass rows of classes that `meta_fit` has not seen. A task is then
    ``n_ways`` of them (of one group, if there are groups), and shots are rows of each class.

    Parameters
    ----------
    estimator : CMLRegressor, CMLClassifier or skcml.pipeline.Pipeline
        After `meta_fit`. It is left as it is. Of a pipeline the last step is adapted, and scored,
        on the rows that the transformers make.
    X : array-like or frame of shape (n_samples, n_features)
        Rows of new groups, or of new classes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Outputs. Of several outputs, scikit-learn's scorers take the mean score.
    groups : array-like of shape (n_samples,), optional
        Group of each row; not needed with ``group_column``, nor for exchangeable classes.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights, for `fit` and, if the scorer takes them, for the score; rows of weight zero
        are left out.
    n_shots : array-like of int, optional
        Numbers of rows to adapt to. By default those of 0, 1, 2, 3, 5 and 10 that leave at least
        half of the groups a row to predict; of exchangeable classes, from 1 on.
    scoring : str or callable, optional
        One of scikit-learn's scorers, computed for each task. By default
        ``"neg_root_mean_squared_error"`` for numbers, ``"neg_mean_poisson_deviance"`` for counts,
        ``"neg_log_loss"`` for shared and ``"accuracy"`` for exchangeable classes.
    n_ways : int, optional
        Exchangeable classes in a task; 5 by default, or as many as there are.
    n_tasks : int, default=50
        Groups at most, drawn if there are more; or tasks of exchangeable classes to draw.
    n_repeats : int, optional
        Draws of support rows of each task; 3 by default, 1 with ``support="first"`` and for
        exchangeable classes.
    random_state : int, RandomState instance or None, default=None
        Source of tasks and rows.

    Returns
    -------
    Bunch
        With the attributes

        n_shots : ndarray of shape (n_points,)
            In ascending order.
        score : dict of str to ndarray of shape (n_tasks, n_points)
            Of each task, the mean over repeats. The names are those of ``meta_gain_``: "final",
            the estimator itself; of groups "mixed_model" (unless it is all there is), "per_task",
            a ridge or logistic regression on the rows of a group alone (not a number for no
            rows), and "pooled", one on the rows of all groups that `meta_fit` saw. Of exchangeable
            classes "class_mean", the class whose mean row is nearest in angle, and "per_task",
            logistic regression, both on rows as `meta_fit` transformed them and with its
            constants; where a network was learned from classes, none.
        mean, low, high : dict of str to ndarray of shape (n_points,)
            The mean over tasks and its 95 % interval, by Student's t. The tasks of exchangeable
            classes have classes in common, so that theirs is too narrow for other classes.
        task : list
            Groups, or tuples of classes.
        n_left_out : int
            Tasks whose score is not defined, r2 of a single row for instance; not in ``score``.
        scoring : str
            Name of the scorer.
        is_exchangeable : bool
            Whether shots are rows of each class.
        estimator_name, y_name : str, str or None
            For labels.

    Raises
    ------
    TypeError
        If the estimator is none of skcml's, or scoring is no scorer.
    ValueError
        If the estimator has not learned, if groups are missing or have too few rows, or if an
        argument is not what it should be.

    See Also
    --------
    ShotCurveDisplay : Draws it.

    Examples
    --------
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> from skcml.inspection import shot_curve
    >>> X, y, groups = make_sinusoid_tasks(60, 12, amplitude=(1, 2), random_state=0)
    >>> known = groups < 40
    >>> est = CMLRegressor(meta_max_iter=50, early_stopping=False, random_state=0)
    >>> est.meta_fit(X[known], y[known], groups=groups[known])
    CMLRegressor(...)
    >>> curve = shot_curve(
    ...     est, X[~known], y[~known], groups[~known], n_shots=(1, 3, 8), random_state=0
    ... )
    >>> curve.score["final"].shape
    (20, 3)
    >>> bool(curve.mean["final"][0] < curve.mean["final"][-1])
    True
    """
    learned = what_learned(estimator, "shot_curve", "is nothing to adapt")
    estimator, state, X = learned.estimator, learned.state, learned.rows(X)
    scorer, name = scorer_of(estimator, scoring)
    check_whole(n_tasks=n_tasks, n_repeats=1 if n_repeats is None else n_repeats)
    check_whole(2, n_ways=2 if n_ways is None else n_ways)
    with naming("random_state"):
        rng = check_random_state(random_state)
    rows = estimator._read(X, y, groups, sample_weight, known=state.targets)
    weight = rows.given_weight
    kept = np.arange(len(rows.X)) if weight is None else np.flatnonzero(weight)
    is_exchangeable = isinstance(state, PoolState)
    if is_exchangeable:
        coded = None
        tasks, shots = class_tasks(rows, kept, n_shots, n_ways, n_tasks, rng)
    else:
        _check_groups(rows, n_ways)
        coded = encode_groups(rows.groups, len(rows.X))
        tasks, shots = group_tasks(coded, kept, n_shots)
        tasks = at_most(tasks, n_tasks, rng)
    if n_repeats is None:
        n_repeats = 1 if is_exchangeable or estimator.support == "first" else REPEATS
    queries = MAX_QUERIES if is_exchangeable else None
    drawn = [draws(task, n_repeats, estimator.support, queries, rng) for task in tasks]
    table = Table(X, y, weight, coded)
    models = {"final": estimator, **baselines(estimator)}
    score, reason = {}, None
    for model, copy in models.items():
        adapts = model != "pooled"
        score[model], failure = _scores(copy, scorer, table, drawn, shots, adapts=adapts)
        reason = reason or failure
    if "per_task" in score:
        score["per_task"][:, shots == 0] = np.nan
    return _summary(
        score,
        tasks,
        reason,
        n_shots=shots,
        scoring=name,
        is_exchangeable=is_exchangeable,
        estimator_name=type(estimator).__name__,
        y_name=name_of(y),
    )


def _check_groups(rows: Any, n_ways: Any) -> None:
    """Refuse what does not belong to a table of groups."""
    if n_ways is not None:
        raise ValueError(
            f"n_ways={n_ways} is about exchangeable classes, and this estimator has learned from "
            "groups: leave n_ways out."
        )
    if rows.groups is None:
        raise ValueError(
            f"shot_curve needs the group of each of the n_samples = {len(rows.X)} rows: pass "
            "groups=, or keep the groups in a column of X and name it as group_column."
        )


def _scores(
    estimator: Any,
    scorer: Scorer,
    table: Table,
    drawn: Sequence[list[Task]],
    shots: np.ndarray,
    *,
    adapts: bool,
) -> tuple[np.ndarray, Exception | None]:
    """Return the mean score of each task at each number of shots, and why one has none."""
    scores, reason = np.zeros((len(drawn), len(shots))), None
    for tasks in zip(*drawn, strict=True):  # each task once, since its rows are told by its group
        points = []
        for k in shots if adapts else [0]:
            found, failure = score_tasks(estimator, table, tasks, int(k), scorer)
            points.append(found)
            reason = reason or failure
        scores += np.stack(points, axis=1)
    return scores / len(drawn[0]), reason


def _summary(
    score: dict[str, np.ndarray], tasks: list[Task], reason: Exception | None, **about: Any
) -> Bunch:
    """Return means and intervals over the tasks whose score is defined at all points."""
    shots = about["n_shots"]
    defined = np.ones(len(tasks), dtype=bool)
    for model, values in score.items():
        points = shots > 0 if model == "per_task" else shots >= 0
        defined &= np.isfinite(values[:, points]).all(axis=1)
    if not defined.any():
        why = "" if reason is None else f" ({reason})".replace(".)", ")")
        raise ValueError(
            f"scoring={about['scoring']!r} is not defined on the query rows of any of the "
            f"{len(tasks)} tasks{why}: take a score of such outputs that is defined on a single "
            "task, or fewer n_shots."
        )
    score = {model: values[defined] for model, values in score.items()}
    found = Bunch(score=score, mean={}, low={}, high={}, **about)
    for model, values in score.items():
        ends = np.array([mean_and_interval(column) for column in values.T]).T
        found.mean[model], found.low[model], found.high[model] = ends
    found.task = [task.label for task, is_in in zip(tasks, defined, strict=True) if is_in]
    found.n_left_out = int((~defined).sum())
    return found
