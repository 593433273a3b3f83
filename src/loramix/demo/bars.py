"""The bars of the demo: what it has to reach on two cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from loramix.demo import prompts
from loramix.evaluate import Bar, bar, bar_between, joint_score
from loramix.gate.router import Router

SKILL_BAR = 0.92
BASE_BAR = 0.25


def skill_bars(skills: Mapping[str, Mapping[str, Any]]) -> list[Bar]:
    """Each skill, the base on each, and the routed whole next to the right adapters."""
    bars = [
        bar(f"{name}, with its adapter", row["skill"], "≥", SKILL_BAR)
        for name, row in skills.items()
    ]
    bars += [
        bar(f"{name}, the base alone", row["base"], "<", BASE_BAR) for name, row in skills.items()
    ]
    # rounded at the 12th digit: a mean of means must not miss its bar by the last bit
    lost = round(mean(skills, "skill") - mean(skills, "routed"), 12)
    bars.append(bar("lost by routing, mean of the skills", lost, "≤", 0.01))
    return bars


def mean(skills: Mapping[str, Mapping[str, Any]], system: str) -> float:
    """The mean score of a system over the skills."""
    return sum(float(row[system]) for row in skills.values()) / len(skills)


def gate_bars(gate: Mapping[str, Any]) -> list[Bar]:
    """Accuracy, none of these, and two at once, on generated prompts."""
    return [
        bar("gate accuracy, held-out prompts", gate["accuracy"], "≥", 0.98),
        bar("none of these against the skills, AUROC", gate["none_auroc"], "≥", 0.90),
        bar("composites: the two skills are the top two", gate["top_two"], "≥", 0.90),
    ]


def prompt_bars(router: Router) -> list[Bar]:
    """Prompts typed by hand: each figure is that of the worst prompt."""
    tone = _scores(router, "sentiment", prompts.about_messages(prompts.TONE_ONLY))
    line = _scores(router, "summarization", prompts.about_messages(prompts.LINE_ONLY))
    both = prompts.about_messages(prompts.TONE_AND_LINE)
    shares = _scores(router, "sentiment", both) + _scores(router, "summarization", both)
    quadratic = joint_score(router, ["code", "math"], prompts.QUADRATIC)
    return [
        bar("asks only for the tone: sentiment", min(tone), "≥", 0.8),
        bar("asks only for one line: summarization", min(line), "≥", 0.7),
        bar_between("asks for both: each of the two", shares, 0.25, 0.75),
        bar("a quadratic in Python: code and math on top, together", min(quadratic), "≥", 0.8),
    ]


def resource_bars(seconds: float, most: float | None, peak_rss_mb: float) -> list[Bar]:
    """Time, where `most` bounds it, and memory of the whole demo."""
    time = [] if most is None else [bar("the whole demo, seconds", seconds, "≤", most)]
    return [*time, bar("peak memory, MiB", peak_rss_mb, "≤", 3072)]


def _scores(router: Router, skill: str, texts: Sequence[str]) -> list[float]:
    scores: torch.Tensor = router.scores(texts)[:, router.skills.index(skill)]
    return [float(score) for score in scores]
