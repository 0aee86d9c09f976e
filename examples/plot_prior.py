"""
The linear mixed model, as in lme4
==================================

Reaction times of 18 people over ten days with little sleep: everyone's first mixed model. Without
hidden layers and without meta-steps `CMLRegressor` is that model, estimated by REML.
"""

# %%
# What is shared, and what varies
# -------------------------------
# In R it is ``lmer(Reaction ~ Days + (Days | Subject), sleepstudy)``. Nobody is held out:
# ``early_stopping=False``.

import matplotlib.pyplot as plt
import numpy as np

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import PriorDisplay

X, y, person = load_grouped("sleepstudy", return_X_y=True)
est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
est.meta_fit(X, y, groups=person)
est.prior_summary().round(2)

# %%
# The same numbers as lme4 prints them
# ------------------------------------

prior = est.prior_summary(as_frame=False)
ours = [*prior.mean[0], *prior.sd_between_groups[0], prior.correlation[0, 0, 1], *prior.noise_sd]
names = [
    "intercept",
    "slope",
    "sd of intercepts",
    "sd of slopes",
    "their correlation",
    "sd of noise",
]
lme4 = [251.405, 10.467, 24.741, 5.922, 0.066, 25.592]
print(f"{'':18}{'skcml':>9}{'lme4':>9}")
for name, own, theirs in zip(names, ours, lme4, strict=True):
    print(f"{name:18}{own:9.3f}{theirs:9.3f}")

# %%
# As a picture
# ------------
# A day costs ten milliseconds, and from person to person that is between five and sixteen: the
# bar is one standard deviation to either side.

_ = PriorDisplay.from_estimator(est)

# %%
# Each person
# -----------
# `fit` adapts to all of them at once. `group_effects` has their lines, which lme4 calls ``coef``;
# with ``deviations=True`` what lme4 calls ``ranef``.

est.fit(X, y, groups=person)
effects = est.group_effects()
effects.head().round(1)

# %%
# What is shared pulls at each of them
# ------------------------------------
# An arrow leads from the line through a person's own ten days to the one that knows of the
# others. Lines that are far out are pulled most.

own = np.array([np.polyfit(X["Days"][person == p], y[person == p], 1)[::-1] for p in effects.index])
figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
ax.quiver(
    *own.T,
    *(effects.to_numpy() - own).T,
    angles="xy",
    scale_units="xy",
    scale=1,
    width=0.004,
    color="0.6",
)
ax.plot(*own.T, "o", color="C1", mfc="white", label="a person's own ten days")
ax.plot(*effects.to_numpy().T, "o", color="C0", label="with what is shared")
ax.plot(*prior.mean[0], "+", color="black", ms=12, mew=2, label="what is shared")
ax.set(xlabel="reaction time on day 0 (ms)", ylabel="change per day (ms)")
_ = ax.legend(frameon=False)
# sphinx_gallery_thumbnail_number = 2
