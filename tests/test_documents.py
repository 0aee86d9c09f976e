"""The documents keep their word: every Python block runs, and every relative link leads somewhere.

The blocks of a document run in order and share their names, in an empty folder.
"""

import inspect
import re
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from docs.draw_pictures import PAGE, PICTURES, draw, name_of_picture
from skcml.solvers.closed_form import closed_form
from tests.documents import run_python_blocks, split_document

ROOT = Path(__file__).parents[1]
# What building the documentation writes.
BUILT = {"_build", "auto_examples", "gen_modules", "generated"}
PAGES = [path for path in sorted(ROOT.glob("docs/**/*.md")) if not BUILT & set(path.parts)]
RUNNING = [ROOT / "README.md", *(path for path in PAGES if path.parent.name != "decisions")]
LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *PAGES]

INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(
    r"""
      \]\( \s* <? ([^)\s>]+) >? (?: \s+ ["'(] [^)]* )? \)   # [text](target "title")
    | ^\ * \[ [^\]]+ \]: \s* <? ([^\s>]+)                   # [text]: target
    """,
    re.MULTILINE | re.VERBOSE,
)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def relative_links(text):
    """Return line and target of the links to files and headings."""
    _, prose = split_document(text)
    prose = INLINE_CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), prose)
    return [
        (prose.count("\n", 0, link.start()) + 1, link[1] or link[2])
        for link in LINK.finditer(prose)
        if not ELSEWHERE.match(link[1] or link[2])
    ]


def anchors(path):
    """Return the anchors that GitHub and Sphinx give to the headings of a document."""
    _, prose = split_document(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in HEADING.findall(prose)}


def leads_nowhere(path, target):
    file, _, anchor = target.partition("#")
    file = path.parent / file if file else path
    return not file.exists() or (bool(anchor) and anchor not in anchors(file))


def broken_links(path):
    """Return 'document:line: target' for each relative link that leads nowhere."""
    return [
        f"{path.name}:{line}: {target}"
        for line, target in relative_links(path.read_text(encoding="utf-8"))
        if leads_nowhere(path, target)
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
def test_relative_links_lead_to_files_and_headings(path):
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
[web](https://example.org), a [heading](#title), [by reference][r], [no place](there.md#none),
[no heading](#not-run).

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
    (tmp_path / "there.md").write_text("# Title\n\n## `part`\n\n```text\n# none\n```\n")
    document = tmp_path / "sample.md"
    document.write_text(SAMPLE)
    assert broken_links(document) == [
        "sample.md:23: no.png",
        "sample.md:24: there.md#none",
        "sample.md:25: #not-run",
        "sample.md:27: gone.md",
    ]


def test_there_are_the_pages_that_run():
    names = {name_of(path) for path in RUNNING}
    assert {"README.md", "docs/walk.md", "docs/guide/index.md", "docs/guide/verdict.md"} <= names
    assert not any("decisions" in name or "generated" in name for name in names)


def test_every_page_of_the_guide_is_in_its_contents():
    index = ROOT / "docs/guide/index.md"
    (contents,) = [b for b in split_document(index.read_text())[0] if b.language == "{toctree}"]
    listed = contents.code.split()[1:]
    assert sorted(listed) == sorted(p.stem for p in index.parent.glob("*.md") if p != index)


def test_a_picture_is_named_by_the_heading_above_its_block(empty_folder):
    page = empty_folder / "page.md"
    block = "```python\nimport matplotlib.pyplot as plt\n\nax = plt.figure().gca()\n```\n"
    page.write_text(
        f"# Page\n\n## What, and `why`?\n\n{block}\n## No figure\n\n```python\nax\n```\n"
    )
    (written,) = draw(page, empty_folder / "pictures")
    assert written.name == "what-and-why.png"
    assert written.stat().st_size > 0


def test_the_pictures_of_the_guide_are_those_that_its_page_draws():
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"\]\(pictures/([\w-]+)\.png\)", text)
    assert shown == [
        path.stem for path in map(PICTURES.joinpath, shown) if path.with_suffix(".png").exists()
    ]
    assert set(shown) == {path.stem for path in PICTURES.iterdir()}
    assert set(shown) <= {name_of_picture(heading) for heading in HEADING.findall(text)}


def test_the_solver_that_contributing_shows_is_the_one_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(def closed_form.*?)```", text, re.DOTALL)
    source = re.sub(
        r'    """.*?"""\n', "", inspect.getsource(closed_form), count=1, flags=re.DOTALL
    )
    assert shown.split("\n") == source.split("\n")
