"""Few-shot learning for scikit-learn: learn from many groups, adapt to a new one."""

from __future__ import annotations

from skcml.estimators import CMLClassifier, CMLRegressor

__all__ = ["CMLClassifier", "CMLRegressor"]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    """List what is for users; the modules beside it are how it is done."""
    return sorted(
        [*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"]
    )
