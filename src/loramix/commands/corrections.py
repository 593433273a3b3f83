"""Corrected routings: the lines of a JSONL file, and what each says that its prompt needs.

    {"prompt": "Has she replied?", "skill": "qa"}                      one skill, or "none"
    {"prompt": "Sum it up, with its tone", "skills": {"summarization": 0.6, "sentiment": 0.4}}
    {"prompt": "…", "mix": {"math": 1.0}, "correct": "code"}           as a server logs it, reviewed

`correct` is what the prompt needs in one of the forms above, or true where the mix was right. Lines
whose `correct` is null, false or missing were not reviewed to an end, and are passed over.
Instead of `prompt` a line may hold the `messages` of a conversation. What is learned is then the
text that decides its routing (`loramix.gate.route_turns`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramix.base.prompts import as_messages
from loramix.errors import DataError, LoramixError, PromptError
from loramix.mix import BASE, Mix, check_skills

NONE = "none"
_FORMS = (
    '{"prompt": text, "skill": name or "none"}, {"prompt": text, "skills": {name: share}}, or '
    'a logged {"prompt": text, "mix": {…}, "correct": true, a name, a recipe or shares}'
)


@dataclass(frozen=True)
class Correction:
    """What one prompt needs, and the line that says so.

    Attributes:
        prompt: the text; of a conversation the last message of a user.
        turns: of a conversation, `{"role", "content"}` each; else one.
        mix: what it needs.
        line: where it stands.
    """

    prompt: str
    turns: tuple[dict[str, str], ...]
    mix: Mix
    line: int


def read_corrections(
    path: Path, skills: Sequence[str], mixes: Mapping[str, Mix] | None = None
) -> tuple[list[Correction], int]:
    """The corrections of a file, each prompt once, and how many lines were passed over.

    Args:
        path: the JSONL file.
        skills: that there are.
        mixes: that the library keeps under a name; a correction may name them.

    Raises:
        DataError: the file cannot be read, is empty, holds no correction, or a line is no
            correction; the message names the line.
        UnknownSkillError, RecipeError: a line names what there is not; likewise.
    """
    found: dict[str, Correction] = {}
    passed = 0
    for number, text in _lines(path):
        where = f"{path}, line {number}"
        row = _object(text, where)
        turns = _turns(row, where)
        wanted = _wanted(row, where)
        if wanted is None:
            passed += 1
            continue
        try:
            mix = _mix(wanted, skills, mixes or {})
            check_skills(mix, skills, mixes or ())
        except LoramixError as error:
            raise type(error)(
                f"{where}: {error.what}",
                given=error.given,
                expected=error.expected,
                hint=error.hint,
            ) from error
        key = json.dumps(turns)
        before = found.get(key)
        if before is not None and before.mix != mix:
            raise DataError(
                f"{where}: the same prompt needs something else than on line {before.line}.",
                given=f"{mix} and {before.mix}",
                expected="one answer for each prompt",
                hint="delete one of the two lines",
            )
        said = [t["content"] for t in turns if t["role"] == "user" and t["content"].strip()]
        found.setdefault(key, Correction(said[-1], turns, mix, number))
    if not found:
        raise DataError(
            f"There is nothing to learn from in {path}.",
            given=f"{passed} lines without `correct`" if passed else "an empty file",
            expected=_FORMS,
            hint="fill in `correct` where a mix was wrong" if passed else "one correction a line",
        )
    return list(found.values()), passed


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The corrections cannot be read: {error.strerror or error}",
            given=path,
            expected="a JSONL file, one correction a line",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text.",
            given=f"byte {error.object[error.start]:#04x} at {error.start}",
            hint="convert it: iconv -f LATIN1 -t UTF-8",
        ) from error
    return [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{where}: this is no JSON ({error}).", given=text, expected=_FORMS
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: this is no correction.", given=text, expected=_FORMS)
    return row


def _turns(row: Mapping[str, Any], where: str) -> tuple[dict[str, str], ...]:
    """The turns that the line is about, at least one of a user with text."""
    prompt, messages = row.get("prompt"), row.get("messages")
    turns: list[dict[str, str]] = []
    if isinstance(prompt, str):
        turns = [{"role": "user", "content": prompt}]
    elif prompt is None and isinstance(messages, list):
        try:
            turns = as_messages(messages)
        except PromptError as error:
            raise DataError(
                f"{where}: {error.what}", given=error.given, expected=error.expected
            ) from error
    if not any(turn["role"] == "user" and turn["content"].strip() for turn in turns):
        raise DataError(
            f"{where}: there is no prompt.",
            given=", ".join(row) or "no keys",
            expected=_FORMS,
            hint='name the text "prompt"',
        )
    return tuple(turns)


def _wanted(row: Mapping[str, Any], where: str) -> str | Mapping[str, Any] | None:
    """What the line says that the prompt needs; None where nobody has said it."""
    named = [key for key in ("skill", "skills", "correct") if row.get(key) is not None]
    if len(named) > 1:
        raise DataError(
            f"{where}: it says twice what the prompt needs.",
            given=" and ".join(named),
            expected=_FORMS,
        )
    wanted = row[named[0]] if named else None
    if named == ["correct"] and wanted is True:
        wanted = row.get("mix")
    elif wanted in (None, False) and ("mix" in row or "correct" in row):
        return None
    if not isinstance(wanted, str | Mapping):
        raise DataError(
            f"{where}: it does not say what the prompt needs.",
            given=", ".join(row) if wanted is None else json.dumps(wanted),
            expected=_FORMS,
        )
    return wanted


def _mix(wanted: str | Mapping[str, Any], skills: Sequence[str], mixes: Mapping[str, Mix]) -> Mix:
    if not isinstance(wanted, str):
        nothing = {BASE, NONE} - set(skills)
        return Mix.of({name: share for name, share in wanted.items() if name not in nothing})
    if wanted.strip() == NONE and NONE not in skills:
        return Mix.base()
    return Mix.parse(wanted, mixes)
