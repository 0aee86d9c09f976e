"""Few-shot learning for scikit-learn: learn from many groups, adapt to a new one."""

from __future__ import annotations

from skcml.estimators import CMLClassifier, CMLRegressor

__all__ = ["CMLClassifier", "CMLRegressor"]
__version__ = "0.1.0"
