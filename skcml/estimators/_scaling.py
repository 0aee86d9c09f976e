"""Between users' units and standardised ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

# No standardised value is larger: without weights, it would take 1e12 rows.
MAX_STANDARDISED = 1e6
# Below this the squares of squares are zero in float64, and so, in the end, is a variance.
MIN_SIZE = 1e-60


@dataclass(frozen=True)
class Scaling:
    """Centres and scales of features and outputs.

    Attributes
    ----------
    x_mean, x_scale : ndarray of shape (n_features,)
    y_mean, y_scale : ndarray of shape (n_outputs,)
    rate : float
        Of counts, the mean: they are divided by it, and weights, which are exposures, multiplied,
        so that nothing depends on the unit of exposure. One for all else.
    dispersion : float
        Of counts, the variance over the mean of a mixed model, by which weights are divided. One
        for all else.
    scatter : float
        Of counts, the variance over the mean that predictions have: less than the dispersion where
        networks explain a part of it. One for all else.
    """

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray
    rate: float = 1.0
    dispersion: float = 1.0
    scatter: float = 1.0

    @classmethod
    def fit(cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Scaling:
        """Standardise weighted columns; constant ones are centred only."""
        if weight is not None:
            # As many as the rows, but for a power of two, which rounds nothing: what is constant is
            # judged by the sum of weights.
            weight = np.ldexp(weight, -int(np.round(np.log2(weight[weight > 0].mean()))))
        return cls(*_centre_and_scale(X, weight), *_centre_and_scale(y, weight))

    @classmethod
    def none(cls, n_features: int, n_outputs: int) -> Scaling:
        """Leave everything as it is."""
        return cls(
            np.zeros(n_features), np.ones(n_features), np.zeros(n_outputs), np.ones(n_outputs)
        )

    @property
    def is_of_counts(self) -> bool:
        """Whether counts have been scaled."""
        return self.rate != 1 or self.dispersion != 1

    def features(self, X: np.ndarray) -> np.ndarray:
        """Standardise features."""
        return (X - self.x_mean) / self.x_scale

    def outputs(self, y: np.ndarray) -> np.ndarray:
        """Standardise outputs, of shape (n_rows, n_outputs)."""
        return (y - self.y_mean) / self.y_scale / self.rate

    def coefficients(self, standardised: np.ndarray) -> np.ndarray:
        """Translate linear coefficients, the intercept first, into users' units.

        Parameters
        ----------
        standardised : ndarray of shape (..., n_outputs, 1 + n_features)
        """
        slopes = standardised[..., 1:] * self.y_scale[:, None] / self.x_scale
        intercept = self.y_mean + self.y_scale * standardised[..., 0] - slopes @ self.x_mean
        intercept = intercept + np.log(self.rate)
        return np.concatenate([intercept[..., None], slopes], axis=-1)

    def coefficient_map(self, output: int) -> np.ndarray:
        """Return the matrix that turns deviations of coefficients into users' units."""
        slopes = self.y_scale[output] / self.x_scale
        matrix = np.diag(np.concatenate([[self.y_scale[output]], slopes]))
        matrix[0, 1:] = -slopes * self.x_mean
        return matrix


def refuse_tiny(values: np.ndarray, name: str) -> None:
    """Refuse a column that would be taken for a constant because all its values are tiny."""
    largest = abs(values).max(0)
    tiny = np.flatnonzero((largest < MIN_SIZE) & (np.ptp(values, axis=0) > 0))
    if len(tiny):
        column = int(tiny[0])
        raise ValueError(
            f"Column {column} of {name} holds nothing larger than {largest[column]:.1e}; below "
            f"{MIN_SIZE:.0e} its spread cannot be told from none: multiply the column by a "
            "constant, take logarithms, or leave it out."
        )


def _centre_and_scale(values: np.ndarray, weight: np.ndarray | None) -> tuple[Any, Any]:
    """Return mean and scale of each column."""
    # The weighted variance of a constant column may come out below zero by rounding.
    with np.errstate(invalid="ignore"):
        scaler = StandardScaler().fit(values, sample_weight=weight)
        # The scale of a constant column is one, which is that of others too.
        is_spread = (scaler.scale_ == np.sqrt(scaler.var_)) & np.isfinite(scaler.scale_)
    # What rounding leaves of a large constant, or of a row of next to no weight, must not be large.
    farthest = abs(values - scaler.mean_).max(0)
    scale = np.where(is_spread, scaler.scale_, np.maximum(farthest, 1.0))
    return scaler.mean_, np.maximum(scale, farthest / MAX_STANDARDISED)
