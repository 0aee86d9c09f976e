"""What was learned, in words that a reader of mixed models knows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skcml.estimators._adapted import Adapted
from skcml.estimators._meta_state import MetaState


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


def as_frame(values: np.ndarray, columns: list[str], index: Any, index_name: str | None) -> Any:
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
