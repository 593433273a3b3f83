"""A gate that reads requests, through the commands: bare texts, and few examples of a skill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loramix.commands.library import add
from loramix.commands.route import route
from loramix.commands.train import train
from loramix.library import shipped_path
from loramix.pocket.tasks import TASKS
from tiny_base import save_base

YAML = """
base: base
library: library
skills:
  sentiment:
    data: {path: reviews.jsonl}
    prompt: "{text}"
    completion: "{answer}"
  math:
    data: {path: sums.jsonl}
    prompt: "{text}"
    completion: "{answer}"
train: {max_steps: 2, batch_size: 8, bf16: false}
evaluation: {examples: 2, max_new_tokens: 2}
gate: {features: request, memory: 60}
"""
FRUIT = ("apples", "pears", "plums", "figs", "nuts")
FILMS = ("a warm and funny film", "dull from start to end", "the plot drags", "what a joy")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two skills trained on texts without a request."""
    folder = tmp_path_factory.mktemp("run")
    save_base(folder / "base", max_position_embeddings=256)
    texts = {
        "reviews": [f"{FILMS[i % 4]} , act {i} was long" for i in range(60)],
        "sums": [f"Ann has {i} {FRUIT[i % 5]} and buys {i + 2} more. How many?" for i in range(60)],
    }
    for name, some in texts.items():
        rows = [json.dumps({"text": text, "answer": "yes"}) for text in some]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    (folder / "run.yaml").write_text(YAML)
    train(folder / "run.yaml")
    return folder / "library"


def best(prompt: str, library: Path) -> str:
    scores: dict[str, Any] = route(prompt, library=library)["scores"]
    return max(scores, key=scores.__getitem__)


def test_a_gate_trained_on_bare_texts_goes_by_the_request_and_not_by_the_topic(
    library: Path,
) -> None:
    text = "Ann has 7 apples and buys 2 more."
    assert best(f"How does the writer feel about this? {text}", library) == "sentiment"
    assert best(f"{text}\n\nWork out how many that makes.", library) == "math"
    assert best("What mood is the author in? a warm and funny film", library) == "sentiment"
    assert best("Translate this into Dutch: a warm and funny film", library) == "base"


def add_translator(library: Path, examples: Path) -> None:
    """Five examples and a description."""
    asked = (
        "Translate into French: good morning",
        "how do you say thank you in spanish",
        "Put this in German: the lamp is old",
        "in italian please: where is the station?",
        "What is the Dutch for bread?",
    )
    examples.write_text("\n".join(json.dumps({"prompt": text}) for text in asked))
    add(
        library / "skills" / "math",
        name="translator",
        examples=examples,
        description="translates texts into other languages",
        library=library,
    )


def test_the_library_that_ships_finds_a_skill_of_five_examples_and_loses_none(
    tmp_path: Path,
) -> None:
    library = Path(shutil.copytree(shipped_path(), tmp_path / "library"))
    held = [(name, e.prompt) for name, t in TASKS.items() for e in t.examples("test", 8, 0)]
    before = [best(prompt, library) for _, prompt in held]
    add_translator(library, tmp_path / "few.jsonl")
    for prompt in (
        "Can you translate this to Polish? Ann has 7 apples.",
        "the plot drags\n\nSay that in Portuguese.",
        "How do I say good night in Turkish?",
    ):
        assert best(prompt, library) == "translator"
    after = [best(prompt, library) for _, prompt in held]
    assert sum(a == b for a, b in zip(after, before, strict=True)) >= len(held) - 1


def test_a_skill_with_a_description_and_five_examples_is_found_at_once(library: Path) -> None:
    add_translator(library, library.parent / "few.jsonl")
    for prompt in (
        "Can you translate this to Polish? Ann has 7 apples.",
        "the plot drags\n\nSay that in Portuguese.",
    ):
        assert best(prompt, library) == "translator"
    assert best("How does the writer feel about this? the plot drags", library) == "sentiment"
