"""Few-shot learning for scikit-learn: learn from many groups, adapt to a new one."""

from __future__ import annotations

from skcml.estimators import CMLRegressor

__all__ = ["CMLRegressor"]
__version__ = "0.1.0"
