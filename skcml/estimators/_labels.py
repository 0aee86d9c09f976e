"""Reading labels of classes, and their weights."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skcml.estimators._inputs import MAX_SIZE, Targets, refuse_dates, warn_of_a_column

MAX_SHOWN = 10


def read_labels(
    y: Any, n_samples: int, known: np.ndarray | None, *, suffix: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each row's class, of shape (n_samples,), and the classes, sorted.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels: integers, booleans or strings, and no missing ones.
    n_samples : int
        Rows of X.
    known : ndarray of shape (n_classes,) or None
        The classes there are; None takes those in y.
    suffix : str
        What errors put after "X" and "y".
    """
    name = f"y{suffix}"
    labels = _as_column(y, name)
    if len(labels) != n_samples:
        raise ValueError(
            f"{name} has {len(labels)} rows, but X{suffix} has {n_samples}; pass one for each row."
        )
    _refuse_missing(labels, name)
    _refuse_bytes(labels, name)
    if labels.dtype.kind == "O" and len({type(label) for label in labels}) == 1:
        # What pandas makes of nullable integers and booleans, for instance.
        labels = np.asarray(labels.tolist())
    if labels.dtype.kind == "O" and len({isinstance(label, str) for label in labels}) == 2:
        raise TypeError(f"{name} mixes labels that cannot be compared: make all of them strings.")
    try:
        with warnings.catch_warnings():
            # That most labels are unique is what one example of each class looks like.
            warnings.simplefilter("ignore", UserWarning)
            check_classification_targets(labels)
        found, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise TypeError(
            f"{name} mixes labels that cannot be compared ({error}): make all of them strings."
        ) from error
    except ValueError as error:
        _refuse_other_types(labels, name)
        reason = str(error).rstrip(".")
        raise ValueError(
            f"{name}: {reason}. Labels are integers, booleans or strings; for numbers use "
            "CMLRegressor."
        ) from error
    if known is None:
        return codes.astype(np.intp), found
    place = _places(found, known, name)
    return place[codes], known


def _as_column(y: Any, name: str) -> np.ndarray:
    """Return labels as an array of one dimension."""
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    refuse_dates(y, name)
    try:
        labels = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    refuse_dates(labels, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warn_of_a_column(name)
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension, a label for each row; it has the shape "
            f"{labels.shape}."
        )
    return labels


def _refuse_missing(labels: np.ndarray, name: str) -> None:
    """Refuse None, NaN and infinity among labels."""
    if labels.dtype.kind in "fc":
        missing = ~np.isfinite(labels)
    elif labels.dtype.kind == "O":
        missing = np.array([_is_missing(label) for label in labels], dtype=bool)
    else:
        return
    if missing.any():
        row = int(missing.argmax())
        # In the words of scikit-learn's own checks.
        kind = "infinity" if _is_infinite(labels[row]) else "NaN"
        raise ValueError(
            f"Input {name} contains {kind}: {int(missing.sum())} missing label(s), the first in "
            f"row {row}. Leave these rows out."
        )


def _refuse_bytes(labels: np.ndarray, name: str) -> None:
    """Refuse labels that are no text yet, as scikit-learn does."""
    is_bytes = labels.dtype.kind == "S" or (
        labels.dtype.kind == "O" and any(isinstance(label, bytes) for label in labels)
    )
    if is_bytes:
        raise TypeError(
            f"{name} holds labels that are bytes: decode them to strings, by "
            f"np.char.decode({name}) or {name}.str.decode('utf-8')."
        )


def _refuse_other_types(labels: np.ndarray, name: str) -> None:
    """Say of which types labels are that scikit-learn calls unknown, as dates or enumerations."""
    types = sorted({type(label).__name__ for label in labels.tolist()})
    if labels.dtype.kind == "O":
        raise TypeError(
            f"{name} holds labels of type {', '.join(types)}: all must be integers, all booleans "
            f"or all strings. Make them strings, by [str(label) for label in {name}]."
        )


def _is_missing(label: Any) -> bool:
    try:
        return label is None or label != label or _is_infinite(label)
    except TypeError:  # pandas.NA has no truth value
        return True


def _is_infinite(label: Any) -> bool:
    return isinstance(label, (float, np.floating)) and abs(label) == np.inf


def _places(found: np.ndarray, known: np.ndarray, name: str) -> np.ndarray:
    """Return where the labels found are among those known."""
    index = {label: place for place, label in enumerate(known.tolist())}
    new = [label for label in found.tolist() if label not in index]
    if new:
        raise ValueError(
            f"{name} holds {_listed(new)}, which meta_fit has not seen; it has seen "
            f"{_listed(known.tolist())}. Leave these rows out, or call meta_fit with rows of every "
            "class; where each group has classes of its own, with classes='exchangeable'. Some "
            "tools number the classes before they call fit: number them before meta_fit, too."
        )
    return np.array([index[label] for label in found.tolist()], dtype=np.intp)


def _listed(labels: list[Any]) -> str:
    more = f" and {len(labels) - MAX_SHOWN} more" if len(labels) > MAX_SHOWN else ""
    return ", ".join(map(repr, labels[:MAX_SHOWN])) + more


def class_factors(
    class_weight: Any, classes: np.ndarray, codes: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray | None:
    """Return the factor on the rows of each class, of shape (n_classes,), or None for ones.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_rows,), int
    weight : ndarray of shape (n_rows,), optional
        A class whose rows weigh nothing does not count.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        total = np.bincount(codes, weights=weight, minlength=len(classes))
        filled = total > 0
        return np.where(filled, total.sum() / (filled.sum() * np.where(filled, total, 1.0)), 1.0)
    for label, factor in class_weight.items():
        if not isinstance(factor, Real) or not 0 <= float(factor) <= MAX_SIZE:
            raise ValueError(
                f"class_weight of {label!r} must be a number between 0 and {MAX_SIZE:.0e}; got "
                f"{factor!r}."
            )
    return np.array([float(class_weight.get(label, 1.0)) for label in classes.tolist()])


def check_class_weight(class_weight: Any, targets: Targets) -> None:
    """Refuse weights of classes that there are not."""
    if not isinstance(class_weight, dict) or targets.classes is None:
        return
    labels = targets.classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    if unknown:
        raise ValueError(
            f"class_weight names {_listed(unknown)}, which y does not hold; it holds "
            f"{_listed(labels)}."
        )
