"""`loramix eval`: base, skills, routing and blends on held-out examples of builtin tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix.errors import UsageError, nearest
from loramix.library import Library
from loramix.mix import check_skills
from loramix.storage import storage_errors

if TYPE_CHECKING:
    from loramix.evaluate import Answers
    from loramix.phases import Step
    from loramix.pocket.tasks.task import Composite

COMPOSITES_WORD = "composites"


def evaluate(
    tasks: str = COMPOSITES_WORD,
    *,
    apart: Path | None = None,
    limit: int = 60,
    batch_size: int = 32,
    seed: int = 0,
    plot: Path | None = None,
    library: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measures a library.

    Args:
        tasks: with commas: `composites`, and builtin tasks whose skills the library has.
        apart: a library of the same skills trained without blends.
        limit: held-out examples of each task.
        batch_size: prompts answered together.
        seed: of examples and intervals.
        plot: an SVG file to draw into.
        library: its folder; None is the shipped one.
        device: see `load_base`.

    Returns:
        tasks.NAME.{base, skill, routed} for the builtin tasks, with `intervals` and `n`;
        for `composites` what `evaluate_composites` gives, and skills.NAME.{before, after}: each
        skill alone in `apart` and in this library. What there is no gate or no `apart` for is
        left out. Also seconds, library, plot.

    Raises:
        UsageError: no such task, or nothing to measure.
        UnknownSkillError: a task without a skill of its name.
        AdapterMismatchError: `apart` is for another base.
        LibraryError: no library.
        StorageError: the plot cannot be written.
    """
    opened = Library.shipped() if library is None else Library.open(library)
    other = None if apart is None else Library.open(apart)
    from loramix.pocket.tasks import COMPOSITES, TASKS

    names = _names(tasks, list(TASKS))
    singles = [name for name in names if name != COMPOSITES_WORD]
    kinds = dict(COMPOSITES) if COMPOSITES_WORD in names else {}
    needed = dict.fromkeys([*singles, *(skill for kind in kinds.values() for skill in kind.skills)])
    check_skills(needed, opened.skills)
    if other is not None:
        if not kinds:
            raise UsageError(
                "A library trained apart is compared on composites only.",
                given=f"--tasks {tasks}",
                hint="add composites to --tasks, or leave out --apart",
            )
        check_skills(needed, other.skills)
    if plot is not None and plot.is_dir():
        raise UsageError(f"{plot} is a folder.", expected="a file", hint=f"--plot {plot}/eval.svg")

    from loramix.base import load_base
    from loramix.evaluate import Answers, evaluate_composites, evaluate_skills, mixed_model
    from loramix.gate import make_policy, read_gate
    from loramix.phases import Phases

    result: dict[str, Any] = {}
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(opened.base_id, device)
            opened.check_base(base)
            router = None if opened.gate() is None else read_gate(opened, base)
            policy = make_policy(opened)
            answers = Answers(base, mixed_model(base, opened), batch_size)
        if singles:
            with phases.phase("score the tasks") as step:
                scores = evaluate_skills(
                    base,
                    answers.mixed,
                    {name: TASKS[name] for name in singles},
                    ["base", "skill", *(["routed"] if router else [])],
                    limit,
                    seed,
                    router=router,
                    policy=policy,
                    answers=answers,
                    progress=lambda what, done, total: step(done, total, what),
                )
            result["tasks"] = {name: _plain(row) for name, row in scores.items()}
        if kinds:
            before = None
            if other is not None:
                other.check_base(base)
                before = Answers(base, mixed_model(base, other), batch_size)
            with phases.phase("score the composites") as step:
                result[COMPOSITES_WORD] = evaluate_composites(
                    answers,
                    kinds,
                    router=router,
                    policy=policy,
                    apart=before,
                    n=limit,
                    seed=seed,
                    progress=lambda what, done, total: step(done, total, what),
                )
            with phases.phase("score the skills") as step:
                result["skills"] = _before_after(answers, before, kinds, limit, seed, step)
    if plot is not None:
        _draw(result, plot)
    return {
        **result,
        "seconds": phases.elapsed,
        "library": str(opened.path),
        "apart": None if other is None else str(other.path),
        "plot": None if plot is None else str(plot),
    }


def _names(tasks: str, known: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in tasks.split(",") if name.strip()))
    choice = [COMPOSITES_WORD, *known]
    for name in names:
        if name not in choice:
            near = nearest(name, choice)
            raise UsageError(
                f"There is no builtin task {name!r}.",
                given=f"--tasks {tasks}",
                expected=", ".join(choice),
                hint=f"did you mean {near!r}?" if near else "name some of them, with commas",
            )
    if not names:
        raise UsageError(
            "No task is named.", given=f"--tasks {tasks!r}", expected=", ".join(choice),
            hint="leave --tasks out for composites",
        )  # fmt: skip
    return names


def _plain(row: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """system → score, with `intervals` and `n`, of what `evaluate_skills` gives for a task."""
    scores: dict[str, Any] = {system: figures["score"] for system, figures in row.items()}
    intervals = {system: [figures["low"], figures["high"]] for system, figures in row.items()}
    return {**scores, "intervals": intervals, "n": next(iter(row.values()))["n"]}


def _before_after(
    after: Answers,
    before: Answers | None,
    kinds: Mapping[str, Composite],
    limit: int,
    seed: int,
    step: Step,
) -> dict[str, dict[str, Any]]:
    """Each skill of the composites on its own task, alone, in both libraries."""
    from loramix.evaluate import evaluate_skills
    from loramix.pocket.tasks import TASKS

    names = dict.fromkeys(skill for kind in kinds.values() for skill in kind.skills)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, answers in (("before", before), ("after", after)):
        if answers is None:
            continue
        scores = evaluate_skills(
            answers.base,
            answers.mixed,
            {name: TASKS[name] for name in names},
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


def _draw(result: Mapping[str, Any], path: Path) -> None:
    """One SVG: a group of bars for each task and each kind of composite."""
    from loramix.evaluate import COMPOSITE_SYSTEMS
    from loramix.evaluate.plots import grouped_bars, standalone

    rows = {**result.get("tasks", {})}
    kinds = result.get(COMPOSITES_WORD, {})
    rows |= {name: row for name, row in kinds.items() if isinstance(row, Mapping) and "n" in row}
    drawn = standalone(grouped_bars(rows, ["skill", "routed", *COMPOSITE_SYSTEMS]))
    with storage_errors("writing the plot", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(drawn, "utf-8")
