"""Between users' units and standardised ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class Scaling:
    """Centres and scales of features and outputs.

    Attributes
    ----------
    x_mean, x_scale : ndarray of shape (n_features,)
    y_mean, y_scale : ndarray of shape (n_outputs,)
    """

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Scaling:
        """Standardise weighted columns; constant ones are centred only."""
        # The weighted variance of a constant column may come out below zero by rounding.
        with np.errstate(invalid="ignore"):
            x = StandardScaler().fit(X, sample_weight=weight)
            out = StandardScaler().fit(y, sample_weight=weight)
        x_scale, y_scale = (np.where(np.isfinite(s.scale_), s.scale_, 1.0) for s in (x, out))
        return cls(x.mean_, x_scale, out.mean_, y_scale)

    @classmethod
    def none(cls, n_features: int, n_outputs: int) -> Scaling:
        """Leave everything as it is."""
        return cls(
            np.zeros(n_features), np.ones(n_features), np.zeros(n_outputs), np.ones(n_outputs)
        )

    def features(self, X: np.ndarray) -> np.ndarray:
        """Standardise features."""
        return (X - self.x_mean) / self.x_scale

    def outputs(self, y: np.ndarray) -> np.ndarray:
        """Standardise outputs, of shape (n_rows, n_outputs)."""
        return (y - self.y_mean) / self.y_scale

    def coefficients(self, standardised: np.ndarray) -> np.ndarray:
        """Translate linear coefficients, the intercept first, into users' units.

        Parameters
        ----------
        standardised : ndarray of shape (..., n_outputs, 1 + n_features)
        """
        slopes = standardised[..., 1:] * self.y_scale[:, None] / self.x_scale
        intercept = self.y_mean + self.y_scale * standardised[..., 0] - slopes @ self.x_mean
        return np.concatenate([intercept[..., None], slopes], axis=-1)

    def coefficient_map(self, output: int) -> np.ndarray:
        """Return the matrix that turns deviations of coefficients into users' units."""
        slopes = self.y_scale[output] / self.x_scale
        matrix = np.diag(np.concatenate([[self.y_scale[output]], slopes]))
        matrix[0, 1:] = -slopes * self.x_mean
        return matrix
