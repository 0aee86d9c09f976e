"""Which model to believe: members learned on folds of groups, weighed by the groups held out."""

from __future__ import annotations

from skcml.selection.options import LearnOptions
from skcml.selection.verdict import Learned, learn

__all__ = ["LearnOptions", "Learned", "learn"]
