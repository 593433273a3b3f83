"""The page where something goes wrong, is too much, or is stopped: it says so, and goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loramix.library import Library
from loramix.mix import Mix
from serve_page_visitor import Visitor, api, chromium
from serve_process import ServerProcess, copied_library, serving

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-test"
NO_KEY = "пароль-длинный"
SUM = "What is 15% of 240?"
LONG = "Vera takes care of a pig. " * 35 + "How old is Vera?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving() as running:
        yield running


@pytest.fixture
def visitor(browser: Any, server: ServerProcess) -> Iterator[Visitor]:
    one = Visitor(browser, server.url)
    yield one
    one.context.close()


def ramble(page: Any) -> None:
    """Has the comparison write at random, and so at length, until some of it is there."""
    page.fill("#temperature", "2")
    page.fill("#max-tokens", "500")
    page.click("nav >> text=Compare")
    page.fill("#compare-prompt", "Tell a long story.")
    page.press("#compare-prompt", "Enter")
    said = page.locator("#compare-columns .answer[aria-busy] .text:not(.waiting)")
    api.expect(said.first).not_to_be_empty()


def test_earlier_turns_are_sent_where_that_is_wished_as_far_as_they_fit(visitor: Visitor) -> None:
    page = visitor.page
    sent: list[list[dict[str, str]]] = []
    page.on(
        "request",
        lambda request: (
            sent.append(request.post_data_json["messages"])
            if request.url.endswith("/chat/completions")
            else None
        ),
    )
    visitor.ask(SUM)
    api.expect(page.locator("#prompt")).to_have_attribute(
        "placeholder", "Ask something else: each prompt stands alone…"
    )
    visitor.ask(LONG)
    assert [len(messages) for messages in sent] == [1, 1]
    page.check("#remember")
    card = visitor.ask("What is 2 + 3?")
    assert [message["role"] for message in sent[-1]] == ["user", "assistant"] * 2 + ["user"]
    assert sent[-1][0]["content"] == SUM
    card.get_by_role("button", name="Why?").click()
    api.expect(card.locator(".why")).to_be_visible()
    card = visitor.ask(LONG)
    api.expect(card.locator(".facts")).to_contain_text("older\u00a0turns\u00a0left\u00a0out")
    assert sent[-1][-1]["content"] == LONG
    assert len(sent[-1]) < 7


def test_a_screen_reader_hears_the_answer_and_the_skip_link_keeps_the_view(
    visitor: Visitor,
) -> None:
    page = visitor.page
    card = visitor.ask(SUM)
    told = page.locator("#say")
    api.expect(told).to_contain_text("Mix: math 1.00.")
    api.expect(told).to_contain_text(card.locator(".text").inner_text().split("\n")[0])
    visitor.view("Compare")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    api.expect(page.locator("#main")).to_be_focused()
    api.expect(page.locator("#view-compare")).to_be_visible()


def test_a_comparison_can_be_stopped_and_keeps_what_came_with_its_mix(visitor: Visitor) -> None:
    page = visitor.page
    ramble(page)
    page.click("#compare-stop")
    api.expect(page.locator("#compare-run")).to_be_visible()
    api.expect(page.locator("#compare-columns .answer[aria-busy]")).to_have_count(0)
    columns = page.locator("#compare-columns .answer")
    assert columns.count() == 8
    stopped = columns.filter(has_text="Stopped")
    assert stopped.count() > 0
    for column in columns.all():
        if column.locator(".text").inner_text().strip():
            assert column.locator(".legend").count() == 1
    stopped.first.get_by_role("button", name="Try again").click()
    api.expect(page.locator("#compare-run")).to_be_visible()
    assert visitor.complaints == []


def test_a_comparison_waits_where_the_server_is_busy(visitor: Visitor) -> None:
    page, refused = visitor.page, []

    def busy_twice(route: Any) -> None:
        if len(refused) < 2:
            refused.append(route)
            route.fulfill(status=429, headers={"retry-after": "1"}, body="{}")
        else:
            route.continue_()

    page.route("**/v1/chat/completions", busy_twice)
    visitor.view("Compare")
    page.fill("#compare-prompt", SUM)
    page.press("#compare-prompt", "Enter")
    api.expect(page.locator("#compare-columns .answer .legend")).to_have_count(8)
    api.expect(page.locator("#compare-columns .error")).to_have_count(0)


def test_the_servers_bounds_are_in_the_settings_and_its_refusals_in_words(browser: Any) -> None:
    with serving("--max-tokens", "64", "--rate", "2") as running:
        one = Visitor(browser, running.url)
        page = one.page
        page.uncheck("#preview")
        api.expect(page.locator("#most-tokens")).to_have_text("at most 64")
        api.expect(page.locator("#max-tokens")).to_have_value("64")
        page.fill("#max-tokens", "9999")
        api.expect(one.ask(SUM).locator(".legend")).to_have_text("math 1.00")
        api.expect(page.locator("#max-tokens")).to_have_value("64")
        one.ask(SUM)
        told = one.ask(SUM).locator(".error")
        api.expect(told).to_contain_text("2 requests a minute")
        api.expect(told).to_contain_text("Try again in")
        one.context.close()


def test_a_mix_is_sent_as_it_was_saved_and_not_as_sliders_can_show_it(
    browser: Any, tmp_path: Path
) -> None:
    library = copied_library(tmp_path / "library")
    weights = {"code": 2 / 3, "math": 1 / 6, "qa": 1 / 6}
    with Library.open(library).edit() as txn:
        txn.set_mix("thirds", Mix.of(weights))
    with serving("--library", str(library)) as running:
        one = Visitor(browser, running.url)
        page = one.page
        sent: list[dict[str, float]] = []
        page.on(
            "request",
            lambda request: (
                sent.append(request.post_data_json.get("mix"))
                if request.url.endswith("/chat/completions")
                else None
            ),
        )
        page.select_option("#saved", "thirds")
        api.expect(page.locator("#mix-math + output")).to_have_text("0.17")
        one.ask(SUM)
        assert sent[-1] == weights
        page.locator("#mix-math").fill("0.5")  # what is moved is what the slider says
        one.ask(SUM)
        assert sent[-1] == {**weights, "math": 0.5}
        page.click("[data-preset=even]")
        one.ask(SUM)
        assert sum(sent[-1].values()) == pytest.approx(1, abs=1e-9)
        assert one.complaints == []
        one.context.close()


def test_a_server_that_dies_in_mid_stream_is_told_on_each_answer(browser: Any) -> None:
    with serving() as running:
        one = Visitor(browser, running.url)
        page = one.page
        ramble(page)
        running.stop(signal.SIGKILL)
        api.expect(page.locator("#compare-run")).to_be_visible()
        columns = page.locator("#compare-columns .answer")
        api.expect(
            columns.filter(has_text="broke off before the answer’s end").first
        ).to_be_visible()
        api.expect(columns.filter(has_text="cannot be reached").first).to_be_visible()
        page.click("nav >> text=Chat")
        api.expect(one.ask(SUM).locator(".error")).to_contain_text("cannot be reached")
        one.context.close()


def test_what_cannot_be_a_key_is_refused_and_never_kept(browser: Any) -> None:
    kept = "sessionStorage.getItem('loramix-key')"
    with serving("--api-key", KEY) as running:
        one = Visitor(browser, running.url)
        page = one.page
        fault = page.locator("#key-fault")
        for typed in (NO_KEY, "ключ", "two words of it", "clé-très-longue-é", "   "):
            page.fill("#key", typed)
            api.expect(fault).to_be_hidden()
            page.press("#key", "Enter")
            api.expect(fault).to_contain_text("visible ASCII characters")
            api.expect(page.locator("#key")).to_be_focused()
            assert page.evaluate(kept) is None
        page.evaluate(f"sessionStorage.setItem('loramix-key', '{NO_KEY}')")
        page.reload()
        api.expect(page.locator("#key-dialog")).to_be_visible()
        api.expect(fault).to_be_hidden()
        api.expect(page.locator("#banner")).to_be_hidden()
        assert page.evaluate(kept) is None
        page.fill("#key", f" {KEY} ")
        page.press("#key", "Enter")
        api.expect(page.locator(".starter")).to_have_count(5)
        assert page.evaluate(kept) == KEY
        one.context.close()


@pytest.mark.parametrize("look", ["light", "phone"])
def test_an_error_has_no_room_for_figures_that_it_has_not(
    browser: Any, server: ServerProcess, look: str
) -> None:
    one = Visitor(browser, server.url, look)
    page = one.page
    page.route("**/v1/chat/completions", lambda route: route.abort())
    card = one.ask(SUM)
    api.expect(card.locator(".error")).to_be_visible()
    api.expect(card.locator(".facts")).to_be_hidden()
    page.unroute("**/v1/chat/completions")
    card.get_by_role("button", name="Try again").click()
    api.expect(card.locator(".facts .legend")).to_be_visible()
    one.context.close()


def without_gate(folder: Path) -> Path:
    """A library whose gate went with a skill that it knew of."""
    library = copied_library(folder / "library")
    lose_gate(library)
    return library


def lose_gate(library: Path) -> None:
    with Library.open(library).edit() as txn:
        txn.remove("qa")


def test_without_a_gate_one_starts_by_hand(browser: Any, tmp_path: Path) -> None:
    with serving("--library", str(without_gate(tmp_path))) as running:
        one = Visitor(browser, running.url)
        page = one.page
        api.expect(page.locator("[name=mode][value=hand]")).to_be_checked()
        api.expect(page.locator("[name=mode][value=auto]")).to_be_disabled()
        api.expect(page.locator("#mode-note")).to_contain_text("Auto needs a gate")
        api.expect(page.locator("#hello")).to_contain_text("This library has no gate")
        api.expect(one.ask(SUM).locator(".legend")).to_have_text("base alone")
        page.click("#clear")
        page.locator(".starter", has_text="math").click()
        api.expect(one.answers().last.locator(".legend")).to_have_text("math 1.00")
        one.view("Skills")
        page.locator("#cards .card", has_text="code").locator(".examples button").first.click()
        api.expect(one.answers().last.locator(".legend")).to_have_text("code 1.00")
        one.view("Compare")
        api.expect(page.locator("#compare-picks")).not_to_contain_text("gate")
        api.expect(page.locator("#compare-picks :checked")).to_have_count(5)
        assert one.complaints == []
        one.context.close()


def test_where_the_gate_goes_the_page_says_what_to_do_and_takes_the_mix_by_hand(
    browser: Any, tmp_path: Path
) -> None:
    library = copied_library(tmp_path / "library")
    with serving("--library", str(library)) as running:
        one = Visitor(browser, running.url)
        page = one.page
        page.uncheck("#preview")
        api.expect(one.ask(SUM).locator(".legend")).to_have_text("math 1.00")
        lose_gate(library)
        page.wait_for_timeout(3_000)  # the server looks every second
        card = one.ask(SUM)
        api.expect(card.locator(".error")).to_have_text(
            "This library has no gate that could choose a mix. Choose one by hand."
        )
        api.expect(page.locator("[name=mode][value=auto]")).to_be_disabled()
        page.locator("#mix-math").fill("0.5")
        card.get_by_role("button", name="Try again").click()
        api.expect(card.locator(".legend")).to_have_text("math 0.50")
        one.context.close()
