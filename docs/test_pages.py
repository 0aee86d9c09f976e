"""The pages that ``make docs`` built, looked at with a browser: Chromium without a screen.

Run after the build, by ``make docs``. Links are followed on the disk and pages opened as files, so
that what works here works without a network.
"""

from __future__ import annotations

import re
import shutil
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BUILT = Path(__file__).parent / "_build" / "html"
PAGES = sorted(path for path in BUILT.rglob("*.html") if "_static" not in path.parts)
EXAMPLES = sorted(BUILT.glob("auto_examples/plot_*.html"))
DESKTOP, PHONE = (1280, 900), (390, 844)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--allow-file-access-from-files",
    # Nothing but files: a page that needs the network fails.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Anchors(HTMLParser):
    """Collects where a page leads, and the places in it that can be led to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        for name in ("href", "src"):
            if found.get(name):
                self.links.append(str(found[name]))
        if found.get("id"):
            self.places.add(str(found["id"]))


@cache
def anchors(page: Path) -> Anchors:
    parser = Anchors()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def broken_links(page: Path) -> list[str]:
    """Return the links of a page to files or places that there are not."""
    broken = []
    for link in anchors(page).links:
        if ELSEWHERE.match(link):
            continue
        target, place = urldefrag(link)
        file = page if not target else page.parent / unquote(target.partition("?")[0])
        known = file.suffix != ".html" or not place or unquote(place) in anchors(file).places
        if not file.is_file() or not known:
            broken.append(link)
    return broken


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def show(browser, page: Path, size: tuple[int, int], query: str = "") -> None:
    # A window cannot be as narrow as a phone; what a page is told of its screen can.
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page.as_uri() + query)


def name_of(page: Path) -> str:
    return str(page.relative_to(BUILT))


def test_there_are_pages():
    names = set(map(name_of, PAGES))
    assert {"index.html", "guide/index.html", "api.html", "auto_examples/index.html"} <= names
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_an_example_has_a_picture_and_no_warning(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r'class ?= ?"sphx-glr-(single|multi)-img"', text)
    assert "Warning" not in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_loads_whole_and_fits_its_screen(browser, page, size):
    show(browser, page, size)
    missing = browser.execute_script(
        "return [...document.images].filter(i => i.loading != 'lazy' && !i.naturalWidth)"
        ".map(i => i.src)"
    )
    assert missing == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.find_element(By.CSS_SELECTOR, "h1").is_displayed()


def test_search_finds_without_a_network(browser):
    show(browser, BUILT / "search.html", DESKTOP, "?q=prior_strength")
    # Results come one after the other.
    WebDriverWait(browser, 20).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "#search-results a[href*='guide/']")
    )


def test_a_formula_is_typeset(browser):
    show(browser, BUILT / "generated" / "skcml.CMLRegressor.html", DESKTOP)
    WebDriverWait(browser, 20).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "mjx-container")
    )


def test_what_is_broken_is_found(tmp_path):
    (tmp_path / "there.html").write_text('<p id="place">')
    page = tmp_path / "page.html"
    page.write_text(
        '<a href="there.html"></a><a href="there.html#place"></a><a href="#own"></a><p id="own">'
        '<a href="there.html#gone"></a><img src="no.png"><a href="https://example.org/x"></a>'
    )
    assert broken_links(page) == ["there.html#gone", "no.png"]
