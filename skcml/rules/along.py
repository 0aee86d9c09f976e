r"""The gradient of the loss where phi moves with theta in a known direction.

If a change of the loss moves the minimum along :math:`v`, then
:math:`\frac{dL}{d\theta} = \partial_\theta L + \partial^2_{\theta\phi} E \, v` (Zucchet et al.,
NeurIPS 2022, arXiv 2104.01677, section 2). The second derivative, along one direction, is a
difference of the energy's first ones.
"""

from __future__ import annotations

from skcml.arrays import Array, namespace
from skcml.problems.base import InnerProblem, Term

# Distance in phi, which is whitened, over which an energy that is not quadratic is contrasted.
CONTRAST_WIDTH = 1e-4
# A shorter move is none, and the inverse of this is as good as infinite, in float32 too.
TINY_MOVE = 1e-30


def terms_along(problem: InnerProblem, phi: Array, move: Array) -> list[Term]:
    """Contrast the energy along a direction, and add the loss.

    Parameters
    ----------
    problem : InnerProblem
    phi : array of shape (n_outputs, n_tasks, n_params)
        The minimum.
    move : array of phi's shape
        Where the minimum would go if the loss were added to the energy.

    Returns
    -------
    list of Term
        Their gradients add up to that of the loss of each task.
    """
    # Each task by itself is one long at first, so that no square leaves the range of floats.
    top = namespace(move).amax(abs(move), (0, 2))
    length = top * ((move / (top + (top == 0))[:, None]) ** 2).sum((0, -1)) ** 0.5
    one = 1.0 + 0 * length
    width = one
    if not problem.is_quadratic:
        # The error of a contrast falls with the square of its width, until rounding shows.
        width = CONTRAST_WIDTH / namespace(length).clip(length, TINY_MOVE, 1 / TINY_MOVE)
    move = width[:, None] * move
    return [
        Term(phi + move, 0.5 / width, None),
        Term(phi - move, -0.5 / width, None),
        Term(phi, None, one),
    ]
