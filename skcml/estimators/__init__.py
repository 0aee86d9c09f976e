"""The estimators: they validate, translate between units, and assemble."""

from __future__ import annotations

from skcml.estimators.classifier import CMLClassifier
from skcml.estimators.regressor import CMLRegressor

__all__ = ["CMLClassifier", "CMLRegressor"]
