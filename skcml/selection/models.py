"""Kinds of networks that may join the mixture: what is adapted to a task, and what is shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from skcml.episodes import Episode
from skcml.problems.features import Body
from skcml.problems.meta_params import MetaParams
from skcml.random_effects import MixedModel
from skcml.selection.held_out import HeldOut
from skcml.selection.mixture import Densities

if TYPE_CHECKING:
    from skcml.selection.options import LearnOptions

# A body with its parameters, which have a leading axis.
FixedBody = tuple[Body, dict[str, np.ndarray]]


class Model(Protocol):
    """A kind of network. A new one is a file beside this, and a line in `_meta_options`."""

    def problem(self, n_inputs: int, n_outputs: int, options: LearnOptions) -> Any:
        """Return its inner problem."""

    def start(
        self, problem: Any, mixed: Sequence[MixedModel], rng: np.random.Generator
    ) -> MetaParams:
        """Return meta-parameters to descend from: where the mixed model ends."""

    def calibrate(
        self, problem: Any, theta: MetaParams, options: LearnOptions, episodes: Iterable[Episode]
    ) -> None:
        """Fit to errors, in place, what the loss does not see of the scatter of numbers."""

    def densities(
        self, problem: Any, theta: MetaParams, options: LearnOptions, held_out: HeldOut
    ) -> Densities:
        """Return predictions of held-out query rows, as a stack of one."""

    def stack(self, problem: Any, thetas: Sequence[MetaParams], options: LearnOptions) -> Any:
        """Return networks that adapt and predict: `Heads`, or what has its methods."""

    def bodies(self, problem: Any, thetas: Sequence[MetaParams]) -> list[FixedBody]:
        """Return the networks' bodies at the prior, on whose features pooled models stand."""
