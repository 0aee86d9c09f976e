"""How rows are centred, scaled and made of unit length before classes are told apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from skcml.class_pool import ClassPool
from skcml.problems.prototypes import unit_rows

if TYPE_CHECKING:
    from skcml.selection.constants import ClassOptions

# A column whose deviation is below this share of its size is constant.
CONSTANT = 1e-10


@dataclass(frozen=True)
class Recipe:
    """How a transform is made.

    Attributes
    ----------
    center : bool
    scale : bool
        Divide by the standard deviation of each column.
    lift : bool
        Append a constant, so that rows of unit length keep their distances.
    unit : bool
        Make rows of unit length.
    """

    center: bool = True
    scale: bool = False
    lift: bool = False
    unit: bool = True


# The first is the default.
RECIPES = {
    "center": Recipe(),
    "standardize": Recipe(scale=True),
    "lift": Recipe(scale=True, lift=True),
}
# Rows as they are.
RAW = {"raw": Recipe(center=False, unit=False)}


@dataclass(frozen=True)
class Transform:
    """Rows as the problem sees them.

    Attributes
    ----------
    center, scale : ndarray of shape (d,)
    unit : bool
        Whether rows are made of unit length.
    lift : bool
        Whether a constant is appended before; where columns have a standard deviation of one, the
        rest of a row is then about as long as the constant.
    """

    center: np.ndarray
    scale: np.ndarray
    unit: bool
    lift: bool

    @classmethod
    def fit(cls, pool: ClassPool, recipe: Recipe) -> Transform:
        """Read center and scale off the rows of a pool."""
        d = pool.X.shape[1]
        center = _center(pool) if recipe.center else np.zeros(d)
        scale = _deviation(pool) if recipe.scale else np.ones(d)
        return cls(center, scale, recipe.unit, recipe.lift)

    @classmethod
    def of_network(cls, pool: ClassPool, options: ClassOptions) -> Transform:
        """Return the coordinates of rows for a network: standardised, images channel by channel."""
        d = pool.X.shape[1]
        if not options.standardize:
            return cls(np.zeros(d), np.ones(d), unit=False, lift=False)
        if len(options.input_shape) < 2:
            return cls.fit(pool, Recipe(scale=True, unit=False))
        channels = pool.X.reshape(len(pool.X), options.input_shape[0], -1)
        center, scale = channels.mean((0, 2)), channels.std((0, 2))
        n = channels.shape[2]
        scale = np.where(scale > CONSTANT * abs(channels).max(), scale, 1.0)
        return cls(np.repeat(center, n), np.repeat(scale, n), unit=False, lift=False)

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the rows transformed, of shape (n, d) or, with a constant, (n, d + 1)."""
        z = (X - self.center) / self.scale
        if self.lift:
            z = np.column_stack([z / np.sqrt(z.shape[1]), np.ones(len(z))])
        return unit_rows(z) if self.unit else z

    def of_pool(self, pool: ClassPool) -> ClassPool:
        """Return a pool with its rows transformed."""
        return replace(pool, X=self(pool.X))


def _center(pool: ClassPool) -> np.ndarray:
    """Return the mean of the classes' means, as if one more class had mean zero.

    With two classes alone, the mean would leave them opposite each other whatever they are.
    """
    filled = np.flatnonzero(pool.sizes)
    starts = pool.starts[filled]
    weight = np.add.reduceat(pool.weight, starts)
    sums = np.add.reduceat(pool.weight[:, None] * pool.X, starts)
    means = sums / np.where(weight > 0, weight, 1.0)[:, None]
    return means.sum(0) / ((weight > 0).sum() + 1)


def _deviation(pool: ClassPool) -> np.ndarray:
    """Return the standard deviation of each column over all rows; one where it is constant."""
    top = abs(pool.X).max(0)
    x = pool.X / np.where(top > 0, top, 1.0)
    mean = np.average(x, axis=0, weights=pool.weight)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=pool.weight))
    return np.where(deviation > CONSTANT, top * deviation, 1.0)
