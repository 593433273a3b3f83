"""Mixes at work: requests that need two skills, and prompts that a person might type."""

from __future__ import annotations

from typing import Any

from loramix.demo import prompts
from loramix.demo.settings import DemoSettings
from loramix.evaluate import Answers, Score, score_of
from loramix.evaluate.samples import Shown, answer_samples
from loramix.gate import Router, route
from loramix.mix import Mix, Policy
from loramix.phases import Step
from loramix.pocket.tasks import COMPOSITES

MOST_TOKENS = 96


def blend_tables(
    answers: Answers,
    router: Router,
    policy: Policy,
    settings: DemoSettings,
    seed: int,
    step: Step,
) -> list[dict[str, Any]]:
    """Composites answered with the gate's mix, and with each of the two skills alone.

    Returns:
        For each kind `name`, `n` and `rows`: `mix`, `parts` (the mean score of each skill's part
        of the answer), `mean` of both and its `interval`.
    """
    tables: list[dict[str, Any]] = []
    total = len(COMPOSITES) * 3
    for composite in COMPOSITES.values():
        examples = composite.answerable("test", settings.composite_examples, seed)
        texts = [example.prompt for example in examples]
        systems = {"the gate's mix": [r.mix for r in route(router, texts, policy)]}
        systems |= {
            f"{name} alone": [Mix.of({name: 1.0})] * len(texts) for name in composite.skills
        }
        rows: list[dict[str, Any]] = []
        for mix, mixes in systems.items():
            step(len(tables) * 3 + len(rows), total, f"{composite.name}: {mix}")
            written = [c.text for c in answers(texts, mixes, composite.max_new_tokens)]
            scored = composite.score_parts(examples, written)
            parts: dict[str, Score] = {s: score_of(v, seed) for s, v in scored.items()}
            means = [parts[name].mean for name in composite.skills]
            each = [sum(marks) / len(marks) for marks in zip(*scored.values(), strict=True)]
            both = score_of(each, seed)
            rows.append(
                {"mix": mix, "parts": means, "mean": both.mean, "interval": [both.low, both.high]}
            )
        name = " and ".join(composite.skills)
        tables.append({"name": name, "n": len(texts), "rows": rows})
    return tables


def samples(answers: Answers, router: Router, policy: Policy) -> list[dict[str, Any]]:
    """The prompts of `prompts.SHOWN` with scores, mix and text."""
    shown = [Shown(title, prompt, MOST_TOKENS) for title, prompt in prompts.SHOWN]
    return answer_samples(answers, shown, router, policy)
