"""
A curve from three of its points
================================

How fast does a dialyzer clear water from the blood, the harder it is pressed? 20 dialyzers were
each measured at seven pressures, at one of two rates of blood flow (Vonesh and Carter, Biometrics
1992). The curves rise and level off: no linear mixed model follows them, unless it is told which
terms they are made of. Networks learn the shape from the other dialyzers.
"""

# %%
# Learn from fourteen dialyzers
# -----------------------------
# ``meta_gain_`` says of dialyzers that were held out what learned features bring: errors, in
# standard deviations of the rate.

import numpy as np

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import AdaptationDisplay

X, y, dialyzer = load_grouped("Dialyzer", return_X_y=True)
dialyzer = dialyzer.rename("dialyzer")
new = dialyzer.isin([1, 4, 7, 12, 15, 18])  # three at each rate of blood flow
est = CMLRegressor(meta_max_iter=300, random_state=0)
est.meta_fit(X[~new], y[~new], groups=dialyzer[~new])
for name, error in est.meta_gain_.items():
    print(f"{name:12} {error:.3f}")

# %%
# Six others, from three rows each
# --------------------------------
# The second, fourth and sixth of the seven pressures are shown. Dashed is what is predicted of
# any dialyzer with that flow of blood, solid what becomes of it.

place = dialyzer.groupby(dialyzer).cumcount()
shown = new & place.isin([1, 3, 5])
asked = new & ~shown
rows = {
    "X_support": X[shown],
    "y_support": y[shown],
    "groups": dialyzer[shown],
    "X_query": X[asked],
    "y_query": y[asked],
    "groups_query": dialyzer[asked],
    "feature": "pressure",
    "n_tasks": 6,
}
_ = AdaptationDisplay.from_estimator(est, **rows)

# %%
# The same by the linear mixed model
# ----------------------------------
# Without a hidden layer and without meta-steps there is the linear mixed model alone.

mixed = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
mixed.meta_fit(X[~new], y[~new], groups=dialyzer[~new])
_ = AdaptationDisplay.from_estimator(mixed, **rows)

for name, model in {"mixed model": mixed, "CMLRegressor": est}.items():
    model.fit(X[shown], y[shown], groups=dialyzer[shown])
    error = y[asked] - model.predict(X[asked], groups=dialyzer[asked])
    print(f"{name:12} RMSE on the other four rows {np.sqrt(np.mean(error**2)):.1f} mL/hr")
