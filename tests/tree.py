"""A little state: the classes that it may be made of, and trees that come back."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Leaf:
    values: np.ndarray
    size: float = 1.0


@dataclass(frozen=True)
class Branch:
    name: str
    leaves: Sequence[Leaf]
    twin: Leaf | None = None


class Stack(NamedTuple):
    top: np.ndarray
    depth: int


class Empty:
    pass


class Named:
    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes


class Outside:
    """What is not kept."""


def step(x):
    return x + 1


PARTS = {
    Leaf: lambda leaf: leaf.values.ndim == 1,
    Branch: None,
    Stack: None,
    Empty: None,
    Named: None,
    step: None,
}
LEAF = Leaf(np.arange(3.0), 0.5)

# What comes back as it was.
VALUES = {
    "none": None,
    "true": True,
    "integer": 3,
    "large": 10**40,
    "number": 0.1 + 0.2,
    "minus zero": -0.0,
    "infinity": -np.inf,
    "text": 'ä "quoted" \n \ud800',
    "list": [1, [2.5, None], []],
    "tuple": (1, ("a", ())),
    "dict": {"a": 1, 2: (3,), True: [4], ("b", 5): {}},
    "date": dt.date(2024, 2, 29),
    "time": dt.datetime(2024, 2, 29, 23, 59, 59, 999999),
    "time with a zone": dt.datetime(2024, 3, 31, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    "duration": dt.timedelta(-1, 3, 7),
}
# What comes back as what it is equal to.
EQUAL = {
    "numpy's integer": np.int8(3),
    "numpy's number": np.float32(0.1),
    "numpy's boolean": np.bool_(True),
    "numpy's text": np.str_("a"),
    "pandas' time": pd.Timestamp("2024-02-29 12:00:01.5"),
    "pandas' time with a zone": pd.Timestamp("2024-02-29 12:00", tz="Europe/Berlin"),
    "pandas' duration": pd.Timedelta("1h"),
}
ARRAYS = {
    "floats": np.array([[0.1, -0.0], [1e300, 5e-324]]),
    "single": np.float32([0.1]),
    "integers": np.array([-(2**63), 2**63 - 1]),
    "small": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    "booleans": np.array([True, False]),
    "no axis": np.array(3.5),
    "nothing": np.zeros((0, 3)),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every other": np.arange(9.0)[::2],
    "big-endian": np.array([1.5, 2.5], dtype=">f8"),
    "texts": np.array(["a", "", "äß"]),
    "objects": np.array(["a", 3, ("b", 4), None], dtype=object),
    "tuples": np.fromiter([(1, 2), (3, 4)], dtype=object, count=2),
    "days": np.array(["2024-02-29", "1600-01-01"], dtype="datetime64[D]"),
    "nanoseconds": np.array([1, -1], dtype="datetime64[ns]"),
    "durations": np.array([1, -1], dtype="timedelta64[s]"),
    "no text": np.array([], dtype=str),
}
