"""What `loramix eval` shows beside the scores: training, samples, merging, storage, forgetting."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from loramix.commands.options import parse_names
from loramix.errors import LoramixError, UsageError
from loramix.library import Library

if TYPE_CHECKING:
    from loramix.base import Base
    from loramix.commands.eval_systems import Expert
    from loramix.commands.eval_tasks import Wanted
    from loramix.config import Config
    from loramix.evaluate import Answers, EvalTask
    from loramix.gate.router import Router
    from loramix.phases import Phases
    from loramix.pocket.tasks.task import Composite

PARTS = {
    "samples": "prompts with their mixes and answers",
    "merging": "all skills merged into one expert, and what each keeps",
    "storage": "adapters and full models on disk and in memory",
    "forgetting": "what earlier skills lose when later ones are learned",
}
NOTHING, ALL = "none", "all"
SMALL = 50_000_000
"""Parameters of a base up to which a report merges and weighs without being asked."""

METHOD = "regmean"
ALL_SKILLS = "all skills merged"
WEIGHED = 5


def parse_also(text: str | None) -> list[str] | None:
    """The parts of `--also`; None where nothing is said. Raises UsageError for others."""
    if text is None:
        return None
    if text.strip() == NOTHING:
        return []
    if text.strip() == ALL:
        return list(PARTS)
    hint = f"name some of them, with commas, {ALL} or {NOTHING}"
    return list(dict.fromkeys(parse_names("--also", text, PARTS, "part of a report", hint)))


def _by_name(also: Sequence[str] | None) -> TypeGuard[Sequence[str]]:
    """Whether some parts are asked for; who asks for all takes those that can be had."""
    return also is not None and set(also) != set(PARTS)


@dataclass
class Beside:
    """The parts that one run measures.

    Attributes:
        parts: of `PARTS`, those that are measured.
        missing: of the others, what would bring them; empty where no page is made.
        asked: whether they were asked for by name, so that one that cannot be had is an error.
    """

    parts: list[str]
    missing: dict[str, str]
    asked: bool

    @classmethod
    def chosen(
        cls, also: Sequence[str] | None, report: bool, base: Base, cannot: Mapping[str, str]
    ) -> Beside:
        """What is asked for, or what a report can have at little cost.

        Args:
            also: those of `--also`; None where nothing is said.
            report: whether a page is made.
            base: whose size says what costs little.
            cannot: what `impossible` says.
        """
        small = sum(p.numel() for p in base.model.parameters()) <= SMALL
        light = ["samples", *(["merging", "storage"] if small else [])]
        parts = list(also) if also is not None else light if report else []
        parts = [part for part in parts if part not in cannot]
        missing = {
            part: cannot.get(part, f"run it again with --also {part}")
            for part in PARTS
            if part not in parts
        }
        return cls(parts, missing if report else {}, _by_name(also))

    def give_up(self, part: str, error: LoramixError) -> None:
        """Leaves a part out, with the reason; raises the error where it was asked for by name."""
        if self.asked:
            raise error
        self.parts.remove(part)
        hint = f"; {error.hint}" if error.hint else ""
        self.missing[part] = f"{error.what.rstrip('.')}{hint}"

    def told(self) -> list[dict[str, str]]:
        """`not_measured` of the report."""
        return [
            {"what": PARTS[part][0].upper() + PARTS[part][1:], "how": how}
            for part, how in self.missing.items()
        ]


def impossible(library: Library, groups: Sequence[str], wanted: Wanted) -> dict[str, str]:
    """part → why it cannot be measured here, and what to do about that."""
    found = {}
    if len(library.skills) < 2:
        found["merging"] = "it takes two skills or more"
    elif not {"skill", "skills"} & set(groups):
        found["merging"] = "it is held against the skills: add skill to --systems"
    elif not any(task.skill for task in wanted.tasks):
        found["merging"] = "it is scored on tasks of the skills: name one with --tasks"
    if not library.skills:
        found["storage"] = "it takes a skill or more"
    if not wanted.tasks and not wanted.composites:
        found["samples"] = "there is no task"
    return found


def check_also(also: Sequence[str] | None, cannot: Mapping[str, str]) -> None:
    """Raises UsageError where a part was asked for by name that cannot be measured."""
    for part in also if _by_name(also) else ():
        if part in cannot:
            raise UsageError(
                f"The part {part} cannot be measured: {cannot[part]}.",
                given=f"--also {','.join(also or ())}",
                hint=f"do that, or leave {part} out of --also",
            )


def measure_beside(
    beside: Beside,
    answers: Answers,
    wanted: Wanted,
    library: Library,
    settings: Config | None,
    kinds: Mapping[str, Composite],
    experts: Sequence[Expert],
    result: Mapping[str, Any],
    seed: int,
    phases: Phases,
) -> dict[str, Any]:
    """The parts, and what was trained, as the report has them; merging is in the matrix already.

    Args:
        wanted: with the lengths of the tasks' answers.
        settings: of the YAML, or None.
        result: what the evaluation has measured.
    """
    from loramix.commands.eval_forgetting import forgetting_of
    from loramix.gate import read_gate

    base, found = answers.base, dict[str, Any](training=training_of(library))
    if retention := retention_of(result, experts):
        found["retention"] = retention
        beside.missing.pop("merging", None)
    if "samples" in beside.parts:
        with phases.phase("answer some prompts"):
            router = None if library.gate() is None else read_gate(library, base)
            found["samples"] = samples_of(answers, wanted.tasks, kinds, library, router, seed)
    if "storage" in beside.parts:
        with phases.phase("weigh adapters and models"):
            try:
                found["storage"] = storage_of(base, library, answers)
            except LoramixError as error:
                beside.give_up("storage", error)
    asked = "forgetting" in beside.parts
    if asked:
        with phases.phase("see what is forgotten") as step:
            forgot = forgetting_of(base, wanted, library, settings, answers, seed, step)
    else:
        forgot = forgetting_of(base, wanted, library, settings, answers, seed)
    if forgot is not None:
        rows = {name: result["tasks"][name].get("base") for name in forgot["tasks"]}
        if None not in rows.values():
            forgot |= {"base": rows}
        found["forgetting"] = forgot
        beside.missing.pop("forgetting", None)
    elif asked:
        raise UsageError(
            "What is forgotten can be measured where two skills have training data.",
            given=f"tasks {', '.join(task.name for task in wanted.tasks)}",
            expected="builtin tasks with skills, or the YAML that the skills were trained with",
            hint="loramix eval CONFIG.yaml, or leave forgetting out of --also",
        )
    return found | {"not_measured": beside.told()}


# ── what was trained ─────────────────────────────────────────────────────────────────────────


def training_of(library: Library) -> dict[str, Any]:
    """`training` of the report: what the cards say, and the curves that training left beside.

    Curves are taken where they are of the training that the card tells of: as many steps.
    """
    curves = _curves(library.path)
    found = {}
    for name, skill in library.skills.items():
        card = skill.card
        made: Mapping[str, Any] = card.provenance
        row: dict[str, Any] = {"description": card.description, "data": made.get("data", "")}
        if card.lora is not None:
            row |= {"rank": card.lora.rank, "parameters": card.lora.parameters}
        row |= {"steps": made.get("steps"), "tokens": made.get("tokens")}
        row["dev_loss"] = made.get("dev loss")
        past = curves.get(name, {})
        losses = past.get("train", [])
        if losses and len(losses) == row["steps"]:
            row |= {"losses": losses, "dev_losses": past.get("dev", [])}
        found[name] = row
    return found


def _curves(library: Path) -> Mapping[str, Any]:
    """What `train` leaves in the folder beside the library, or the demo around it."""
    for place in (library.with_name(f"{library.name}-training"), library.parent):
        try:
            found = json.loads((place / "losses.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and all(isinstance(past, dict) for past in found.values()):
            return found
    return {}


# ── samples ──────────────────────────────────────────────────────────────────────────────────


def samples_of(
    answers: Answers,
    tasks: Sequence[EvalTask],
    kinds: Mapping[str, Composite],
    library: Library,
    router: Router | None,
    seed: int,
) -> list[dict[str, Any]]:
    """Prompts of every task, of composites, and of none of the skills.

    The first ones of the tasks, so that nobody has picked them; with the length that the matrix
    asks for, so that most are known already.
    """
    from loramix.evaluate.samples import Shown, answer_samples
    from loramix.gate import make_policy
    from loramix.mix import Mix
    from loramix.pocket.tasks import NONE, task_of

    each = 2 if len(tasks) < 3 else 1
    shown = [
        Shown(task.name, example.prompt, task.max_new_tokens, example.completion,
              Mix.of({task.skill: 1.0}) if task.skill else None)
        for task in tasks for example in task.examples[:each]
    ]  # fmt: skip
    for kind in kinds.values():
        [example] = kind.answerable("test", 1, seed)
        what = f"two skills: {' and '.join(kind.skills)}"
        shown.append(Shown(what, example.prompt, kind.max_new_tokens))
    if any(task_of(name, library.skill(name).card.task) for name in library.skills):
        shown.append(Shown("none of the skills", NONE.examples("test", 1, seed)[0].prompt, 48))
    return answer_samples(answers, shown, router, make_policy(library))


# ── merging ──────────────────────────────────────────────────────────────────────────────────


def merge_all(base: Base, library: Library, seed: int) -> Expert:
    """All skills of the library merged into one expert, as a system of the matrix.

    Raises:
        LoramixError: they cannot be merged.
    """
    from loramix.commands.eval_systems import Expert, digests
    from loramix.merge import METHODS, merge_adapters
    from loramix.merge.inputs import Material
    from loramix.merge.retention import scored_skills
    from loramix.storage import sha256

    adapters = {name: skill.adapter(base) for name, skill in library.skills.items()}
    prompts = {name: skill.card.examples for name, skill in library.skills.items()}
    told = {name: skill.card.task for name, skill in library.skills.items()}
    method = METHODS[METHOD]
    material = Material(base, adapters, prompts, scored_skills(told, None)).of(method)
    expert = merge_adapters(adapters, method=METHOD, seed=seed, **material)
    digest = sha256(json.dumps([METHOD, seed, *digests(library).values()]).encode())
    return Expert(
        "merged-skills", Path(), digest, expert.to_dict(), expert.adapter, shown_as=ALL_SKILLS
    )


def retention_of(result: Mapping[str, Any], experts: Sequence[Expert]) -> list[dict[str, Any]]:
    """`retention` of the report: each expert beside the skills that are in it, task by task."""
    found = []
    for expert in experts:
        weights: Mapping[str, float] = expert.record.get("weights") or {}
        row: dict[str, Any] = {"name": expert.shown, "before": {}, "after": {}, "intervals": {}}
        row |= {key: expert.record[key] for key in ("method", "rank") if key in expert.record}
        for name, task in result["tasks"].items():
            cells, own = task["systems"], task["own_skill"]
            within = own in cells and expert.shown in cells and task["higher_is_better"]
            if not within or (weights and not weights.get(own)):
                continue
            after = cells[expert.shown]
            row["before"][name], row["after"][name] = cells[own]["score"], after["score"]
            row["intervals"][name] = [after["low"], after["high"]]
        if row["before"]:
            found.append(row)
    return found


# ── storage ──────────────────────────────────────────────────────────────────────────────────


def storage_of(base: Base, library: Library, answers: Answers) -> dict[str, Any]:
    """`storage` of the report: some adapters and as many full models, written and loaded."""
    from loramix.commands.eval_systems import digests
    from loramix.evaluate.storage import measure_storage

    some = dict(list(library.skills.items())[:WEIGHED])

    def weigh() -> dict[str, Any]:
        adapters = {name: skill.adapter(base) for name, skill in some.items()}
        with tempfile.TemporaryDirectory() as folder:
            return {"shapes": [measure_storage(base, adapters, Path(folder))]}

    own = digests(library)
    return kept(answers, weigh, "storage", [own[name] for name in some])


def kept(answers: Answers, measure: Callable[[], dict[str, Any]], *key: Any) -> dict[str, Any]:
    """What an earlier run has kept under the key, or what `measure` says, which is kept."""
    cache = answers.cache
    if cache is not None and (found := cache.get_record(*key)) is not None:
        return dict(found)
    made = measure()
    if cache is not None:
        cache.put_record(made, *key)
    return made
