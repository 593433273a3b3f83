"""Who `loramix eval` measures: base, skills, routers, mixes and experts of a library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loramix.adapter import Adapter, read_adapter
from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from loramix.base import Base
from loramix.commands.options import parse_names
from loramix.errors import UsageError
from loramix.evaluate import Answers, EvalTask, System
from loramix.gate import CentroidRouter, KeywordRouter, LearnedGate, make_policy, make_router
from loramix.gate.router import Router
from loramix.library import Library
from loramix.merge.output import RECORD
from loramix.mix import BASE, Mix, check_skills
from loramix.storage import file_sha256, sha256

GROUPS = {
    "base": "the base alone",
    "skill": "each task's own skill",
    "skills": "every skill on every task",
    "routed": "what the library does with a prompt",
    "routers": "each router with each policy",
    "mixes": "the mixes that the library keeps",
    "experts": "those of --expert",
}
EVERYTHING = "base,skills,routers,mixes,experts"
ROUTERS = (LearnedGate.name, KeywordRouter.name, CentroidRouter.name)
POLICIES = ("top1", "topk", "blend")


@dataclass(frozen=True)
class Expert:
    """A merged adapter, or a standalone model.

    Attributes:
        name: as a skill beside the base, such as `expert-support`; of a model, as a system.
        path: its folder.
        digest: of its files, or of what it was made from.
        record: what `loramix merge` says of it: `method`, `rank`, `weights` of the skills.
        made: the adapter, where it was made now and not read.
        shown_as: its name in the result, if not the one that follows from `name`.
        whole: whether the folder holds a model.
    """

    name: str
    path: Path
    digest: str
    record: Mapping[str, Any] = field(default_factory=dict)
    made: Adapter | None = None
    shown_as: str = ""
    whole: bool = False

    @property
    def shown(self) -> str:
        """Its name in the result."""
        return self.shown_as or self.name.replace("-", " ", 1)

    def adapter(self, base: Base) -> Adapter:
        """Read it, checked against the base."""
        return self.made or read_adapter(self.path, base.model)


def parse_groups(text: str) -> list[str]:
    """The groups of `--systems`. Raises UsageError for one that there is not."""
    return parse_names(
        "--systems", text, GROUPS, "group of systems", f"leave it out for {EVERYTHING}"
    )


def check_groups(
    groups: Sequence[str],
    library: Library,
    recipes: Mapping[str, Mix],
    experts: Sequence[Expert],
) -> None:
    """Raises UsageError where a group of systems that was asked for has none in it."""
    empty = {
        "mixes": (not library.mixes and not recipes, "keeps no mixes", "name one with --mix"),
        "experts": (
            not experts,
            "holds no experts",
            "name a merged adapter's folder, --expert DIR",
        ),
        "routed": (library.gate() is None, "has no gate", "train one (`loramix train`)"),
        "routers": (library.gate() is None, "has no gate", "train one (`loramix train`)"),
    }
    for group in groups:
        is_empty, what, hint = empty.get(group, (False, "", ""))
        if is_empty:
            raise UsageError(
                f"The library {what}, so there is nothing to measure as {group}.",
                given=f"--systems {','.join(groups)}",
                hint=f"{hint}, or leave {group} out of --systems",
            )


def composite_systems(groups: Sequence[str], apart: bool) -> list[str]:
    """The ways of answering composites that belong to the groups; `naive` is asked by --apart."""
    ways = {"base": ["base"], "skill": ["top1", "chain"], "skills": ["top1", "chain"],
            "routed": ["blend"], "routers": ["blend"]}  # fmt: skip
    return [
        *(["naive"] if apart else []),
        *(way for group in groups for way in ways.get(group, ())),
    ]


def parse_recipes(recipes: Sequence[str], library: Library) -> dict[str, Mix]:
    """recipe → mix of `--mix`. Raises RecipeError, UnknownSkillError."""
    found = {}
    for recipe in recipes:
        mix = Mix.parse(recipe, library.mixes)
        check_skills(mix, library.skills, library.mixes)
        found[recipe.strip()] = mix
    return found


def find_experts(paths: Sequence[Path], library: Library) -> list[Expert]:
    """The experts of `--expert`: merged adapters, and standalone models (`merge --full`).

    Raises:
        UsageError: a folder is not there, or holds neither.
        AdapterError: it holds no adapter that can be read.
    """
    experts: list[Expert] = []
    for path in paths:
        folder = path.expanduser()
        whole = (folder / "config.json").is_file() and not (folder / CONFIG_FILE).is_file()
        if not whole and not (folder / CONFIG_FILE).is_file():
            raise UsageError(
                f"{path} holds no expert.",
                given=f"--expert {path}",
                expected=f"a folder with {CONFIG_FILE}, as `loramix merge -o` writes it, or with "
                "a model, as `loramix merge --full -o` does",
                hint="check the path",
            )
        if not whole:
            read_adapter(folder)  # what cannot be read is told before the base is loaded
        kind = "model" if whole else "expert"
        clean = re.sub(r"[^a-z0-9_]+", "-", folder.resolve().name.lower()).strip("-") or "merged"
        name = f"{kind}-{clean}"[:60]
        taken = {*library.skills, *(expert.name for expert in experts)}
        number = 2
        while name in taken:
            name, number = f"{kind}-{clean}-{number}"[:60], number + 1
        files = [] if whole else [file_sha256(folder / f) for f in (CONFIG_FILE, WEIGHTS_FILE)]
        digest = sha256("".join(files).encode())
        experts.append(Expert(name, path, digest, _record(folder), whole=whole))
    return experts


def _record(folder: Path) -> dict[str, Any]:
    """What `loramix merge` wrote about an expert; nothing where somebody else made it."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def make_routers(base: Base, library: Library, groups: Sequence[str]) -> dict[str, Router]:
    """The routers that are measured; none for a library without a gate."""
    if library.gate() is None or not {"routed", "routers"} & set(groups):
        return {}
    names = ROUTERS if "routers" in groups else (LearnedGate.name,)
    return {name: make_router(name, base=base, library=library) for name in names}


def make_systems(
    library: Library,
    tasks: Sequence[EvalTask],
    groups: Sequence[str],
    routers: Mapping[str, Router],
    recipes: Mapping[str, Mix],
    experts: Sequence[Expert],
    blends: Mapping[str, Mix],
    models: Mapping[str, Answers],
) -> list[System]:
    """All systems, in the order in which they are shown.

    Args:
        models: expert → answers of its own model, for those that are whole.
    """
    systems = [System(BASE, "base", Mix.base())] if "base" in groups else []
    if {"skill", "skills"} & set(groups):
        own: dict[str, set[str]] = {name: set() for name in library.skills}
        for task in tasks:
            if task.skill is not None:
                own[task.skill].add(task.name)
        every = "skills" in groups
        systems += [
            System(name, "skill", Mix.of({name: 1.0}), only=None if every else frozenset(own[name]))
            for name in library.skills
            if every or own[name]
        ]
    usual = make_policy(library).kind
    for name, router in routers.items():
        for kind in POLICIES if "routers" in groups else (usual,):
            is_usual = name == LearnedGate.name and kind == usual
            policy = make_policy(library, kind)
            systems.append(System(f"{name}/{kind}", "routed", None, router, policy, usual=is_usual))
    named = {**(library.mixes if "mixes" in groups else {}), **recipes}
    systems += [System(f"mix {name}", "mix", mix) for name, mix in named.items()]
    systems += [
        System(f"blend {name}", "mix", mix, only=frozenset([name])) for name, mix in blends.items()
    ]
    for expert in experts:
        path = None if expert.made is not None else str(expert.path)
        if expert.whole:
            system = System(expert.shown, "model", Mix.base(), path=path)
            systems.append(replace(system, answers=models[expert.name]))
        else:
            mix = Mix.of({expert.name: 1.0})
            systems.append(System(expert.shown, "expert", mix, path=path))
    return systems


def digests(library: Library, experts: Sequence[Expert] = ()) -> dict[str, str]:
    """Skill or expert → digest of its adapter, for the keys of answers."""
    found = {
        name: sha256("".join(skill.hashes[file] for file in (CONFIG_FILE, WEIGHTS_FILE)).encode())
        for name, skill in library.skills.items()
    }
    return found | {expert.name: expert.digest for expert in experts}
