"""The built-in body: a multi-layer perceptron, with its gradient by hand.

Features are ``[1, x, h(x)]``: a constant, the raw inputs and the last hidden layer, so that a head
on them contains the linear model, and without hidden layers *is* the linear model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.arrays import Array, namespace
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
    def n_linear(self) -> int:
        """Leading features that hold no learned parameter: the constant and the inputs."""
        return 1 + self.n_inputs

    @property
    def n_features(self) -> int:
        return self.n_linear + (self.hidden_layer_sizes[-1] if self.hidden_layer_sizes else 0)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the body's meta-parameters."""
        sizes = (self.n_inputs, *self.hidden_layer_sizes)
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            shapes[f"weight_{i}"] = (n_in, n_out)
            shapes[f"bias_{i}"] = (n_out,)
        return shapes

    def initialize(self, theta: MetaParams, rng: np.random.Generator) -> None:
        """Draw weights and biases (Glorot uniform, as scikit-learn's MLPs do)."""
        for i in range(len(self.hidden_layer_sizes)):
            weight = theta[f"weight_{i}"]
            bound = np.sqrt(6.0 / sum(weight.shape))
            weight[...] = rng.uniform(-bound, bound, weight.shape)
            theta[f"bias_{i}"][...] = rng.uniform(-bound, bound, weight.shape[1])

    def forward(self, theta: Mapping[str, Array], x: Array) -> tuple[Array, Sequence[Array]]:
        """Return the features of rows ``x`` and what `backward` needs to remember.

        Parameters
        ----------
        theta : mapping of str to array
        x : array of shape (n_rows, n_inputs)

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
            a = h @ theta[f"weight_{i}"] + theta[f"bias_{i}"]
            h = function(xp, a)
            tape += [a, h]
        parts = [xp.ones_like(x[:, :1]), x] + ([h] if self.hidden_layer_sizes else [])
        return xp.concatenate(parts, axis=1), tape

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
            grad[f"weight_{i}"][...] += below.mT @ g
            grad[f"bias_{i}"][...] += g.sum(0)
            if i:
                g = g @ theta[f"weight_{i}"].mT
