"""Prompts that the gate's benchmarks share: of the pocket tasks, and real texts."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from loramix.gate import RoutedExample
from loramix.pocket.tasks import COMPOSITES, NONE, TASKS
from loramix.pocket.words import Split

SHARED = Path(
    os.environ.get("LORAMIX_SHARED", Path(__file__).resolve().parent.parent.parent / "shared")
)
COLUMNS = {
    "sentiment": ("sentence",),
    "summarization": ("document",),
    "math": ("question",),
    "code": ("instruction", "input"),
    "qa": ("context", "question"),
}


def pocket_examples(split: Split, count: int, seed: int = 0) -> list[RoutedExample]:
    """`count` prompts of each pocket skill, of none, and half as many of each composite."""
    routed = [
        RoutedExample(e.prompt, {name: 1.0})
        for name, task in TASKS.items()
        for e in task.examples(split, count, seed)
    ]
    routed += [RoutedExample(e.prompt) for e in NONE.examples(split, count, seed)]
    for composite in COMPOSITES.values():
        for example in composite.examples(split, max(1, count // 2), seed):
            routed.append(RoutedExample(example.prompt, example.meta["skills"]))
    return routed


def real_texts(split: str, count: int, seed: int = 0) -> dict[str, list[str]]:
    """At most `count` raw texts of each real data set, no instruction added."""
    texts = {}
    for name, columns in COLUMNS.items():
        # Not splitlines: the texts hold line separators of their own.
        lines = (SHARED / "data" / name / f"{split}.jsonl").read_text("utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        random.Random(seed).shuffle(rows)
        found = ["\n".join(str(row[c]) for c in columns if row[c]) for row in rows]
        texts[name] = [text for text in found if text.strip()][:count]
    return texts


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def say(line: str) -> None:
    """Writes a line to stdout now, so that a long run shows what it has."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
