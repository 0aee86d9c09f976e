"""
New cows from their first five weeks
====================================

Protein in the milk of 79 cows, week after week, on three diets. Sixteen of them are new: from
their first five weeks, what will the weeks that follow bring?
"""

# %%
# The table
# ---------
# A row is a week of a cow. Every fifth cow is set aside: nothing is learned from her before
# `fit`.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from skcml import CMLRegressor
from skcml.datasets import load_grouped

X, y, cow = load_grouped("Milk", return_X_y=True)
new, early = cow.isin(cow.unique()[::5]), X["Time"] <= 5
X.assign(cow=cow, protein=y).head()

# %%
# Learn once, adapt at once
# -------------------------
# ``support="first"`` says that the first rows of a cow predict its later ones; without it, rows
# are taken to be in no particular order. `meta_fit` sees 63 cows, `fit` the first weeks of the 16
# others.

est = CMLRegressor(support="first", random_state=0)
est.meta_fit(X[~new], y[~new], groups=cow[~new])
est.fit(X[new & early], y[new & early], groups=cow[new & early])

asked = new & ~early
protein = est.predict(X[asked], groups=cow[asked])


def rmse(predicted):
    return np.sqrt(np.mean((y[asked] - predicted) ** 2))


shown = y[new & early].groupby(cow[new & early]).mean()
print(f"CMLRegressor           {rmse(protein):.3f}")
print(f"each cow's own mean    {rmse(cow[asked].map(shown)):.3f}")
seen = ~new | (new & early)
print(f"ridge on all the rows  {rmse(Ridge().fit(X[seen], y[seen]).predict(X[asked])):.3f}")

# %%
# What it said beforehand
# -----------------------
# ``meta_gain_`` judges on cows that were held out from learning, in standard deviations of
# protein.

for name, error in est.meta_gain_.items():
    print(f"{name:12} {error:.3f}")

# %%
# Six of the new cows
# -------------------
# The band is the 90 % interval for a new week: it holds the noise, and what five weeks leave open
# about the cow.

figure, axes = plt.subplots(2, 3, figsize=(9, 5.5), sharex=True, sharey=True, layout="constrained")
for ax, name in zip(axes.flat, cow[asked].unique()[:6], strict=True):
    mine = (cow == name) & new
    rows, groups = X[mine], cow[mine]
    low, middle, high = est.predict_quantiles(rows, [0.05, 0.5, 0.95], groups=groups).T
    ax.fill_between(rows["Time"], low, high, color="C0", alpha=0.2, lw=0, label="90 % interval")
    ax.plot(rows["Time"], middle, color="C0", label="median")
    ax.plot(rows["Time"][early], y[mine & early], "o", color="C1", ms=4, label="weeks shown")
    ax.plot(
        rows["Time"][~early], y[mine & ~early], "o", color="C1", mfc="white", ms=4, label="later"
    )
    ax.set_title(f"cow {name}", fontsize=10)
for ax in axes[-1]:
    ax.set_xlabel("week")
for ax in axes[:, 0]:
    ax.set_ylabel("protein (%)")
_ = figure.legend(
    *ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
)
