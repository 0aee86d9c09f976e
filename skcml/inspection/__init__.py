"""Looking into what was learned, and how well the rule learns."""

from skcml.inspection._adaptation_display import AdaptationDisplay
from skcml.inspection._calibration_display import CalibrationDisplay
from skcml.inspection._meta_gradient_error import meta_gradient_error
from skcml.inspection._meta_gradient_error_display import MetaGradientErrorDisplay
from skcml.inspection._meta_learning_curve_display import MetaLearningCurveDisplay
from skcml.inspection._prior_display import PriorDisplay
from skcml.inspection._shot_curve import shot_curve
from skcml.inspection._shot_curve_display import ShotCurveDisplay

__all__ = [
    "AdaptationDisplay",
    "CalibrationDisplay",
    "MetaGradientErrorDisplay",
    "MetaLearningCurveDisplay",
    "PriorDisplay",
    "ShotCurveDisplay",
    "meta_gradient_error",
    "shot_curve",
]
