"""The page in headless Chromium, over a real server and the shipped library.

Pictures of what was clicked through stay in pytest's temporary folder; `--basetemp` says where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loramix.library import Library
from serve_page_visitor import SIZES, Visitor, api, chromium
from serve_process import ServerProcess, copied_library, serving

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-test"
BOTH = "Give me this support message in one line, and say what its tone is: Hello, I ordered the "
BOTH += "desk lamp two weeks ago. The delivery was fast, but the switch is broken."
SUM = "What is 15% of 240?"
MARKUP = '<img src=x onerror="document.title=1"> <script>document.title=2</script> What is 2 + 3?'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that takes adapters and has a report."""
    folder = tmp_path_factory.mktemp("served")
    library = copied_library(folder / "library")
    (folder / "adapters").mkdir()
    (folder / "report.html").write_text("<!doctype html><h1>The figures</h1>")
    with serving("--library", str(library), "--allow-runtime-lora") as running:
        yield running


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page_shots")


@pytest.fixture
def visitor(browser: Any, server: ServerProcess) -> Iterator[Visitor]:
    one = Visitor(browser, server.url)
    yield one
    one.context.close()


@pytest.mark.parametrize("look", SIZES)
def test_everything_can_be_clicked_through(
    browser: Any, server: ServerProcess, shots: Path, look: str
) -> None:
    one = Visitor(browser, server.url, look)
    page, shot = one.page, 0

    def picture(whole: bool = False) -> None:
        nonlocal shot
        assert one.fits()
        page.screenshot(path=shots / f"{look}-{shot}.png", full_page=whole)
        shot += 1

    api.expect(page.locator(".starter")).to_have_count(5)
    picture()
    card = one.ask(BOTH)
    for skill in ("summarization", "sentiment"):
        api.expect(card.locator(".legend")).to_contain_text(skill)
    api.expect(card.locator(".scores li").last).to_have_text("4 more, each below 0.01")
    picture()
    card.get_by_role("button", name="Why?").click()
    api.expect(card.locator(".why .words")).to_have_text(BOTH)
    api.expect(card.locator(".nearest li").first).to_be_visible()
    picture()
    card.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == card.locator(".text").inner_text()
    # another mix for the same prompt
    card.get_by_role("button", name="Change mix").click()
    api.expect(page.locator("[name=mode][value=hand]")).to_be_checked()
    page.locator("#mix-summarization").fill("1")
    page.locator("#mix-sentiment").fill("0")
    picture()
    page.click("#again")
    api.expect(one.answers()).to_have_count(2)
    other = one.answers().nth(1)
    api.expect(other.locator(".legend")).to_have_text(re.compile("^summarization 1.00$"))
    assert other.locator(".text").inner_text() != card.locator(".text").inner_text()
    picture()
    other.get_by_role("button", name="Compare").click()
    api.expect(page.locator("#compare-columns .answer .legend")).to_have_count(8)
    api.expect(page.locator("#compare-run")).to_be_visible()
    picture(whole=True)
    one.view("Skills")
    api.expect(page.locator("#cards .card")).to_have_count(5)
    picture(whole=True)
    one.view("Report")
    frame = page.frame_locator("#report-frame")
    api.expect(frame.locator("h1")).to_have_text("The figures")
    picture()
    one.view("Skills")
    page.locator("#cards .card", has_text="code").locator(".examples button").first.click()
    api.expect(one.answers()).to_have_count(3)
    api.expect(one.answers().last.locator(".actions")).to_be_in_viewport()
    api.expect(one.answers().last.locator(".legend")).to_have_text("code 1.00")
    picture()
    page.click("#clear")
    api.expect(page.locator(".turn")).to_have_count(0)
    api.expect(page.locator("#hello")).to_be_visible()
    assert one.complaints == []
    assert all(url.startswith(one.url) for url in one.asked)
    one.context.close()


def test_the_report_is_there_when_the_page_is_opened_at_it(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.goto(f"{visitor.url}/#report")
    for _ in range(2):
        shown = page.frame_locator("#report-frame").locator("h1")
        api.expect(shown).to_have_text("The figures")
        api.expect(page.locator("#report-empty")).to_be_hidden()
        page.reload()


def test_the_prompt_field_is_as_high_as_what_stands_in_it(
    browser: Any, server: ServerProcess
) -> None:
    one = Visitor(browser, server.url, "phone")
    field = one.page.locator("#prompt")
    cut = "field => field.scrollHeight - field.clientHeight"
    one.ask(SUM)
    lines = field.bounding_box()["height"]
    assert field.evaluate(cut) <= 0
    one.view("Compare")
    one.page.set_viewport_size({"width": 320, "height": 700})  # nothing is measured while hidden
    one.view("Chat")
    assert field.evaluate(cut) <= 0
    assert field.bounding_box()["height"] >= lines
    field.fill("one line")
    assert field.bounding_box()["height"] < lines
    one.context.close()


def test_what_a_model_or_a_person_wrote_is_text_and_nothing_else(visitor: Visitor) -> None:
    card = visitor.ask(MARKUP)
    api.expect(visitor.page.locator(".ask p")).to_have_text(MARKUP)
    card.get_by_role("button", name="Why?").click()
    api.expect(card.locator(".why")).to_be_visible()
    assert visitor.page.locator(".turns img, .turns script").count() == 0
    assert visitor.page.title() == "loramix"
    assert visitor.complaints == []


def test_a_slider_answers_again_where_that_is_wished(visitor: Visitor) -> None:
    visitor.ask(SUM)
    visitor.page.check("#live")
    for weight, legend in (("0.5", "math 0.50"), ("0", "base alone")):
        visitor.page.locator("#mix-math").fill(weight)
        api.expect(visitor.answers().last.locator(".legend")).to_have_text(legend)
    api.expect(visitor.answers()).to_have_count(2)  # the second one was replaced
    before = visitor.completions()
    visitor.page.locator("#mix-code").evaluate(  # a slider that is dragged
        """slider => { for (let tick = 1; tick < 10; tick += 1) {
            slider.value = tick / 10; slider.dispatchEvent(new Event("input")); } }"""
    )
    last = visitor.answers().last
    api.expect(last.locator(".legend")).to_have_text("code 0.90")
    api.expect(last.get_by_role("button", name="Copy")).to_have_count(1)
    api.expect(last).not_to_contain_text("Stopped.")
    assert visitor.completions() == before + 1


def test_the_sliders_show_the_gates_choice_while_one_types(visitor: Visitor) -> None:
    visitor.page.locator("#prompt").press_sequentially(SUM)
    api.expect(visitor.page.locator("#mix-math + output")).to_have_text("1.00")
    api.expect(visitor.page.locator("[name=mode][value=auto]")).to_be_checked()


def test_escape_stops_an_answer_and_keeps_what_came(visitor: Visitor) -> None:
    page = visitor.page
    page.fill("#max-tokens", "1000")
    page.click("[data-preset=base]")
    page.fill("#prompt", "Tell a long story.")
    page.press("#prompt", "Enter")
    api.expect(page.locator(".turn .text")).not_to_be_empty()
    page.keyboard.press("Escape")
    api.expect(page.locator("#send")).to_be_visible()
    if page.get_by_text("Stopped.", exact=True).count():  # unless it was quicker
        assert page.locator(".turn .text").inner_text().strip()


def test_the_keyboard_is_enough(visitor: Visitor) -> None:
    page = visitor.page
    api.expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type(SUM)
    assert page.input_value("#prompt") == f"first line\n{SUM}"
    page.keyboard.press("Enter")
    api.expect(visitor.answers()).to_have_count(1)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(one => one == document.body ? ['', ''] : [one.id || one.textContent.trim(),"
                " getComputedStyle(one).outlineStyle])(document.activeElement)"
            )
        )
    names = [name for name, _ in reached]
    wanted = {"Chat", "Compare", "Skills", "Report", "theme", "Copy", "Why?", "Change mix"}
    wanted |= {"prompt", "clear", "send", "mix-math", "again", "policy", "temperature"}
    assert wanted - set(names) == set()
    # the frame around the prompt shows its focus
    assert [name for name, style in reached if style == "none" and name != "prompt"] == []


def test_errors_are_told_in_words(visitor: Visitor) -> None:
    page = visitor.page
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=429, headers={"retry-after": "3"}, body="{}"),
    )
    card = visitor.ask(SUM)
    api.expect(card.locator(".error")).to_have_text("The server is busy. Try again in 3 s.")
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    card.get_by_role("button", name="Try again").click()
    api.expect(card.locator(".error")).to_contain_text("cannot be reached")
    page.unroute("**/v1/chat/completions")
    card.get_by_role("button", name="Try again").click()
    api.expect(card.locator(".legend")).to_have_text("math 1.00")
    long = visitor.ask("word " * 3000)
    api.expect(long.locator(".error")).to_contain_text("context")


def test_the_theme_is_kept(visitor: Visitor) -> None:
    page = visitor.page
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate(paper) != light
    page.reload()
    api.expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
    assert page.evaluate(paper) != light


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const seen = element.checkVisibility({ visibilityProperty: true });
    if (!own || !seen || element.disabled) continue;
    let behind = element;
    while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) {
      behind = behind.parentElement;
    }
    const paper = behind ? rgba(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
    const ink = rgba(getComputedStyle(element).color);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("look", ["light", "dark"])
def test_all_text_can_be_read_against_its_ground(
    browser: Any, server: ServerProcess, look: str
) -> None:
    one = Visitor(browser, server.url, look)
    one.ask(SUM)
    for name in ("Chat", "Compare", "Skills"):
        one.view(name)
        assert one.page.evaluate(CONTRAST) == []
    one.context.close()


def test_every_control_has_a_name(visitor: Visitor) -> None:
    visitor.ask(SUM)
    for name in ("Chat", "Compare", "Skills"):
        visitor.view(name)
        for role in ("button", "link", "textbox", "slider", "checkbox", "radio", "combobox"):
            for control in visitor.page.get_by_role(role).all():
                told = control.aria_snapshot()
                assert re.search(r'"[^"]+"', told), told


def test_an_adapter_can_be_uploaded_used_and_taken_out(visitor: Visitor) -> None:
    page = visitor.page
    visitor.view("Skills")
    math = Library.shipped().path / "skills" / "math"
    page.fill("#upload-name", "sums")
    page.fill("#upload-description", "adds two numbers")
    page.fill("#upload-examples", "What is 1 + 1?\nAdd 3 and 4.")
    page.set_input_files("#upload-config", math / "adapter_config.json")
    page.set_input_files("#upload-weights", math / "adapter_config.json")
    page.click("#upload-send")
    api.expect(page.locator("#upload-note")).to_contain_text("safetensors")
    page.set_input_files("#upload-weights", math / "adapter_model.safetensors")
    page.click("#upload-send")
    api.expect(page.locator("#upload-note")).to_have_text("sums is loaded.", timeout=120_000)
    card = page.locator("#cards .card", has_text="adds two numbers")
    card.get_by_role("button", name="Chat with this skill alone").click()
    api.expect(visitor.ask("What is 3 + 4?").locator(".legend")).to_have_text("sums 1.00")
    visitor.view("Skills")
    out = card.get_by_role("button", name="Take out…")
    out.click()
    api.expect(page.locator("#out-no")).to_be_focused()
    page.keyboard.press("Escape")
    api.expect(out).to_be_focused()
    api.expect(page.locator("#cards .card")).to_have_count(6)
    out.click()
    api.expect(page.locator("#out-dialog")).to_contain_text("Take sums out?")
    page.click("#out-yes")
    api.expect(page.locator("#cards .card")).to_have_count(5, timeout=120_000)
    api.expect(page.locator("#skills-title")).to_be_focused()


def test_a_key_is_asked_for_once_and_kept_for_the_tab(browser: Any) -> None:
    with serving("--api-key", KEY) as running:
        one = Visitor(browser, running.url)
        page = one.page
        page.fill("#key", "not-the-key")
        page.press("#key", "Enter")
        api.expect(page.locator("#key-why")).to_contain_text("did not take")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        api.expect(one.ask(SUM).locator(".legend")).to_have_text("math 1.00")
        page.reload()
        api.expect(page.locator(".starter")).to_have_count(5)
        api.expect(page.locator("#key-dialog")).to_be_hidden()
        one.view("Skills")
        api.expect(page.locator("#upload-closed")).to_be_visible()
        one.view("Report")
        api.expect(page.locator("#report-empty")).to_be_visible()
        one.context.close()
