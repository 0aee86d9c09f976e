"""Whether a value is what an annotation says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pytest

from skcml.persistence import fits
from skcml.persistence._types import hints_of, parameters_of


class Walks(Protocol):
    n_legs: int

    def walk(self) -> None: ...


class Runs(Walks, Protocol):
    def run(self) -> None: ...


class Called(Protocol):
    def __call__(self) -> None: ...


@dataclass(frozen=True)
class Dog:
    n_legs: int

    def walk(self) -> None: ...

    def run(self) -> None: ...


class Snake:
    def walk(self) -> None: ...


class Pair(NamedTuple):
    one: np.ndarray
    other: int = 3


ARRAY, DOG = np.zeros(2), Dog(4)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (object(), Any),
        (3, int),
        (3, float),
        (0.5, float),
        (True, bool),
        (None, int | None),
        ("a", str),
        ((1, 2), tuple[int, ...]),
        ((), tuple[int, ...]),
        ((1, "a"), tuple[int, str]),
        ([1, 2], list[int]),
        ([1, 2], Sequence[int]),
        ((1, 2), Sequence[int]),
        ({"a": ARRAY}, dict[str, np.ndarray]),
        ({"a": [1.0]}, Mapping[str, list[float]]),
        ({"a": object()}, dict[str, Any]),
        (ARRAY, np.ndarray),
        (ARRAY, npt.NDArray[Any]),
        (ARRAY, np.ndarray | None),
        (DOG, Dog),
        (DOG, Walks),
        (Dog(None), Walks),  # of no number, but the name is there
        (DOG, Runs),
        (print, Called),
        (Pair(ARRAY), np.ndarray | Pair),
        ([(DOG, ARRAY)], Sequence[tuple[Dog | Snake, np.ndarray]]),
    ],
)
def test_what_fits(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0.5, int),
        (True, int),
        (True, float),
        ("1", float),
        (1, bool),
        (None, int),
        (1, str | None),
        ([1, 2], tuple[int, ...]),
        ((1, "a"), tuple[int, ...]),
        ((1, 2), tuple[int, str]),
        ((1,), tuple[int, str]),
        ((1, 2), list[int]),
        ("ab", Sequence[str]),
        (3, Sequence[int]),
        ([1, None], list[int]),
        ({1: ARRAY}, dict[str, np.ndarray]),
        ({"a": 1}, dict[str, np.ndarray]),
        ([], dict[str, Any]),
        ([0.0], np.ndarray),
        (DOG, Snake),
        (Snake(), Walks),  # has no legs
        (Snake(), Runs),
        (DOG, Called),
        ([(ARRAY, DOG)], Sequence[tuple[Dog | Snake, np.ndarray]]),
    ],
)
def test_what_does_not_fit(value, hint):
    assert not fits(value, hint)


class Plain:
    def __init__(self, width: int, names: tuple[str, ...] = ()) -> None:
        self.width, self.names = width, names


def test_arguments_of_dataclasses_tuples_and_other_classes():
    assert parameters_of(Dog) == {"n_legs": True}
    assert parameters_of(Pair) == {"one": True, "other": False}
    assert parameters_of(Plain) == {"width": True, "names": False}
    assert parameters_of(Snake) == {}
    assert hints_of(Dog) == {"n_legs": int}
    assert hints_of(Pair) == {"one": np.ndarray, "other": int}
    assert hints_of(Plain)["names"] == tuple[str, ...]
    assert hints_of(Snake) == {}
