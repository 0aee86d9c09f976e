"""What users may rely on, as text: names, signatures and methods.

``python -m tests.api`` writes it to ``tests/api.txt``, which a test compares: what changes there
changes for users, and has a line in the changelog.
"""

import importlib
import inspect
from pathlib import Path

STORED = Path(__file__).with_suffix(".txt")
MODULES = (
    "skcml",
    "skcml.datasets",
    "skcml.inspection",
    "skcml.model_selection",
    "skcml.pipeline",
)


def signature(thing):
    """Return a signature without annotations."""
    found = inspect.signature(thing)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def lines_of(module):
    """Return a line for each public name of a module, and for each public method of its classes."""
    lines = []
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        lines.append(f"{module.__name__}.{name}{signature(thing)}")
        if inspect.isclass(thing):
            methods = [m for m in dir(thing) if not m.startswith("_") and is_method(thing, m)]
            lines += [f"    .{method}{signature(getattr(thing, method))}" for method in methods]
    return lines


def is_method(cls, name):
    """Tell whether a name is a method that skcml itself defines."""
    found = getattr(cls, name)
    return inspect.isroutine(found) and getattr(found, "__module__", "").startswith("skcml")


def listing():
    modules = map(importlib.import_module, MODULES)
    return "\n".join(line for module in modules for line in lines_of(module)) + "\n"


if __name__ == "__main__":
    STORED.write_text(listing())
