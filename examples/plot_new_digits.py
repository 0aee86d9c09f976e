"""
Digits never seen, from one to ten examples each
================================================

The classes of a new task need not be those that were learned from. Learn from pictures of 0 to 4
how far an example can be trusted, then tell 5 to 9 apart from a few examples of each. Such
classes are *exchangeable*: `meta_fit` is called without groups.
"""

# %%
# Learn from one half of the digits
# ---------------------------------
# Two numbers are learned: how strongly a class is its mean direction, and how much its rows may
# change that.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skcml import CMLClassifier

X, y = load_digits(return_X_y=True)
old = y < 5
est = CMLClassifier(random_state=0).meta_fit(X[old], y[old])
est.prior_summary()

# %%
# Fifty draws of examples
# -----------------------
# The same examples for both, the other pictures to be told apart.

rng = np.random.default_rng(0)
shots = [1, 2, 3, 5, 10]
models = {"CMLClassifier": est, "LogisticRegression": LogisticRegression(max_iter=1000)}
losses = {name: np.empty((50, len(shots))) for name in models}
pictures, digits = X[~old], y[~old]
for draw in range(50):
    order = rng.permutation(len(digits))
    rank = np.empty(len(digits), dtype=int)
    for digit in range(5, 10):
        mine = order[digits[order] == digit]
        rank[mine] = np.arange(len(mine))
    for column, n_shots in enumerate(shots):
        few = rank < n_shots
        for name, model in models.items():
            model.fit(pictures[few], digits[few])
            losses[name][draw, column] = log_loss(digits[~few], model.predict_proba(pictures[~few]))

# %%
# Fewer examples for the same certainty
# -------------------------------------
# The band is the middle half of the draws.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, color in zip(losses, ["C0", "C1"], strict=True):
    low, middle, high = np.quantile(losses[name], [0.25, 0.5, 0.75], axis=0)
    ax.fill_between(shots, low, high, color=color, alpha=0.2, lw=0)
    ax.plot(shots, middle, "o-", color=color, label=name)
ax.set(
    xscale="log", xlabel="examples of each digit", ylabel="log loss on the other pictures", ylim=0
)
ax.set_xticks(shots, shots)
ax.minorticks_off()
_ = ax.legend(frameon=False)
