"""What was learned, in words that a reader of mixed models knows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skcml.estimators._adapted import Adapted
from skcml.estimators._meta_state import MetaState


class SummariesMixin:
    """The summaries of an estimator, and what they and predictions need to be readable."""

    group_column: str | int | None
    _group_column: str | int | None
    _adapted: Adapted
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
        """
        self._check_readable()
        if self._adapted.is_prior:
            raise ValueError("group_effects needs rows of a group: call fit first.")
        effects = effects_of_groups(self._adapted, deviations=deviations)
        flat = effects.reshape(len(effects), -1)
        if not as_frame:
            return flat
        columns = column_names(self._feature_names(), effects.shape[1])
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
            (n_outputs, n_coefficients, n_coefficients), ``noise_sd`` and ``network_weight`` of
            shape (n_outputs,), and ``covariance_structure``. The frame holds the noise in its
            ``attrs``.
        """
        if not hasattr(self, "_meta"):
            raise ValueError("prior_summary needs meta_fit: without it there is no learned prior.")
        self._check_readable()
        summary: Bunch = summary_of_prior(self._meta)
        if not as_frame:
            return summary
        names = column_names(self._feature_names(), len(summary.mean))
        values = np.stack([summary.mean.ravel(), summary.sd_between_groups.ravel()], axis=1)
        frame = frame_of(values, ["mean", "sd_between_groups"], names, "coefficient")
        frame.attrs.update(
            noise_sd=summary.noise_sd.tolist(),
            covariance_structure=summary.covariance_structure,
            network_weight=summary.network_weight.tolist(),
        )
        return frame

    def _check_readable(self) -> None:
        """Refuse to read rows, or name columns, by another group column than was learned with."""
        check_is_fitted(self)
        if self.group_column != self._group_column:
            raise ValueError(
                f"group_column was {self._group_column!r} when the estimator was fitted and is "
                f"{self.group_column!r} now; set it back, or fit again."
            )

    def _feature_names(self) -> list[str]:
        n_features = self._adapted.scaling.x_mean.shape[0]
        names = list(getattr(self, "feature_names_in_", []))
        if self.group_column in names:
            names.remove(self.group_column)
        elif names and isinstance(self.group_column, Integral):
            names.pop(int(self.group_column))
        return names or [f"x{i}" for i in range(n_features)]


def effects_of_groups(adapted: Adapted, *, deviations: bool) -> np.ndarray:
    """Return the linear coefficients of each group, (n_groups, n_outputs, 1 + n_features)."""
    standardised = adapted.linear.coefficients[:, 0]
    total = adapted.scaling.coefficients(standardised)
    return total[:-1] - total[-1] if deviations else total[:-1]


def summary_of_prior(state: MetaState) -> Bunch:
    """Return mean, spread and correlation of the groups' linear coefficients, and the noise."""
    mixed = state.learned.mixed
    scaling = state.scaling
    mean = scaling.coefficients(np.stack([model.omega for model in mixed]))
    spreads, correlations, noise = [], [], []
    for output, model in enumerate(mixed):
        matrix = scaling.coefficient_map(output)
        covariance = matrix @ model.factor @ model.factor.T @ matrix.T
        spread = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
        safe = np.where(spread > 0, spread, 1.0)
        correlation = covariance / np.outer(safe, safe)
        np.fill_diagonal(correlation, 1.0)
        spreads.append(spread)
        correlations.append(correlation)
        noise.append(np.sqrt(model.noise) * scaling.y_scale[output])
    return Bunch(
        mean=mean,
        sd_between_groups=np.stack(spreads),
        correlation=np.stack(correlations),
        noise_sd=np.array(noise),
        covariance_structure=mixed[0].structure,
        network_weight=state.learned.known.share("networks").copy(),
    )


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


def column_names(features: list[str], outputs: int) -> list[str]:
    """Name the coefficients; with several outputs, each name begins with the output's number."""
    names = ["intercept", *features]
    if outputs == 1:
        return names
    return [f"y{output}: {name}" for output in range(outputs) for name in names]
