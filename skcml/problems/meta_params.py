"""Meta-parameters: one flat vector, and named views into it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise

import numpy as np


class MetaParams(Mapping[str, np.ndarray]):
    """Named arrays that share one flat vector.

    An optimiser sees the vector, the mathematics sees the names, and a change of either is a
    change of both. Gradients have the same type.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Name and shape of each array, in the order in which they lie in the vector.
    vector : ndarray of shape (n_params,), optional
        The storage, float64; zeros by default.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], vector: np.ndarray | None = None):
        self.shapes = dict(shapes)
        ends = list(accumulate((math.prod(shape) for shape in self.shapes.values()), initial=0))
        self.vector = np.zeros(ends[-1]) if vector is None else vector
        if self.vector.shape != (ends[-1],):
            raise ValueError(
                f"The vector has shape {self.vector.shape} where ({ends[-1]},) is needed."
            )
        self._views = {
            name: self.vector[start:stop].reshape(shape)
            for (name, shape), (start, stop) in zip(
                self.shapes.items(), pairwise(ends), strict=True
            )
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type, tuple[dict[str, tuple[int, ...]], np.ndarray]]:
        # Views do not survive a pickle as views.
        return type(self), (self.shapes, self.vector)

    def __deepcopy__(self, memo: dict[int, object]) -> MetaParams:
        return self.copy()

    def copy(self) -> MetaParams:
        """Return a copy with storage of its own."""
        return MetaParams(self.shapes, self.vector.copy())

    def zeros_like(self) -> MetaParams:
        """Return zeros of the same layout, to gather a gradient in."""
        return MetaParams(self.shapes)
