"""Ridge and logistic regression as a head whose prior knows nothing."""

from __future__ import annotations

import numpy as np

from skcml.heads import Heads
from skcml.likelihoods import Likelihood
from skcml.problems.features import Body

# The intercept is not penalised: its prior standard deviation, relative to the noise, and to the
# other coefficients'.
FLAT = 1e3


def ridge_heads(
    body: Body,
    n_outputs: int,
    penalty: float = 1.0,
    likelihood: Likelihood | None = None,
    theta: dict[str, np.ndarray] | None = None,
    *,
    intercept_scale: float = FLAT,
) -> Heads:
    """Return the head whose posterior mean (mode, with a likelihood) is ridge regression.

    In units of the noise, coefficients have the prior variance ``1 / penalty``, the intercept the
    standard deviation ``intercept_scale``, an all but flat prior, or as many times theirs. With
    hidden layers, ``theta`` holds their parameters, stacked.
    """
    scale = np.full(body.n_features, penalty**-0.5)
    scale[0] = intercept_scale * max(1.0, penalty**-0.5)
    return Heads(
        body,
        theta or {},
        np.zeros((1, n_outputs, body.n_features)),
        np.tile(np.diag(scale), (1, n_outputs, 1, 1)),
        np.full((1, n_outputs), 1.0 if likelihood is None else 0.0),
        likelihood,
        integrates=False,
    )
