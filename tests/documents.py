"""The Python blocks of a document in Markdown, and how they are run.

``python tests/documents.py FILES`` runs them where skcml is installed and no test tool is.
"""

import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

FENCED = re.compile(r"^ *(?P<fence>```+|~~~+)(?P<language>[^\n`]*)\n", re.MULTILINE)


class Block(NamedTuple):
    """Fenced code: its language, the line of its first line in the document (from 1), its text."""

    language: str
    line: int
    code: str


def split_document(text):
    """Return the fenced blocks of a document, and the document with them blanked out."""
    blocks, prose, position = [], [], 0
    while opening := FENCED.search(text, position):
        closing = re.compile(rf"^ *{opening['fence']}[`~]* *$", re.MULTILINE)
        end = closing.search(text, opening.end())
        code_end, next_position = (end.start(), end.end()) if end else (len(text), len(text))
        blocks.append(
            Block(
                language=opening["language"].strip(),
                line=text.count("\n", 0, opening.end()) + 1,
                code=textwrap.dedent(text[opening.end() : code_end]),
            )
        )
        prose.append(text[position : opening.start()])
        prose.append("\n" * text.count("\n", opening.start(), next_position))
        position = next_position
    return blocks, "".join([*prose, text[position:]])


def run_python_blocks(blocks, name):
    """Run the Python blocks in one namespace; fail with document and line."""
    # A module of its own, called like a script's, so that classes defined in it can be pickled.
    module = ModuleType("__main__")
    module.__file__ = name
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        for block in blocks:
            if block.language != "python":
                continue
            try:
                # Lines are counted as in the document, in tracebacks too.
                source = "\n" * (block.line - 1) + block.code
                exec(compile(source, name, "exec"), module.__dict__)
            except Exception as error:
                line = failing_line(error, name, block)
                raise AssertionError(f"{name}:{line}: {error!r}") from error
    finally:
        sys.modules["__main__"] = before


def failing_line(error, name, block):
    """Return the last line of the document that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename == name:
        return error.lineno
    lines, traceback = [block.line], error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == name:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return lines[-1]


def main(paths):
    """Run the blocks of each document in an empty folder."""
    for path in map(Path, paths):
        blocks, _ = split_document(path.read_text(encoding="utf-8"))
        print(f"{path}: {sum(block.language == 'python' for block in blocks)} blocks")
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                run_python_blocks(blocks, str(path))
            finally:
                os.chdir(here)


if __name__ == "__main__":
    main(sys.argv[1:])
