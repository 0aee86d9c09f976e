"""A long list of arrays of which a changed copy costs little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import overload

import numpy as np

# Arrays on a shelf: a change copies one shelf, and the list of shelves.
SIZE = 256


class Shelves:
    """Arrays that differ in their number of rows; a changed sequence shares those that stay.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, ...)
        The rows of all arrays, one after the other.
    starts : ndarray of shape (n_arrays + 1,)
        Those of the first are ``rows[starts[0]:starts[1]]``, and so on.
    """

    def __init__(self, rows: np.ndarray, starts: np.ndarray) -> None:
        is_whole = starts.ndim == 1 and starts.dtype.kind == "i" and len(starts) > 0
        if not is_whole or [starts[0], starts[-1]] != [0, len(rows)] or (np.diff(starts) < 0).any():
            raise ValueError("The arrays of a sequence do not make up its rows")
        # Copies, so that an array that is left out is gone.
        self._fill(rows[start:stop].copy() for start, stop in pairwise(starts.tolist()))

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray]) -> Shelves:
        """Return a sequence of arrays, which are not copied."""
        new = cls.__new__(cls)
        new._fill(arrays)
        return new

    def _fill(self, arrays: Iterable[np.ndarray]) -> None:
        arrays = list(arrays)
        self._shelves = [arrays[first : first + SIZE] for first in range(0, len(arrays), SIZE)]

    @property
    def rows(self) -> np.ndarray:
        """The rows of all arrays."""
        return np.concatenate(list(self)) if len(self) else np.empty(0)

    @property
    def starts(self) -> np.ndarray:
        """Where those of each array start."""
        return np.cumsum([0, *(len(array) for array in self)])

    def __len__(self) -> int:
        return SIZE * (len(self._shelves) - 1) + len(self._shelves[-1]) if self._shelves else 0

    @overload
    def __getitem__(self, places: int | np.integer) -> np.ndarray: ...

    @overload
    def __getitem__(self, places: np.ndarray) -> list[np.ndarray]: ...

    def __getitem__(self, places: int | np.integer | np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return what is at a place, or a list of what is at an array of places."""
        if isinstance(places, np.ndarray):
            return [self._shelves[place // SIZE][place % SIZE] for place in places.tolist()]
        return self._shelves[places // SIZE][places % SIZE]

    def __iter__(self) -> Iterator[np.ndarray]:
        for shelf in self._shelves:
            yield from shelf

    def replaced(self, places: np.ndarray, arrays: Iterable[np.ndarray]) -> Shelves:
        """Return the same with other arrays at some places."""
        changed = Shelves.of([])
        changed._shelves = list(self._shelves)
        copied = set()
        for place, array in zip(places.tolist(), arrays, strict=True):
            shelf, place = divmod(place, SIZE)
            if shelf not in copied:
                changed._shelves[shelf] = list(changed._shelves[shelf])
                copied.add(shelf)
            changed._shelves[shelf][place] = array
        return changed
