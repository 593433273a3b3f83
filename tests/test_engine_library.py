"""The engine on a library: skills come when they are asked for, and stay while they are used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from engine_oracle import BYTES, PROMPTS, TOKENS, ask, expected, loud_adapter
from loramix.base import Base
from loramix.engine import Engine, Limits
from loramix.errors import (
    AdapterMismatchError,
    ClosedError,
    DeadlineError,
    LibraryError,
    PromptError,
    ResourceError,
    UnknownSkillError,
)
from loramix.gate import FixedRouter, Router
from loramix.library import Library
from loramix.mixed import MixedModel
from loramix.snapshot import Skill
from tiny_base import make_base
from tiny_library import make_card, make_memory

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base()


def put(library: Library, base: Base, name: str, seed: int) -> None:
    with library.edit() as txn:
        adapter, memory = loud_adapter(base, seed, rank=2), make_memory(seed)
        txn.add(name, adapter, make_card(name), memory, replace=name in library.skills)


@pytest.fixture
def library(base: Base, tmp_path: Path) -> Library:
    library = Library.create(tmp_path / "library", base.id, base.fingerprint)
    for seed, name in enumerate(NAMES):
        put(library, base, name, seed)
    return library


def wanted(base: Base, seeds: dict[int, float], prompt: str = PROMPTS[0], n: int = TOKENS) -> Any:
    """What a mix of `loud_adapter`s writes."""
    mixed = MixedModel(base.model)
    for seed in seeds:
        mixed.add(f"s{seed}", loud_adapter(base, seed, rank=2))
    recipe = ",".join(f"s{seed}={weight}" for seed, weight in seeds.items())
    tokens = expected(base, prompt, n, mixed, recipe)
    for name in mixed.names:
        mixed.remove(name)
    return tokens


def engine_of(base: Base, library: Library, **limits: Any) -> Engine:
    router = limits.pop("router", None)
    return Engine(
        base, library=library, router=router, limits=Limits(**{"cache_bytes": BYTES, **limits})
    )


def tokens_of(handle: Any) -> list[int]:
    return list(handle.result()[0].token_ids)


def test_few_places_serve_many_skills(base: Base, library: Library) -> None:
    engine = engine_of(base, library, max_resident=2, max_rows=3)
    mixes = {f"{a}=0.5,{b}=1": {i: 0.5, j: 1.0} for i, a in enumerate(NAMES)
             for j, b in enumerate(NAMES) if j == (i + 1) % 5}  # fmt: skip
    handles = [engine.submit(ask(mix=mix)) for mix in (*mixes, *NAMES, "base")]
    most = 0
    while engine.busy:
        engine.step()
        most = max(most, engine.stats().resident)
    assert most == 2
    for handle, seeds in zip(handles, mixes.values(), strict=False):
        assert tokens_of(handle) == wanted(base, seeds)
    for seed, handle in enumerate(handles[5:10]):
        assert tokens_of(handle) == wanted(base, {seed: 1.0})
    assert tokens_of(handles[10]) == expected(base, PROMPTS[0], TOKENS)
    stats = engine.stats()
    assert stats.evictions == stats.loads - 2
    one = sum(m.A.nbytes + m.B.nbytes for m in loud_adapter(base, 0, rank=2).modules.values())
    assert stats.resident_bytes == 2 * one
    engine.close()
    assert (engine.stats().resident, engine.stats().resident_bytes) == (0, 0)
    assert engine.mixed is not None
    assert engine.mixed.names == ()


def test_a_skill_in_use_is_never_let_go(base: Base, library: Library) -> None:
    engine = engine_of(base, library, max_resident=1, max_rows=4)
    first = engine.submit(ask(mix="a", tokens=20))
    second = engine.submit(ask(mix="b"))
    for _ in range(19):
        engine.step()
        assert (engine.stats().running, engine.stats().evictions) == (1, 0)
    assert tokens_of(first) == wanted(base, {0: 1.0}, n=20)
    assert tokens_of(second) == wanted(base, {1: 1.0})


def test_a_replaced_skill_lets_its_streams_finish_as_they_began(
    base: Base, library: Library
) -> None:
    engine = engine_of(base, library, max_resident=2)
    old = engine.submit(ask(mix="a"))
    engine.step()
    put(Library.open(library.path), base, "a", 77)
    before = engine.submit(ask(mix="a"))  # still what the engine knows
    engine.refresh()
    new = engine.submit(ask(mix="a"))
    assert tokens_of(old) == wanted(base, {0: 1.0}) == tokens_of(before)
    assert tokens_of(new) == wanted(base, {77: 1.0}) != wanted(base, {0: 1.0})


def test_a_removed_skill_lets_its_streams_finish(base: Base, library: Library) -> None:
    engine = engine_of(base, library)
    old = engine.submit(ask(mix="a"))
    engine.step()
    with Library.open(library.path).edit() as txn:
        txn.remove("a")
    engine.refresh()
    assert tokens_of(old) == wanted(base, {0: 1.0})
    with pytest.raises(UnknownSkillError):
        engine.submit(ask(mix="a"))


def test_the_library_and_the_gate_change_in_the_same_moment(base: Base, library: Library) -> None:
    """A gate that still knows a skill that is gone would have requests fail that name none."""
    with engine_of(base, library, router="fixed:e") as engine:
        held, go = threading.Event(), threading.Event()
        task = engine.between(lambda: (held.set(), go.wait(30)))
        assert held.wait(30)
        with Library.open(library.path).edit() as txn:
            txn.remove("e")
        changing = threading.Thread(target=engine.refresh)
        changing.start()
        changing.join(0.5)
        assert changing.is_alive()
        assert "e" in library.skills  # as long as the gate was not made anew
        go.set()
        task.result(30)
        changing.join(30)
        assert "e" not in library.skills


def test_a_skill_replaced_before_it_was_read_comes_in_its_new_form(
    base: Base, library: Library
) -> None:
    engine = engine_of(base, library)
    handle = engine.submit(ask(mix="b=1,c=0.5", n=2))
    put(Library.open(library.path), base, "b", 55)
    first, second = handle.result()
    assert list(first.token_ids) == wanted(base, {55: 1.0, 2: 0.5}) == list(second.token_ids)


def test_a_damaged_adapter_fails_its_requests_alone(base: Base, library: Library) -> None:
    weights = library.path / "skills" / "b" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7] + b"garbage")
    engine = engine_of(base, library)
    handles = {name: engine.submit(ask(mix=name)) for name in NAMES}
    for seed, name in enumerate(NAMES):
        if name == "b":
            with pytest.raises(LibraryError, match="adapter_model"):
                handles[name].result()
        else:
            assert tokens_of(handles[name]) == wanted(base, {seed: 1.0})
    assert engine.stats().resident == 4


def test_a_damaged_skill_has_the_library_read_once_for_each_change(
    base: Base, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = library.path / "skills" / "b" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7] + b"garbage")
    reads: list[Library] = []
    newer = Library.newer
    monkeypatch.setattr(Library, "newer", lambda library: reads.append(library) or newer(library))
    engine = engine_of(base, library)
    for handle in [*(engine.submit(ask(mix="b")) for _ in range(3)), engine.submit(ask(mix="b"))]:
        with pytest.raises(LibraryError, match="adapter_model"):
            handle.result()
    assert len(reads) == 1
    with pytest.raises(LibraryError):
        engine.submit(ask(mix="b")).result()
    assert len(reads) == 1
    again = engine.submit(ask(mix="b"))
    put(Library.open(library.path), base, "b", 55)
    assert tokens_of(again) == wanted(base, {55: 1.0})
    assert [read for read in reads if read is library] == [library] * 2


def test_others_go_on_while_a_skill_is_read(
    base: Base, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, read = threading.Event(), Skill.adapter

    def slowly(skill: Skill, model: Any = None) -> Any:
        if skill.name == "a":
            gate.wait(30)
        return read(skill, model)

    monkeypatch.setattr(Skill, "adapter", slowly)
    with engine_of(base, library) as engine:
        slow = engine.submit(ask(mix="a"))
        quick = engine.submit(ask())
        assert tokens_of(quick) == expected(base, PROMPTS[0], TOKENS)
        assert not slow.done
        gate.set()
        assert tokens_of(slow) == wanted(base, {0: 1.0})
    assert not [t for t in threading.enumerate() if t.name.startswith("loramix")]


def test_the_place_of_a_skill_that_nobody_waits_for_any_more_is_taken(
    base: Base, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, read = threading.Event(), threading.Event(), Skill.adapter

    def slowly(skill: Skill, model: Any = None) -> Any:
        if skill.name == "a":
            begun.set()
            go.wait(30)
        return read(skill, model)

    monkeypatch.setattr(Skill, "adapter", slowly)
    with engine_of(base, library, max_resident=1) as engine:
        gone = engine.submit(ask(mix="a"))
        assert begun.wait(30)
        gone.cancel()
        gone.result()
        behind = engine.submit(ask(mix="b", deadline=20.0))
        for _ in range(2):  # a step lies between the two, and has seen it
            engine.between(lambda: None).result(10)
        go.set()
        assert tokens_of(behind) == wanted(base, {1: 1.0})


def test_closing_reads_no_skill_and_routes_no_request(base: Base, library: Library) -> None:
    router = FirstLetter(NAMES)
    engine = engine_of(base, library, router=router)
    handles = [engine.submit(ask(mix=mix)) for mix in ("a", "b", "auto")]
    engine.close()
    for handle in handles:
        with pytest.raises(ClosedError):
            handle.result()
    assert (engine.stats().loads, engine.stats().waiting, router.calls) == (0, 0, [])


def test_a_mix_of_more_skills_than_fit_is_refused(base: Base, library: Library) -> None:
    with pytest.raises(ResourceError, match="more skills"):
        engine_of(base, library, max_resident=1).submit(ask(mix="a=1,b=1"))


def test_a_library_of_another_base_is_refused(library: Library) -> None:
    with pytest.raises(AdapterMismatchError, match="another base"):
        engine_of(make_base(seed=5), library)


# ── mixes that a router chooses ──────────────────────────────────────────────────────────────


class FirstLetter(Router):
    """Routes a prompt to the skill of its first letter, and counts how often it is asked."""

    name: ClassVar[str] = "letter"

    def __init__(self, skills: Sequence[str]) -> None:
        self.skills = tuple(skills)
        self.calls: list[int] = []

    def fit(self, prompts: Sequence[str], targets: Tensor) -> FirstLetter:
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        self.calls.append(len(prompts))
        if any(prompt.startswith("!") for prompt in prompts):
            raise PromptError("an exclamation")
        names = [*self.skills, "base"]
        return torch.tensor([[float(p.startswith(name)) for name in names] for p in prompts])


def test_requests_that_arrive_together_are_routed_in_one_call(base: Base, library: Library) -> None:
    router = FirstLetter(NAMES)
    engine = engine_of(base, library, router=router)
    handles = [engine.submit(ask(f"{name} cat", "auto")) for name in NAMES]
    turns = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "no"},
             {"role": "user", "content": "c please"}]  # fmt: skip
    talk = engine.submit(ask(turns, "auto"))  # type: ignore[arg-type]
    for seed, handle in enumerate(handles):
        assert tokens_of(handle) == wanted(base, {seed: 1.0}, f"{NAMES[seed]} cat")
        assert str(handle.mix) == f"{NAMES[seed]}=1"
        assert handle.routing is not None
    assert str(talk.mix) == "c=1"
    assert router.calls == [
        5,
        2,
    ]  # a conversation's messages apart: one may lean on another
    stats = engine.stats()
    assert stats.gate_seconds > 0
    assert stats.gate_share == stats.gate_seconds / stats.prompt_seconds


def test_a_crowd_for_the_router_does_not_stall_the_streams(base: Base, library: Library) -> None:
    router = FirstLetter(NAMES)
    engine = engine_of(base, library, router=router, chunk_tokens=30, max_rows=4)
    stream = engine.submit(ask(tokens=40))
    engine.step()
    crowd = [engine.submit(ask(f"{NAMES[i % 5]} cat", "auto", 3)) for i in range(25)]
    behind = engine.submit(ask(PROMPTS[2], tokens=3))
    size = len(crowd[0].prompt_ids)
    count = engine.stats().steps
    while not stream.done:
        engine.step()
        count += 1
        assert engine.stats().steps == count  # the stream got its token
    assert 1 < max(router.calls) <= 30 // size
    for i, handle in enumerate(crowd):  # each of them, and those behind, are answered
        assert tokens_of(handle) == wanted(base, {i % 5: 1.0}, f"{NAMES[i % 5]} cat", 3)
    assert tokens_of(behind) == expected(base, PROMPTS[2], 3)
    assert sum(router.calls) == 25
    assert (engine.stats().waiting, engine.stats().running) == (0, 0)


def test_requests_that_are_over_are_not_routed(base: Base, library: Library) -> None:
    router = FirstLetter(NAMES)
    with engine_of(base, library, router=router) as engine:
        with engine._stepping:  # so that all come in one step
            late = engine.submit(ask("a cat", "auto", deadline=1e-6))
            cancelled = engine.submit(ask("b cat", "auto"))
            cancelled.cancel()
            good = engine.submit(ask("c cat", "auto"))
        assert tokens_of(good) == wanted(base, {2: 1.0}, "c cat")
        with pytest.raises(DeadlineError):
            late.result()
        assert cancelled.result()[0].finish_reason == "cancel"
        assert router.calls == [1]
        assert engine.stats().waiting == 0


def test_a_router_that_fails_fails_its_request_alone(base: Base, library: Library) -> None:
    engine = engine_of(base, library, router=FirstLetter(NAMES))
    good, bad = engine.submit(ask("a cat", "auto")), engine.submit(ask("!", "auto"))
    with pytest.raises(PromptError, match="exclamation"):
        bad.result()
    assert tokens_of(good) == wanted(base, {0: 1.0}, "a cat")
    assert engine.stats().waiting == 0


def test_a_router_that_names_a_vanished_skill_fails_the_request(
    base: Base, library: Library
) -> None:
    router = FixedRouter(["gone"], "gone")
    with pytest.raises(UnknownSkillError):
        engine_of(base, library, router=router).submit(ask(mix="auto")).result()


def test_what_batches_make_of_their_skills_is_counted_and_bounded(
    base: Base, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sum(m.A.nbytes + m.B.nbytes for m in loud_adapter(base, 0, rank=2).modules.values())
    engine = engine_of(base, library)
    engine.submit(ask(mix="a=0.5,b=1")).result()
    assert engine.stats().mixing_bytes == 2 * one
    monkeypatch.setattr("loramix.stack._KEPT_BYTES", 3 * one)
    pairs = [f"{a}=0.5,{b}=1" for a in NAMES for b in NAMES if a != b]
    for mix in pairs:  # one at a time, so that each is a set of its own
        handle = engine.submit(ask(mix=mix, tokens=3))
        while not handle.done:
            engine.step()
            assert engine.stats().mixing_bytes <= 3 * one + 2 * one
    monkeypatch.setattr("loramix.stack._KEPT_BYTES", one)
    handle = engine.submit(ask(mix=pairs[0]))
    engine.step()
    assert engine.stats().mixing_bytes == 2 * one  # what runs is mixed from it
    handle.cancel()
    engine.step()
    assert engine.stats().mixing_bytes == 0  # and nothing runs now
