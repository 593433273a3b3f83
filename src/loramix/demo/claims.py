"""What one base with many adapters is good for, measured: no forgetting, one expert, little room.

All are small measurements beside the demo's main ones; `benches/forgetting.py`,
`benches/merge_retention.py` and `benches/storage.py` take them at length.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loramix.adapter import Adapter
from loramix.base import Base
from loramix.demo.settings import DemoSettings
from loramix.evaluate import Bar, bar
from loramix.evaluate.forgetting import show_forgetting
from loramix.evaluate.storage import measure_storage
from loramix.merge import METHODS, merge_adapters
from loramix.merge.inputs import Material
from loramix.merge.retention import Judge
from loramix.phases import Step
from loramix.train import SkillJob

BATCH = 16  # rows of a step where one task is trained at a time


def forgetting(
    base: Base,
    jobs: Sequence[SkillJob],
    adapters: Mapping[str, Adapter],
    settings: DemoSettings,
    seed: int,
    out: Path,
    step: Step,
) -> dict[str, Any]:
    """The skills put into a library one after another, next to one adapter taught all tasks; see
    `show_forgetting`.
    """
    few = [replace(job, train=job.train[: settings.forgetting_examples]) for job in jobs]
    config = settings.train.model_copy(
        update={"epochs": 1.0, "batch_size": BATCH, "together": False, "seed": seed}
    )
    with tempfile.TemporaryDirectory(dir=out) as folder:
        return show_forgetting(
            base, few, settings.tasks, config, adapters, Path(folder),
            n=settings.forgetting_tests, seed=seed, step=step,
        )  # fmt: skip


def forgetting_bar(found: Mapping[str, Any]) -> Bar:
    """What adding skills changed of earlier ones; NaN, a miss, if a file of theirs changed."""
    moved = found["moved"] if found["unchanged"] else float("nan")
    return bar("earlier skills, moved by adding others", moved, "≤", 0.0)


def retention(
    base: Base,
    adapters: Mapping[str, Adapter],
    before: Mapping[str, Mapping[str, Any]],
    settings: DemoSettings,
    seed: int,
    step: Step,
) -> dict[str, Any]:
    """All skills merged into one expert, scored on the examples that the skills were scored on.

    Args:
        base: the frozen base.
        adapters: skill → adapter.
        before: skill → its score with its own adapter on `settings.test_examples`.
        settings: `expert` names the method; empty leaves all of this out.
        seed: of the examples, the intervals, and of a method that draws.
        step: is told how far the scoring is.

    Returns:
        `method`, `rank`; `before` and `after`, skill → score; `intervals`, skill → [low, high]
        of the latter. Empty where there is no expert.
    """
    if not settings.expert:
        return {}
    method = METHODS[settings.expert]
    material = Material(base, adapters, {}, settings.tasks).of(method)
    expert = merge_adapters(adapters, method=settings.expert, seed=seed, **material)
    judge = Judge(base, settings.tasks, "test", settings.test_examples, seed)
    after = judge.expert(expert.adapter, lambda note, done, total: step(done, total, note))
    return {
        "method": expert.method,
        "rank": expert.rank,
        "before": {name: before[name]["score"] for name in adapters},
        "after": {name: after[name]["score"] for name in adapters},
        "intervals": {name: [after[name]["low"], after[name]["high"]] for name in adapters},
    }


def storage(
    base: Base, adapters: Mapping[str, Adapter], settings: DemoSettings, out: Path
) -> dict[str, Any]:
    """{"shapes": [what `measure_storage` says of this base and these adapters]}."""
    some = dict(list(adapters.items())[: settings.weighed])
    if not some:
        return {"shapes": []}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        return {"shapes": [measure_storage(base, some, Path(folder))]}
