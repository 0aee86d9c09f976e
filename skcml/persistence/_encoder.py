"""A tree of plain values, arrays and objects as JSON and named arrays.

In JSON, None, booleans, numbers, strings and lists are themselves. All else is an object with one
key, which says what it is:

======================================== =======================================================
``{"array": name}``                      an array of numbers or booleans, kept apart
``{"labels": [type, [label, ...]]}``     an array of strings, dates, durations or objects
``{"tuple": [item, ...]}``               a tuple
``{"dict": [[key, value], ...]}``        a dict
``{"float": "inf"}``                     a number that JSON does not have
``{"date": text}``, ``{"datetime": text}``, ``{"timedelta": [days, seconds, microseconds]}``
``{"same": path}``                       the object that stands at this path, earlier on
``{"given": name}``                      what is not kept, but given again when it is read
``{"Heads": {argument: value, ...}}``    an object of an allowed class, or an allowed function
======================================== =======================================================

An object of an allowed class is the arguments of its constructor: attributes of the same names.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np

from skcml.persistence._types import TIMES, parameters_of

# What arrays may hold, by name; extended precision is not the same everywhere.
DTYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
DTYPES |= {"bool", "float16", "float32", "float64"}


class Encoder:
    """Turns trees into what JSON has, and gathers their arrays.

    Parameters
    ----------
    parts : iterable of class or function
        What is allowed, each of a name of its own.
    given : dict of class to str, optional
        What is not kept, and the name under which it will be given.

    Attributes
    ----------
    arrays : dict of str to ndarray
        By their paths.
    """

    def __init__(self, parts: Iterable[Any], given: Mapping[Any, str] | None = None) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names = {part: part.__name__ for part in parts}
        self._given = dict(given or {})
        self._found: dict[str, Any] = {}
        # By identity, with the thing itself, so that the identity stays its own.
        self._seen: dict[int, tuple[Any, Any]] = {}

    def encode(self, value: Any, path: str) -> Any:
        """Return a value as JSON.

        Parameters
        ----------
        value : object
        path : str
            Where it stands, for names of arrays and for errors.

        Raises
        ------
        TypeError
            If the value, or one in it, is of a type that is not kept.
        """
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            value = value.item()
        for kind in (bool, int, str):  # of what is derived from them, no more than the value
            if isinstance(value, kind):
                return kind(value)
        if value is None:
            return None
        if isinstance(value, float):
            return float(value) if isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, list):
            return [self.encode(item, f"{path}.{i}") for i, item in enumerate(value)]
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        kept, later = self._encode_other(value, path)
        if later is not None:
            self._seen[id(value)] = (value, later)
        return kept

    def given(self, name: str) -> Any:
        """Return what was met of the things that will be given, or None."""
        return self._found.get(name)

    def _encode_other(self, value: Any, path: str) -> tuple[Any, Any]:
        """Return a value as JSON, and what stands for it when it comes again; None is itself."""
        if isinstance(value, np.ndarray):
            kept = self._encode_array(value, path)
            return kept, kept
        for kind, name in self._given.items():
            if isinstance(value, kind):
                if self._found.setdefault(name, value) is not value:
                    raise ValueError(f"There are two of what is kept once, as {name}, at {path}.")
                return {"given": name}, None
        if inspect.isfunction(value) and value in self._names:
            return {self._names[value]: {}}, None
        if type(value) in self._names:
            part: Any = type(value)
            names = parameters_of(part)
            fields = {n: self.encode(getattr(value, n), f"{path}.{n}") for n in names}
            return {self._names[type(value)]: fields}, {"same": path}
        if isinstance(value, tuple):
            return {"tuple": self.encode(list(value), path)}, None
        if isinstance(value, dict):
            items = [
                [self.encode(k, path), self.encode(v, f"{path}.{k}")] for k, v in value.items()
            ]
            return {"dict": items}, None
        return _encode_time(value, path), None

    def _encode_array(self, array: np.ndarray, path: str) -> Any:
        kind, name = array.dtype.kind, array.dtype.name
        if name in DTYPES:
            while path in self.arrays:
                path += "_"
            native = array.dtype.newbyteorder("=")
            self.arrays[path] = np.ascontiguousarray(array, native).reshape(array.shape)
            return {"array": path}
        if array.ndim != 1 or not (kind in "UO" or TIMES.fullmatch(name)):
            raise _not_kept(array, path)
        if kind in "mM":
            return {"labels": [name, array.astype(np.int64).tolist()]}
        labels = self.encode(array.tolist(), path)
        return {"labels": ["str" if kind == "U" else "object", labels]}


def _encode_time(value: Any, path: str) -> Any:
    """Return a date or a duration, which may be pandas' own, as JSON."""
    if not isinstance(value, (date, timedelta)):
        raise _not_kept(value, path)
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise _not_kept(value, path)
    if isinstance(value, timedelta):
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    return {"datetime" if isinstance(value, datetime) else "date": value.isoformat()}


def _not_kept(value: Any, path: str) -> TypeError:
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)[:60]
    return TypeError(
        f"{path} holds {kind}, of type {type(value).__name__}, which cannot be saved. What can are "
        "numbers, strings, booleans, dates, times and durations in whole microseconds, and tuples, "
        "lists, dicts and arrays of these."
    )
