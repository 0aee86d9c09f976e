"""`model="head"`: the body is slow, a linear head is adapted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcml.episodes import Episode
from skcml.heads import Heads
from skcml.problems.features import Body, LinearHead
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection.held_out import HeldOut
from skcml.selection.members import head_problem, start_network
from skcml.selection.mixture import Densities
from skcml.selection.models import FixedBody
from skcml.selection.options import LearnOptions


@dataclass(frozen=True)
class HeadModel:
    """See `Model`.

    Parameters
    ----------
    body : Body or None
        The user's own; None is the built-in one.
    """

    body: Body | None = None

    def problem(self, n_inputs: int, n_outputs: int, options: LearnOptions) -> LinearHead:
        """See `Model`."""
        return head_problem(n_inputs, n_outputs, options, self.body)

    def start(
        self, problem: LinearHead, mixed: Sequence[MixedModel], rng: np.random.Generator
    ) -> MetaParams:
        """See `Model`."""
        return start_network(problem, mixed, rng)

    def calibrate(
        self, problem: Any, theta: MetaParams, options: LearnOptions, episodes: Iterable[Episode]
    ) -> None:
        """Scale noise and prior by one factor, which no mean sees, until errors fit them.

        A squared loss learns the ratio of the two only. The noise stays above its floor.
        """
        if not options.is_squared:
            return
        ratios = []
        for episode in episodes:
            mean, variance = problem.predict(theta, episode)
            total = episode.w_query.sum(1, keepdims=True)
            weight = episode.w_query / (total + (total == 0)) / len(total)
            ratios.append((weight * (episode.y_query - mean) ** 2 / variance).sum((1, 2)))
        noise = problem.noise(theta)
        scale = np.maximum(np.mean(ratios, axis=0), (1 + 1e-6) * problem.noise_floor / noise)
        theta["factor"][...] *= np.sqrt(scale)[:, None, None]
        for output, variance in enumerate(scale * noise):
            problem.write_noise(theta, output, variance)

    def densities(
        self, problem: LinearHead, theta: MetaParams, options: LearnOptions, held_out: HeldOut
    ) -> Densities:
        """See `Model`."""
        return held_out.densities(problem, theta)

    def stack(
        self, problem: LinearHead, thetas: Sequence[MetaParams], options: LearnOptions
    ) -> Heads:
        """See `Model`."""
        return Heads.stack(problem, thetas)

    def bodies(self, problem: LinearHead, thetas: Sequence[MetaParams]) -> list[FixedBody]:
        """See `Model`."""
        return [bodies_of(problem, theta) for theta in thetas]


def bodies_of(problem: LinearHead, theta: MetaParams) -> FixedBody:
    """Return a head's body, and its parameters as a stack of one."""
    stacked = Heads.stack(problem, [theta])
    return stacked.body, stacked.theta
