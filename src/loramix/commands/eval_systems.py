"""Who `loramix eval` measures: base, skills, routers, mixes and experts of a library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loramix.adapter import Adapter, read_adapter
from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from loramix.base import Base
from loramix.errors import UsageError, nearest
from loramix.evaluate import EvalTask, System
from loramix.gate import CentroidRouter, KeywordRouter, LearnedGate, make_policy, make_router
from loramix.gate.router import Router
from loramix.library import Library
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
    """The folder of a merged adapter.

    Attributes:
        name: as a skill beside the base, such as `expert-support`.
        path: its folder.
        digest: of its files.
    """

    name: str
    path: Path
    digest: str

    @property
    def shown(self) -> str:
        """Its name in the result."""
        return self.name.replace("-", " ", 1)

    def adapter(self, base: Base) -> Adapter:
        """Read it, checked against the base."""
        return read_adapter(self.path, base.model)


def parse_groups(text: str) -> list[str]:
    """The groups of `--systems`. Raises UsageError for one that there is not."""
    groups = [part.strip() for part in text.split(",") if part.strip()]
    for group in groups or [""]:
        if group not in GROUPS:
            near = nearest(group, GROUPS)
            raise UsageError(
                f"There is no group of systems {group!r}.",
                given=f"--systems {text}",
                expected="; ".join(f"{name}: {what}" for name, what in GROUPS.items()),
                hint=f"did you mean {near!r}?" if near else f"leave it out for {EVERYTHING}",
            )
    return groups


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
    """The experts of `--expert`.

    Raises:
        UsageError: a folder is not there, or holds a whole model.
        AdapterError: it holds no adapter.
    """
    experts: list[Expert] = []
    for path in paths:
        folder = path.expanduser()
        if not folder.is_dir() or not (folder / CONFIG_FILE).is_file():
            whole = (folder / "config.json").is_file()
            raise UsageError(
                f"{path} holds a whole model." if whole else f"{path} holds no expert.",
                given=f"--expert {path}",
                expected=f"a folder with {CONFIG_FILE}, as `loramix merge -o` writes it",
                hint="merge without --full, and give that folder" if whole else "check the path",
            )
        read_adapter(folder)  # what cannot be read is told before the base is loaded
        clean = re.sub(r"[^a-z0-9_]+", "-", folder.resolve().name.lower()).strip("-") or "merged"
        name = f"expert-{clean}"[:60]
        taken = {*library.skills, *(expert.name for expert in experts)}
        number = 2
        while name in taken:
            name, number = f"expert-{clean}-{number}"[:60], number + 1
        digests = [file_sha256(folder / file) for file in (CONFIG_FILE, WEIGHTS_FILE)]
        experts.append(Expert(name, path, sha256("".join(digests).encode())))
    return experts


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
) -> list[System]:
    """All systems, in the order in which they are shown."""
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
    systems += [System(e.shown, "expert", Mix.of({e.name: 1.0}), path=str(e.path)) for e in experts]
    return systems


def digests(library: Library, experts: Sequence[Expert] = ()) -> dict[str, str]:
    """Skill or expert → digest of its adapter, for the keys of answers."""
    found = {
        name: sha256("".join(skill.hashes[file] for file in (CONFIG_FILE, WEIGHTS_FILE)).encode())
        for name, skill in library.skills.items()
    }
    return found | {expert.name: expert.digest for expert in experts}
