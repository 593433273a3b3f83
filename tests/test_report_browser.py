"""The report in a real browser: it loads nothing, fits its screen, follows the scheme, prints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loramix.evaluate.report import write_report
from test_report import everything

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = os.environ.get("LORAMIX_SHOTS")
"""A folder: screenshots are kept there, to be looked at."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(everything(), tmp_path_factory.mktemp("report") / "report.html")


class _Seen:
    """A page that was opened, and what went on meanwhile."""

    def __init__(self, browser: Any, report: Path, width: int, scheme: str) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def color(self, selector: str) -> str:
        style = f"getComputedStyle(document.querySelector('{selector}')).backgroundColor"
        return str(self.page.evaluate(style))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1600])
def test_it_fits_the_screen_says_nothing_and_asks_for_nothing(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    seen = _Seen(browser, report, width, scheme)
    assert seen.said == []
    assert seen.asked == [report.as_uri()]
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    # what is wider than the screen scrolls by itself, and nothing else is
    wide = """() => [...document.querySelectorAll('main *')].filter(e =>
        !e.closest('.scroll, svg') && e.getBoundingClientRect().right > innerWidth + 1
    ).map(e => e.outerHTML.slice(0, 120))"""
    assert seen.page.evaluate(wide) == []
    flat = """() => [...document.querySelectorAll('svg.plot')].filter(e =>
        e.getBoundingClientRect().height < 60).length"""
    assert seen.page.evaluate(flat) == 0
    if SHOTS:
        seen.page.screenshot(path=f"{SHOTS}/report-{width}-{scheme}.png", full_page=True)
    seen.page.close()


def test_light_and_dark_differ_in_page_bars_and_plots(browser: Any, report: Path) -> None:
    light, dark = (_Seen(browser, report, 1280, scheme) for scheme in ("light", "dark"))
    for selector in ("body", ".card", ".track i", ".heat td.own"):
        assert light.color(selector) != dark.color(selector)
    assert (
        light.page.locator("svg.plot").first.screenshot()
        != dark.page.locator("svg.plot").first.screenshot()
    )


def test_every_entry_of_the_contents_leads_to_its_section(browser: Any, report: Path) -> None:
    page = _Seen(browser, report, 1280, "light").page
    links = page.locator("nav a")
    assert links.count() == 15
    page.emulate_media(reduced_motion="reduce")
    page.locator('nav a[href="#bars"]').click()
    assert page.evaluate("document.querySelector('#bars').getBoundingClientRect().top") < 900


def test_on_paper_it_is_light_and_no_figure_is_cut(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    page = _Seen(browser, report, 794, "dark").page
    path = Path(SHOTS or tmp_path) / "report.pdf"
    page.pdf(path=path, format="A4", print_background=True)
    assert path.read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 38)"
    cut = """() => [...document.querySelectorAll('svg.plot, .heat, .group, .sample')].filter(e =>
        getComputedStyle(e).breakInside !== 'avoid' && !e.closest('figure:not(.long)')
    ).length"""
    assert page.evaluate(cut) == 0
    # an A4 page is 1008 px high between its margins: what must not be cut fits on one
    tall = """() => [...document.querySelectorAll('figure:not(.long), .sample, .group')].filter(e =>
        e.getBoundingClientRect().height > 1000).length"""
    assert page.evaluate(tall) == 0
