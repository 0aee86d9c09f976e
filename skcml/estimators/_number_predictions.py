"""What a regressor says of rows, once it has been fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import d2_tweedie_score, r2_score

from skcml.estimators._inputs import read_probabilities
from skcml.likelihoods import TINY, count_quantiles


class NumberPredictionsMixin:
    """Predictions of numbers and counts."""

    __metadata_request__predict: ClassVar[dict[str, bool]] = {"groups": True, "return_std": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"groups": True}

    _adapted: Any
    _read_rows: Callable[[Any, Any], tuple[Any, np.ndarray, np.ndarray]]

    def predict(
        self, X: ArrayLike, groups: ArrayLike | None = None, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict rows of the task that `fit` saw, or of each row's group.

        A group that `fit` has not seen gets the prior: what the groups share. So does every row
        after `meta_fit` alone.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.
        return_std : bool, default=False
            Whether to return the standard deviation too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictive mean.
        std : ndarray of the same shape
            Predictive standard deviation of a new observation: noise, doubt about the group's
            coefficients and, for groups never seen, the variance between groups. Only with
            ``return_std``. Of counts it is that of an exposure of one, whatever weights `fit` had.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known, early = person < 370, X["Days"] < 4
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=person[known])
        >>> seen = ~known & early  # the first four days of three new people
        >>> est = est.fit(X[seen], y[seen], groups=person[seen])
        >>> mean, std = est.predict(X[-1:], groups=[372], return_std=True)  # milliseconds, day nine
        >>> print(f"{mean[0]:.0f} with {std[0]:.0f} to either side; it was {y.iloc[-1]:.0f}")
        377 with 50 to either side; it was 364
        >>> mean, std = est.predict(X[-1:], groups=[999], return_std=True)  # of a person never seen
        >>> print(f"{mean[0]:.0f} with {std[0]:.0f} to either side")
        343 with 71 to either side
        """
        adapted, rows, codes = self._read_rows(X, groups)
        mean, variance = adapted.predict(rows, codes, variance=return_std)
        if variance is None:
            return adapted.as_output(mean)
        return adapted.as_output(mean), adapted.as_output(np.sqrt(variance))

    def predict_quantiles(
        self,
        X: ArrayLike,
        q: ArrayLike = (0.05, 0.5, 0.95),
        groups: ArrayLike | None = None,
    ) -> np.ndarray:
        """Predict quantiles of new observations.

        Their shape was learned from errors on held-out groups. Counts have the quantiles of a
        negative binomial distribution with the predictive mean and variance, for an exposure of
        one: a rate over a longer time scatters less, and has other quantiles.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        q : array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Probabilities, between 0 and 1.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles)

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known, early = person < 370, X["Days"] < 4
        >>> est = CMLRegressor(
        ...     hidden_layer_sizes=(), meta_max_iter=0, support="first", random_state=0
        ... )
        >>> est = est.meta_fit(X[known], y[known], groups=person[known])
        >>> seen, asked = ~known & early, ~known & ~early
        >>> est = est.fit(X[seen], y[seen], groups=person[seen])
        >>> low, high = est.predict_quantiles(X[asked], [0.05, 0.95], groups=person[asked]).T
        >>> inside = (low < y[asked]) & (y[asked] < high)
        >>> print(f"{inside.sum()} of {len(inside)} days")
        16 of 18 days
        """
        probabilities = read_probabilities(q)
        adapted, rows, codes = self._read_rows(X, groups)
        mean, variance = adapted.predict(rows, codes, variance=True)
        if adapted.are_counts:
            return adapted.as_output(count_quantiles(mean, variance, probabilities))
        steps = adapted.steps(codes, probabilities)
        return adapted.as_output(mean[..., None] + np.sqrt(variance)[..., None] * steps)

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the coefficient of determination of the predictions; of counts that of deviance.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True outputs.
        groups : array-like of shape (n_samples,), optional
            Group of each row, after ``fit(groups=...)``.
        sample_weight : array-like of shape (n_samples,), optional
            Row weights.

        Returns
        -------
        float

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> known, even = person < 370, X["Days"] % 2 == 0
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X[known], y[known], groups=person[known])
        >>> seen, asked = ~known & even, ~known & ~even
        >>> est = est.fit(X[seen], y[seen], groups=person[seen])
        >>> round(est.score(X[asked], y[asked], groups=person[asked]), 2)
        0.74
        >>> round(est.score(X[asked], y[asked], groups=[999] * 15), 2)  # not knowing who it is
        0.67
        """
        predicted: Any = self.predict(X, groups)
        adapted: Any = self._adapted
        if adapted.are_counts:
            # A rate may be so low that it is zero in float64.
            rates = np.maximum(predicted, TINY)
            try:
                with np.errstate(invalid="ignore"):
                    return float(d2_tweedie_score(y, rates, sample_weight=sample_weight, power=1))
            except ZeroDivisionError:  # there is no deviance to explain
                return 0.0
        return float(r2_score(y, predicted, sample_weight=sample_weight))
