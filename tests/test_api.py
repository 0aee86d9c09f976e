"""The public names and signatures are those that are written down."""

import subprocess
import sys
from pathlib import Path

from tests.api import STORED, listing, signature


def test_the_public_surface_is_the_stored_one():
    # After a change that is meant: python -m tests.api
    assert listing().splitlines() == STORED.read_text().splitlines()


def test_a_signature_has_no_annotations():
    def function(x: int, *, y: str = "a") -> float:
        return 0.0

    assert signature(function) == "(x, *, y='a')"


def test_what_is_new_would_go_into_the_changelog():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for fragment in root.glob("changelog.d/*.md"):
        first = fragment.read_text().splitlines()[0]
        assert first in done.stdout, fragment.name
