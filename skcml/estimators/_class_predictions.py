"""What a classifier says of rows, once it has been fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score

# Below this a probability has no logarithm.
SMALLEST = 1e-300


class ClassPredictionsMixin:
    """Predictions of classes."""

    __metadata_request__predict: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__predict_proba: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__predict_log_proba: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__decision_function: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"groups": True}

    classes_: np.ndarray
    _read_rows: Callable[[Any, Any], tuple[Any, np.ndarray, np.ndarray]]

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
        """Predict the most probable class of rows of the task that `fit` saw, or of each group.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        best = self.predict_proba(X, groups).argmax(axis=1)
        labels: np.ndarray = self.classes_[best]
        return labels

    def predict_proba(self, X: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
        """Predict the probability of each class.

        With shared classes, a group that `fit` has not seen gets the prior: what the groups share.
        So does every row after `meta_fit` alone. With exchangeable classes and groups, a group has
        the classes of its own rows; the others have probability zero.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        adapted, rows, codes = self._read_rows(X, groups)
        mean, _ = adapted.predict(rows, codes, variance=False)
        mean = np.minimum(mean, 1.0)  # shares of a mixture add up to one but for rounding
        # Of two classes there is one logit.
        probabilities = np.stack([1 - mean[0], mean[0]]) if len(mean) == 1 else mean
        return np.ascontiguousarray(probabilities.T)

    def predict_log_proba(self, X: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            At least -691, so that all are finite.
        """
        return np.log(np.maximum(self.predict_proba(X, groups), SMALLEST))

    def decision_function(self, X: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
        """Return log odds of the second of two classes, or the log probability of each of several.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        logarithms = self.predict_log_proba(X, groups)
        if logarithms.shape[1] == 2:
            return logarithms[:, 1] - logarithms[:, 0]
        return logarithms

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy of the predictions.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            True labels.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.

        Returns
        -------
        float
        """
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))
