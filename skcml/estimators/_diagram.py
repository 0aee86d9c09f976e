"""What notebooks show of an estimator: its state in words, and where it is documented."""

from __future__ import annotations

from typing import Any

# Of a public class, whatever file it is in.
DOCUMENTATION = "https://skcml.readthedocs.io/en/latest/generated/{name}.html"


class DiagramMixin:
    """What scikit-learn's diagram of an estimator asks for."""

    _doc_link_module = "skcml"
    _doc_link_template = DOCUMENTATION.format(name="skcml.{estimator_name}")

    def _sk_visual_block_(self) -> Any:
        # scikit-learn draws its own block if this fails, as it would where the class has moved.
        from sklearn.utils._repr_html.estimator import _VisualBlock

        return _VisualBlock(
            "single",
            self,
            names=type(self).__name__,
            name_details=str(self),
            name_caption=state_in_words(self),
        )


def state_in_words(estimator: Any) -> str:
    """Say what `meta_fit` and `fit` have done; nothing, if they have done nothing."""
    has_learned = hasattr(estimator, "_meta")
    adapted = getattr(estimator, "_adapted", None)
    if adapted is None or getattr(adapted, "is_prior", False):
        return "meta-fitted, not adapted" if has_learned else ""
    return "meta-fitted, adapted" if has_learned else "fitted without meta_fit"
