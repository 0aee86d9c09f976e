r"""Perceptrons of which each task has its own: every weight, or gains and shifts of hidden units.

The outputs are a linear head on the features of the built-in body, :math:`z = [1, x, h(x)]`. With
:math:`[1, h]` what enters a hidden layer, the layer is one of

.. math:: h' = \sigma([1, h] W_t), \qquad  h' = \sigma(([1, h] W) \circ g_t + s_t).

In the first, a *dense* one, all is task t's own. In the second, a *modulated* one, weights are
slow, and the task has a gain and a shift for each hidden unit (the dual system of Zucchet et al.,
NeurIPS 2022, section 4.2). Derivatives are written by hand, for all tasks of a batch at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from skcml.arrays import Array, namespace
from skcml.problems.context import Context
from skcml.problems.mlp import ACTIVATIONS, MLPBody
from skcml.problems.outer_products import OuterProducts

Shapes = dict[str, tuple[int, int]]
Params = Mapping[str, Array]
Blocks = dict[str, tuple[Array, Array]]


class Pull(NamedTuple):
    """What a layer hands back: outer products for its parameters, and the derivative below it."""

    fast: Blocks
    slow: Blocks
    below: Array


class Layer(Protocol):
    """A kind of hidden layer; ``i`` is its number.

    Parameters of a task have a leading axis of tasks, rows the shape (n_tasks, n_rows, n_in).
    """

    def fast(self, i: int, n_in: int, n_out: int) -> Shapes:
        """Return names and shapes of a task's own parameters."""

    def slow(self, i: int, n_in: int, n_out: int) -> Shapes:
        """Return names and shapes of the parameters that tasks share."""

    def draw(
        self, i: int, n_in: int, n_out: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Draw a start for all of them."""

    def forward(self, i: int, params: Params, h: Array) -> tuple[Array, Array]:
        """Return what enters the activation, and what `pull` will need."""

    def plain(self, i: int, params: Params) -> Array:
        """Return one task's layer as weights with biases above, (1 + n_in, n_out)."""

    def pull(self, i: int, params: Params, kept: Array, g: Array) -> Pull:
        """Pull derivatives g, (n_tasks, n_rows, K, n_out), of K functions of each row back."""


class Dense:
    """Every weight and every bias is the task's own."""

    def fast(self, i: int, n_in: int, n_out: int) -> Shapes:
        """See `Layer`."""
        return {f"weight_{i}": (1 + n_in, n_out)}

    def slow(self, i: int, n_in: int, n_out: int) -> Shapes:
        """See `Layer`."""
        return {}

    def draw(
        self, i: int, n_in: int, n_out: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """See `Layer`."""
        return {f"weight_{i}": draw_weight(i, n_in, n_out, rng)}

    def forward(self, i: int, params: Params, h: Array) -> tuple[Array, Array]:
        """See `Layer`."""
        h = with_one(h)
        return h @ params[f"weight_{i}"], h

    def plain(self, i: int, params: Params) -> Array:
        """See `Layer`."""
        return params[f"weight_{i}"]

    def pull(self, i: int, params: Params, kept: Array, g: Array) -> Pull:
        """See `Layer`."""
        name = f"weight_{i}"
        return Pull({name: (kept[:, :, None], g)}, {}, _below(g, params[name][:, 1:]))


class Modulated:
    """Weights are slow; the task has a gain and a shift for each unit."""

    def fast(self, i: int, n_in: int, n_out: int) -> Shapes:
        """See `Layer`."""
        return {f"gain_{i}": (1, n_out), f"shift_{i}": (1, n_out)}

    def slow(self, i: int, n_in: int, n_out: int) -> Shapes:
        """See `Layer`."""
        return {f"weight_{i}": (1 + n_in, n_out)}

    def draw(
        self, i: int, n_in: int, n_out: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """See `Layer`."""
        return {
            f"weight_{i}": draw_weight(i, n_in, n_out, rng),
            f"gain_{i}": np.ones((1, n_out)),
            f"shift_{i}": np.zeros((1, n_out)),
        }

    def forward(self, i: int, params: Params, h: Array) -> tuple[Array, Array]:
        """See `Layer`."""
        h = with_one(h)
        driven = h @ params[f"weight_{i}"]
        return driven * params[f"gain_{i}"] + params[f"shift_{i}"], (h, driven)

    def plain(self, i: int, params: Params) -> Array:
        """See `Layer`."""
        weight = params[f"weight_{i}"] * params[f"gain_{i}"]
        weight[0] += params[f"shift_{i}"][0]
        return weight

    def pull(self, i: int, params: Params, kept: Array, g: Array) -> Pull:
        """See `Layer`."""
        h, driven = kept
        weight, one = params[f"weight_{i}"], 0.0 * h[:, :, None, :1] + 1.0
        fast = {f"gain_{i}": (one, g * driven[:, :, None]), f"shift_{i}": (one, g)}
        g = g * params[f"gain_{i}"][:, :, None]
        return Pull(fast, {f"weight_{i}": (h[:, :, None], g)}, g @ weight[1:].mT)


@dataclass(frozen=True)
class TaskMLP:
    """A network for each task.

    Parameters
    ----------
    n_inputs, n_outputs : int
    hidden_layer_sizes : tuple of int
    activation : {"tanh", "relu", "logistic", "sin"}
    layer : Layer
    """

    n_inputs: int
    n_outputs: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    layer: Layer

    @property
    def n_statistics(self) -> int:
        """None: a row's outputs depend on no other row."""
        return 0

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(pairwise((self.n_inputs, *self.hidden_layer_sizes)))

    @cached_property
    def fast(self) -> Shapes:
        """Names and shapes of a task's own parameters, in the order in which phi holds them."""
        shapes: Shapes = {}
        for i, (n_in, n_out) in enumerate(self._pairs):
            shapes |= self.layer.fast(i, n_in, n_out)
        width = self.hidden_layer_sizes[-1] if self.hidden_layer_sizes else 0
        return {**shapes, "head": (1 + self.n_inputs + width, self.n_outputs)}

    @cached_property
    def slow(self) -> Shapes:
        """Names and shapes of the parameters that tasks share."""
        shapes: Shapes = {}
        for i, (n_in, n_out) in enumerate(self._pairs):
            shapes |= self.layer.slow(i, n_in, n_out)
        return shapes

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw a start for all parameters; that of the head is zero."""
        drawn = {"head": np.zeros(self.fast["head"])}
        for i, (n_in, n_out) in enumerate(self._pairs):
            drawn |= self.layer.draw(i, n_in, n_out, rng)
        return drawn

    def as_body(self, phi: Array, slow: Params) -> tuple[MLPBody, dict[str, Array]]:
        """Return one task's hidden layers as a body with a stack of one: gains become weights'."""
        parts = self._parts(phi[None])
        params = {**slow, **{name: part[0] for name, part in parts.items()}}
        stacked: dict[str, Array] = {}
        for i in range(len(self.hidden_layer_sizes)):
            weight = self.layer.plain(i, params)
            stacked |= {f"weight_{i}": weight[None, 1:], f"bias_{i}": weight[None, :1]}
        return MLPBody(self.n_inputs, self.hidden_layer_sizes, self.activation), stacked

    def forward(
        self, phi: Array, slow: Params, x: Array, context: Context | Array | None = None
    ) -> tuple[Array, Tape]:
        """Return the outputs of rows, (n_tasks, n_rows, n_outputs), and what `pull` needs.

        Parameters
        ----------
        phi : array of shape (n_tasks, n_params)
        slow : mapping of str to array
        x : array of shape (n_tasks, n_rows, n_inputs)
        context : object
            Does not matter: a row's outputs depend on no other row.
        """
        params, xp = {**slow, **self._parts(phi)}, namespace(phi)
        function, _ = ACTIVATIONS[self.activation]
        h, layers = x, []
        for i in range(len(self.hidden_layer_sizes)):
            a, kept = self.layer.forward(i, params, h)
            h = function(xp, a)
            layers.append((kept, a, h))
        z = with_one(x if not layers else xp.concatenate([x, h], axis=-1))
        return z @ params["head"], Tape(params, layers, z)

    def pull(self, tape: Tape, cotangent: Array) -> tuple[OuterProducts, OuterProducts]:
        """Return the derivatives of K functions of each row by a task's own and by slow parameters.

        Parameters
        ----------
        tape : Tape
        cotangent : array of shape (n_tasks, n_rows, K, n_outputs)
            Derivatives of the functions with respect to the outputs.
        """
        xp = namespace(cotangent)
        _, derivative = ACTIVATIONS[self.activation]
        fast: Blocks = {"head": (tape.z[:, :, None], cotangent)}
        slow: Blocks = {}
        g = _below(cotangent, tape.params["head"][:, 1 + self.n_inputs :])
        for i in reversed(range(len(self.hidden_layer_sizes))):
            kept, a, h = tape.layers[i]
            pull = self.layer.pull(i, tape.params, kept, g * derivative(xp, a, h)[:, :, None])
            fast, slow, g = {**pull.fast, **fast}, {**pull.slow, **slow}, pull.below
        return OuterProducts(fast), OuterProducts(slow)

    def statistics(self, phi: Array, slow: Params, context: Context) -> Array:
        """Return nothing: (n_tasks, 0)."""
        return phi[:, :0]

    def _parts(self, phi: Array) -> dict[str, Array]:
        """Return phi by name, each with a leading axis of tasks; the head has what is left."""
        parts, start = {}, 0
        for name, (n_in, n_out) in self.fast.items():
            stop = phi.shape[1] if name == "head" else start + n_in * n_out
            parts[name] = phi[:, start:stop].reshape(-1, n_in, (stop - start) // n_in)
            start = stop
        return parts


class Tape(NamedTuple):
    """What a pass remembers: parameters by name, each layer's arrays, and the head's features."""

    params: Params
    layers: list[tuple[Array, Array, Array]]
    z: Array


def with_one(h: Array) -> Array:
    """Return rows with a leading one."""
    xp = namespace(h)
    return xp.concatenate([xp.ones_like(h[..., :1]), h], axis=-1)


def _below(g: Array, weight: Array) -> Array:
    """Pull derivatives g, (n_tasks, n_rows, K, n_out), through (n_tasks, n_in, n_out) weights.

    One product for each task: many small ones, one for each row, take several times as long.
    """
    n_tasks, n_rows, n_functions, n_out = g.shape
    below = g.reshape(n_tasks, n_rows * n_functions, n_out) @ weight.mT
    return below.reshape(n_tasks, n_rows, n_functions, weight.shape[1])


def draw_weight(i: int, n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
    """Draw biases and weights, uniformly, (1 + n_in, n_out).

    The first layer is wide enough that units bend within the range of standardised inputs; deeper
    ones are Glorot's, as in scikit-learn.
    """
    bound = np.sqrt(6.0 / (n_in + n_out)) if i else 2.0 / np.sqrt(n_in)
    weight = rng.uniform(-bound, bound, (1 + n_in, n_out))
    weight[0] = rng.uniform(-1.0, 1.0, n_out) * (bound if i else 2.0)
    return weight
