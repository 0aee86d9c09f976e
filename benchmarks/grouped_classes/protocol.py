"""The protocol of the grouped classification benchmark: its tables and the score.

Rows are held out as in the grouped regression benchmark: groups with at most k rows are dropped,
30 % of the others are held out, and of each of those k random rows are support and the rest query.
Columns are standardised with the training rows and y is a number of the class. Both scores are the
mean over held-out groups of the group's mean over its query rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.grouped.protocol import Rows, Split, mean_of_groups, split
from skcml.datasets._grouped import _one_hot, _read, _Table

# fmt: off
TABLES = {
    "Contraception": _Table("mlmRev", "Contraception", "use", "district", "livch age urban", 5, "Use of contraception in the districts of Bangladesh."),  # noqa: E501
    "guImmun": _Table("mlmRev", "guImmun", "immun", "comm", "kid2p mom25p ord ethn momEd husEd momWork rural pcInd81", 5, "Full immunisation of children in communities of Guatemala."),  # noqa: E501
    "ohio": _Table("geepack", "ohio", "resp", "id", "age smoke", 3, "Wheezing of children at the ages of 7 to 10."),  # noqa: E501
    "bacteria": _Table("MASS", "bacteria", "y", "ID", "week trt", 3, "Presence of a bacterium in children under treatment."),  # noqa: E501
    "VerbAgg": _Table("lme4", "VerbAgg", "resp", "id", "Anger Gender btype situ mode", 5, "Would you curse, scold or shout: no, perhaps or yes, 24 questions a person."),  # noqa: E501
    "Catsup": _Table("Ecdat", "Catsup", "choice", "id", "disp.heinz41 disp.heinz32 disp.heinz28 disp.hunts32 feat.heinz41 feat.heinz32 feat.heinz28 feat.hunts32 price.heinz41 price.heinz32 price.heinz28 price.hunts32", 3, "Which of four brands a household buys, given prices and displays."),  # noqa: E501
}
# fmt: on


class Score(NamedTuple):
    """Log-loss and accuracy of the query rows."""

    log_loss: float
    accuracy: float


def split_table(name: str, seed: int) -> Split:
    """Load one of `TABLES` and split it; y of each part is the number of the class, from 0.

    Examples
    --------
    >>> from benchmarks.grouped_classes.protocol import split_table
    >>> train, support, query = split_table("bacteria", seed=0)
    >>> sorted({*train.y.tolist()}), len(support.y), len(query.y)
    ([0, 1], 39, 23)
    """
    table = TABLES[name]
    rows = _read(table)
    X = _one_hot(rows[table.features.split()], table.categorical).to_numpy()
    _, y = np.unique(rows[table.target].to_numpy(), return_inverse=True)
    parts = split(X, y.astype(np.float64), rows[table.group].to_numpy(), table.n_shots, seed)

    # split scales y, which leaves the order of its values as it is: number them again
    classes = np.unique(parts.train.y)
    if len(classes) != y.max() + 1:
        raise ValueError(f"a class of {name} is not among the training rows of seed {seed}")
    return Split(*(replace(part, y=np.searchsorted(classes, part.y)) for part in parts))


def score(query: Rows, probabilities: np.ndarray) -> Score:
    """Score probabilities (n_query, n_classes); every held-out group has the same weight.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.grouped_classes.protocol import Rows, score
    >>> query = Rows(np.zeros((3, 1)), np.array([0, 1, 1]), np.array([0, 0, 1]))
    >>> score(query, np.full((3, 2), 0.5)).log_loss  # doctest: +ELLIPSIS
    0.693...
    """
    # no method may win or lose a table by a probability of exactly zero
    given = np.clip(probabilities[np.arange(len(query.y)), query.y], 1e-15, 1.0)
    right = np.argmax(probabilities, axis=1) == query.y
    return Score(
        float(mean_of_groups(-np.log(given), query.groups)),
        float(mean_of_groups(right, query.groups)),
    )
