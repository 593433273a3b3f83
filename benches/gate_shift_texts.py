"""Texts for the shift benchmark and for the request encoder, by source."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Collection, Sequence

from gate_data import COLUMNS, SHARED

_WORDS = 110


def rows_of(name: str, split: str, seed: int = 0, without: Collection[str] = ()) -> list[str]:
    """Raw texts of a shared data set in a random order; of some code rows the signature too.

    Args:
        name, split: which file.
        seed: of the order.
        without: the sources, as the column `dataset` has them, that stay out.
    """
    rng = random.Random(seed)
    texts = []
    for row in _json_lines(name, split):
        if row.get("dataset") in without:
            continue
        parts = [str(row[c]) for c in COLUMNS[name] if row[c]]
        if name == "code" and split == "train" and row["dataset"] == "mbpp":
            texts.append("\n".join(parts))
            texts += _stubs(row, rng)
        else:
            texts.append("\n".join(parts))
    rng.shuffle(texts)
    return [text for text in texts if text.strip()]


def _stubs(row: dict[str, object], rng: random.Random) -> list[str]:
    """The same task as editors hold it: a signature, a docstring, and what it must give."""
    found = re.search(r"^def .*:", str(row["output"]), re.MULTILINE)
    if not found:
        return []
    told, tests = str(row["instruction"]), [str(test) for test in row["test_list"]]
    quotes = rng.choice(('"""', "'''"))
    bare = f"{found[0]}\n    {quotes}{told}{quotes}"
    split = [re.fullmatch(r"assert\s+(.*?)\s*==\s*(.*)", test) for test in tests]
    shown = [f">>> {test[1]}\n    {test[2]}" for test in split if test]
    told = re.sub(r"^Write a (python )?function to ", "", told)
    told = told[:1].upper() + told[1:]
    rng.shuffle(shown)
    examples = "\n    ".join(shown[: rng.randint(1, 3)])
    imports = rng.choice(("", "", "from typing import List\n\n\n", "import math\n\n"))
    doctests = f"{imports}{found[0]}\n    {quotes} {told}\n    {examples}\n    {quotes}\n"
    asserts = "\n".join([f"{found[0]}\n    # {told}", "", *tests[: rng.randint(1, 3)]])
    begun = f"{imports}{found[0]}\n    {quotes}{told}{quotes}\n"
    return [bare, doctests, rng.choice((asserts, begun))]


def questions_of(split: str) -> list[str]:
    """Questions about texts, of the shared question answering data."""
    found = [str(row["question"]).strip() for row in _json_lines("qa", split)]
    return [q if q.endswith("?") else q + "?" for q in found]


def reviews_among_stories(
    opinions: Sequence[str], count: int, seed: int = 0, told: Sequence[str] = ()
) -> list[str]:
    """Long reviews as people write them: 6 to 40 sentences, opinions among what happens.

    Args:
        opinions: sentences; 0.3 to 0.8 of a review.
        count: how many.
        seed: of what is chosen.
        told: texts whose sentences are the rest; by default the passages of the training questions.
    """
    rng = random.Random(seed)
    passages = told or [
        str(r["context"]) for r in _json_lines("qa", "train") if r["dataset"] != "babi"
    ]
    told = [x.strip() for p in passages for x in re.split(r"(?<=[.!?])\s+", p) if 20 < len(x) < 300]
    made = []
    for _ in range(count):
        size, share = rng.randint(6, 40), rng.uniform(0.3, 0.8)
        at = rng.randrange(len(told) - size)
        story = iter(told[at : at + size])
        own = (rng.choice(opinions) if rng.random() < share else next(story) for _ in range(size))
        made.append(" ".join(own))
    return made


def corpus_texts(name: str, count: int, seed: int = 0) -> list[str]:
    """Passages of about 10 to 110 words of a file of the shared corpus."""
    path = SHARED / "corpus" / f"{name}.txt.zst"
    raw = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True).stdout
    documents = raw.decode("utf-8", "replace").split("<|endofdoc|>")
    rng = random.Random(seed)
    rng.shuffle(documents)
    passages = []
    for document in documents[: max(60, count // 4)]:
        words = document.strip().split(" ")
        for _ in range(max(1, min(60, len(words) // 200))):
            size = rng.randint(10, _WORDS)
            at = rng.randrange(max(1, len(words) - size))
            passages.append(" ".join(words[at : at + size]).strip())
    passages = [text for text in passages if len(text) > 30]
    rng.shuffle(passages)
    return passages[:count]


def _json_lines(name: str, split: str) -> list[dict[str, object]]:
    lines = (SHARED / "data" / name / f"{split}.jsonl").read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
