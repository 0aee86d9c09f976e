"""The rows of a batch as a network sees them that takes statistics of a task's support rows."""

from __future__ import annotations

from typing import NamedTuple

from skcml.arrays import Array, namespace


class Context(NamedTuple):
    """Which rows statistics are taken from: the support, and never a query row unasked.

    Attributes
    ----------
    x : array of shape (n_tasks, n_support, n_inputs), or None
        The support rows; None where they lead the rows that pass through the network.
    weight : array of shape (n_tasks, n_support)
        Weights of the support rows; zero for padding.
    query : array of shape (n_tasks, n_query)
        One for each other row that passes through the network, zero for padding.
    """

    x: Array | None
    weight: Array
    query: Array

    def repeated(self, n: int) -> Context:
        """Return the context of n times as many tasks, one copy after the other."""
        xp = namespace(self.weight)
        parts = (None if a is None else xp.concatenate([a] * n) for a in self)
        return Context(*parts)
