"""
Do intervals hold what they say?
================================

Protein in the milk of 79 cows. From a cow's first three weeks, an interval for each later week:
of those that are said to hold 90 %, how many do? It matters whether `meta_fit` has been told that
the first rows of a group predict its later ones.
"""

# %%
# Every cow is new once
# ---------------------
# Three times, every third cow is set aside; `fit` then sees her first three weeks. With
# ``support="random"``, the default, `meta_fit` learns to fill gaps between rows, with ``"first"``
# to look ahead, and intervals are shaped by errors of just that. Two linear mixed models, and one
# mixed with networks (few meta-steps, to keep this page quick).

import matplotlib.pyplot as plt
import numpy as np

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import CalibrationDisplay

X, y, cow = load_grouped("Milk", return_X_y=True)
early = X["Time"] <= 3
levels = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
q = np.concatenate([0.5 - levels[::-1] / 2, 0.5 + levels / 2])
models = {
    'mixed model, "random"': CMLRegressor(meta_max_iter=0, random_state=0),
    'mixed model, "first"': CMLRegressor(support="first", meta_max_iter=0, random_state=0),
    'with networks, "first"': CMLRegressor(support="first", meta_max_iter=60, random_state=0),
}
quantiles = {name: np.empty((len(y), len(q))) for name in models}
for name, est in models.items():
    for turn in range(3):
        new = cow.isin(cow.unique()[turn::3])
        shown, asked = new & early, new & ~early
        est.meta_fit(X[~new], y[~new], groups=cow[~new])
        est.fit(X[shown], y[shown], groups=cow[shown])
        quantiles[name][asked] = est.predict_quantiles(X[asked], q, groups=cow[asked])

# %%
# Said and observed
# -----------------
# A point is a share of the later weeks. Below the diagonal intervals are too narrow, as those of
# the first model are; above it too wide, as those of the last are by a little. The band says how
# far a share may be off for other cows: the weeks of a cow have their errors in common, so that
# 1101 weeks of 79 cows are far less than 1101 cows.

figure, axes = plt.subplots(1, 3, figsize=(11, 4.3), layout="constrained")
for ax, name in zip(axes, models, strict=True):
    CalibrationDisplay.from_predictions(
        y[~early], quantiles[name][~early], q, groups=cow[~early], name=name, ax=ax
    )

# %%
# Narrow, and right
# -----------------
# An interval should hold what it says and be narrow all the same.

print(f"{'':24}{'90 % holds':>12}{'mean width':>12}")
for name in models:
    low, high = quantiles[name][~early][:, [1, -2]].T
    held = np.mean((low <= y[~early]) & (y[~early] <= high))
    print(f"{name:24}{held:12.1%}{np.mean(high - low):12.2f}")
