"""The built-in body: a multi-layer perceptron, with its gradient by hand.

Features are ``[1, x, h(x)]``: a constant, the raw inputs and the last hidden layer, so that a head
on them contains the linear model, and without hidden layers *is* the linear model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skcml.arrays import Array, namespace, to_numpy
from skcml.problems.context import Context
from skcml.problems.meta_params import MetaParams

# Name: the activation, and its derivative as a function of the activation's input and output.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (lambda xp, a: xp.tanh(a), lambda xp, a, h: 1 - h * h),
    "relu": (lambda xp, a: a * (a > 0), lambda xp, a, h: a > 0),
    "logistic": (lambda xp, a: 0.5 * (1 + xp.tanh(0.5 * a)), lambda xp, a, h: h * (1 - h)),
    "sin": (lambda xp, a: xp.sin(a), lambda xp, a, h: xp.cos(a)),
}


@dataclass(frozen=True)
class MLPBody:
    """Features ``[1, x, h(x)]`` of each row.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : sequence of int
    activation : {"tanh", "relu", "logistic", "sin"}
    """

    n_inputs: int
    hidden_layer_sizes: tuple[int, ...] = ()
    activation: str = "tanh"

    @property
    def n_statistics(self) -> int:
        """None: a row's features depend on no other row."""
        return 0

    @property
    def n_linear(self) -> int:
        """Leading features that hold no learned parameter: the constant and the inputs."""
        return 1 + self.n_inputs

    @property
    def n_features(self) -> int:
        """Length of a row's features."""
        return self.n_linear + (self.hidden_layer_sizes[-1] if self.hidden_layer_sizes else 0)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the body's meta-parameters."""
        sizes = (self.n_inputs, *self.hidden_layer_sizes)
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            shapes[f"weight_{i}"] = (n_in, n_out)
            shapes[f"bias_{i}"] = (n_out,)
        return shapes

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Draw weights and biases, uniformly.

        The first layer is wide enough that units bend within the range of standardised inputs: a
        head can use them before they are learned. Deeper layers are Glorot's, as in scikit-learn.
        """
        for i in range(len(self.hidden_layer_sizes)):
            weight = theta[f"weight_{i}"]
            n_in, n_out = weight.shape
            bound = np.sqrt(6.0 / (n_in + n_out)) if i else 2.0 / np.sqrt(n_in)
            weight[...] = rng.uniform(-bound, bound, weight.shape)
            theta[f"bias_{i}"][...] = rng.uniform(-1.0, 1.0, n_out) * (bound if i else 2.0)

    def forward(
        self, theta: Mapping[str, Array], x: Array, context: Context | Array | None = None
    ) -> tuple[Array, Sequence[Array]]:
        """Return the features of rows ``x`` and what `backward` needs to remember.

        Parameters
        ----------
        theta : mapping of str to array
        x : array of shape (n_rows, n_inputs)
        context : object
            Does not matter: a row's features depend on no other row.

        Returns
        -------
        features : array of shape (n_rows, n_features)
        tape : sequence of arrays
            Input, then pre-activation and activation of each layer.
        """
        xp = namespace(x)
        function, _ = ACTIVATIONS[self.activation]
        h, tape = x, [x]
        for i in range(len(self.hidden_layer_sizes)):
            a = h @ theta[f"weight_{i}"]
            a += theta[f"bias_{i}"]
            h = function(xp, a)
            tape += [a, h]
        if not self.hidden_layer_sizes:
            return xp.concatenate([xp.ones_like(x[:, :1]), x], axis=-1), tape
        # A stack of bodies (weights with a leading axis) sees the same rows.
        inputs = xp.broadcast_to(x, (*h.shape[:-1], x.shape[-1]))
        return xp.concatenate([xp.ones_like(inputs[..., :1]), inputs, h], axis=-1), tape

    def statistics(self, theta: Mapping[str, Array], x: Array, weight: Array) -> np.ndarray:
        """Return nothing: (n_tasks, 0)."""
        return np.zeros((len(x), 0))

    def stacked(self, theta: Mapping[str, Array], x: np.ndarray) -> np.ndarray:
        """Return features by a stack of M bodies, (M, n_rows, K); (n_rows, K) without a layer."""
        return self.forward(theta, x)[0]

    def backward(
        self, theta: Mapping[str, Array], tape: Sequence[Array], cotangent: Array, grad: MetaParams
    ) -> None:
        """Add to ``grad`` the gradient of ``sum(cotangent * features)``."""
        xp = namespace(cotangent)
        _, derivative = ACTIVATIONS[self.activation]
        g = cotangent[:, self.n_linear :]
        for i in reversed(range(len(self.hidden_layer_sizes))):
            below, a, h = tape[2 * i : 2 * i + 3]
            g = g * derivative(xp, a, h)
            grad[f"weight_{i}"][...] += to_numpy(below.mT @ g)
            grad[f"bias_{i}"][...] += to_numpy(g.sum(0))
            if i:
                g = g @ theta[f"weight_{i}"].mT
