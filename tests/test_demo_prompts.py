"""The prompts typed by hand are no training prompts, so that figures on them say something."""

from __future__ import annotations

import re

import pytest

from loramix.demo import prompts
from loramix.pocket.tasks import COMPOSITES, TASKS, code, composites, sentiment, summarization
from loramix.pocket.tasks.messages import KINDS
from loramix.pocket.tasks.phrasing import SOFTENERS
from loramix.pocket.words import pool

ASK = {
    "sentiment": (sentiment.ASK,),
    "summarization": (summarization.ASK,),
    "code": (code.ASK, code.TO, code.DOES, code.TAKES, code.GIVEN),
    "summary_and_tone": (composites.BOTH_OF_TEXT,),
    "code_and_math": (composites.CODE_AND_MATH,),
}
SLOTS = {"kind": "|".join(map(re.escape, KINDS)), "x": ".+?"}
# No program of the code task solves equations; what solves them is asked for with their maths.
A_PROGRAM = r"(?:(?!quadratic|equation|roots).)+?"
TASKS_OF = {**TASKS, **COMPOSITES}


def pattern(template: str, slots: dict[str, str] = SLOTS) -> str:
    """An expression for all requests that a template makes, but for what ends them."""
    text = ""
    for part in re.split(r"(\[[^]]*\])", template.removeprefix("~").rstrip(".:?")):
        choices = part[1:-1].split("/") if part[:1] == "[" else [part]
        text += f"(?:{'|'.join(map(re.escape, choices))})"
    for slot, fillings in slots.items():
        text = text.replace(re.escape("{" + slot + "}"), f"(?:{fillings})")
    return text


def made(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a training request of these tasks that stands alone, before a text or after it."""
    soft = "|".join(sorted(set(SOFTENERS)))

    def any_of(name: str) -> str:
        slots = {**SLOTS, "x": A_PROGRAM} if name == "code" else SLOTS
        templates = (template for each in ASK[name] for template in pool(each, "train"))
        return "|".join(pattern(template, slots) for template in templates)

    patterns = "|".join(map(any_of, names))
    if "summary_and_tone" in names:  # or a request of each of the two in a row
        single = f"(?:{any_of('sentiment')}|{any_of('summarization')})"
        joints = "|".join(re.escape(joint.lstrip(".")) for joint in composites.AND)
        patterns += f"|{single}[.:?]*(?:{joints})(?:{soft}){single}"
    start, end = r"(?:^|\n|[.:?!,\"] )", r"[.:?]*(?:$|\n|(?<=[.:?]) )"
    return re.compile(f"{start}(?:{soft})(?:{patterns}){end}", re.I)


ABOUT_TEXT = ("sentiment", "summarization", "summary_and_tone")
MEASURED = {
    "tone": (prompts.TONE_ONLY, ABOUT_TEXT),
    "line": (prompts.LINE_ONLY, ABOUT_TEXT),
    "both": (prompts.TONE_AND_LINE, ABOUT_TEXT),
    "quadratic": (prompts.QUADRATIC, ("code", "code_and_math")),
    "readme": (tuple(prompt for _, prompt in prompts.SHOWN[:4]), ABOUT_TEXT),
}


@pytest.mark.parametrize("name", MEASURED)
def test_no_measured_or_shown_request_is_made_from_a_training_template(name: str) -> None:
    requests, tasks = MEASURED[name]
    found = {text: hit.group() for text in requests if (hit := made(tasks).search(text))}
    assert requests
    assert found == {}


@pytest.mark.parametrize("name", ASK)
def test_a_training_prompt_would_be_recognised(name: str) -> None:
    expression = made((name,))
    texts = [example.prompt for example in TASKS_OF[name].examples("train", 300, 1)]
    found = sum(expression.search(text) is not None for text in texts)
    assert found > 0.9 * len(texts)  # the others stand behind a text that ends without a stop
