"""The documents keep their word: every Python block runs, and every relative link leads somewhere.

The blocks of a document run in order and share their names, in an empty folder.
"""

import inspect
import re
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from skcml.solvers.closed_form import closed_form
from tests.documents import run_python_blocks, split_document

ROOT = Path(__file__).parents[1]
RUNNING = [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md"))]
LINKING = [
    *ROOT.glob("README.md"),
    *ROOT.glob("CONTRIBUTING.md"),
    *sorted(ROOT.glob("docs/**/*.md")),
]

INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(
    r"""
      \]\( \s* <? ([^)\s>]+) >? (?: \s+ ["'(] [^)]* )? \)   # [text](target "title")
    | ^\ * \[ [^\]]+ \]: \s* <? ([^\s>]+)                   # [text]: target
    """,
    re.MULTILINE | re.VERBOSE,
)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)


def relative_links(text):
    """Return line and target of the links to other files."""
    _, prose = split_document(text)
    prose = INLINE_CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), prose)
    return [
        (prose.count("\n", 0, link.start()) + 1, link[1] or link[2])
        for link in LINK.finditer(prose)
        if not ELSEWHERE.match(link[1] or link[2])
    ]


def broken_links(path):
    """Return 'document:line: target' for each relative link that leads nowhere."""
    return [
        f"{path.name}:{line}: {target}"
        for line, target in relative_links(path.read_text(encoding="utf-8"))
        if not (path.parent / target.partition("#")[0]).exists()
    ]


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("SKB_DATA_DIRECTORY", str(tmp_path))  # skrub makes a folder
    mpl.use("Agg")
    yield tmp_path
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("path", RUNNING, ids=name_of)
def test_python_blocks_run(path, empty_folder):
    blocks, _ = split_document(path.read_text(encoding="utf-8"))
    run_python_blocks(blocks, name_of(path))


@pytest.mark.parametrize("path", LINKING, ids=name_of)
def test_relative_links_lead_to_files(path):
    assert broken_links(path) == []


SAMPLE = """\
# Title

```python
import pickle

class Shared: ...
```

Not run: `open("x")[0](y)`, and

```text
[no link](nowhere.md)
```

- in a list

  ```python
  pickle.dumps(Shared())
  if True:
      CODE
  ```

A [file](there.md "with title"), ![a picture](no.png), the [place](there.md#part), the
[web](https://example.org), a [heading](#title), [by reference][r].

[r]: <gone.md>
"""


def test_blocks_are_found_and_run_in_order(empty_folder):
    blocks, prose = split_document(SAMPLE)
    assert [(block.language, block.line) for block in blocks] == [
        ("python", 4),
        ("text", 12),
        ("python", 18),
    ]
    assert prose.count("\n") == SAMPLE.count("\n")
    blocks, _ = split_document(SAMPLE.replace("CODE", "open('written', 'w').close()"))
    run_python_blocks(blocks, "sample.md")
    assert (empty_folder / "written").exists()
    assert sys.modules["__main__"].__dict__.get("Shared") is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("nothing", r"^sample\.md:20: NameError\(.*'nothing'"),
        ("pickle.loads(3)", r"^sample\.md:20: TypeError"),
        ("x = = 1", r"^sample\.md:20: SyntaxError"),
        ("import warnings; warnings.warn('old', stacklevel=1)", r"^sample\.md:20: UserWarning"),
    ],
)
def test_a_failing_block_is_named_by_document_and_line(code, message):
    blocks, _ = split_document(SAMPLE.replace("CODE", code))
    with pytest.raises(AssertionError, match=message):
        run_python_blocks(blocks, "sample.md")


def test_links_that_lead_nowhere_are_named_by_document_and_line(tmp_path):
    (tmp_path / "there.md").write_text("")
    document = tmp_path / "sample.md"
    document.write_text(SAMPLE)
    assert broken_links(document) == ["sample.md:23: no.png", "sample.md:26: gone.md"]


def test_the_solver_that_contributing_shows_is_the_one_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(def closed_form.*?)```", text, re.DOTALL)
    source = re.sub(
        r'    """.*?"""\n', "", inspect.getsource(closed_form), count=1, flags=re.DOTALL
    )
    assert shown.split("\n") == source.split("\n")
