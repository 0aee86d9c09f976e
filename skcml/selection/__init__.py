"""Which model to believe: members learned on folds of groups, weighed by the groups held out."""

from __future__ import annotations

from skcml.selection.learning import Learned, learn
from skcml.selection.options import LearnOptions

__all__ = ["LearnOptions", "Learned", "learn"]
