r"""Batch normalisation by the statistics of a task's support rows. Imports torch.

With :math:`a_i` the weight of a row and i over rows and places of a channel,

.. math:: m = \frac{\sum_i a_i h_i}{\sum_i a_i}, \qquad
          v = \frac{\sum_i a_i (h_i - m)^2}{\sum_i a_i}, \qquad
          h' = \gamma \frac{h - m}{\sqrt{v + \epsilon}} + \delta .

Sums are over the support alone: no row that is predicted has a say in how another is, and the
network that a task has learned is a function of one row. Transductively, rows that are predicted
together are normalised by their statistics pooled with those of the support. Bronskill et al.,
ICML 2020 (arXiv 2003.03284), compare such choices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Roles(NamedTuple):
    """What the rows of a task are for: those of the support lead.

    Attributes
    ----------
    support : Tensor of shape (n_support,)
        Weights of the support rows; zero for padding.
    query : Tensor of shape (n_query,)
        One for each other row, zero for padding: they are predicted together.
    stored : Tensor of shape (n_statistics,), or None
        Statistics of support rows that are not here any more.
    """

    support: Tensor
    query: Tensor
    stored: Tensor | None = None


class Moments(NamedTuple):
    """Statistics of each channel.

    Attributes
    ----------
    total, n_values : Tensor of shape ()
        Sum of weights, and number of values with a weight.
    mean, var : Tensor of shape (n_channels,)
    """

    total: Tensor
    n_values: Tensor
    mean: Tensor
    var: Tensor

    @classmethod
    def of(cls, h: Tensor, weight: Tensor) -> Moments:
        """Return those of rows (n_rows, n_channels, ...) with weights (n_rows,)."""
        flat = h.flatten(2) if h.ndim > 2 else h[..., None]
        n_places = flat.shape[-1]
        total, n_values = weight.sum() * n_places, (weight > 0).sum() * n_places
        share = (weight / torch.where(total > 0, total, 1.0))[:, None, None]
        mean = (share * flat).sum((0, 2))
        var = (share * (flat - mean[:, None]) ** 2).sum((0, 2))
        return cls(total, n_values.to(h.dtype), mean, var)

    @classmethod
    def unpack(cls, vector: Tensor) -> Moments:
        """Return what `pack` packed."""
        mean, var = vector[2:].reshape(2, -1)
        return cls(vector[0], vector[1], mean, var)

    def pack(self) -> Tensor:
        """Return all as one vector, of shape (2 + 2 n_channels,)."""
        return torch.cat([self.total[None], self.n_values[None], self.mean, self.var])

    def pooled(self, other: Moments) -> Moments:
        """Return the statistics of both sets of rows together."""
        total = self.total + other.total
        mine = self.total / torch.where(total > 0, total, 1.0)
        apart = other.mean - self.mean
        mean = self.mean + (1 - mine) * apart
        var = mine * self.var + (1 - mine) * other.var + mine * (1 - mine) * apart**2
        return Moments(total, self.n_values + other.n_values, mean, var)


class TaskNorm(torch.nn.Module):
    """Stands for a batch normalisation in a network for each task.

    ``roles`` is given before a pass, and ``seen`` holds the statistics of the support after it;
    both are None again before the next.
    The statistics that the layer has itself are neither used nor changed.

    Parameters
    ----------
    norm : torch.nn.Module
        BatchNorm1d, 2d or 3d.
    start : int
        Where its statistics lie among those of the whole network.
    transductive : bool
        Whether rows that are predicted together are normalised together.
    """

    roles: Roles | None
    seen: Tensor | None

    def __init__(self, norm: Any, start: int, transductive: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.place = slice(start, start + 2 + 2 * norm.num_features)
        self.transductive = transductive
        self.roles = self.seen = None

    def forward(self, h: Tensor) -> Tensor:
        """Normalise rows (n_rows, n_channels, ...)."""
        roles = self.roles
        if roles is None:
            raise RuntimeError("A pass needs to know what its rows are for.")
        if self.seen is not None:
            raise RuntimeError("a BatchNorm is used twice in a pass; give each place its own.")
        cut = len(roles.support)
        if len(h) != cut + len(roles.query):
            raise RuntimeError(
                f"a BatchNorm was given {len(h)} rows for {cut + len(roles.query)}; "
                "the first axis of what it is given must be that of the rows."
            )
        if roles.stored is None:
            support = Moments.of(h[:cut], roles.support)
        else:
            support = Moments.unpack(roles.stored[self.place])
        self.seen = support.pack()
        if not self.transductive:
            return self._normalised(h, support)
        together = support.pooled(Moments.of(h[cut:], roles.query))
        return torch.cat([self._normalised(h[:cut], support), self._normalised(h[cut:], together)])

    def statistics(self, like: Tensor) -> Tensor:
        """Return what was seen, or zeros from a layer that the pass did not come by."""
        if self.seen is not None:
            return self.seen
        return like.new_zeros(self.place.stop - self.place.start)

    def _normalised(self, h: Tensor, moments: Moments) -> Tensor:
        # A single value says nothing of how far values are apart; none, not even where they are.
        var = torch.where(moments.n_values > 1, moments.var, 1.0)
        scale = (var + self.eps) ** -0.5
        if self.weight is not None:
            scale = scale * self.weight
        shift = -moments.mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        wide = (-1, *[1] * (h.ndim - 2))
        return torch.addcmul(shift.reshape(wide), h, scale.reshape(wide))
