"""What is forgotten, as `loramix eval` measures it.

The skills as they are, beside one adapter that is taught a few rows of each task, one after
another.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from loramix.adapter import LoraSettings
from loramix.base import Base
from loramix.commands.eval_beside import kept
from loramix.commands.eval_systems import digests
from loramix.commands.eval_tasks import Wanted
from loramix.config import Config, TrainConfig
from loramix.data.load import load_train_dev
from loramix.evaluate import Answers, TestSet
from loramix.evaluate.forgetting import show_forgetting
from loramix.library import Library
from loramix.phases import Step
from loramix.pocket.tasks import BUILTIN
from loramix.train import SkillJob

ROWS = 800
"""Rows of each task that are learned, at most."""
TESTS = 50
"""Held-out rows of each that are scored after every stage, at most."""
BATCH = 16
"""Rows of a step."""


def forgetting_jobs(
    wanted: Wanted, library: Library, settings: Config | None, seed: int
) -> list[SkillJob]:
    """One for each task whose skill has training data: of the YAML, or builtin.

    They share one shape of LoRA, that of the largest skill, since one adapter is to learn them all.
    """
    tasks = [task for task in wanted.tasks if task.skill is not None]
    rows = {}
    for task in tasks:
        if settings is not None and task.name in settings.skills:
            own = settings.skills[task.name]
            rows[task.name], _ = load_train_dev(
                own.data, own.dev, own.prompt, own.completion,
                dev_fraction=settings.train.dev_fraction, seed=settings.train.seed,
            )  # fmt: skip
        elif task.builtin in BUILTIN:
            rows[task.name] = BUILTIN[task.builtin].examples("train", ROWS, seed)
    configs = [library.skill(name).adapter().config for name in rows if name in library.skills]
    if not configs:
        return []
    largest = max(configs, key=lambda config: int(config["r"]))
    lora = LoraSettings.of(largest)
    return [SkillJob(name, some[:ROWS], (), lora) for name, some in rows.items()]


def forgetting_of(
    base: Base,
    wanted: Wanted,
    library: Library,
    settings: Config | None,
    answers: Answers,
    seed: int,
    step: Step | None = None,
) -> dict[str, Any] | None:
    """`forgetting` of the report, as `show_forgetting` says it; None where it cannot be had.

    Args:
        step: is told how far it is. None trains nothing, and takes what an earlier run has kept.
    """
    jobs = forgetting_jobs(wanted, library, settings, seed)
    if len(jobs) < 2:
        return None
    config = TrainConfig(lr=2e-3, max_length=256) if settings is None else settings.train
    config = config.model_copy(
        update={"epochs": 1.0, "batch_size": BATCH, "grad_accum": 1, "together": False}
    )
    held = {
        task.name: TestSet(task.examples[:TESTS], task.metric.score_each, task.max_new_tokens)
        for task in wanted.tasks
    }
    names, own = [job.name for job in jobs], digests(library)
    learned = [[(e.prompt, e.completion) for e in job.train] for job in jobs]
    asked = [[(e.prompt, e.completion) for e in held[name].examples] for name in names]
    lengths = [[held[name].max_new_tokens for name in names], jobs[0].lora.model_dump(mode="json")]
    key = ["forgetting", [own[name] for name in names], config.model_dump(mode="json"), lengths,
           learned, asked]  # fmt: skip
    if step is None:
        earlier = None if answers.cache is None else answers.cache.get_record(*key)
        return None if earlier is None else dict(earlier)

    def learn() -> dict[str, Any]:
        adapters = {name: library.skill(name).adapter(base) for name in names}
        with tempfile.TemporaryDirectory() as folder:
            return show_forgetting(
                base, jobs, held, config, adapters, Path(folder), n=TESTS, seed=seed, step=step
            )

    return kept(answers, learn, *key)
