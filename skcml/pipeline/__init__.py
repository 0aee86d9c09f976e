"""scikit-learn's pipeline with `meta_fit`: transformers learn once, the last step adapts."""

# Not public, but here for pickles that were made when this was a module.
from skcml.pipeline._frozen import FrozenTransformer as FrozenTransformer
from skcml.pipeline._pipeline import Pipeline, make_pipeline

__all__ = ["Pipeline", "make_pipeline"]
