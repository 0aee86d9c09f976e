"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import os
import re
import warnings
from importlib.metadata import version as installed_version
from typing import Any

from sphinx_gallery.sorting import ExplicitOrder

project = "skcml"
author = "the skcml developers"
project_copyright = author
release = installed_version("skcml")
version = release

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "_templates"]
default_role = "py:obj"
toc_object_entries_show_parents = "hide"
add_module_names = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

templates_path = ["_templates"]
autosummary_generate = True
autodoc_default_options = {
    "members": True,
    "inherited-members": True,
    # Their text is scikit-learn's, and leads to pages of its. The last five are of a pipeline whose
    # last step transforms.
    "exclude-members": "get_metadata_routing, set_decision_function_request, set_fit_request, "
    "set_partial_fit_request, set_predict_log_proba_request, set_predict_proba_request, "
    "set_predict_request, set_score_request, fit_predict, fit_transform, inverse_transform, "
    "score_samples, transform",
}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "skcml"
html_static_path = ["_static"]
html_css_files = ["skcml.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {
    page: [] for page in ("glossary", "walk", "contributing", "changelog", "auto_examples/*")
}

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

# As a newcomer reads them.
ORDER = (
    "new_cows",
    "how_many_rows",
    "adaptation",
    "prior",
    "intervals",
    "wheezing",
    "seizures",
    "new_digits",
    "messy_table",
    "two_levels",
    "own_network",
    "save_and_share",
    "meta_gradient",
)

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(__init__|demo|classes)\.py",
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in ORDER]),
    "doc_module": ("skcml",),
    "reference_url": {"skcml": None},
    "backreferences_dir": "gen_modules",
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "min_reported_time": 0,
    "plot_gallery": True,
    "image_scrapers": ("matplotlib",),
    "capture_repr": ("_repr_html_", "__repr__"),
    "matplotlib_animations": False,
}

# An example that warns is not finished.
warnings.filterwarnings("error", module=r"skcml(\..*)?")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Links that lead out of this folder, as a repository shows them, and the pages that hold the same.
OUTSIDE = {
    r"README\.md": "index.md",
    r"benchmarks/README\.md": "benchmarks.md",
    r"CONTRIBUTING\.md": "contributing.md",
    r"examples/(plot_\w+)\.py": r"auto_examples/\1.rst",
}


def link_inside(app: Any, docname: str, source: list[str]) -> None:
    """Lead such links inside."""
    out = "../" * (docname.count("/") + 1)
    for outside, inside in OUTSIDE.items():
        source[0] = re.sub(rf"\]\({out}{outside}", f"]({out[3:]}{inside}", source[0])


LABEL = re.compile(r":ref:`([^<`]+) <(\w+)>`")
VERSION = re.compile(r"( *)\.\. version(added|changed)::")


def lead_to_scikit_learn(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Lead what scikit-learn's docstrings refer to to its pages, and leave out its versions."""
    if not getattr(obj, "__module__", "").startswith("sklearn"):
        return
    kept, inside = [], None
    for line in lines:
        if found := VERSION.match(line):
            inside = len(found[1])
        elif inside is not None and line.strip() and len(line) - len(line.lstrip()) <= inside:
            inside = None
        if inside is None:
            kept.append(LABEL.sub(r"`\1 <https://scikit-learn.org/stable/\2.html>`__", line))
    lines[:] = kept


def setup(app: Any) -> None:
    """Connect the above to Sphinx."""
    app.connect("source-read", link_inside)
    app.connect("autodoc-process-docstring", lead_to_scikit_learn, priority=100)
