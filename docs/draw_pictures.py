"""Draw the pictures of the guide anew: run the Python blocks of a page and save what they draw.

    python docs/draw_pictures.py

A picture has the name of the heading above its block, in ``docs/guide/pictures``.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PAGE = Path(__file__).parent / "guide" / "pictures.md"
PICTURES = PAGE.with_suffix("")
HEADING_OR_BLOCK = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```python\n(?P<code>.*?)^```", re.M | re.S
)


def name_of_picture(heading: str) -> str:
    """Return the words of a heading, joined by hyphens."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def draw(page: Path, pictures: Path, dpi: int = 80) -> list[Path]:
    """Run the blocks in one namespace; return the pictures that were written."""
    names: dict[str, object] = {}
    written, heading = [], page.stem
    for found in HEADING_OR_BLOCK.finditer(page.read_text(encoding="utf-8")):
        if found["heading"]:
            heading = name_of_picture(found["heading"])
            continue
        exec(compile(found["code"], str(page), "exec"), names)
        if plt.get_fignums():
            pictures.mkdir(exist_ok=True)
            written.append(pictures / f"{heading}.png")
            plt.gcf().savefig(written[-1], dpi=dpi, bbox_inches="tight")
            plt.close("all")
    return written


if __name__ == "__main__":
    for path in draw(PAGE, PICTURES):
        print(path)
