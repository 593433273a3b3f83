"""The gate on real prompts, with a base that nobody tuned for this project."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from loramix.base import load_base
from loramix.evaluate import evaluate_router
from loramix.gate import RoutedExample, learn_gate, plug_in
from loramix.pocket.tasks import NONE

pytestmark = pytest.mark.slow

COLUMNS = {
    "sentiment": ("sentence",),
    "summarization": ("document",),
    "math": ("question",),
    "code": ("instruction", "input"),
    "qa": ("context", "question"),
}
COUNT = 600


def texts_of(shared: Path, name: str, split: str) -> list[str]:
    """Raw texts of a real data set in a random order."""

    def texts() -> Iterator[str]:
        with (shared / "data" / name / f"{split}.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield "\n".join(row[column] for column in COLUMNS[name] if row[column])

    found = [text for text in texts() if text.strip()]
    random.Random(0).shuffle(found)
    return found


def test_raw_texts_are_routed_and_a_skill_plugged_in_costs_the_others_nothing(
    shared: Path,
) -> None:
    base_path = shared / "bases" / "english-15m"
    if not (shared / "data").is_dir() or not base_path.is_dir():
        pytest.skip(f"{shared} holds no data or no base")
    base = load_base(str(base_path), device="cpu")
    train = {name: texts_of(shared, name, "train")[:COUNT] for name in COLUMNS}
    dev = {name: texts_of(shared, name, "dev") for name in COLUMNS}
    none = [RoutedExample(example.prompt) for example in NONE.examples("train", 300)]
    strange = [example.prompt for example in NONE.examples("test", 150)]

    examples = [RoutedExample(text, {name: 1.0}) for name in train for text in train[name]]
    gate = learn_gate(base, examples + none, tuple(COLUMNS))
    report = evaluate_router(gate, dev, strange)
    assert report["accuracy"] >= 0.97
    assert report["ece"] <= 0.05
    assert report["none_auroc"] >= 0.90

    old = tuple(name for name in COLUMNS if name != "qa")
    first = learn_gate(base, [e for e in examples if "qa" not in e.weights] + none, old)
    grown = plug_in(first, first.memories, "qa", train["qa"])
    old_dev = {name: dev[name] for name in old}
    before = evaluate_router(first, old_dev)["accuracy"]
    assert evaluate_router(grown, old_dev)["accuracy"] >= before - 0.01
    assert evaluate_router(grown, {"qa": dev["qa"]})["accuracy"] >= 0.9
