"""`int8`: what int8 weights cost in quality, against bfloat16."""

from __future__ import annotations

import json
import math
import os
import statistics
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from loramix.base import Base, load_base
from loramix.bench.measure import Bar
from loramix.bench.report import report
from loramix.bench.settings import Settings
from loramix.evaluate import evaluate_skills
from loramix.library import Library
from loramix.pocket.tasks import TASKS

DTYPES = ("bf16", "int8")
WINDOW = 512
TEXT = Path("data/summarization/dev.jsonl")
"""Papers and talks, one JSON object a line, in the folder of shared data; no base has seen them."""


def int8(settings: Settings, bar: Bar) -> dict[str, Any]:
    """Perplexity on real text, and scores of the shipped skills on held-out examples.

    The text is that of the folder that `LORAMIX_SHARED` names. `tokens` of it are read, and
    `rows` examples of each skill answered, the same for both types.

    Returns:
        As `report`, with `perplexity.{bf16,int8}`, `ratio.perplexity` (int8 divided by bf16),
        `skills.NAME.{bf16,int8}`, and by how many points int8 scores below bf16:
        `fall_points.NAME`, `mean_fall_points` and `worst_fall_points`.
    """
    own = settings.filled(300, 16_000, 1)
    id = settings.base or "pocket"
    text, missing = read_text()
    perplexity: dict[str, float] = {}
    scores: dict[str, dict[str, float]] = {}
    for place, dtype in enumerate(DTYPES):
        bar(place, len(DTYPES), f"loading {dtype} weights")
        base = load_base(id, "cpu", dtype)
        if text is not None:
            bar(place, len(DTYPES), f"{dtype}: reading")
            perplexity[dtype] = perplexity_of(base, text, own.tokens)
        library = Library.shipped()
        if library.fingerprint != base.fingerprint:
            missing["skills"] = f"the shipped skills are for {library.base_id}"
            continue

        def told(note: str, done: int, total: int, at: int = place, dtype: str = dtype) -> None:
            bar(at + done / total, len(DTYPES), f"{dtype}: {note.partition(':')[0]}")

        for name, score in skill_scores(base, library, own.rows, told).items():
            scores.setdefault(name, {})[dtype] = score
    bar(1, 1, "")
    falls = {name: 100 * (score["bf16"] - score["int8"]) for name, score in scores.items()}
    return report(
        "int8",
        own,
        {},
        {},
        missing,
        base=id,
        dtype="int8",
        text=None if text is None else str(TEXT),
        perplexity=perplexity,
        ratio={"perplexity": perplexity["int8"] / perplexity["bf16"] if perplexity else None},
        skills=scores,
        fall_points=falls,
        mean_fall_points=statistics.mean(falls.values()) if falls else None,
        worst_fall_points=max(falls.values()) if falls else None,
    )


def read_text() -> tuple[str | None, dict[str, str]]:
    """Real text, or None and why there is none."""
    shared = os.environ.get("LORAMIX_SHARED")
    if not shared:
        return None, {"perplexity": "LORAMIX_SHARED names no folder with real text"}
    try:
        lines = (Path(shared) / TEXT).read_text("utf-8").splitlines()
        return "\n\n".join(str(json.loads(line)["document"]) for line in lines if line), {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, {"perplexity": f"{Path(shared) / TEXT} cannot be read: {error}"}


@torch.inference_mode()
def perplexity_of(base: Base, text: str, tokens: int) -> float:
    """exp of the mean loss of each token of `text` given those before it in its window."""
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    window = min(WINDOW, base.max_length)
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, window):
        part = torch.tensor([ids[start : start + window]])
        if part.shape[1] > 1:
            logits = base.model(part, use_cache=False).logits[0, :-1].float()
            total += float(functional.cross_entropy(logits, part[0, 1:], reduction="sum"))
            count += part.shape[1] - 1
    return math.exp(total / count)


def skill_scores(base: Base, library: Library, examples: int, progress: Any) -> dict[str, float]:
    """The score of each skill that has a builtin task, on held-out examples."""
    tasks = {name: task for name, task in TASKS.items() if name in library.skills}
    found = evaluate_skills(base, library, tasks, ["skill"], examples, progress=progress)
    return {name: float(systems["skill"]["score"]) for name, systems in found.items()}
