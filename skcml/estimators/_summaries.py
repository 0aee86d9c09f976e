"""What was learned, in words that a reader of mixed models knows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skcml.estimators._adapted import Adapted
from skcml.estimators._meta_state import MetaState


class SummariesMixin:
    """The summaries of an estimator, and what they and predictions need to be readable."""

    group_column: str | int | None
    _group_column: str | int | None
    n_features_in_: int
    classes_: np.ndarray
    _adapted: Any
    _meta: MetaState

    def group_effects(self, as_frame: bool = True, deviations: bool = False) -> Any:
        """Return the linear coefficients of each group that `fit` saw.

        They are those of the linear mixed model (the best linear unbiased predictions), whatever
        the networks add to the prediction.

        Parameters
        ----------
        as_frame : bool, default=True
            Whether to return a pandas DataFrame.
        deviations : bool, default=False
            Whether to subtract what the groups share.

        Returns
        -------
        DataFrame or ndarray of shape (n_groups, n_coefficients)
            One row per group (one, if `fit` saw a single task) and one column per coefficient, the
            intercept first, in units of X and y; with several outputs, all coefficients of one
            output after the other.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=person)
        >>> few = person < 310
        >>> est = est.fit(X[few], y[few], groups=person[few])  # all that there is of two people
        >>> est.group_effects().round(1)
               intercept  Days
        group
        308        253.7  19.7
        309        211.0   1.8
        >>> est.group_effects(deviations=True).round(1)  # as of lme4's ranef
               intercept  Days
        group
        308          2.3   9.2
        309        -40.4  -8.6
        """
        if getattr(self, "class_setting_", "shared") == "exchangeable":
            raise ValueError(
                "group_effects are coefficients of classes that groups have in common; "
                "exchangeable classes have none."
            )
        self._check_readable()
        if self._adapted.is_prior:
            raise ValueError("group_effects needs rows of a group: call fit first.")
        effects = effects_of_groups(self._adapted, deviations=deviations)
        flat = effects.reshape(len(effects), -1)
        if not as_frame:
            return flat
        columns = column_names(self._feature_names(), self._output_names(effects.shape[1]))
        groups = self._adapted.groups
        return frame_of(flat, columns, [0] if groups is None else groups.labels, "group")

    def prior_summary(self, as_frame: bool = True) -> Any:
        """Return what the groups share and what varies between them.

        Parameters
        ----------
        as_frame : bool, default=True
            Whether to return a pandas DataFrame, with one row per coefficient and the columns
            ``mean`` (shared) and ``sd_between_groups`` (varies).

        Returns
        -------
        DataFrame or Bunch
            The Bunch holds ``mean`` and ``sd_between_groups`` of shape
            (n_outputs, n_coefficients), ``correlation`` of shape
            (n_outputs, n_coefficients, n_coefficients), ``network_weight`` of shape (n_outputs,),
            ``covariance_structure`` ("full", "diagonal", "intercept" or "none", what may vary),
            for numbers ``noise_sd`` of shape (n_outputs,), and for counts
            ``dispersion``, their variance over their mean within a group. The frame
            holds the noise in its ``attrs``, and ``"log_odds_of"``, the second of two classes.
            Coefficients of classes are those of log odds, or of a
            logit for each of several classes; of counts those of the logarithmic mean.
            Of exchangeable classes there are ``prototype_scale`` and ``prior_precision``, the two
            numbers that were learned.

        Examples
        --------
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> shared = est.meta_fit(X, y, groups=person).prior_summary()
        >>> shared.round(2)
                       mean  sd_between_groups
        coefficient
        intercept    251.41              24.74
        Days          10.47               5.92
        >>> round(shared.attrs["noise_sd"][0], 1)
        25.6
        >>> est.prior_summary(as_frame=False).correlation.round(2)
        array([[[1.  , 0.07],
                [0.07, 1.  ]]])
        """
        if not hasattr(self, "_meta"):
            raise ValueError("prior_summary needs meta_fit: without it there is no learned prior.")
        self._check_group_column()
        summary: Bunch = self._meta.summary()
        if not as_frame:
            return summary
        if "mean" not in summary:
            names = list(summary)
            return frame_of(np.array([[summary[n]] for n in names]), ["value"], names, "parameter")
        names = column_names(self._feature_names(), self._output_names(len(summary.mean)))
        values = np.stack([summary.mean.ravel(), summary.sd_between_groups.ravel()], axis=1)
        frame = frame_of(values, ["mean", "sd_between_groups"], names, "coefficient")
        for name in ("noise_sd", "network_weight"):
            if name in summary:
                frame.attrs[name] = summary[name].tolist()
        if "dispersion" in summary:
            frame.attrs["dispersion"] = summary.dispersion
        frame.attrs["covariance_structure"] = summary.covariance_structure
        if len(getattr(self, "classes_", ())) == 2:
            frame.attrs["log_odds_of"] = self.classes_.tolist()[1]
        return frame

    def _check_readable(self) -> None:
        """Refuse to read rows, or name columns, by another group column than was learned with."""
        if hasattr(self, "_meta") and not hasattr(self, "_adapted"):
            raise NotFittedError(
                f"This {type(self).__name__} has learned from a pool of classes, and those to tell "
                "apart are new: call fit with rows of them first."
            )
        check_is_fitted(self)
        self._check_group_column()

    def _check_group_column(self) -> None:
        if self.group_column != self._group_column:
            raise ValueError(
                f"group_column was {self._group_column!r} when the estimator was fitted and is "
                f"{self.group_column!r} now; set it back, or fit again."
            )

    def _feature_names(self) -> list[str]:
        names = list(getattr(self, "feature_names_in_", []))
        if self.group_column in names:
            names.remove(self.group_column)
        elif names and isinstance(self.group_column, Integral):
            names.pop(int(self.group_column))
        n_features = self.n_features_in_ - (self.group_column is not None)
        return names or [f"x{i}" for i in range(n_features)]

    def _output_names(self, n_outputs: int) -> list[str]:
        labels = getattr(self, "classes_", [f"y{output}" for output in range(n_outputs)])
        return [str(label) for label in labels] if n_outputs > 1 else ["y"]


def effects_of_groups(adapted: Adapted, *, deviations: bool) -> np.ndarray:
    """Return the linear coefficients of each group, (n_groups, n_outputs, 1 + n_features)."""
    standardised = adapted.linear.coefficients[:, 0]
    total = adapted.scaling.coefficients(standardised)
    return total[:-1] - total[-1] if deviations else total[:-1]


def frame_of(values: np.ndarray, columns: list[str], index: Any, index_name: str | None) -> Any:
    """Return a pandas DataFrame, or say how to get pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "as_frame=True needs pandas: pip install 'skcml[datasets]', or pass as_frame=False."
        ) from error
    labels = pd.Index(list(index), name=index_name, tupleize_cols=False)
    return pd.DataFrame(values, index=labels, columns=columns)


def column_names(features: list[str], outputs: list[str]) -> list[str]:
    """Name the coefficients; of several outputs, each name begins with that of the output."""
    names = ["intercept", *features]
    if len(outputs) == 1:
        return names
    return [f"{output}: {name}" for output in outputs for name in names]
