"""The card of a saved estimator: what it was learned from, how well, and how to use it."""

from __future__ import annotations

import json
from typing import Any

from skcml.estimators._pool import PoolState

# Names of columns and classes that are listed.
MAX_NAMES = 30


def fitted_tasks(estimator: Any) -> Any:
    """Return what `fit` or `partial_fit` has left behind; None where it is the prior alone."""
    adapted = getattr(estimator, "_adapted", None)
    return None if adapted is None or getattr(adapted, "is_prior", False) else adapted


def card_of(estimator: Any, folder: str) -> str:
    """Return the card of a fitted estimator.

    Parameters
    ----------
    estimator : CMLRegressor or CMLClassifier
    folder : str
        Name of the folder it is for.
    """
    kind = type(estimator).__name__
    task = "classification" if hasattr(estimator, "predict_proba") else "regression"
    parts = [
        f"---\nlibrary_name: skcml\npipeline_tag: tabular-{task}\n---",
        f"# {kind}",
        _learned_from(estimator),
        _facts(estimator),
        _scores(estimator),
        _use(estimator, kind, folder),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _learned_from(estimator: Any) -> str:
    meta = getattr(estimator, "_meta", None)
    if meta is None:
        return "Fitted without `meta_fit`: nothing was learned from other groups."
    if isinstance(meta, PoolState):
        return (
            f"Learned by `meta_fit` from a pool of {meta.n_classes} classes with {meta.n_rows} "
            "rows, in whose place `fit` brings others."
        )
    return f"Learned by `meta_fit` from {meta.n_groups} groups with {meta.n_rows} rows."


def _facts(estimator: Any) -> str:
    """Return what X and y are, and what `fit` has made of it."""
    lines = [f"columns of X: {estimator.n_features_in_}"]
    if hasattr(estimator, "feature_names_in_"):
        lines[0] += f", {_listed(estimator.feature_names_in_)}"
    if estimator.group_column is not None:
        lines.append(f"group column, which is no feature: {_listed([estimator.group_column])}")
    if hasattr(estimator, "classes_"):
        lines.append(f"classes: {len(estimator.classes_)}, {_listed(estimator.classes_.tolist())}")
    # An estimator of these parameters shows those that are not at their defaults.
    params = {**estimator.get_params(deep=False), "body": None}
    lines.append(f"parameters: `{_safe(repr(type(estimator)(**params)))}`")
    adapted = fitted_tasks(estimator)
    if adapted is not None and adapted.groups is None:
        lines.append("adapted by `fit` to one task")
    elif adapted is not None:
        lines.append(
            f"adapted by `fit` to {len(adapted.groups)} groups, whose labels are in these files"
        )
    return "\n".join(f"- {line}" for line in lines)


def _scores(estimator: Any) -> str:
    gain = getattr(estimator, "meta_gain_", None)
    if not gain:
        return ""
    is_of_classes = isinstance(estimator._meta, PoolState)
    what = "classes" if is_of_classes else "groups"
    metric = "log loss" if is_of_classes else estimator._meta.metric
    lines = [f"| on held-out {what} | {metric} |", "| --- | --- |"]
    lines += [f"| {name} | {score:.4g} |" for name, score in gain.items()]
    unit = ", in standard deviations of y" if metric == "RMSE" else ""
    return "\n".join([*lines, "", f"Lower is better{unit}: `meta_gain_`."])


def _use(estimator: Any, kind: str, folder: str) -> str:
    body = "" if estimator.body is None else ", body=module"
    lines = [f"est = {kind}.from_pretrained({json.dumps(folder)}{body})"]
    adapted = fitted_tasks(estimator)
    if adapted is not None:
        groups = "" if adapted.groups is None else ", groups=groups"
        lines.append(f"est.predict(X{groups})  # rows of what it was adapted to")
    lines += ["est.fit(X_few, y_few)  # a few rows of something new", "est.predict(X_more)"]
    code = "\n".join(["```python", f"from skcml import {kind}", "", *lines, "```"])
    if estimator.body is None:
        return code
    layers = repr(estimator.body) if hasattr(estimator.body, "parameters") else "as passed as body="
    shown = "\n".join(f"    {line}" for line in layers.split("\n"))
    return f"{code}\n\n`module` is a `torch.nn.Module` with the layers of this one:\n\n{shown}"


def _listed(names: Any) -> str:
    shown = [f"`{_safe(str(name))}`" for name in list(names)[:MAX_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _safe(text: str) -> str:
    """Return text that stays within its backticks and on its line."""
    return " ".join(text.replace("`", "'").split())
