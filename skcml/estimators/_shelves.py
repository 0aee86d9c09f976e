"""A long list of which a changed copy costs little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy as np

# Things on a shelf: a change copies one shelf, and the list of shelves.
SIZE = 256


class Shelves:
    """A sequence that never changes, on shelves: a changed one shares those that are the same.

    Parameters
    ----------
    things : iterable
    """

    __slots__ = ("_shelves",)

    def __init__(self, things: Iterable[Any] = ()) -> None:
        things = list(things)
        self._shelves = [things[start : start + SIZE] for start in range(0, len(things), SIZE)]

    def __len__(self) -> int:
        return SIZE * (len(self._shelves) - 1) + len(self._shelves[-1]) if self._shelves else 0

    @overload
    def __getitem__(self, places: int | np.integer) -> Any: ...

    @overload
    def __getitem__(self, places: np.ndarray) -> list[Any]: ...

    def __getitem__(self, places: Any) -> Any:
        """Return what is at a place, or a list of what is at an array of places."""
        if isinstance(places, np.ndarray):
            return [self._shelves[place // SIZE][place % SIZE] for place in places.tolist()]
        return self._shelves[places // SIZE][places % SIZE]

    def __iter__(self) -> Iterator[Any]:
        for shelf in self._shelves:
            yield from shelf

    def replaced(self, places: np.ndarray, things: Iterable[Any]) -> Shelves:
        """Return the same with other things at some places."""
        changed = Shelves()
        changed._shelves = list(self._shelves)
        copied = set()
        for place, thing in zip(places.tolist(), things, strict=True):
            shelf, place = divmod(place, SIZE)
            if shelf not in copied:
                changed._shelves[shelf] = list(changed._shelves[shelf])
                copied.add(shelf)
            changed._shelves[shelf][place] = thing
        return changed
