"""An adapter goes into a library as a skill, or a skill out of it, and the gate follows."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    LibraryChangedError,
    LibraryError,
)
from loramix.library import Library, SkillCard, Transaction, validate_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from loramix.adapter import Adapter
    from loramix.base import Base
    from loramix.gate import LearnedGate
    from loramix.mix import Policy

NONE_PROMPTS = 400  # prompts of no skill, for a library that has no gate yet
FEW = 50  # fewer examples than these, and the gate makes more of them
SHOWN_EXAMPLES = 5  # how many example prompts a card keeps

log = logging.getLogger(__name__)


class Plugged(NamedTuple):
    """What came of an adapter that was added.

    Attributes:
        gate: the new gate.
        similar: the skills that the new one is so much like that one could do for both; see
            `loramix.similar.find_similar`.
        other_base: what is to be said where the adapter names another base; else None.
    """

    gate: LearnedGate
    similar: list[dict[str, Any]]
    other_base: str | None


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
) -> Plugged:
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
        The new gate, and the skills that the new one is much like.

    Raises:
        LibraryChangedError: it has another generation.
        LoramixError: as `add`.
    """
    from loramix.adapter import read_adapter

    card = foreign_card(adapter, target)
    lora = read_adapter(adapter, base)
    other_base = _another_base(lora, target)
    if other_base is not None:
        log.warning("%s", other_base)
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
        alike = _similar(target, base, gate, name, prompts, lora)
        txn.add(name, lora, card, gate.memories[name], replace=replace)
        txn.set_gate(*gate.state(policy))
    return Plugged(gate, alike, other_base)


def unplug(
    target: Library, base: Base | None, name: str, *, expected: int | None = None
) -> LearnedGate | None:
    """Takes a skill out of a library, and out of its gate.

    Args:
        base: the library's; None where no gate is left.
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
            memories = txn.memories()
            known = set(memories) <= set(old.skills)
            gate = old.kept(memories) if known else old.refit(memories)
            txn.set_gate(*gate.state(same_kind(make_policy(target), gate.policy)))
    return gate


def foreign_card(adapter: Path, library: Library) -> SkillCard:
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


def _another_base(adapter: Adapter, library: Library) -> str | None:
    """What is to be said of an adapter that names another base; None where it does not.

    PEFT keeps a name only, and one base has many names, so a difference is no error.
    """
    named = adapter.config.get("base_model_name_or_path")
    if named and Path(named).name.lower() != Path(library.base_id).name.lower():
        return (
            f"the adapter names its base {named!r} and the library {library.base_id!r}; its shapes "
            "fit, but if these are two models it will answer badly"
        )
    return None


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
    from loramix.gate import (
        make_policy,
        plug_in,
        prompts_for,
        read_gate,
        reads_requests,
        same_kind,
    )

    memories = txn.memories(but=name)
    # One prompt and no description say next to nothing: no more can be made of them.
    few = len(prompts) < FEW and (len(prompts) > 1 or bool(description))
    made = prompts_for(name, description, prompts) if few else prompts
    if library.gate() is None:
        gate = _first_gate(library, memories, base, name, made)
        return gate, gate.policy
    old = read_gate(library, base)
    few = few and reads_requests(old)
    prompts = made if few else prompts
    gate = plug_in(old, memories, name, prompts, beside=few)
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
