"""The last message of a conversation decides, unless it only makes sense with the earlier ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from typing_extensions import Self

from loramix.base import load_base
from loramix.commands.chat import chat
from loramix.errors import PromptError
from loramix.gate import LearnedGate, Router, read_gate, route, route_turns
from loramix.gate.signs import signs_of
from loramix.library import Library
from loramix.mix import BASE
from loramix.sampling import Sampling

BENCHES = Path(__file__).resolve().parent.parent / "benches"
CODE = "Write a Python function that adds two numbers."
SUM = "What is 15% of 240?"
PASSAGE = "Omar lives in Lisbon and works as a baker. His sister Ines lives in Porto."


@pytest.fixture(scope="module")
def gate() -> LearnedGate:
    return read_gate(Library.shipped(), load_base("pocket", device="cpu"))


def said(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def test_one_message_is_routed_as_a_prompt_is(gate: LearnedGate) -> None:
    found = route_turns(gate, said(SUM))
    assert (found.reading, found.routing) == ("alone", route(gate, [SUM])[0])


@pytest.mark.parametrize(
    "message",
    [
        "and shorter, please",
        "again, but for three numbers",
        "in one line",
        "what about the second?",
    ],
)
def test_a_message_that_leans_gets_the_routing_of_the_request_before_it(
    gate: LearnedGate, message: str
) -> None:
    found = route_turns(gate, said(CODE, "def add(a, b): return a + b", message))
    alone = route(gate, [CODE])[0]
    assert found.reading == "carried"
    assert found.routing.mix == alone.mix
    # the prompt stands in a batch of two here, whose products may round otherwise
    assert found.routing.scores == pytest.approx(alone.scores, abs=1e-5)
    assert found.lean == pytest.approx(sum(found.signs.values()))


@pytest.mark.parametrize(
    ("message", "skill"),
    [(SUM, "math"), ("Thanks a lot!", BASE), ("Is it positive or negative?", "sentiment")],
)
def test_a_message_that_stands_alone_is_read_alone(
    gate: LearnedGate, message: str, skill: str
) -> None:
    found = route_turns(gate, said(CODE, "def add(a, b): return a + b", message))
    assert found.reading == "alone"
    assert max(found.routing.scores, key=found.routing.scores.__getitem__) == skill


def test_what_leans_on_a_message_that_leans_goes_back_to_what_that_one_leans_on(
    gate: LearnedGate,
) -> None:
    found = route_turns(gate, said(SUM, "36", CODE, "def …", "shorter", "def …", "once more"))
    assert (found.reading, found.text) == ("carried", CODE)


class Unsure(Router):
    """Knows what a passage with a question needs, and nothing of either alone."""

    name: ClassVar[str] = "unsure"
    skills = ("qa", "math")

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        both, either = [0.9, 0.05, 0.05], [0.2, 0.4, 0.4]
        return torch.tensor([both if "\n" in prompt else either for prompt in prompts])


def test_a_question_about_a_text_that_asked_for_nothing_is_read_together_with_it() -> None:
    found = route_turns(Unsure(), said(PASSAGE, "OK.", "and where is she?"))
    assert (found.reading, found.text) == ("together", f"{PASSAGE}\nand where is she?")
    assert found.routing.mix.weights == {"qa": 1}


def test_what_a_system_says_and_empty_messages_count_for_nothing(gate: LearnedGate) -> None:
    turns = [{"role": "system", "content": "You write code."}, *said(SUM, "36", "and of 300?")]
    plain = route_turns(gate, said(SUM, "36", "and of 300?"))
    assert route_turns(gate, turns) == plain
    assert route_turns(gate, [*turns, {"role": "user", "content": " "}]) == plain


@pytest.mark.parametrize("turns", [[], [{"role": "system", "content": "Be kind."}], said(" ")])
def test_a_conversation_without_a_question_is_refused(
    gate: LearnedGate, turns: list[dict[str, str]]
) -> None:
    with pytest.raises(PromptError, match="no message of a user"):
        route_turns(gate, turns)


def test_the_reading_and_its_reasons_can_be_reported(gate: LearnedGate) -> None:
    report = route_turns(gate, said(CODE, "def …", "make it shorter")).report()
    assert json.loads(json.dumps(report))["signs"]["revises"] > 0
    assert report["reading"] == "carried"


def test_a_greeting_before_a_message_is_no_sign() -> None:
    assert signs_of("Great! And shorter?", ["…"]) == signs_of("And shorter?", ["…"])


def test_a_chat_says_where_it_goes_on_as_before() -> None:
    lines = iter([CODE, "make it shorter", None])
    shown: list[str] = []
    chat(sampling=Sampling(max_new_tokens=1), read=lambda _: next(lines), write=shown.append)
    notes = [text.strip() for text in shown if text.startswith("\n[")]
    assert len(notes) == 2
    assert "as before" not in notes[0]
    assert notes[1].startswith(notes[0].split(",", 1)[0].rstrip("]"))
    assert "as before" in notes[1]


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BENCHES / name).read_text("utf-8").splitlines()]


def test_the_rule_beats_the_last_message_alone_on_conversations_it_was_not_fitted_on(
    gate: LearnedGate,
) -> None:
    rows = rows_of("conversations.jsonl")[1::2] + rows_of("conversations_third.jsonl")
    columns = (*gate.skills, BASE)
    rule = alone = reading = 0
    for row in rows:
        turns = route_turns(gate, said(*row["turns"]))
        found = max(turns.routing.scores, key=turns.routing.scores.__getitem__)
        rule += found == row["needs"]
        reading += (turns.reading != "alone") == row["depends"]
        alone += columns[int(gate.scores([row["turns"][-1]])[0].argmax())] == row["needs"]
    assert len(rows) == 100
    assert rule > 72
    assert reading > 82
    assert rule - alone > 10
