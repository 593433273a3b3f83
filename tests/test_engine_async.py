"""The engine as a server uses it: from coroutines, beside other work, through a thread's end."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import threading
import time
from collections.abc import AsyncIterator

import pytest

from engine_oracle import MIXES, PROMPTS, World, ask
from loramix.engine import Engine, Piece
from loramix.errors import ForwardError


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_coroutines_get_what_threads_get(world: World) -> None:
    async def written(engine: Engine, prompt: str, mix: str) -> list[int]:
        submission = await engine.asubmit(ask(prompt, mix))
        return [piece.token_id async for pieces in submission.batches() for piece in pieces]

    async def all_of_them(engine: Engine) -> list[list[int]]:
        pairs = [(prompt, mix) for prompt in PROMPTS for mix in MIXES]
        return await asyncio.gather(*(written(engine, *pair) for pair in pairs))

    with world.engine() as engine:
        found = asyncio.run(all_of_them(engine))
    expected = [world.expected(prompt, mix) for prompt in PROMPTS for mix in MIXES]
    assert found == expected


def test_batches_at_an_interval_lose_nothing_and_do_not_hold_the_end_back(world: World) -> None:
    async def timed(engine: Engine, interval: float) -> tuple[list[list[int]], list[float]]:
        submission = await engine.asubmit(ask(tokens=40))
        batches, times = [], []
        async for pieces in submission.batches(interval):
            batches.append([piece.token_id for piece in pieces])
            times.append(time.perf_counter())
        return batches, times

    with world.engine() as engine:
        wanted, _ = asyncio.run(timed(engine, 0))
        batches, times = asyncio.run(timed(engine, 0.05))
        begun = time.perf_counter()
        whole, _ = asyncio.run(timed(engine, 30))
        assert time.perf_counter() - begun < 15
    tokens, slower, last = (list(itertools.chain(*b)) for b in (wanted, batches, whole))
    assert slower == last == tokens
    assert len(whole) == 2  # the first token at once, all others with the end
    assert len(batches) < len(tokens)
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert all(gap > 0.045 for gap in gaps[:-1])


def test_a_coroutine_that_is_cancelled_leaves_no_request(world: World) -> None:
    async def cancelled(engine: Engine) -> None:
        entering = asyncio.create_task(engine.asubmit(ask(tokens=10_000)))
        await asyncio.sleep(0)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()  # the request has entered
        await asyncio.sleep(0)
        while engine.busy:
            await asyncio.sleep(0.01)

    with world.engine() as engine:
        asyncio.run(asyncio.wait_for(cancelled(engine), 20))
        assert engine.stats().running == engine.stats().waiting == 0


def test_work_between_steps_is_done_with_and_without_a_thread(world: World) -> None:
    engine = world.engine()
    assert engine.between(lambda: 1).result() == 1
    with engine:
        submission = engine.submit(ask())
        assert engine.between(lambda: 2).result(10) == 2
        with pytest.raises(ZeroDivisionError):
            engine.between(lambda: 1 // 0).result(10)
        assert list(submission.result()[0].token_ids) == world.expected(PROMPTS[0], "base")


def test_no_work_waits_for_a_thread_that_is_ended(world: World) -> None:
    def end() -> None:
        raise SystemExit

    with world.engine() as engine:
        held = threading.Event()
        engine.between(lambda: held.wait(20))
        ended, behind = engine.between(end), engine.between(lambda: 1)
        held.set()
        assert isinstance(ended.exception(20), SystemExit)
        assert isinstance(behind.exception(20), ForwardError)
        assert engine.start().between(lambda: 2).result(20) == 2


def test_a_thread_that_is_ended_fails_its_requests_and_can_be_replaced(world: World) -> None:
    with world.engine() as engine:
        submission = engine.submit(ask(tokens=10_000))
        next(iter(submission))
        thread = engine._thread
        assert thread is not None
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        )
        with pytest.raises(ForwardError, match="SystemExit"):
            submission.result()
        while engine.alive:
            time.sleep(0.01)
        assert engine.stats().running == engine.stats().waiting == 0
        engine.start()
        again = engine.submit(ask())
        assert list(again.result()[0].token_ids) == world.expected(PROMPTS[0], "base")


def test_coroutines_are_answered_by_an_engine_without_a_thread(world: World) -> None:
    async def both(engine: Engine) -> tuple[list[int], list[int]]:
        first, second = await engine.asubmit(ask()), await engine.asubmit(ask(PROMPTS[2]))
        pieces, [done] = await asyncio.gather(
            collected(first.batches()), asyncio.wait_for(second.wait(), 20)
        )
        return pieces, list(done.token_ids)

    async def collected(batches: AsyncIterator[list[Piece]]) -> list[int]:
        return [piece.token_id async for pieces in batches for piece in pieces]

    found = asyncio.run(asyncio.wait_for(both(world.engine()), 20))
    assert found == tuple(world.expected(prompt, "base") for prompt in (PROMPTS[0], PROMPTS[2]))


def test_what_comes_after_the_thread_ended_is_answered(world: World) -> None:
    def end() -> None:
        raise SystemExit

    with world.engine() as engine:
        assert isinstance(engine.between(end).exception(20), SystemExit)
        while engine.alive:
            time.sleep(0.01)
        done = engine.submit(ask()).result()[0]
        assert list(done.token_ids) == world.expected(PROMPTS[0], "base")
        cancelled = engine.submit(ask(tokens=10_000))
        cancelled.cancel()
        assert cancelled.result()[0].finish_reason == "cancel"
        assert engine.stats().waiting == 0


def test_a_router_reads_the_text_that_is_given_for_it() -> None:
    turns = [{"role": "user", "content": "first"}, {"role": "user", "content": "last"}]
    assert ask().routed_by == PROMPTS[0]
    assert ask(prompt=turns).routed_by == turns  # type: ignore[arg-type]
    assert ask(prompt=turns, read="first").routed_by == "first"  # type: ignore[arg-type]
