"""Looking into what was learned, and how well the rule learns."""

from skcml.inspection._display import MetaGradientErrorDisplay
from skcml.inspection._meta_gradient_error import meta_gradient_error

__all__ = ["MetaGradientErrorDisplay", "meta_gradient_error"]
