"""Ridge regression as a head whose prior knows nothing."""

from __future__ import annotations

import numpy as np

from skcml.heads import Heads
from skcml.problems.mlp import MLPBody

# The intercept is not penalised: its prior standard deviation, in standard deviations of y.
FLAT = 1e3


def ridge_heads(n_inputs: int, n_outputs: int) -> Heads:
    """Return the head whose posterior mean is ridge regression with a penalty of one.

    Coefficients of standardised inputs have unit prior variance in units of the noise, the
    intercept an all but flat prior; `Heads.with_precision` sets another penalty.
    """
    body = MLPBody(n_inputs)
    scale = np.ones(body.n_features)
    scale[0] = FLAT
    return Heads(
        body,
        {},
        np.zeros((1, n_outputs, body.n_features)),
        np.tile(np.diag(scale), (1, n_outputs, 1, 1)),
        np.ones((1, n_outputs)),
    )
