"""The engine: what it writes depends on the request alone, whoever else comes, stays or goes."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_oracle import BYTES, MIXES, PROMPTS, TOKENS, World, ask, expected
from loramix.base import encode_prompt, weights_hash
from loramix.engine import Engine, Limits, Request
from loramix.engine.cache import KeyValueStore
from loramix.engine.forward import Feed, Runner
from loramix.engine.support import context_length
from loramix.errors import (
    ClosedError,
    DeadlineError,
    ForwardError,
    PromptError,
    QueueFullError,
    ResourceError,
    UnknownSkillError,
    UnsupportedBaseError,
    UsageError,
)
from loramix.sampling import Sampling, choose
from tiny_base import make_base


@pytest.fixture(scope="module")
def world() -> World:
    return World()


# ── the same tokens, whatever the way ────────────────────────────────────────────────────────

SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("mistral", {"sliding_window": 7}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("gemma", {"head_dim": 8}),
    (
        "gemma2",
        {
            "head_dim": 8,
            "sliding_window": 7,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 4.0,
        },
    ),
    ("gemma3_text", {"head_dim": 8, "sliding_window": 7}),
    ("phi3", {"sliding_window": 9}),
    ("gpt2", {}),
    ("gpt_neox", {}),
    ("opt", {}),
]


@pytest.mark.parametrize(("arch", "shape"), SHAPES, ids=[arch for arch, _ in SHAPES])
def test_greedy_tokens_are_those_of_model_generate(arch: str, shape: dict[str, Any]) -> None:
    base = make_base(arch, **shape)
    wanted = [expected(base, prompt, TOKENS) for prompt in PROMPTS]
    before = base.model.config._attn_implementation
    for chunks in ({}, {"chunk_tokens": 5, "prompt_tokens": 7}):
        engine = Engine(base, limits=Limits(cache_bytes=BYTES, **chunks))
        handles = [engine.submit(ask(prompt)) for prompt in PROMPTS]
        assert [list(handle.result()[0].token_ids) for handle in handles] == wanted
    assert base.model.config._attn_implementation == before


arrivals = st.lists(
    st.tuples(
        st.sampled_from(PROMPTS),
        st.sampled_from(MIXES),
        st.integers(1, TOKENS),  # how many tokens
        st.integers(0, 8),  # the step in which it comes
        st.one_of(st.none(), st.integers(0, 6)),  # cancelled after so many steps
    ),
    min_size=1,
    max_size=7,
)


@given(arrivals, st.integers(1, 4), st.integers(1, 20), st.booleans())
def test_any_schedule_writes_what_each_request_alone_does(
    world: World, schedule: Any, rows: int, chunk: int, prefix: bool
) -> None:
    engine = world.engine(
        max_rows=rows,
        chunk_tokens=chunk,
        prompt_tokens=chunk,
        prefix_bytes=BYTES if prefix else 0,
    )
    handles: dict[int, Any] = {}
    step = 0
    while step <= 8 or engine.busy:
        for i, (prompt, mix, tokens, come, _) in enumerate(schedule):
            if come == step:
                handles[i] = engine.submit(ask(prompt, mix, tokens))
        for i, (*_, come, patience) in enumerate(schedule):
            if patience is not None and come + patience == step:
                handles[i].cancel()
        engine.step()
        step += 1
    for i, (prompt, mix, tokens, _, patience) in enumerate(schedule):
        [done] = handles[i].result()
        wanted = world.expected(prompt, mix)[:tokens]
        if patience is None or done.finish_reason != "cancel":
            assert list(done.token_ids) == wanted
        else:
            assert list(done.token_ids) == wanted[: done.completion_tokens]
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes) == (0, 0, 0)


def test_the_base_is_untouched(world: World) -> None:
    before = weights_hash(world.base.model)
    engine = world.engine()
    handles = [engine.submit(ask(p, m)) for p, m in zip(PROMPTS, MIXES, strict=True)]
    for handle in handles:
        handle.result()
    assert weights_hash(world.base.model) == before
    assert not any(m._forward_pre_hooks for m in [world.base.model.get_output_embeddings()])


def test_a_long_prompt_does_not_stall_the_streams(world: World) -> None:
    engine = world.engine(chunk_tokens=8)
    first = engine.submit(ask(PROMPTS[0], tokens=30))
    engine.step()
    engine.submit(ask("the dog and the cat " * 8, tokens=2))
    assert all(len(engine.step()) == 1 for _ in range(5))  # the stream goes on meanwhile
    assert len(first.result()[0].token_ids) == 30


def test_only_the_last_token_of_each_prompt_meets_the_head(world: World) -> None:
    seen: list[int] = []
    head = world.base.model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    try:
        engine = world.engine()
        handles = [engine.submit(ask(p, tokens=2)) for p in PROMPTS]
        [h.result() for h in handles]
    finally:
        handle.remove()
    assert seen[-1] == 4
    assert engine.stats().prompt_tokens == sum(len(h.prompt_ids) for h in handles)


# ── requests ─────────────────────────────────────────────────────────────────────────────────


def test_rows_of_one_batch_have_their_own_sampling(world: World) -> None:
    asked = [
        ask(temperature=1.0, seed=3),
        ask(),
        ask(temperature=1.0, seed=4, top_p=0.8, min_p=0.05),
        ask(temperature=0.5, seed=3, top_k=5),
        ask(repetition_penalty=1.3, presence_penalty=0.5),
    ]
    engine = world.engine()
    together = [engine.submit(request) for request in asked]
    alone = [world.engine().submit(request).result() for request in asked]
    assert [handle.result() for handle in together] == alone
    assert list(alone[1][0].token_ids) == world.expected(PROMPTS[0], "base")
    assert len({completions[0].token_ids for completions in alone}) == 5


def test_n_completions_share_one_reading_of_the_prompt(world: World) -> None:
    engine = world.engine(prefix_bytes=0)
    done = engine.submit(ask(temperature=1.0, seed=7, n=3)).result()
    prompt = len(encode_prompt(world.base, PROMPTS[0]))
    assert engine.stats().prompt_tokens == prompt
    for i, completion in enumerate(done):
        [alone] = world.engine().submit(ask(temperature=1.0, seed=7 + i)).result()
        assert completion == alone
    assert len({completion.text for completion in done}) == 3


def test_penalties_forbid_what_was_said(world: World) -> None:
    [free] = world.engine().submit(ask(tokens=30)).result()
    for penalty in ({"presence_penalty": 1e4}, {"frequency_penalty": 1e4}):
        [done] = world.engine().submit(ask(tokens=30, **penalty)).result()
        assert len(set(done.token_ids)) == 30
    assert len(set(free.token_ids)) < 30
    [done] = world.engine().submit(ask(tokens=30, repetition_penalty=1e6)).result()
    said = {*encode_prompt(world.base, PROMPTS[0])}
    with torch.inference_mode():
        ids = torch.tensor([encode_prompt(world.base, PROMPTS[0])])
        positive = (world.base.model(ids).logits[0, -1] > 0).nonzero().flatten().tolist()
    assert done.token_ids[0] in set(positive) - said


def test_logprobs_are_the_models_own(world: World) -> None:
    [done] = world.engine().submit(ask(logprobs=3, temperature=1.5, seed=1, tokens=4)).result()
    assert done.logprobs is not None
    prompt = encode_prompt(world.base, PROMPTS[0])
    with torch.inference_mode():
        logits = world.base.model(torch.tensor([[*prompt, *done.token_ids]])).logits[0]
    logs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    for row, token, report in zip(logs, done.token_ids, done.logprobs, strict=True):
        assert report.chosen == pytest.approx(float(row[token]), abs=1e-4)
        best = row.topk(3)
        assert [token for token, _ in report.top] == best.indices.tolist()
    [bare] = world.engine().submit(ask(logprobs=0, tokens=2)).result()
    assert bare.logprobs is not None
    assert bare.logprobs[0].top == ()


def test_stop_tokens_and_stop_texts_end_a_completion(world: World) -> None:
    wanted = world.expected(PROMPTS[0], "base")
    token = wanted[4]
    [done] = world.engine().submit(ask(stop_tokens=(token,))).result()
    assert list(done.token_ids) == wanted[: wanted.index(token) + 1]
    assert done.finish_reason == "stop"
    [free] = world.engine().submit(ask()).result()
    [done] = world.engine().submit(ask(stop=(free.text[3:6],))).result()
    assert done.text == free.text[: free.text.find(free.text[3:6])]


def test_characters_come_out_whole(world: World) -> None:
    handle = world.engine().submit(ask(temperature=3.0, seed=2, tokens=60))
    pieces = list(handle)
    text = "".join(piece.text for piece in pieces)
    ids = [piece.token_id for piece in pieces]
    assert text == world.base.tokenizer.decode(ids, skip_special_tokens=True)


# ── ends ─────────────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_request_keeps_what_it_wrote_and_frees_its_slot(world: World) -> None:
    engine = world.engine(max_rows=1)
    with engine.submit(ask(tokens=50)) as handle:
        for piece in handle:
            assert piece.token_id == world.expected(PROMPTS[0], "base")[0]
            break
    [done] = handle.result()
    assert (done.finish_reason, done.completion_tokens) == ("cancel", 1)
    assert engine.stats().running == 0
    [other] = engine.submit(ask(PROMPTS[2])).result()
    assert list(other.token_ids) == world.expected(PROMPTS[2], "base")


def test_a_cancelled_completion_has_the_text_of_all_its_tokens(world: World) -> None:
    [whole] = world.engine().submit(ask()).result()
    for count in range(1, TOKENS):
        # what may be the beginning of a stop text, or of a character, is not shown at once
        engine = world.engine()
        handle = engine.submit(ask(stop=tuple(f"{character}\0" for character in whole.text)))
        for _ in range(count):
            engine.step()
        handle.cancel()
        [done] = handle.result()
        ids = list(done.token_ids)
        assert ids == world.expected(PROMPTS[0], "base")[:count]
        assert done.text == world.base.tokenizer.decode(ids, skip_special_tokens=True)


def test_a_deadline_fails_the_request_waiting_or_running(world: World) -> None:
    engine = world.engine(max_rows=1)
    running = engine.submit(ask(tokens=100, deadline=0.2))
    waiting = engine.submit(ask(tokens=2, deadline=0.2))
    engine.step()
    time.sleep(0.21)
    with pytest.raises(DeadlineError, match=r"0\.2 seconds"):
        running.result()
    with pytest.raises(DeadlineError):
        waiting.result()
    assert (engine.stats().running, engine.stats().waiting, engine.stats().failed) == (0, 0, 2)


@pytest.mark.parametrize("deadline", [1e12, float("inf")])
def test_a_deadline_that_no_clock_waits_for_is_none(deadline: float, world: World) -> None:
    with world.engine() as engine:
        for _ in range(2):
            [done] = engine.submit(ask(PROMPTS[0], deadline=deadline)).result()
            assert list(done.token_ids) == world.expected(PROMPTS[0], "base")
        assert engine.alive


def test_wrong_requests_fail_at_once_and_by_name(world: World) -> None:
    engine = world.engine(cache_bytes=20_000, max_queue=2, max_rows=1)
    for error, request in (
        (PromptError, ask("")),
        (PromptError, ask("z" * 200)),
        (UnknownSkillError, ask(mix="onee")),
        (UsageError, ask(mix="auto")),
        (UsageError, ask(n=0)),
        (UsageError, ask(n=4)),  # one may run and two wait
        (UsageError, ask(n=1.5)),
        (UsageError, ask(deadline=0.0)),
        (ResourceError, ask(tokens=1000)),
    ):
        with pytest.raises(error):
            engine.submit(request)
    engine.submit(ask())
    with pytest.raises(QueueFullError, match="1 completions wait"):
        engine.submit(ask(n=3))
    for wrong, least in (({"max_rows": 0}, 1), ({"cache_bytes": -1}, 0)):
        with pytest.raises(UsageError, match=f"at least {least}"):
            Limits(**wrong)  # type: ignore[arg-type]


def test_where_nobody_may_wait_as_many_as_there_are_slots_are_answered(world: World) -> None:
    engine = world.engine(max_queue=0, max_rows=2)
    handles = [engine.submit(ask()) for _ in range(2)]
    with pytest.raises(QueueFullError):
        engine.submit(ask())
    for handle in handles:
        assert list(handle.result()[0].token_ids) == world.expected(PROMPTS[0], "base")


def test_the_cache_stays_within_its_budget_and_all_are_answered(world: World) -> None:
    need = len(encode_prompt(world.base, PROMPTS[1])) + TOKENS - 1
    size = world.engine()._scheduler.token_bytes
    engine = world.engine(cache_bytes=2 * need * size, prefix_bytes=0)
    handles = [engine.submit(ask(PROMPTS[i % 4])) for i in range(9)]
    most = 0
    while engine.busy:
        engine.step()
        most = max(most, engine.stats().cache_bytes)
    assert 0 < most <= 2 * need * size
    for i, handle in enumerate(handles):
        assert list(handle.result()[0].token_ids) == world.expected(PROMPTS[i % 4], "base")


# ── faults ───────────────────────────────────────────────────────────────────────────────────


def fail_on(base: Any, token: int, error: Exception) -> Any:
    """The base raises whenever it meets `token` as the second of a row."""

    def hook(_module: Any, _args: Any, kwargs: Any) -> None:
        if ((kwargs["input_ids"] == token) & (kwargs["position_ids"] == 1)).any():
            raise type(error)(*error.args)  # a new one: it collects where it was raised

    return base.model.register_forward_pre_hook(hook, with_kwargs=True)


def test_a_fault_in_the_model_fails_the_guilty_request_alone(world: World) -> None:
    guilty = encode_prompt(world.base, "@")[1]
    assert not any(guilty in encode_prompt(world.base, prompt) for prompt in PROMPTS)
    hook = fail_on(world.base, guilty, RuntimeError("a broken kernel"))
    try:
        engine = world.engine()
        good = [engine.submit(ask(p, m)) for p, m in zip(PROMPTS, MIXES, strict=True)]
        engine.step()
        bad = engine.submit(ask("@"))
        with pytest.raises(ForwardError, match="a broken kernel") as caught:
            bad.result()
        assert isinstance(caught.value.__cause__, RuntimeError)
        for handle, p, m in zip(good, PROMPTS, MIXES, strict=True):
            assert list(handle.result()[0].token_ids) == world.expected(p, m)
    finally:
        hook.remove()


def test_a_row_of_no_numbers_fails_alone_and_leaves_nothing_behind(world: World) -> None:
    mixed = world.mixed
    broken = mixed.adapter("one")
    for module in broken.modules.values():
        module.B.fill_(1e38)
    mixed.add("broken", broken)
    try:
        engine = world.engine(prefix_bytes=0)
        bad = engine.submit(ask(PROMPTS[1], "broken"))
        good = [engine.submit(ask(p, m)) for p, m in zip(PROMPTS, MIXES, strict=True)]
        with pytest.raises(ForwardError, match="no numbers"):
            bad.result()
        for handle, p, m in zip(good, PROMPTS, MIXES, strict=True):
            assert list(handle.result()[0].token_ids) == world.expected(p, m)
    finally:
        mixed.remove("broken")


@pytest.mark.parametrize(
    "extreme",
    [
        {"top_p": 1e-46},
        {"repetition_penalty": 1e-40},
        {"repetition_penalty": 1e40},
        {"presence_penalty": 1e300},
        {"frequency_penalty": -1e300},
        {"temperature": 1e-300},
    ],
    ids=str,
)
def test_the_most_extreme_sampling_is_answered_and_harms_nobody(
    world: World, extreme: dict[str, float]
) -> None:
    engine = world.engine()
    good = engine.submit(ask(PROMPTS[0], "one"))
    odd = engine.submit(ask(PROMPTS[2], "two", **{"temperature": 1.0, **extreme}))
    assert odd.result()[0].finish_reason in ("length", "stop")
    assert list(good.result()[0].token_ids) == world.expected(PROMPTS[0], "one")


def test_a_fault_in_choosing_fails_the_guilty_request_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = world.engine()
    good = engine.submit(ask(PROMPTS[0], "one"))
    bad = engine.submit(ask(PROMPTS[1], "two", temperature=1.0, seed=1))

    def faulty(scores: torch.Tensor, draws: Any) -> Any:
        if any(draw.generator is not None for draw in draws):
            raise RuntimeError("no draw today")
        return choose(scores, draws)

    monkeypatch.setattr("loramix.sampling.choose", faulty)
    with pytest.raises(ForwardError):
        bad.result()
    assert list(good.result()[0].token_ids) == world.expected(PROMPTS[0], "one")
    assert engine.stats().running == 0


def test_a_request_that_cannot_be_opened_fails_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Sampling.generator

    def broken(sampling: Sampling, row: int) -> torch.Generator:
        if sampling.seed == 13:
            raise OverflowError("no such seed")
        return generator(sampling, row)

    monkeypatch.setattr(Sampling, "generator", broken)
    with world.engine() as engine:
        running = engine.submit(ask())
        next(iter(running))
        with engine._stepping:  # so that both come in one step
            bad = engine.submit(ask(temperature=1.0, seed=13, n=2))
            beside = engine.submit(ask(PROMPTS[2]))
        with pytest.raises(ForwardError, match="no such seed"):
            bad.result()
        assert list(running.result()[0].token_ids) == world.expected(PROMPTS[0], "base")
        assert list(beside.result()[0].token_ids) == world.expected(PROMPTS[2], "base")
        assert (engine.stats().waiting, engine.stats().failed) == (0, 1)


def test_bases_that_cannot_be_run_are_refused_with_the_reason() -> None:
    for arch, reason in (("bloom", "not open to other"), ("mamba", "recurrent|not open")):
        base = make_base("llama")
        base.model = make_base(arch, num_hidden_layers=2).model
        with pytest.raises(UnsupportedBaseError, match=reason):
            Engine(base)
    base = make_base("gpt_oss", num_local_experts=2, num_experts_per_tok=1, head_dim=8)
    with pytest.raises(UnsupportedBaseError, match="s_aux"):
        Engine(base, limits=Limits(cache_bytes=BYTES)).submit(ask()).result()


def test_positions_that_stretch_with_the_batch_stay_below_that_length() -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4}
    rope["long_factor"] = [2.0] * 4
    base = make_base("phi3", rope_parameters=rope, original_max_position_embeddings=40)
    assert context_length(base) == 40
    [done] = Engine(base, limits=Limits(cache_bytes=BYTES)).submit(ask(tokens=90)).result()
    assert done.prompt_tokens + done.completion_tokens == 40


# ── threads ──────────────────────────────────────────────────────────────────────────────────


def test_many_threads_submit_and_read(world: World) -> None:
    before = threading.active_count()
    wrong: list[Any] = []

    def use(engine: Engine, i: int) -> None:
        prompt, mix = PROMPTS[i % 4], MIXES[i // 4 % 4]
        ids = [piece.token_id for piece in engine.submit(ask(prompt, mix))]
        if ids != world.expected(prompt, mix):
            wrong.append((prompt, mix))

    for prompt in PROMPTS:
        for mix in MIXES:
            world.expected(prompt, mix)
    with world.engine(max_rows=4) as engine:
        users = [threading.Thread(target=use, args=(engine, i)) for i in range(16)]
        for user in users:
            user.start()
        for user in users:
            user.join()
    assert wrong == []
    assert threading.active_count() == before


def test_an_engine_closes_after_the_step_of_another_on_its_base(world: World) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        inside.set()
        go_on.wait(10)

    running, closing = world.engine(), world.engine()
    running.submit(ask(tokens=1))
    hook = world.base.model.register_forward_hook(hold)
    step, close = threading.Thread(target=running.step), threading.Thread(target=closing.close)
    try:
        step.start()
        assert inside.wait(10)
        close.start()
        close.join(0.1)
        assert close.is_alive()  # it would zero rows below the weights that the step reads
    finally:
        go_on.set()
        step.join()
        close.join()
        hook.remove()


def test_the_cache_may_be_counted_while_the_first_forward_makes_its_layers() -> None:
    store, faults, done = KeyValueStore(), [], threading.Event()
    store.reserve(1, 1, 1, 1)

    def count() -> None:
        while not done.is_set():
            try:
                _ = store.bytes
            except RuntimeError as error:
                faults.append(error)

    counting = threading.Thread(target=count)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        counting.start()
        at = torch.zeros(1, dtype=torch.int64)
        for layer in range(400):
            store.write(layer, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), at, at)
    finally:
        sys.setswitchinterval(before)
        done.set()
        counting.join()
    assert faults == []
    assert store.bytes == 400 * 8


def test_a_step_whose_mix_fails_is_not_run_without_it_the_next_time(world: World) -> None:
    store = KeyValueStore()
    store.reserve(1, 1, 1, 1)
    runner = Runner(world.base, world.mixed, store)
    feeds = [Feed(0, [1], 0, {"gone": 1.0}, True)]
    for _ in range(2):
        with pytest.raises(UnknownSkillError):
            runner(feeds)


def test_a_reader_that_stops_reading_holds_nobody_up(world: World) -> None:
    wanted = world.expected(PROMPTS[2], "base")  # before a thread runs the same base
    with world.engine() as engine:
        idle = engine.submit(ask(tokens=40))
        next(iter(idle))
        [done] = engine.submit(ask(PROMPTS[2])).result()
        assert list(done.token_ids) == wanted
        assert len(idle.result()[0].token_ids) == 40
        assert len(list(idle)) == 39  # all pieces still wait for the reader


def test_coroutines_read_alike(world: World) -> None:
    import asyncio

    async def use(engine: Engine, prompt: str) -> list[int]:
        return [piece.token_id async for piece in engine.submit(ask(prompt))]

    async def main() -> list[list[int]]:
        with world.engine() as engine:
            texts = await asyncio.gather(*(use(engine, prompt) for prompt in PROMPTS))
            [done] = await engine.submit(ask()).wait()
            return [*texts, list(done.token_ids)]

    wanted = [world.expected(prompt, "base") for prompt in PROMPTS]
    assert asyncio.run(main()) == [*wanted, wanted[0]]


def test_closing_fails_what_is_unfinished(world: World) -> None:
    engine = world.engine().start()
    handles = [engine.submit(ask(tokens=90)) for _ in range(40)]
    engine.close()
    with pytest.raises(ClosedError):
        handles[-1].result()
    with pytest.raises(ClosedError):
        engine.submit(ask())
    assert engine.stats().cache_bytes == 0


@settings(max_examples=10)
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_requests_count_as_waiting_until_they_run_or_end(
    world: World, cancelled: list[bool]
) -> None:
    engine = world.engine(max_rows=2)
    handles = [engine.submit(ask(tokens=2)) for _ in cancelled]
    assert engine.stats().waiting == len(handles)
    for handle, cancel in zip(handles, cancelled, strict=True):
        if cancel:
            handle.cancel()
    engine.step()
    left = cancelled.count(False)
    assert engine.stats().waiting == max(0, left - 2)


def test_a_request_knows_its_sampling() -> None:
    turns = [{"role": "user", "content": "hi"}]
    request = Request(turns, sampling=Sampling(3))
    assert (request.routed_by, request.mix, request.n) == (turns, "auto", 1)
