"""What is known about a skill: `skill.json` for programs, `README.md` for people and the Hub."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict

SHOWN_EXAMPLES = 5


class LoraSummary(BaseModel):
    """The adapter in four figures, so that a list needs no tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int
    parameters: int
    bytes: int
    targets: list[str]


class SkillCard(BaseModel):
    """What a skill is, what it scored, where it came from.

    The library fills in `name`, `created`, `base_id`, `base_fingerprint`, `lora` and
    `memory_shape` when the skill is added; the rest is the caller's.

    Attributes:
        description: what the skill does, one line.
        examples: prompts that the skill is for.
        scores: measured figures by name, such as {"test": 0.96, "base": 0.1}.
        provenance: data, command, seed, sources: whatever tells where the skill comes from.
        created: ISO 8601 time, UTC.
        lora: summary of the adapter.
        memory_shape: (N, F) of `memory.safetensors`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str = ""
    examples: list[str] = []
    scores: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    created: str = ""
    base_id: str = ""
    base_fingerprint: str = ""
    lora: LoraSummary | None = None
    memory_shape: tuple[int, int] | None = None

    @property
    def task(self) -> str:
        """What the provenance says of the builtin task that it has learned; empty: nothing."""
        return str(self.provenance.get("task") or "")


def model_card(card: SkillCard) -> str:
    """The `README.md` of a skill: a Hugging Face model card whose front matter the Hub reads."""
    front = [
        f"base_model: {json.dumps(card.base_id)}",
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("lora", "peft", "loramix")),
    ]
    parts = ["---", *front, "---", "", f"# {card.name}", ""]
    if card.description:
        parts += [_one_line(card.description), ""]
    parts += [f"A LoRA skill for the base `{_one_line(card.base_id)}`, made by loramix.", ""]
    if card.lora:
        targets = ", ".join(card.lora.targets)
        parts += [
            f"Rank {card.lora.rank}, {card.lora.parameters:,} parameters, on {targets}.",
            "",
        ]
    if card.scores:
        parts += ["## Scores", "", "| measure | score |", "|---|---|"]
        parts += [f"| {_cell(name)} | {value:.4g} |" for name, value in card.scores.items()]
        parts.append("")
    if card.examples:
        parts += ["## Prompts it is for", ""]
        for example in card.examples[:SHOWN_EXAMPLES]:
            parts += [_fenced(example), ""]
    if card.provenance:
        text = json.dumps(card.provenance, indent=2, ensure_ascii=False, default=str)
        parts += ["## Where it comes from", "", _fenced(text, "json"), ""]
    parts += [
        "## Use",
        "",
        _fenced(f"loramix generate --library LIBRARY --mix {card.name} PROMPT", "sh"),
        "",
        "or, this folder being a plain PEFT adapter:",
        "",
        _fenced('model = peft.PeftModel.from_pretrained(base_model, "THIS FOLDER")', "python"),
        "",
    ]
    return "\n".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _fenced(text: str, language: str = "text") -> str:
    """A code block that the text cannot end, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
