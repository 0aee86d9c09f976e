"""Hostile but legal input for estimators: drawn as a few choices and a seed, so that it shrinks.

A failing case prints its choices, and ``build(choices)`` makes it again. Values are finite and at
most 1e30 in size: everything that is built here must work.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st

import skcml
from skcml import CMLRegressor

LARGEST = 1e30


@dataclass(frozen=True)
class Kind:
    """A kind of outputs: an estimator, and what may be its y.

    Attributes
    ----------
    estimator : callable
        Takes parameters.
    outputs : strategy of lists
        One choice for each output.
    target : callable (rng, choice, signal, row of each group) -> ndarray
        Makes one column of y.
    containers : tuple of str
        Keys of `CLASS_CONTAINERS` that y may come in.
    """

    estimator: Callable[..., Any]
    outputs: st.SearchStrategy
    target: Callable[..., np.ndarray]
    containers: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """What is passed to an estimator.

    Attributes
    ----------
    params : dict
        Parameters.
    learn, adapt : dict
        Arguments of meta_fit and of fit.
    asked : dict
        Arguments of predict: rows of known groups and of one that was never seen.
    asked_prior : dict
        Arguments of predict after meta_fit alone.
    """

    params: dict[str, Any]
    learn: dict[str, Any]
    adapt: dict[str, Any]
    asked: dict[str, Any]
    asked_prior: dict[str, Any]


# How an array of floats, of one or two dimensions, is passed. Some round what they hold.
CONTAINERS = {
    "float64": np.array,
    "float32": lambda a: a.astype(np.float32),
    "int64": lambda a: np.clip(np.round(a), -1e18, 1e18).astype(np.int64),
    "int8": lambda a: np.clip(np.round(a), -128, 127).astype(np.int8),
    "bool": lambda a: a > 0,
    "objects": lambda a: a.astype(object),
    "lists": lambda a: a.tolist(),
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backward": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: _read_only(a),
    "pandas": lambda a: _pandas(a),
    "pandas, odd index": lambda a: _pandas(a).set_axis(np.arange(len(a)) % 2, axis=0),
    "pandas, nullable": lambda a: _pandas(a).astype("Float64"),
    "pandas, float32": lambda a: _pandas(a).astype("float32"),
    "pandas, mixed": lambda a: _mixed(_pandas(a)),
    "polars": lambda a: _polars(a),
}
# Classes may have any names.
CLASS_CONTAINERS = CONTAINERS | {"strings": lambda a: [f"class {int(code)}" for code in a.ravel()]}


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _pandas(array):
    if array.ndim == 1:
        return pd.Series(array, name="y")
    return pd.DataFrame(array, columns=[f"c{i}" for i in range(array.shape[1])])


def _mixed(table):
    """Give every other column another type."""
    if table.ndim == 1:
        return table.astype(object)
    types = ["float64", "Float32", object]
    return table.astype({name: types[i % 3] for i, name in enumerate(table.columns)})


def _polars(array):
    return pl.Series("y", array) if array.ndim == 1 else pl.from_pandas(_pandas(array))


# Labels of groups 0, 1, ..., and how they are passed.
LABELS = {
    "numbers": lambda g: [int(i) - 3 for i in g],
    "floats": lambda g: [0.5 * i for i in g],
    "strings": lambda g: [f"ward {i}" for i in g],
    "tuples": lambda g: [("ward", int(i)) for i in g],
    "mixed": lambda g: [[-1, "a", ("b", 2), 4.5, "", True][i] if i < 6 else int(i) for i in g],
}
LABEL_CONTAINERS = {
    "list": list,
    "pandas": lambda labels: pd.Series(labels, dtype=object),
    "array": lambda labels: _object_array(labels),
    "plain array": lambda labels: (
        _object_array(labels) if len(set(map(type, labels))) > 1 else _array(labels)
    ),
}


def _object_array(labels):
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def _array(labels):
    return _object_array(labels) if isinstance(labels[0], tuple) else np.array(labels)


# Weights, from rows' standard exponential draws.
WEIGHTS = {
    "none": None,
    "tiny": lambda rng, w: 1e-20 * w,
    "huge": lambda rng, w: 1e20 * w,
    "counts": lambda rng, w: np.ceil(w),
    "zeros": lambda rng, w: np.where(w < 0.5, 0.0, w),
    "wide": lambda rng, w: 10.0 ** rng.uniform(-20, 20, len(w)),
    "one heavy": lambda rng, w: np.where(np.arange(len(w)) == 0, 1e20, w),
}


# A column of X before scale and offset, from the columns before it and the rows' groups.
COLUMNS = {
    "normal": lambda rng, before, group: rng.standard_normal(len(group)),
    "constant": lambda rng, before, group: np.ones(len(group)),
    "zero": lambda rng, before, group: np.zeros(len(group)),
    "binary": lambda rng, before, group: rng.integers(0, 2, len(group)).astype(float),
    "of the group": lambda rng, before, group: rng.standard_normal(group.max() + 1)[group],
    "duplicate": lambda rng, before, group: before[-1],
    "sum": lambda rng, before, group: np.sum(before, axis=0),
    "nearly a duplicate": lambda rng, before, group: (
        before[-1] * (1 + 1e-12 * rng.standard_normal(len(group)))
    ),
    "one far out": lambda rng, before, group: np.where(
        np.arange(len(group)) == 0, 1e12, rng.standard_normal(len(group))
    ),
    "wild": lambda rng, before, group: _wild(rng, len(group)),
}


def _wild(rng, n):
    return rng.choice([-1.0, 1.0], n) * 10 ** rng.uniform(-30, 30, n)


def _placed(values, exponent, offset):
    """Scale a column, and move it by ``offset`` times its scale."""
    scale = 10.0**exponent
    return np.clip(scale * values + offset * scale, -LARGEST, LARGEST)


def number_target(rng, choice, signal, group):
    """Return a column of any numbers."""
    shape, exponent, offset = choice
    effect = rng.standard_normal(group.max() + 1)[group]
    values = {
        "noisy": signal + effect + 0.3 * rng.standard_normal(len(group)),
        "exact": signal + effect,
        "exact and shared": signal,
        "constant": np.ones(len(group)),
        "zero": np.zeros(len(group)),
        "constant in groups": effect,
        "noise": rng.standard_normal(len(group)),
        "one far out": np.where(np.arange(len(group)) == 0, 1e12, effect),
        "wild": _wild(rng, len(group)),
    }[shape]
    return _placed(values, exponent, offset)


def count_target(rng, choice, signal, group):
    """Return a column of counts."""
    shape, log_rate = choice
    effect = 0.5 * rng.standard_normal(group.max() + 1)[group]
    counts = rng.poisson(np.exp(np.clip(log_rate + signal + effect, -20, 20))).astype(float)
    return {
        "drawn": counts,
        "zero": np.zeros(len(group)),
        "one": np.ones(len(group)),
        "zero in groups": np.where(group % 2, 0.0, counts),
        "one far out": np.where(np.arange(len(group)) == 0, 1e9, counts),
    }[shape]


def class_target(rng, choice, signal, group):
    """Return a column of classes, at least two of them among the rows to learn from."""
    shape, n_classes = choice
    effect = rng.standard_normal(group.max() + 1)[group]
    drawn = rng.integers(0, n_classes, len(group))
    codes = {
        "drawn": drawn,
        "separable": (signal > np.median(signal)).astype(int),
        "of the group": group % n_classes,
        "one of a kind": np.zeros(len(group), dtype=int),
        "noisy": (signal + effect + rng.logistic(size=len(group)) > 0).astype(int),
    }[shape]
    first, second = np.flatnonzero(group == 0)[0], np.flatnonzero(group == 1)[0]
    codes[first], codes[second] = 0, 1
    return codes


NUMBER_SHAPES = (
    *("noisy", "exact", "exact and shared", "constant", "zero", "constant in groups"),
    *("noise", "one far out", "wild"),
)
_exponents = st.integers(-30, 30)
_offsets = st.sampled_from([0.0, 1.0, -1e3, 1e8, -1e17])

NUMBERS = Kind(
    CMLRegressor,
    st.lists(
        st.tuples(
            st.sampled_from(NUMBER_SHAPES),
            _exponents,
            _offsets,
        ),
        min_size=1,
        max_size=2,
    ),
    number_target,
    tuple(CONTAINERS),
)
KINDS = {"numbers": NUMBERS}
if "loss" in inspect.signature(CMLRegressor).parameters:
    KINDS["counts"] = Kind(
        lambda meta_loss, **params: CMLRegressor(loss="poisson", **params),
        st.lists(
            st.tuples(
                st.sampled_from(["drawn", "zero", "one", "zero in groups", "one far out"]),
                st.integers(-5, 10),
            ),
            min_size=1,
            max_size=1,
        ),
        count_target,
        tuple(CONTAINERS),
    )
if hasattr(skcml, "CMLClassifier"):
    KINDS["classes"] = Kind(
        lambda meta_loss, **params: skcml.CMLClassifier(**params),
        st.lists(
            st.tuples(
                st.sampled_from(["drawn", "separable", "of the group", "one of a kind", "noisy"]),
                st.integers(2, 4),
            ),
            min_size=1,
            max_size=1,
        ),
        class_target,
        ("int64", "int8", "lists", "strided", "backward", "read-only", "pandas", "strings"),
    )


def choices(kind):
    """Return a strategy of choices, which `build` turns into a case."""
    return st.fixed_dictionaries(
        {
            "kind": st.just(kind),
            "seed": st.integers(0, 2**32 - 1),
            "sizes": st.lists(st.integers(1, 6), min_size=2, max_size=8),
            "new_size": st.integers(1, 6),
            "columns": st.lists(
                st.tuples(st.sampled_from(list(COLUMNS)), _exponents, _offsets),
                min_size=1,
                max_size=5,
            ),
            "outputs": KINDS[kind].outputs,
            "is_flat": st.booleans(),
            "equal_rows": st.booleans(),
            "x_as": st.sampled_from(list(CONTAINERS)),
            "y_as": st.sampled_from(KINDS[kind].containers),
            "labels": st.sampled_from(list(LABELS)),
            "labels_as": st.sampled_from(list(LABEL_CONTAINERS)),
            "weights": st.sampled_from(list(WEIGHTS)),
            "fit_groups": st.booleans(),
            "params": st.fixed_dictionaries(
                {
                    "hidden_layer_sizes": st.sampled_from([(), (3,)]),
                    "meta_max_iter": st.sampled_from([0, 3]),
                    "prior_strength": st.sampled_from([1.0, 1e-6, 1e-3, 1e3, 1e6]),
                    "standardize": st.sampled_from([True, True, False]),
                    "prior_covariance": st.sampled_from(["full", "diagonal"]),
                    "support": st.sampled_from(["random", "first"]),
                    "meta_loss": st.sampled_from(["log_predictive", "loss"]),
                    "early_stopping": st.booleans(),
                }
            ),
        }
    )


def build(choices):
    """Return the case of some choices."""
    kind, rng = KINDS[choices["kind"]], np.random.default_rng(choices["seed"])
    sizes = list(choices["sizes"])
    sizes[0] = max(sizes[0], 2)
    n_groups = len(sizes)
    # The last group is new to `fit`; rows are shuffled, and each group's order with them.
    group = rng.permutation(np.repeat(np.arange(n_groups + 1), [*sizes, choices["new_size"]]))

    base = []
    for name, _, _ in choices["columns"]:
        base.append(COLUMNS[name](rng, base or [np.arange(len(group)) % 3.0], group))
    X = np.column_stack([_placed(v, *c[1:]) for v, c in zip(base, choices["columns"], strict=True)])
    signal = sum(np.tanh(values) for values in base)
    y = np.column_stack([kind.target(rng, c, signal, group) for c in choices["outputs"]])
    if choices["equal_rows"]:
        rows = np.flatnonzero(group == n_groups)
        X[rows], y[rows] = X[rows[0]], y[rows[0]]
    if y.shape[1] == 1 and (choices["is_flat"] or choices["kind"] != "numbers"):
        y = y[:, 0]
    weight = WEIGHTS[choices["weights"]]
    if weight is not None:
        weight = weight(rng, rng.standard_exponential(len(group)) + 0.01)
        # Two rows of a group, and one of another and of the new one, weigh something.
        for g, n in ((0, 2), (1, 1), (n_groups, 1)):
            some = np.flatnonzero(group == g)[:n]
            weight[some] = np.where(weight[some] > 0, weight[some], 1.0)

    def labels(codes):
        return LABEL_CONTAINERS[choices["labels_as"]](LABELS[choices["labels"]](codes))

    def arguments(rows, *, is_grouped=True, is_asked=False):
        given = {"X": CONTAINERS[choices["x_as"]](X[rows])}
        if not is_asked:
            given["y"] = CLASS_CONTAINERS[choices["y_as"]](y[rows])
            if weight is not None:
                given["sample_weight"] = weight[rows]
        if is_grouped:
            given["groups"] = labels(asked_group[rows] if is_asked else group[rows])
        return given

    # A row of each known group is asked about as one of a group never seen.
    asked_group = np.where(rng.random(len(group)) < 0.2, n_groups + 1, group)
    everything = np.arange(len(group))
    new = np.flatnonzero(group == n_groups)
    adapted = np.flatnonzero((group == n_groups) | (group <= 1)) if choices["fit_groups"] else new
    return Case(
        params={**choices["params"], "random_state": choices["seed"]},
        learn=arguments(np.flatnonzero(group < n_groups)),
        adapt=arguments(adapted, is_grouped=choices["fit_groups"]),
        asked=arguments(everything, is_grouped=choices["fit_groups"], is_asked=True),
        asked_prior=arguments(everything, is_asked=True),
    )


def take(arguments, rows):
    """Return the given rows of every argument."""
    return {name: _take(values, rows) for name, values in arguments.items()}


def _take(values, rows):
    if isinstance(values, list):
        return [values[row] for row in rows]
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]
