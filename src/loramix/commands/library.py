"""`loramix add`, `remove`, `list` and `show`: the skills of a library."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix.commands.opening import open_to_use
from loramix.commands.plugging import foreign_card, plug, unplug
from loramix.errors import DataError
from loramix.library import Library, Skill, validate_name

if TYPE_CHECKING:
    from loramix.gate import LearnedGate

_EXAMPLES_FILE = "JSONL, CSV or Parquet with a column `prompt`, one example prompt a row"
_EXAMPLES_HINT = "correct the file, or give another one with --examples"
_OF_A_YAML = re.compile("template|YAML|pick what to show|completion")


def add(
    adapter: Path,
    *,
    name: str,
    examples: Path,
    description: str = "",
    replace: bool = False,
    library: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Plugs in an adapter as a skill; the gate is refitted from the memory of the others.

    Args:
        adapter: a folder as PEFT writes it, or the folder of a skill.
        name: of the new skill.
        examples: a data file with a column `prompt`.
        description: what the skill does; by default what its own card says, if it has one.
        replace: exchange a skill of that name, even if its files are damaged.
        library: its folder; None is the shipped one, which is not changed.
        device: see `load_base`.

    Returns:
        {"skills": {name: summary}, "generation", "gate": {"accuracy", "skills"}, "added",
        "similar": [{"skill", "prompts", "weights"}], "library"}; `similar` has the skills that
        the new one is so much like that one could do for both.

    Raises:
        LibraryError: no library, the shipped one, or a name that is taken or cannot be.
        AdapterError: an adapter that is no plain LoRA, is damaged, or does not fit the base.
        DataError: the examples cannot be read.
        StorageError: the disk is full or does not let us write.
    """
    from loramix.adapter import read_adapter
    from loramix.base import load_base
    from loramix.phases import Phases

    target = _open(library, going=name if replace else None)
    target.check_editable()
    target.check_free(validate_name(name), replace=replace)
    read_adapter(adapter)  # what is wrong in itself is said before the base is loaded
    foreign_card(adapter, target)
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(target.base_id, device)
            target.check_base(base)
            read_adapter(adapter, base)
            prompts = _prompts(examples)
        with phases.phase("refit the gate"):
            told = f"{examples.name}, {len(prompts)} prompts"
            plugged = plug(
                target, base, adapter, name, prompts, told, description=description, replace=replace
            )
    return {
        **_report(target),
        **_gate_report(plugged.gate),
        "added": name,
        "similar": plugged.similar,
    }


def remove(name: str, *, library: Path | None = None, device: str = "auto") -> dict[str, Any]:
    """Takes a skill out of the library and of its gate; or takes a mix out.

    The files of the skill are not needed, so that a damaged one can be taken out.

    Returns:
        {"skills": {name: summary}, "mixes", "generation", "gate": {"accuracy", "skills"},
        "removed", "library"}; `gate.accuracy` is None where there is no gate any more. Without
        `gate` after a mix, which the gate knows nothing of.

    Raises:
        LibraryError: no library, the shipped one, which is not changed, or a skill that a named
            mix holds.
        UnknownSkillError: no such skill.
        StorageError: the disk is full or does not let us write.
    """
    target = _open(library, going=name)
    target.check_editable()
    target.check_removable(name)
    if name in target.mixes:
        with target.edit() as txn:
            txn.remove(name)
        return {**_report(target), "removed": name}
    base = None
    if target.gate() is not None and set(target.skills) - {name}:
        from loramix.base import load_base

        base = load_base(target.base_id, device)
        target.check_base(base)
    gate = unplug(target, base, name)
    return {**_report(target), **_gate_report(gate), "removed": name}


def list_skills(*, library: Path | None = None) -> dict[str, Any]:
    """What a library holds.

    Returns:
        {"skills": {name: summary}, "mixes": {name: {"weights", "description"}}, "generation",
        "base", "library", "damaged": names of those that are left out}
    """
    opened = open_to_use(library)
    return {**_report(opened), "damaged": list(opened.damaged)}


def show(name: str, *, library: Path | None = None) -> dict[str, Any]:
    """One skill: {"skills": {name: its card, with path and size on disk}, "library"}.

    Of a named mix {"mixes": {name: {"weights", "description"}}, "library"}.

    Raises:
        UnknownSkillError: no such skill or mix.
    """
    opened = open_to_use(library)
    if name in opened.mixes:
        return {"mixes": {name: _mixes(opened)[name]}, "library": str(opened.path)}
    skill = opened.skill(name)
    card = skill.card.model_dump(exclude={"name", "lora"})
    size = sum(file.stat().st_size for file in skill.path.iterdir() if file.is_file())
    details = {**_summary(skill), **card, "bytes_on_disk": size, "path": str(skill.path)}
    return {"skills": {name: details}, "library": str(opened.path)}


def _open(library: Path | None, going: str | None = None) -> Library:
    return Library.shipped() if library is None else Library.open(library, going=going)


def _report(library: Library) -> dict[str, Any]:
    return {
        "skills": {name: _summary(skill) for name, skill in library.skills.items()},
        "mixes": _mixes(library),
        "generation": library.generation,
        "base": library.base_id,
        "library": str(library.path),
    }


def _mixes(library: Library) -> dict[str, dict[str, Any]]:
    return {name: named.model_dump() for name, named in library.named_mixes.items()}


def _summary(skill: Skill) -> dict[str, Any]:
    lora = skill.card.lora
    return {
        "description": skill.card.description,
        "rank": lora.rank if lora else None,
        "targets": lora.targets if lora else [],
        "parameters": lora.parameters if lora else None,
        "scores": skill.card.scores,
        "created": skill.card.created,
    }


def _gate_report(gate: LearnedGate | None) -> dict[str, Any]:
    if gate is None:
        return {"gate": {"accuracy": None, "skills": []}}
    # NaN where no prompt was held out to measure on.
    measured = gate.accuracy if gate.accuracy == gate.accuracy else None
    return {"gate": {"accuracy": measured, "skills": list(gate.skills)}}


def _prompts(examples: Path) -> list[str]:
    """The distinct prompts of a data file, in its order; completions are not needed."""
    from loramix.data import DataSource, load_examples
    from loramix.data.load import PROMPT

    try:
        rows = load_examples(DataSource(path=examples), PROMPT, PROMPT)
    except DataError as error:
        # the reader speaks to who wrote a YAML with templates; here there is only a file
        if not _OF_A_YAML.search(f"{error.expected} {error.hint}"):
            raise
        raise DataError(
            error.what, given=error.given, expected=_EXAMPLES_FILE, hint=_EXAMPLES_HINT
        ) from error
    return list(dict.fromkeys(row.prompt for row in rows))
