"""What `learn` needs to know, as one plain record."""

from __future__ import annotations

from dataclasses import dataclass, field

from skcml.rules.base import MetaGradientRule
from skcml.rules.contrastive import Contrastive
from skcml.selection.families import Family
from skcml.selection.models import Model
from skcml.solvers.base import InnerSolver
from skcml.solvers.closed_form import closed_form

# Up to how many features a prior covariance is a full matrix.
FULL_UP_TO = 96


@dataclass(frozen=True)
class LearnOptions:
    """Validated settings of `meta_fit`; the names are those of the estimator's parameters."""

    family: Family
    model: Model
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    prior_covariance: str
    meta_loss: str
    n_shots: tuple[int, int]
    n_queries: int | None
    support: str
    meta_batch_size: int
    meta_max_iter: int
    meta_learning_rate: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    n_jobs: int | None
    rule: MetaGradientRule = field(default_factory=Contrastive)
    solver: InnerSolver = closed_form
    fit_solver: InnerSolver = closed_form

    def n_scores(self, n_outputs: int) -> int:
        """Return how many verdicts there are: coupled logits have one together."""
        likelihood = self.family.likelihood
        return 1 if likelihood is not None and likelihood.is_coupled else n_outputs

    @property
    def is_reml(self) -> bool:
        """Whether the linear mixed model is all that is asked for."""
        return self.meta_max_iter == 0

    @property
    def is_squared(self) -> bool:
        """Whether the networks are learned by a squared error, which knows no scale."""
        return self.meta_loss == "loss" and self.family.likelihood is None
