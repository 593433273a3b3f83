"""Requests that need two skills, as `loramix eval` measures them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramix.errors import UsageError
from loramix.library import Library
from loramix.mix import check_skills

if TYPE_CHECKING:
    from loramix.commands.eval_tasks import Wanted
    from loramix.evaluate import Answers
    from loramix.phases import Phases, Step
    from loramix.pocket.tasks.task import Composite


def find_composites(
    wanted: Wanted, opened: Library, other: Library | None, tasks: object
) -> dict[str, Composite]:
    """The kinds of composites that are measured; their skills are in both libraries.

    Raises:
        UsageError: `other` is given and no composite is asked for.
        UnknownSkillError: a skill that they need is missing.
    """
    from loramix.pocket.tasks import COMPOSITES

    kinds = dict(COMPOSITES) if wanted.composites else {}
    needed = list(dict.fromkeys(skill for kind in kinds.values() for skill in kind.skills))
    check_skills(needed, opened.skills)
    if other is not None:
        if not kinds:
            raise UsageError(
                "A library trained apart is compared on composites only.",
                given=f"--tasks {tasks}",
                hint="add composites to --tasks, or leave out --apart",
            )
        check_skills(needed, other.skills)
    return kinds


def measure_composites(
    after: Answers,
    before: Answers | None,
    library: Library,
    kinds: Mapping[str, Composite],
    systems: Sequence[str],
    limit: int,
    seed: int,
    phases: Phases,
) -> dict[str, Any]:
    """`composites`, `skills` and their `failures`; see `loramix.evaluate.result`."""
    from loramix.evaluate import evaluate_composites
    from loramix.gate import make_policy, read_gate

    router = None if library.gate() is None else read_gate(library, after.base)
    result: dict[str, Any] = {}
    with phases.phase("measure the composites") as step:
        result["composites"] = evaluate_composites(
            after,
            kinds,
            router=router,
            policy=make_policy(library),
            apart=before,
            systems=systems,
            n=limit,
            seed=seed,
            progress=lambda what, done, total: step(done, total, what),
        )
    result["failures"] = [
        {"task": name, "system": system, "reason": reason, "rows": rows}
        for name in kinds
        for system, failed in result["composites"][name]["failed"].items()
        for reason, rows in failed.items()
    ]
    if before is None and "top1" not in systems:
        return result
    told = {name: library.skill(name).card.task for name in library.skills}
    with phases.phase("measure their skills") as step:
        result["skills"] = _before_after(after, before, kinds, told, limit, seed, step)
    return result


def _before_after(
    after: Answers,
    before: Answers | None,
    kinds: Mapping[str, Composite],
    told: Mapping[str, str],
    limit: int,
    seed: int,
    step: Step,
) -> dict[str, dict[str, Any]]:
    """Each skill of the composites on the task that its card tells of, alone, in both libraries."""
    from loramix.evaluate import evaluate_skills
    from loramix.pocket.tasks import TASKS, task_of

    names = dict.fromkeys(skill for kind in kinds.values() for skill in kind.skills)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, answers in (("before", before), ("after", after)):
        if answers is None:
            continue
        scores = evaluate_skills(
            answers.base,
            answers.mixed,
            {name: task_of(name, told.get(name, "")) or TASKS[name] for name in names},
            ["skill"],
            limit,
            seed,
            answers=answers,
            progress=lambda what, done, total: step(done, total, what),
        )
        for name, row in scores.items():
            figures = row["skill"]
            found[name][key] = figures["score"]
            intervals = found[name].setdefault("intervals", {})
            intervals[key] = [figures["low"], figures["high"]]
    return found
