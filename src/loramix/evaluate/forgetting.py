"""What earlier skills lose when later ones are learned: with loramix, and with one adapter.

The usual way to teach a small model a second task is to go on training it, and what it knew of
the first fades (catastrophic forgetting; McCloskey & Cohen, 1989). A skill of a library is a file
of its own beside a frozen base, so that nothing can reach the earlier ones. Here both ways are
taken, task after task, and every task learned so far is scored after each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from loramix.adapter import Adapter
from loramix.base import Base
from loramix.config import TrainConfig
from loramix.errors import Interrupted, UsageError
from loramix.evaluate.skills import MakesExamples, TestSet, evaluate_skills, held_out
from loramix.library import Library, Skill, SkillCard
from loramix.train import SkillJob, train_skills

ONE = "one_adapter"

Stage = Callable[[str, int, int], None]
"""Called with what is going on, how many stages are done, and how many there are."""


@dataclass(frozen=True)
class Forgetting:
    """Scores after each stage, where a stage is a task learned.

    Attributes:
        tasks: in the order in which they were learned.
        loramix: for each stage, task → score of its skill as the library then holds it.
        one_adapter: the same of one adapter that went on from task to task.
        unchanged: whether the files of every earlier skill were the same after each stage, byte
            for byte.
        n: test examples of each task.
        intervals: `loramix` and `one_adapter` → for each stage, task → (low, high), 95 %.
    """

    tasks: tuple[str, ...]
    loramix: tuple[Mapping[str, float], ...]
    one_adapter: tuple[Mapping[str, float], ...]
    unchanged: bool
    n: int
    intervals: Mapping[str, Sequence[Mapping[str, tuple[float, float]]]] = field(
        default_factory=dict
    )

    @property
    def moved(self) -> float:
        """The most that the score of an earlier skill of the library changed, up or down."""
        return max((abs(change) for change in _changes(self.loramix)), default=0.0)

    @property
    def fell(self) -> float:
        """The most that a task lost with one adapter, from when it had just been learned."""
        return max(0.0, max((-change for change in _changes(self.one_adapter)), default=0.0))

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "tasks": list(self.tasks),
            "loramix": [dict(stage) for stage in self.loramix],
            ONE: [dict(stage) for stage in self.one_adapter],
            "unchanged": self.unchanged,
            "moved": self.moved,
            "fell": self.fell,
            "n": self.n,
            "intervals": {
                way: [{name: list(ends) for name, ends in stage.items()} for stage in stages]
                for way, stages in self.intervals.items()
            },
        }


def measure_forgetting(
    base: Base,
    jobs: Sequence[SkillJob],
    tasks: Mapping[str, MakesExamples | TestSet],
    config: TrainConfig,
    folder: Path,
    *,
    trained: Mapping[str, Adapter] | None = None,
    n: int = 50,
    seed: int = 0,
    stage: Stage = lambda _what, _done, _total: None,
) -> Forgetting:
    """Learn the jobs one after another, in both ways.

    Args:
        base: stays as it is.
        jobs: one a task, in the order in which they are learned, with the same LoRA settings.
        tasks: the task of each job, by name, or its test set.
        config: how each is trained; one adapter gets the same rows, steps and rates a task.
        folder: for a library and what training leaves; it should be empty.
        trained: the skills, where they have been trained already; the library then takes them
            in one after another. Without it each is trained alone at its stage.
        n: test examples of each task, the same after every stage.
        seed: of the test examples.
        stage: is told where it is.

    Raises:
        UsageError: the jobs have different LoRA settings, so that one adapter cannot go on.
        LoramixError: as `train_skills` and `Library.edit`.
    """
    if len({repr(job.lora) for job in jobs}) > 1:
        raise UsageError(
            "One adapter cannot go on from task to task when each has LoRA settings of its own.",
            given=", ".join(job.name for job in jobs),
            hint="give all jobs the same `lora`",
        )
    held = {job.name: held_out(tasks[job.name], n, seed) for job in jobs}
    total, names = 2 * len(jobs), [job.name for job in jobs]

    within: dict[str, list[dict[str, tuple[float, float]]]] = {"loramix": [], ONE: []}

    def scores(
        way: str, skills: Library | Mapping[str, Adapter], known: Sequence[str]
    ) -> dict[str, float]:
        asked = {name: held[name] for name in known}
        found = evaluate_skills(base, skills, asked, ("skill",), seed=seed)
        rows = {name: row["skill"] for name, row in found.items()}
        within[way].append({name: (row["low"], row["high"]) for name, row in rows.items()})
        return {name: float(row["score"]) for name, row in rows.items()}

    library = Library.create(folder / "library", base.id, base.fingerprint)
    grown: list[dict[str, float]] = []
    unchanged = True
    for place, job in enumerate(jobs):
        stage(f"add {job.name}", place, total)
        if trained is None:
            own = train_skills(base, [job], config, folder / job.name)[job.name].adapter
        else:
            own = trained[job.name]
        before = _files(library)
        with library.edit() as txn:
            # no gate reads this memory: the skills are asked for by name
            txn.add(job.name, own, SkillCard(), torch.zeros(1, 1))
        after = _files(library)
        unchanged &= all(after[path] == content for path, content in before.items())
        grown.append(scores("loramix", library, names[: place + 1]))

    worn: list[dict[str, float]] = []
    one: Adapter | None = None
    for place, job in enumerate(jobs):
        stage(f"one adapter: {job.name}", len(jobs) + place, total)
        going_on = replace(job, name=ONE, dev=(), start=one)
        one = train_skills(base, [going_on], config, folder / f"{ONE}-{place}")[ONE].adapter
        known = names[: place + 1]
        worn.append(scores(ONE, dict.fromkeys(known, one), known))
    stage("", total, total)
    return Forgetting(tuple(names), tuple(grown), tuple(worn), unchanged, n, within)


def show_forgetting(
    base: Base,
    jobs: Sequence[SkillJob],
    tasks: Mapping[str, MakesExamples | TestSet],
    config: TrainConfig,
    trained: Mapping[str, Adapter],
    folder: Path,
    *,
    n: int,
    seed: int,
    step: Callable[[float, float, str], None],
) -> dict[str, Any]:
    """`measure_forgetting` for a report: skills that are trained already, beside one adapter that
    is taught a few rows of each task now. It learns fewer than the skills did, since it learns them
    one task at a time; what it shows is how a task falls once the next one is learned.

    Args:
        folder: empty; what it leaves there may be thrown away.
        step: is told how far it is.

    Returns:
        What `Forgetting.to_dict` says, and `examples`: the most rows of a task that were learned.

    Raises:
        Interrupted: Ctrl-C.
    """
    try:
        found = measure_forgetting(
            base, jobs, tasks, config, folder, trained=trained, n=n, seed=seed,
            stage=lambda what, done, total: step(done, total, what),
        )  # fmt: skip
    except Interrupted as stopped:  # whose hint names a checkpoint that is gone
        raise Interrupted(
            "Stopped while it was measured what is forgotten.",
            hint="run it again: the skills are trained, and the rest is measured anew",
        ) from stopped
    return found.to_dict() | {"examples": max(len(job.train) for job in jobs)}


def _files(library: Library) -> dict[Path, bytes]:
    """Every file of every skill that a library holds."""
    skills: Sequence[Skill] = list(library.skills.values())
    return {file: file.read_bytes() for skill in skills for file in sorted(skill.path.iterdir())}


def _changes(stages: Sequence[Mapping[str, float]]) -> list[float]:
    """What each task's score changed by after it was learned, at every later stage."""
    first: dict[str, float] = {}
    changes = []
    for stage in stages:
        changes += [score - first[name] for name, score in stage.items() if name in first]
        first = {**stage, **first}
    return changes
