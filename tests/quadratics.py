"""The smallest problem that can be descended: quadratics of a curvature of one's own choice."""

import numpy as np

from skcml.solvers.line_search import product


class Quadratics:
    """A quadratic for each task: E is that of a matrix about zero, L half the square about one.

    ``seen`` has every phi at which it was evaluated.
    """

    def __init__(self, hessian, start, prior=1.0):
        self.hessian, self.begin, self.prior = np.asarray(hessian, float), np.array(start), prior
        self.seen = []

    @classmethod
    def diagonal(cls, curvatures, prior=1.0):
        """Return one that starts at ones, given (n_tasks, n_params) curvatures along the axes."""
        curvatures = np.asarray(curvatures, float)
        return cls(
            curvatures[..., None] * np.eye(curvatures.shape[1]), 1 + 0 * curvatures[None], prior
        )

    def start(self, theta, batch):
        return self.begin.copy()

    def augmented(self, phi, theta, batch, beta):
        self.seen.append(np.array(phi))
        gradient = (self.hessian @ phi[0][..., None])[None, ..., 0]
        away, beta = phi - 1.0, np.broadcast_to(beta, phi.shape[1:2])
        value = 0.5 * (product(phi, gradient) + beta * product(away, away))
        return value, gradient + beta[:, None] * away

    def gradient(self, phi, beta=0.0):
        return self.augmented(phi, None, None, beta)[1]

    def solve_prior(self, direction, theta):
        return direction / self.prior
