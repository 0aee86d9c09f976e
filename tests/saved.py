"""Small estimators of every kind of state, and folders of them that stay as they were written.

``python -m tests.saved`` writes a folder for each into ``tests/fixtures``, for the format that the
code has now. It does not write over those that are there: what a format has written stays.
"""

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd

from skcml import CMLClassifier, CMLRegressor
from skcml.persistence import FORMAT
from skcml.persistence._files import CONFIG, digest

FIXTURES = Path(__file__).parent / "fixtures"
TINY = {"hidden_layer_sizes": (2,), "meta_max_iter": 2, "early_stopping": False, "random_state": 0}
N_GROUPS, N_ROWS = 6, 5
CODES = np.repeat(np.arange(N_GROUPS), N_ROWS)


def rows(n_features=2):
    """Return rows that are the same whatever draws random numbers."""
    at = np.arange(N_GROUPS * N_ROWS)[:, None] + np.arange(n_features) / 3
    return np.sin(1.7 * at) + 0.2 * np.cos(at**2)


X = rows()
Y = np.sin(CODES) + X[:, 0] * (1 + 0.3 * np.cos(CODES)) - 0.5 * X[:, 1] ** 2
WORDS = np.array([f"group {code}" for code in CODES])
DAYS = [datetime.date(2024, 2, 1 + code) for code in CODES]
PAIRS = [("ward", int(code)) for code in CODES]


def module():
    """Return a network of one's own, with weights of no interest."""
    from torch import nn

    return nn.Sequential(nn.Linear(2, 3), nn.Tanh())


def numbers():
    frame = pd.DataFrame(X, columns=["dose", "age | years"])
    est = CMLRegressor(**TINY | {"early_stopping": True, "meta_max_iter": 1})
    est.meta_fit(frame, Y, groups=CODES)
    return est.fit(frame[:20], Y[:20], groups=WORDS[:20]), frame, WORDS


def two_outputs():
    y = np.column_stack([Y, Y**2])
    return CMLRegressor(**TINY).meta_fit(X, y, groups=CODES).fit(X[:4], y[:4]), X, None


def by_and_by():
    est = CMLRegressor(**TINY).meta_fit(X, Y, groups=CODES)
    for first in range(0, 20, 8):
        rows = slice(first, first + 8)
        est.partial_fit(X[rows], Y[rows], groups=CODES[rows])
    return est, X, CODES


def column():
    table = np.column_stack([CODES, X])
    est = CMLRegressor(group_column=0, **TINY).meta_fit(table, Y)
    return est.fit(table[:20], Y[:20]), table, None


def counts():
    y = np.round(np.exp(Y - Y.min()))
    est = CMLRegressor(loss="poisson", **TINY).meta_fit(X, y, groups=CODES)
    return est.fit(X[:20], y[:20], groups=DAYS[:20]), *asked("counts")


def synaptic():
    est = CMLRegressor(model="synaptic", **TINY).meta_fit(X, Y, groups=CODES)
    return est.fit(X[:20], Y[:20], groups=PAIRS[:20]), *asked("synaptic")


def modulatory():
    est = CMLClassifier(model="modulatory", solver="lbfgs", inner_max_iter=5, inner_tol=0.9, **TINY)
    est.meta_fit(X, np.where(Y > 0.3, "high", "low"), groups=CODES)
    return est, X, None


def classes():
    y = np.digitize(Y, [-0.3, 0.6]) * 10
    est = CMLClassifier(class_weight={0: 2.0}, **TINY).meta_fit(X, y, groups=CODES)
    return est.fit(X[:20], y[:20], groups=CODES[:20]), X, CODES


def pool():
    est = CMLClassifier(n_ways=3, n_shots=1, **TINY).meta_fit(X, WORDS)
    return est.fit(X[:20], CODES[:20]), X, None


def networks_of_classes():
    est = CMLClassifier(model="synaptic", n_ways=3, n_shots=1, **TINY).meta_fit(X, WORDS)
    return est.fit(X[:20], CODES[:20], groups=CODES[:20] % 2), X[:20], CODES[:20] % 2


def ridge():
    return CMLRegressor(prior_strength=2.0).fit(X, Y, groups=WORDS), X, WORDS


def body():
    est = CMLRegressor(body=module(), **TINY).meta_fit(X, Y, groups=CODES)
    return est.fit(X[:4], Y[:4]), X, None


def body_of_each_group():
    est = CMLRegressor(model="modulatory", body=module(), inner_max_iter=3, inner_tol=0.9, **TINY)
    est.meta_fit(X, Y, groups=CODES)
    return est.fit(X[:20], Y[:20], groups=CODES[:20]), *asked("body_of_each_group")


def body_of_classes():
    est = CMLClassifier(body=module(), n_ways=3, n_shots=1, **TINY).meta_fit(X, WORDS)
    return est.fit(X[:20], CODES[:20]), X, None


EXAMPLES = {
    example.__name__: example
    for example in (
        numbers,
        two_outputs,
        by_and_by,
        column,
        counts,
        synaptic,
        modulatory,
        classes,
        pool,
        networks_of_classes,
        ridge,
        body,
        body_of_each_group,
        body_of_classes,
    )
}


def asked(name):
    """Return rows, and their groups, that the stored predictions of an example are of."""
    frame = pd.DataFrame(X, columns=["dose", "age | years"])
    table = np.column_stack([CODES, X])
    return {
        "numbers": (frame, WORDS),
        "by_and_by": (X, CODES),
        "column": (table, None),
        "counts": (X, DAYS),
        "synaptic": (X, PAIRS),
        "classes": (X, CODES),
        "body_of_each_group": (X, CODES),
        "networks_of_classes": (X[:20], CODES[:20] % 2),
        "ridge": (X, WORDS),
    }.get(name, (X, None))


def predictions(estimator, x, groups):
    """Return what an estimator predicts, in one array."""
    if isinstance(estimator, CMLClassifier):
        return estimator.predict_proba(x, groups=groups)
    mean, std = estimator.predict(x, groups=groups, return_std=True)
    quantiles = estimator.predict_quantiles(x, [0.1, 0.6], groups=groups)
    return np.concatenate([a.reshape(len(x), -1) for a in (mean, std, quantiles)], axis=1)


def load(kind, folder, name, **options):
    """Load an example, with its network if it has one."""
    if name.startswith("body"):
        options = {"body": module(), **options}
    return kind.from_pretrained(folder, **options)


def rewrite(folder, change):
    """Change a configuration in place, and let it say that it is as it was saved."""
    path = Path(folder) / CONFIG
    config = json.loads(path.read_text())
    change(config)
    config["sha256"] = digest(config)
    path.write_text(json.dumps(config))


def write_fixtures():
    """Write what is not there yet."""
    for name, example in EXAMPLES.items():
        folder = FIXTURES / f"format_{FORMAT}" / name
        if folder.exists():
            continue
        estimator, x, groups = example()
        estimator.save_pretrained(folder)
        found = predictions(estimator, x, groups).tolist()
        (folder / "predictions.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    write_fixtures()
