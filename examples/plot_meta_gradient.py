"""
Is the meta-gradient right?
===========================

The contrastive rule runs the learner twice, the second time nudged towards the query rows by a
strength beta, and takes a difference. Its error has two sides: a strong nudge bends the problem,
a weak one drowns in what the solver left over. On your own tasks, `meta_gradient_error` measures
both against the exact gradient.
"""

# %%
# Eighteen people, and a solver that stops early
# ----------------------------------------------
# Reaction times over ten days with little sleep; each person has a linear head on a network. The
# tangent scheme, the default, has no beta. The finite schemes are for energies and solvers that
# offer no curvature, and for looking at what the theory says.

import matplotlib.pyplot as plt

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import MetaGradientErrorDisplay

X, y, person = load_grouped("sleepstudy", return_X_y=True)
est = CMLRegressor(
    hidden_layer_sizes=(20,), meta_max_iter=100, early_stopping=False, random_state=0
)
est.meta_fit(X, y, groups=person)

# %%
# Error against beta
# ------------------
# A colour is a scheme, and each of its lines a tolerance of the solver, the paler the looser. The
# best beta, a star, grows with the tolerance, as the paper says; a ring is what ``beta="auto"``
# takes. The dashed line is the strength beyond which a negative nudge has no minimum.

_, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
_ = MetaGradientErrorDisplay.from_estimator(est, X, y, groups=person, random_state=0, ax=ax)
