"""A person at the page, in headless Chromium."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
api.expect.set_options(timeout=30_000)  # a machine may have other things to do

SIZES = {"light": (1280, 860), "dark": (1280, 860), "phone": (390, 844)}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips the test where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Visitor:
    """A person at the page, who notes what the browser complains of."""

    def __init__(self, browser: Any, url: str, look: str = "light") -> None:
        width, height = SIZES[look]
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if look == "dark" else "light",
            has_touch=look == "phone",
            reduced_motion="reduce",
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = url
        self.page.goto(url)
        api.expect(self.page.locator(".starter, #key-dialog[open]").first).to_be_visible()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def answers(self) -> Any:
        """The answers that are whole."""
        return self.page.locator(".turn .answer:not([aria-busy])")

    def ask(self, prompt: str) -> Any:
        """The card of the answer, once it is there."""
        before = self.answers().count()
        self.page.fill("#prompt", prompt)
        self.page.press("#prompt", "Enter")
        api.expect(self.answers()).to_have_count(before + 1)
        return self.answers().nth(before)

    def completions(self) -> int:
        """How many answers the page has asked for."""
        return sum(url.endswith("/chat/completions") for url in self.asked)

    def fits(self) -> bool:
        """Whether nothing is wider than the window."""
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        return bool(self.page.evaluate(wide))

    def view(self, name: str) -> None:
        self.page.click(f"nav >> text={name}")
        api.expect(self.page.locator(f"#view-{name.lower()}")).to_be_visible()
