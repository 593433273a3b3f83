"""What each skill keeps: its score with the expert, divided by its score before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from loramix.base import Base
from loramix.errors import UsageError, nearest
from loramix.evaluate import Answers, TestSet, evaluate_skills
from loramix.lora import Adapter
from loramix.mixed import MixedModel
from loramix.pocket.tasks import Task, task_of
from loramix.pocket.words import Split

NONE = "none"


class Kept(NamedTuple):
    """The worst retention of any skill, then the mean of all: what a better merge has more of."""

    worst: float
    mean: float


def scored_skills(skills: Mapping[str, str], tasks: str | None) -> dict[str, Task]:
    """The skills that are scored: those with a builtin task, or those of them asked for.

    Args:
        skills: skill → the builtin task that its card tells of, or an empty text.
        tasks: skills with commas, or "none"; None is all.

    Raises:
        UsageError: one that is not merged, or has no builtin task.
    """
    found = {name: task_of(name, told) for name, told in skills.items()}
    can = {name: task for name, task in found.items() if task is not None}
    if tasks is None:
        return can
    asked = [name.strip() for name in tasks.split(",") if name.strip()]
    if asked == [NONE]:
        return {}
    for name in asked:
        if name not in can:
            near = nearest(name, can)
            raise UsageError(
                f"{name!r} cannot be scored.",
                given=f"--tasks {tasks}",
                expected=f"some of {', '.join(can)}" if can else NONE,
                hint=f"did you mean {near!r}?"
                if near
                else "name skills that are merged and have learned a builtin task, or none",
            )
    return {name: task for name, task in can.items() if name in asked}


class Judge:
    """Scores adapters on builtin tasks; the same examples for all.

    Args:
        base: the frozen base.
        tasks: skill → what it is scored on.
        split: of the tasks.
        n: examples of each.
        seed: of the examples and of the intervals.
    """

    def __init__(
        self, base: Base, tasks: Mapping[str, Task], split: Split, n: int, seed: int = 0
    ) -> None:
        self.base, self.seed = base, seed
        self.mixed = MixedModel(base.model)
        self.tests = {
            name: TestSet(task.examples(split, n, seed), task.score_many, task.max_new_tokens)
            for name, task in tasks.items()
        }

    def scores(
        self,
        adapters: Mapping[str, Adapter],
        step: Callable[[str, int, int], None] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Task → `score`, `low`, `high`, `n`, with the adapter that `adapters` has for it."""
        for name in self.tests:
            self.mixed.add(name, adapters[name])
        answers = Answers(self.base, self.mixed)
        rows = evaluate_skills(
            self.base,
            self.mixed,
            self.tests,
            ("skill",),
            seed=self.seed,
            answers=answers,
            progress=step,
        )
        return {name: row["skill"] for name, row in rows.items()}

    def expert(
        self, adapter: Adapter, step: Callable[[str, int, int], None] | None = None
    ) -> dict[str, dict[str, Any]]:
        """As `scores`, with one adapter for all tasks."""
        return self.scores(dict.fromkeys(self.tests, adapter), step)


def retention(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """Skill → score after / score before; None where there was nothing to keep."""
    return {
        name: after[name]["score"] / row["score"] if row["score"] > 0 else None
        for name, row in before.items()
    }


def kept(shares: Mapping[str, float | None]) -> Kept:
    """The worst and the mean of the retentions that are known."""
    known = [share for share in shares.values() if share is not None]
    return Kept(min(known), sum(known) / len(known)) if known else Kept(1.0, 1.0)
