"""
Which settings? A search over groups, and one inside them
=========================================================

There are two levels to choose on: what `meta_fit` learns from many groups, and how `fit` adapts
to a new one. `TaskLearner` is an estimator over groups, so that scikit-learn's searches judge
both by groups that were held out.
"""

# %%
# The first level: how many hidden units?
# ---------------------------------------
# 20 dialyzers, at seven pressures each. A score is minus the error on the other rows of a
# held-out dialyzer, after three of its own. Few meta-steps and no early stopping keep the search
# short.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneOut, cross_val_score

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import MetaLearningCurveDisplay
from skcml.model_selection import TaskLearner

dialyzers = load_grouped("Dialyzer")
rate, groups = dialyzers.target, dialyzers.groups
table = dialyzers.frame.drop(columns="rate")  # the column "Subject" holds the groups

est = CMLRegressor(group_column="Subject", meta_max_iter=120, early_stopping=False, random_state=0)
learner = TaskLearner(est, n_shots=3, scoring="neg_root_mean_squared_error", random_state=0)
folds, sizes = GroupKFold(4), [(), (8,), (32,), (64,)]
search = GridSearchCV(learner, {"estimator__hidden_layer_sizes": sizes}, cv=folds)
search.fit(table, rate, groups=groups)
print(search.best_params_)

# %%
# Each ring is a fold of five dialyzers. Without a hidden layer there is a linear mixed model. The
# largest layer wins, so that one would look at larger ones next.

errors = -pd.DataFrame(search.cv_results_).filter(regex="split._test").to_numpy()
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(errors, "o", color="C0", mfc="white")
ax.plot(errors.mean(axis=1), "_", color="black", ms=30, mew=2, label="mean of four folds")
ax.set_xticks(range(len(sizes)), map(str, sizes))
ax.set(xlabel="hidden_layer_sizes", ylabel="error after three rows (mL/hr)", ylim=0)
_ = ax.legend(frameon=False)

# %%
# The second level: the strength of the prior, inside
# ---------------------------------------------------
# ``prior_strength`` is read by `fit`, so that a search within `TaskLearner` can choose it anew
# for each dialyzer, leaving out each of its three rows in turn. Three rows say little about it,
# and the search is hardly better than the default.

inside = GridSearchCV(
    search.best_estimator_.estimator,
    {"prior_strength": [0.3, 1.0, 3.0]},
    cv=LeaveOneOut(),
    scoring="neg_mean_squared_error",
)
scores = cross_val_score(
    clone(learner).set_params(estimator=inside), table, rate, groups=groups, cv=folds
)
print(f"prior_strength of 1          {-search.best_score_:.2f} mL/hr")
print(f"chosen for each dialyzer     {-scores.mean():.2f} mL/hr")

# %%
# The winner, at length
# ---------------------
# Now with groups held out, to stop early and to weigh the networks of the folds against the mixed
# model. Half of the folds were best at the last look: more meta-steps would bring a little.

winner = clone(search.best_estimator_.estimator).set_params(early_stopping=True, meta_max_iter=240)
winner.meta_fit(table, rate)
print({name: round(error, 3) for name, error in winner.meta_gain_.items()})
_ = MetaLearningCurveDisplay.from_estimator(winner)
# sphinx_gallery_thumbnail_number = 2
