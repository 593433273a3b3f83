"""The report in headless Chromium: it fits, follows the scheme, prints, and asks for nothing.

The pictures stay in pytest's temporary folder; `--basetemp` says where.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loramix.evaluate.report import write_report
from test_report import result

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.slow

__all__ = ["result"]  # the fixture


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(result: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(result, tmp_path_factory.mktemp("shots") / "report.html")


def opened(browser: Any, report: Path, **options: Any) -> tuple[Any, list[str]]:
    """The page, and whatever it asked for or complained of."""
    page, heard = browser.new_page(**options), []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.goto(report.as_uri())
    return page, heard


def colour(page: Any, of: str = "body", what: str = "backgroundColor") -> str:
    shown: str = page.evaluate(f"getComputedStyle(document.querySelector({of!r})).{what}")
    return shown


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_and_fits_the_window(
    browser: Any, report: Path, scheme: str, width: int
) -> None:
    page, heard = opened(
        browser, report, color_scheme=scheme, viewport={"width": width, "height": 860}
    )
    page.screenshot(path=str(report.with_name(f"{scheme}-{width}.png")), full_page=True)
    assert heard == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    plots = page.locator("svg.plot")
    assert plots.count() == 8
    assert all(box["height"] > 80 for box in (plots.nth(i).bounding_box() for i in range(8)))
    page.close()


def test_dark_is_dark_and_paper_is_white(browser: Any, report: Path) -> None:
    light, _ = opened(browser, report, color_scheme="light")
    dark, _ = opened(browser, report, color_scheme="dark")
    assert colour(light) != colour(dark)
    ink = colour(dark, "svg.plot path[style*='--series-1']", "stroke")
    dark.emulate_media(media="print")
    assert colour(dark) == "rgb(255, 255, 255)"
    assert colour(dark, "svg.plot path[style*='--series-1']", "stroke") != ink
    assert not dark.locator("nav").is_visible()
    printed = dark.pdf(path=str(report.with_name("report.pdf")), format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    light.close()
    dark.close()
