"""`model="synaptic"` and `model="modulatory"`: a network for each task, pulled to a common one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.episodes import Episode, TaskRows
from skcml.likelihoods import SquaredError
from skcml.problems.meta_params import MetaParams
from skcml.problems.proximal import ProximalProblem
from skcml.problems.scatter import fit_scatter
from skcml.problems.task_mlp import Layer, TaskMLP
from skcml.problems.task_network import TaskNetwork
from skcml.random_effects import MixedModel, leading
from skcml.selection.held_out import HeldOut
from skcml.selection.mixture import Densities
from skcml.selection.models import FixedBody
from skcml.selection.options import LearnOptions
from skcml.task_networks import TaskNetworks

# Strength of the head's coefficients of hidden features at the start. It does not follow the noise
# of the mixed model: all that only a network could explain is noise to that, and of strengths that
# start too large a descent is slow to get rid. On sinusoids, errors after a few hundred meta-steps
# are a fifth of those with noise over a variance of 0.09, and half of those with 1; with 0.1 they
# are lower still, but networks of tables with few groups predict worse.
HIDDEN_STRENGTH = 0.3
# Of classes and counts, whose cost has no such noise: a standard deviation of 0.3, as for heads.
HIDDEN_STRENGTH_OF_RATES = 0.3**-2
# Least standard deviation of coefficients of inputs over the root of the noise, as for heads.
SPREAD_FLOOR = 0.17


@dataclass(frozen=True)
class NetworkModel:
    """See `Model`.

    Parameters
    ----------
    layer : Layer or None
        What of a built-in hidden layer is the task's own: all, or gains and shifts.
    strength : {"synapse", "layer", "fixed"}
        For what there is a strength of its own.
    body : callable or None
        Makes the network around the user's own module, from the number of outputs.
    device : str
        Where torch runs it.
    """

    layer: Layer
    strength: str = "synapse"
    body: Callable[[int], TaskNetwork] | None = None
    device: str = "cpu"

    def problem(self, n_inputs: int, n_outputs: int, options: LearnOptions) -> Any:
        """See `Model`."""
        cost = options.family.likelihood or SquaredError()
        if self.body is not None:
            from skcml.problems.on_torch import OnTorch

            return OnTorch(ProximalProblem(self.body(n_outputs), cost, self.strength), self.device)
        network = TaskMLP(
            n_inputs, n_outputs, options.hidden_layer_sizes, options.activation, self.layer
        )
        return ProximalProblem(network, cost, self.strength)

    def start(
        self, problem: Any, mixed: Sequence[MixedModel], rng: np.random.Generator
    ) -> MetaParams:
        """Start where the mixed model ends: hidden features have no mean effect yet."""
        theta = MetaParams(problem.shapes)
        problem.initialize(theta, rng)
        n_features = problem.network.fast["head"][0]
        if self.body is not None:  # a module's features do not hold the inputs
            mixed = [leading(model, 1) for model in mixed]
        n_linear = len(mixed[0].omega)
        head = np.zeros((n_features, len(mixed)))
        hidden = HIDDEN_STRENGTH if problem.cost.is_gaussian else HIDDEN_STRENGTH_OF_RATES
        strength = np.full((n_features, len(mixed)), hidden)
        for output, model in enumerate(mixed):
            head[:n_linear, output] = model.omega
            spread = (model.factor @ model.factor.T).diagonal()
            floor = SPREAD_FLOOR**2 / n_linear * model.noise
            # A row costs half its squared error whatever the noise: strengths are in its units.
            strength[:n_linear, output] = model.noise / np.maximum(spread, floor)
        theta["omega"][-head.size :] = head.ravel()
        problem.pull.write(theta, "head", strength)
        return theta

    def calibrate(
        self,
        problem: Any,
        theta: MetaParams,
        options: LearnOptions,
        episodes: Iterable[Episode],
    ) -> None:
        """Fit the scatter of numbers as a power of the number of rows adapted to."""
        if options.family.likelihood is not None:
            return
        networks = self.stack(problem, [theta], options)
        rows, squares, weights = [], [], []
        for episode in episodes:
            mean = _predict(networks, episode)[0][0]
            real = episode.w_query > 0
            total = episode.w_query.sum(1)
            share = (episode.w_query / total[:, None])[real] / len(total)
            rows.append(np.average(episode.w_support.sum(1)))
            squares.append(((episode.y_query[:, real] - mean) ** 2 * share).sum(-1))
            weights.append(len(total))
        theta["log_scatter"][...] = fit_scatter(
            np.array(rows), np.array(squares).T, np.array(weights)
        )

    def densities(
        self,
        problem: Any,
        theta: MetaParams,
        options: LearnOptions,
        held_out: HeldOut,
    ) -> Densities:
        """See `Model`."""
        networks = self.stack(problem, [theta], options)
        parts = [_predict(networks, episode) for episode in held_out.episodes]
        mean, variance = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        return Densities(mean, variance, options.family.likelihood)

    def stack(
        self, problem: Any, thetas: Sequence[MetaParams], options: LearnOptions
    ) -> TaskNetworks:
        """See `Model`."""
        return TaskNetworks(problem, options.fit_solver, thetas)

    def bodies(self, problem: Any, thetas: Sequence[MetaParams]) -> list[FixedBody]:
        """See `Model`."""
        if self.body is not None:
            return []
        network: Any = problem.network
        return [network.as_body(theta["omega"], theta) for theta in thetas]


def _predict(networks: TaskNetworks, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of an episode's query rows, as a stack of one."""
    real = episode.w_support > 0
    tasks = TaskRows.from_codes(
        episode.x_support[real],
        np.moveaxis(episode.y_support[:, real], 0, -1),
        episode.w_support[real],
        np.nonzero(real)[0],
        len(real),
    )
    asked = episode.w_query > 0
    return networks.adapt(tasks).predict(episode.x_query[asked], np.nonzero(asked)[0])
