"""Routers by name, and the gate of a library: opened, grown by a skill, rid of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loramix.errors import ConfigError, LibraryError, nearest
from loramix.gate.centroid import CentroidRouter
from loramix.gate.features import FeatureExtractor
from loramix.gate.fixed import FixedRouter
from loramix.gate.keywords import KeywordRouter
from loramix.gate.learned import MEMORY, LearnedGate
from loramix.gate.phrasings import crossed
from loramix.gate.router import RoutedExample, Router, targets_of
from loramix.gate.stored import check_format, policy_from_dict
from loramix.mix import Mix, Policy, PolicyKind

CROSSED = 400
ALIKE = 0.7  # cosine from which a prompt of no skill asks for what a new skill does

if TYPE_CHECKING:
    from loramix.base import Base
    from loramix.library import Library


def learn_gate(
    base: Base,
    examples: Sequence[RoutedExample],
    skills: Sequence[str],
    *,
    features: str = "auto",
    seed: int = 0,
    memory: int = MEMORY,
    temperature: float | None = None,
    requests: Mapping[str, str] | None = None,
) -> LearnedGate:
    """A gate for `skills`, fitted on prompts whose needs are known.

    Args:
        base: the frozen base.
        examples: prompts of each skill; of several, for blends; of none, for the base.
        skills: in the order of the columns.
        features: see `loramix.gate.features`.
        seed: the same seed gives the same gate.
        memory: how many prompts' features a skill keeps for refits.
        temperature: None calibrates it.
        requests: skill → kind of phrasings (`kinds_of` finds them from descriptions). Each skill's
            phrasings are put around the prompts of all skills, so that what a prompt is about
            does not decide; at most 400 for each skill are added to the examples.

    Raises:
        ConfigError: unknown features.
        DataError: no examples.
        UnknownSkillError: an example needs a skill that is not in `skills`.
    """
    if requests:
        examples = [*examples, *crossed_with(examples, requests, seed)]
    gate = LearnedGate(
        FeatureExtractor(base, features), skills, seed=seed, memory=memory, temperature=temperature
    )
    return gate.fit([example.prompt for example in examples], targets_of(examples, skills))


def crossed_with(
    examples: Sequence[RoutedExample], requests: Mapping[str, str], seed: int = 0
) -> list[RoutedExample]:
    """Requests of each kind around the texts of examples that need one skill; see `learn_gate`."""
    texts: dict[str, list[str]] = {name: [] for name in requests}
    for example in examples:
        if len(example.weights) == 1 and (name := next(iter(example.weights))) in texts:
            texts[name].append(example.prompt)
    texts = {name: own for name, own in texts.items() if own}
    if not texts:
        return []
    count = min(CROSSED, max(map(len, texts.values())))
    kinds = {name: requests[name] for name in texts}
    return crossed(texts, kinds, count, seed=seed)


def read_gate(library: Library, base: Base) -> LearnedGate:
    """The gate of a library.

    Raises:
        LibraryError: it has none, or one that this version cannot read.
    """
    stored = library.gate()
    if stored is None:
        raise LibraryError(
            "The library has no gate, so that nothing can decide which skill a prompt needs.",
            given=library.path,
            hint="name the mix (--mix SKILL), or train the gate (`loramix train`)",
        )
    tensors, meta = stored
    check_format(meta)
    return LearnedGate.from_state(FeatureExtractor(base, meta["features"]), tensors, meta)


def plug_in(
    gate: LearnedGate,
    memories: Mapping[str, Tensor],
    name: str,
    prompts: Sequence[str],
    *,
    beside: bool = False,
) -> LearnedGate:
    """A gate that also knows the skill `name`, from prompts of it and the memory of the others.

    The features to keep with the new skill are `memories[name]` of the gate that is returned.

    Args:
        gate: stays as it is.
        memories: skill → stored features [N, F] of the skills so far; those of `name` are not
            used, and may be missing.
        name: the new skill; or a known one, to learn it anew, in its old place.
        prompts: example prompts of it.
        beside: the prompts are few, or were made of few (`prompts_for`): where the features hold
            what is asked, the skill gets a column beside the network, which stays as it is
            (`GateNetwork`). Else the network learns the skill, too.
    """
    grown = {**memories, name: gate.remember(prompts)}
    order = dict.fromkeys((*(skill for skill in gate.skills if skill in grown), *grown))
    none = _unlike(gate, grown[name])
    fitted = set(gate.skills) - set(gate.added)
    # A skill that the gate has never seen would get a column of the network that nothing fits.
    known = set(memories) <= {*gate.skills, name}
    frozen = beside and reads_requests(gate) and known and name not in fitted
    return gate.refit(
        {skill: grown[skill] for skill in order},
        {name: prompts},
        none,
        beside={*gate.added, name} if frozen else {*gate.added} - {name},
        frozen=frozen,
    )


def reads_requests(gate: LearnedGate) -> bool:
    """Whether the features of a gate hold what is asked, by the request encoder."""
    return gate.extractor.encoder_print is not None


def _unlike(gate: LearnedGate, own: Tensor) -> Tensor:
    """Prompts of no skill [N, F], without those that ask for what a new skill does.

    The bank's other kinds stand for no skill until somebody adds a skill for one of them.
    """
    asked, wanted = gate.extractor.asked(gate.none), gate.extractor.asked(own)
    if asked is None or wanted is None:
        return gate.none
    centre = wanted.float().mean(0, keepdim=True)
    kept = gate.none[torch.nn.functional.cosine_similarity(asked.float(), centre) < ALIKE]
    return kept if len(kept) else gate.none


def make_policy(library: Library, kind: PolicyKind | str | None = None) -> Policy:
    """The policy of a library, with the thresholds of its gate; `kind` may override its kind.

    Raises:
        ConfigError: there is no policy of that kind.
    """
    stored = library.gate()
    own = Policy() if stored is None else policy_from_dict(stored[1].get("policy", {}))
    if kind is None:
        return own
    return Policy(
        kind=kind,  # type: ignore[arg-type]  # the policy checks it, with an error for the user
        k=own.k,
        blend_threshold=own.blend_threshold,
        none_threshold=own.none_threshold,
        min_share=own.min_share,
    )


def _gate(base: Base, library: Library, _argument: str) -> Router:
    return read_gate(library, base)


def _keywords(base: Base, library: Library, _argument: str) -> Router:
    return read_gate(library, base).words


def _centroid(base: Base, library: Library, _argument: str) -> Router:
    gate = read_gate(library, base)
    memories = {name: library.skill(name).memory() for name in gate.skills}
    return CentroidRouter(gate.extractor, gate.skills).fit_memory(memories, gate.none)


def _fixed(_base: Base, library: Library, argument: str) -> Router:
    return FixedRouter(tuple(library.skills), argument, library.mixes)


ROUTERS: dict[str, Callable[[Base, Library, str], Router]] = {
    LearnedGate.name: _gate,
    KeywordRouter.name: _keywords,
    CentroidRouter.name: _centroid,
    FixedRouter.name: _fixed,
}
"""Routers by name: each is made from a base, a library and what follows the colon."""


def check_router(
    name: str, skills: Collection[str], mixes: Mapping[str, Mix] | None = None
) -> None:
    """Checks the name of a router, before there is a base to make it from.

    Args:
        name: see `make_router`.
        skills: those of the library.
        mixes: those that it keeps under a name.

    Raises:
        ConfigError: there is no such router.
        RecipeError, UnknownSkillError: `fixed:` is followed by a mix that cannot be used.
    """
    kind, _, argument = name.partition(":")
    if kind not in ROUTERS or (argument and kind != FixedRouter.name):
        near = nearest(kind, ROUTERS)
        raise ConfigError(
            "There is no such router.",
            given=name,
            expected="gate, keywords, centroid, or fixed:RECIPE",
            hint=f"did you mean {near!r}?"
            if near
            else "name one of them, or leave it out for the gate",
        )
    if kind == FixedRouter.name:
        FixedRouter(tuple(skills), argument, mixes)


def make_router(name: str, *, base: Base, library: Library) -> Router:
    """A router, ready to score prompts.

    Args:
        name: `gate`, `keywords`, `centroid`, or `fixed:RECIPE`.
        base: the base of the library.
        library: whose gate and memories are used.

    Raises:
        ConfigError, RecipeError, UnknownSkillError: see `check_router`.
        LibraryError: the library has no gate.
    """
    check_router(name, library.skills, library.mixes)
    kind, _, argument = name.partition(":")
    return ROUTERS[kind](base, library, argument)


def same_kind(old: Policy, fitted: Policy) -> Policy:
    """The kind of policy that the library was made with, with the newly fitted thresholds."""
    return replace(fitted, kind=old.kind, k=old.k)
