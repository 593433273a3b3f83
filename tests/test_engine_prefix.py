"""Keys and values that are used again: only those of the same base, mix and tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_oracle import MIXES, TOKENS, World, ask, expected, loud_adapter
from loramix.base import encode_prompt
from loramix.engine import Engine
from loramix.engine.prefix import BLOCK, PrefixCache, chain, root_of
from loramix.errors import ForwardError

SYSTEM = "add two and two to get four and the cat sat on the dog, then the mat and the cat. " * 2
PROMPTS = [SYSTEM + end for end in ("the cat", "dog", "a mat?")]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def reused(engine: Engine) -> int:
    return engine.stats().reused_tokens


def written(engine: Engine, prompt: str, mix: str) -> list[int]:
    return list(engine.submit(ask(prompt, mix)).result()[0].token_ids)


def test_a_long_beginning_is_read_once_and_the_tokens_are_the_same(world: World) -> None:
    engine = world.engine()
    shared = len(encode_prompt(world.base, SYSTEM)) - 8
    for i, prompt in enumerate(PROMPTS):
        assert written(engine, prompt, "one") == world.expected(prompt, "one")
        assert reused(engine) >= i * (shared // BLOCK * BLOCK)
    assert reused(engine) > 0


def test_the_answer_of_one_turn_is_not_read_again_in_the_next(world: World) -> None:
    engine = world.engine()
    [first] = engine.submit(ask(SYSTEM, tokens=40)).result()
    row = [*encode_prompt(world.base, SYSTEM), *first.token_ids]
    keep = len(row[:-1]) // BLOCK * BLOCK
    store, prefix = engine._scheduler.store, engine._scheduler.prefix
    store.reserve(1, len(row) + 1, 1, len(row) + 1)
    how = f"{world.base.fingerprint} {world.base.precision} cpu"
    root = root_of(f"{how} 0", {})
    known = [root_of(f"{how} {n}", {}) for n in range(9)]
    assert root in known
    assert keep in {prefix.fetch(r, [*row, 5], store, 0) for r in known}


@settings(max_examples=8)
@given(st.lists(st.tuples(st.sampled_from(PROMPTS), st.sampled_from(MIXES)), max_size=8))
def test_whatever_came_before_each_mix_writes_its_own(
    world: World, calls: list[tuple[str, str]]
) -> None:
    engine = world.engine()
    seen: set[str] = set()
    for prompt, mix in calls:
        before = reused(engine)
        assert written(engine, prompt, mix) == world.expected(prompt, mix)
        assert (reused(engine) > before) == (mix in seen)
        seen.add(mix)


def test_poison_under_one_mix_harms_that_mix_alone(world: World) -> None:
    engine = world.engine()
    for mix in ("one", "two=1.5"):
        written(engine, PROMPTS[0], mix)
        if mix == "one":
            for block in engine._scheduler.prefix._blocks.values():
                block[:] = [(k.clone().fill_(torch.nan), v) for k, v in block]
    for mix in ("two=1.5", "base", "one=1.0000001", "one=1,two=0.0001", "one=0.5,two=0.7"):
        assert written(engine, PROMPTS[0], mix) == expected(
            world.base, PROMPTS[0], TOKENS, world.mixed, mix
        )
    with pytest.raises(ForwardError, match="no numbers"):
        written(engine, PROMPTS[0], "one")


def test_an_adapter_replaced_under_its_name_is_another_mix(world: World) -> None:
    engine = world.engine()
    old = world.mixed.adapter("two")
    assert written(engine, PROMPTS[0], "two") == world.expected(PROMPTS[0], "two")
    world.mixed.add("two", loud_adapter(world.base, 9))
    try:
        new = expected(world.base, PROMPTS[0], TOKENS, world.mixed, "two")
        assert written(engine, PROMPTS[0], "two") == new != world.expected(PROMPTS[0], "two")
    finally:
        world.mixed.add("two", old)


def test_the_budget_holds_and_the_oldest_go_first(world: World) -> None:
    block = BLOCK * world.engine()._scheduler.token_bytes
    engine = world.engine(prefix_bytes=3 * block)
    for mix in MIXES:
        assert written(engine, PROMPTS[0], mix) == world.expected(PROMPTS[0], mix)
        assert 0 < engine.stats().prefix_bytes <= 3 * block
    before = reused(engine)
    written(engine, PROMPTS[1], MIXES[-1])
    assert reused(engine) > before
    written(engine, PROMPTS[1], MIXES[0])
    assert len(engine._scheduler.prefix) <= 3
    engine.close()
    assert engine.stats().prefix_bytes == 0


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 2), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 2), max_size=3),
    st.lists(st.integers(0, 3), min_size=BLOCK, max_size=3 * BLOCK),
    st.lists(st.integers(0, 3), min_size=BLOCK, max_size=3 * BLOCK),
)
def test_digests_are_alike_only_for_the_same_mix_and_tokens(
    one: dict[str, float], other: dict[str, float], tokens: list[int], more: list[int]
) -> None:
    first, second = chain(root_of("base", one), tokens), chain(root_of("base", other), more)
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        end = (place + 1) * BLOCK
        assert (a == b) == (one == other and tokens[:end] == more[:end])
    assert not {*first} & {*chain(root_of("another", one), tokens)}


def test_nothing_is_kept_without_a_budget(world: World) -> None:
    engine = world.engine(prefix_bytes=0)
    written(engine, PROMPTS[0], "base")
    assert (len(engine._scheduler.prefix), PrefixCache(0).bytes) == (0, 0)
