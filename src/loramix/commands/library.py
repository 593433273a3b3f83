"""`loramix add`, `remove`, `list` and `show`: the skills of a library."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    DataError,
    LibraryChangedError,
    LibraryError,
)
from loramix.library import Library, Skill, SkillCard, Transaction, validate_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from loramix.adapter import Adapter
    from loramix.base import Base
    from loramix.gate import LearnedGate
    from loramix.mix import Policy

NONE_PROMPTS = 400  # prompts of no skill, for a library that has no gate yet
SHOWN_EXAMPLES = 5  # how many example prompts a card keeps

_EXAMPLES_FILE = "JSONL, CSV or Parquet with a column `prompt`, one example prompt a row"
_EXAMPLES_HINT = "correct the file, or give another one with --examples"
_OF_A_YAML = re.compile("template|YAML|pick what to show|completion")

log = logging.getLogger(__name__)


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
    _foreign_card(adapter, target)
    with Phases() as phases:
        with phases.phase("load the base"):
            base = load_base(target.base_id, device)
            target.check_base(base)
            prompts = _prompts(examples)
        with phases.phase("refit the gate"):
            told = f"{examples.name}, {len(prompts)} prompts"
            gate = plug(
                target, base, adapter, name, prompts, told, description=description, replace=replace
            )
<<<<<<< HEAD
    return {**_report(target), **_gate_report(gate), "added": name}
=======
            alike = _similar(target, base, gate, name, prompts, lora)
            txn.add(name, lora, card, gate.memories[name], replace=replace)
            txn.set_gate(*gate.state(policy))
    return {**_report(target), **_gate_report(gate), "added": name, "similar": alike}
>>>>>>> feedb


def remove(name: str, *, library: Path | None = None, device: str = "auto") -> dict[str, Any]:
    """Takes a skill out and refits the gate from the memory of the others; or takes a mix out.

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


def plug(
    target: Library,
    base: Base,
    adapter: Path,
    name: str,
    prompts: Sequence[str],
    told: str,
    *,
    description: str = "",
    replace: bool = False,
    expected: int | None = None,
) -> LearnedGate:
    """Puts an adapter into a library as a skill, and refits the gate.

    Args:
        target: the library; afterwards it is at the generation that this makes.
        base: its base.
        adapter: a folder as PEFT writes it, or the folder of a skill.
        name: of the skill.
        prompts: what it is for; at least one.
        told: where these come from, for the card.
        description: what the skill does; by default what its own card says, if it has one.
        replace: exchange a skill of that name.
        expected: the generation that the library is to have before; None is any.

    Returns:
        The new gate.

    Raises:
        LibraryChangedError: it has another generation.
        LoramixError: as `add`.
    """
    from loramix.adapter import read_adapter

    card = _foreign_card(adapter, target)
    lora = read_adapter(adapter, base)
    _tell_of_another_base(lora, target)
    with target.edit() as txn:
        _check_generation(target, expected)
        target.check_free(validate_name(name), replace=replace)
        description = description or card.description
        gate, policy = _grown_gate(target, txn, base, name, description, prompts)
        card = card.model_copy(
            update={
                "description": description,
                "examples": list(prompts[:SHOWN_EXAMPLES]),
                "provenance": {
                    **card.provenance,
                    **_merged_from(adapter),
                    "added from": adapter.resolve().name,
                    "examples": told,
                    "trained on base": lora.config.get("base_model_name_or_path"),
                },
            }
        )
        txn.add(name, lora, card, gate.memories[name], replace=replace)
        txn.set_gate(*gate.state(policy))
    return gate


def unplug(
    target: Library, base: Base | None, name: str, *, expected: int | None = None
) -> LearnedGate | None:
    """Takes a skill out of a library, and refits the gate.

    Args:
        base: the library's; None where no gate is left to refit.
        expected: the generation that the library is to have before; None is any.

    Returns:
        The new gate, or None.

    Raises:
        LibraryChangedError: it has another generation.
        LoramixError: as `remove`.
    """
    gate = None
    with target.edit() as txn:
        _check_generation(target, expected)
        txn.remove(name)
        if base is not None and txn.names and target.has_gate:
            from loramix.gate import make_policy, read_gate, same_kind

            old = read_gate(target, base)
            gate = old.refit(txn.memories())
            txn.set_gate(*gate.state(same_kind(make_policy(target), gate.policy)))
    return gate


def list_skills(*, library: Path | None = None) -> dict[str, Any]:
    """What a library holds.

    Returns:
        {"skills": {name: summary}, "mixes": {name: {"weights", "description"}}, "generation",
        "base", "library"}
    """
    return _report(_open(library))


def show(name: str, *, library: Path | None = None) -> dict[str, Any]:
    """One skill: {"skills": {name: its card, with path and size on disk}, "library"}.

    Of a named mix {"mixes": {name: {"weights", "description"}}, "library"}.

    Raises:
        UnknownSkillError: no such skill or mix.
    """
    opened = _open(library)
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


def _foreign_card(adapter: Path, library: Library) -> SkillCard:
    """The card of an adapter that is a skill of another library, else an empty one.

    Raises:
        AdapterMismatchError: that library is for another base.
    """
    from loramix.transaction import CARD, read_card

    if not (adapter / CARD).is_file():
        return SkillCard()
    card = read_card(adapter)
    if card.base_fingerprint and card.base_fingerprint != library.fingerprint:
        raise AdapterMismatchError(
            f"The adapter {adapter} was trained for another base",
            given=f"{card.base_id}, fingerprint {card.base_fingerprint[:16]}",
            expected=f"{library.base_id}, fingerprint {library.fingerprint[:16]}",
            hint="add it to a library for its own base, or train it again on this one",
        )
    return card


def _merged_from(adapter: Path) -> dict[str, Any]:
    """For the card of an expert: what it was merged of, as `loramix merge` has written it."""
    from loramix.merge.output import RECORD

    try:
        record = json.loads((adapter / RECORD).read_bytes())
        return {"expert": {key: record.get(key) for key in ("method", "rank", "weights")}}
    except (OSError, ValueError, AttributeError):
        return {}


def _check_generation(library: Library, expected: int | None) -> None:
    if expected is not None and library.generation != expected:
        raise LibraryChangedError(
            "The library has changed meanwhile.",
            given=f"generation {library.generation}",
            expected=f"generation {expected}",
            hint="look at its skills again, and then repeat the change",
        )


def _tell_of_another_base(adapter: Adapter, library: Library) -> None:
    """PEFT keeps a name only, and one base has many names, so a difference is no error."""
    named = adapter.config.get("base_model_name_or_path")
    if named and Path(named).name.lower() != Path(library.base_id).name.lower():
        log.warning(
            "the adapter names its base %r and the library %r; its shapes fit, "
            "but if these are two models it will answer badly",
            named,
            library.base_id,
        )


def _similar(
    library: Library,
    base: Base,
    gate: LearnedGate,
    name: str,
    prompts: Sequence[str],
    adapter: Adapter,
) -> list[dict[str, Any]]:
    """The skills that the new skill `name` is much like; see `loramix.similar.find_similar`."""
    from loramix.similar import find_similar

    adapters = {}
    for other in set(gate.skills) - {name}:
        # A skill that cannot be read is no reason to refuse another one.
        with contextlib.suppress(AdapterError, LibraryError):
            adapters[other] = library.skill(other).adapter(base)
    scaled = {skill: gate.scaled_features(memory) for skill, memory in gate.memories.items()}
    # The gate may have learned from more than was given; what others ask for is like either.
    asked = [scaled.pop(name), gate.scaled_features(gate.remember(prompts))]
    return find_similar(asked, adapter, scaled, adapters)


def _grown_gate(
    library: Library,
    txn: Transaction,
    base: Base,
    name: str,
    description: str,
    prompts: Sequence[str],
) -> tuple[LearnedGate, Policy]:
    """The library's gate with one more skill (or one learned anew), and its policy.

    A gate that reads requests makes more of few examples, and of the description.
    """
    from loramix.gate import make_policy, plug_in, prompts_for, read_gate, same_kind

    memories = txn.memories(but=name)
    if library.gate() is None:
        gate = _first_gate(library, memories, base, name, prompts)
        return gate, gate.policy
    old = read_gate(library, base)
    if old.extractor.kind.startswith("request"):
        prompts = prompts_for(name, description, prompts)
    gate = plug_in(old, memories, name, prompts)
    return gate, same_kind(make_policy(library), gate.policy)


def _first_gate(
    library: Library,
    memories: Mapping[str, Tensor],
    base: Base,
    name: str,
    prompts: Sequence[str],
) -> LearnedGate:
    """A gate for a library without one: what no skill is for comes from the built-in prompts."""
    from loramix.gate import RoutedExample, learn_gate
    from loramix.pocket.tasks import NONE

    examples = [RoutedExample(prompt, {name: 1.0}) for prompt in prompts]
    known = set(prompts)
    none = NONE.examples("train", NONE_PROMPTS, 0)
    examples += [RoutedExample(row.prompt) for row in none if row.prompt not in known]
    gate = learn_gate(base, examples, (name,))
    others = {other: memory for other, memory in memories.items() if other != name}
    if not others:
        return gate
    shown = {other: library.skill(other).card.examples for other in others}
    return gate.refit({**memories, name: gate.memories[name]}, {**shown, name: prompts})
