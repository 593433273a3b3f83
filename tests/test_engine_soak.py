"""Ten thousand requests of all kinds at once: each ends, and nothing is left behind."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine_oracle import BYTES, PROMPTS, ask, loud_adapter
from loramix.base import Base, encode_prompt
from loramix.engine import Engine, Limits, Submission
from loramix.engine.row import Row
from loramix.errors import DeadlineError, ForwardError, LibraryError
from loramix.library import Library
from test_engine import fail_on
from tiny_base import make_base
from tiny_library import make_card, make_memory

SKILLS = [f"s{i}" for i in range(12)]
MEGABYTE = 1 << 20


def alive() -> list[object]:
    """The requests and rows that something still holds."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) in (Row, Submission)]


def settles(check: Callable[[], bool]) -> bool:
    """Whether it comes true soon: the engine's thread may be in its last step."""
    deadline = time.monotonic() + 60
    while not check() and time.monotonic() < deadline:
        time.sleep(0.001)
    return check()


def soak(folder: Path, count: int) -> None:
    base = make_base()
    library = Library.create(folder, base.id, base.fingerprint)
    with library.edit() as txn:
        for seed, name in enumerate(SKILLS):
            txn.add(name, loud_adapter(base, seed, rank=2), make_card(name), make_memory(seed))
    damaged = library.path / "skills" / "s11" / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"bad")
    guilty = encode_prompt(base, "@")[1]
    hook = fail_on(base, guilty, RuntimeError("a broken kernel"))
    hooks = sum(len(module._forward_hooks) for module in base.model.modules())
    threads = threading.active_count()
    draw = random.Random(0)
    limits = Limits(max_rows=16, cache_bytes=BYTES, prefix_bytes=MEGABYTE, max_resident=6)

    def request(i: int) -> Submission:
        kind = i % 10
        prompt = "@" if kind == 1 else draw.choice(PROMPTS)
        mix = "s11" if kind == 2 else draw.choice(["base", *SKILLS[:11], "s1=0.5,s2=0.5"])
        deadline = 1e-6 if kind == 3 else 3600.0
        more = {"temperature": 1.0, "seed": i} if kind == 4 else {}
        tokens = draw.randint(1, 6)
        return engine.submit(ask(prompt, mix, tokens, deadline=deadline, **more))

    def burst(number: int) -> dict[str, int]:
        ends: dict[str, int] = {}
        handles = [request(i) for i in range(number)]
        for handle in handles[::10]:
            handle.cancel()
        for i, handle in enumerate(handles):
            wanted = {1: ForwardError, 2: LibraryError, 3: DeadlineError}.get(i % 10)
            if wanted is not None:
                with pytest.raises(wanted):
                    handle.result()
                name = wanted.__name__
            else:
                name = handle.result()[0].finish_reason
            ends[name] = ends.get(name, 0) + 1
        return ends

    engine = Engine(base, library=library, limits=limits).start()
    ends = burst(count)
    assert settles(lambda: not alive())
    # the allocator keeps what the largest burst needed; another one must need no more
    before = psutil.Process().memory_info().rss
    burst(count // 5)
    gc.collect()
    assert psutil.Process().memory_info().rss < before + 20 * MEGABYTE
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes) == (0, 0, 0)
    assert stats.resident <= 6
    assert stats.prefix_bytes <= MEGABYTE
    assert ends["ForwardError"] == ends["LibraryError"] == ends["DeadlineError"] == count // 10
    assert sum(ends.values()) == count
    assert not engine._steps.open
    assert not engine._residents._held
    engine.close()
    hook.remove()
    assert threading.active_count() == threads
    assert engine.stats().resident_bytes == engine.stats().prefix_bytes == 0
    left = sum(len(module._forward_hooks) for module in base.model.modules())
    assert left == hooks + 1  # the scope's own, which every base with skills has


def test_a_burst_leaves_nothing_behind(tmp_path: Path) -> None:
    soak(tmp_path / "library", 100)


@pytest.mark.alone
@pytest.mark.slow
def test_ten_thousand_requests_leave_nothing_behind(tmp_path: Path) -> None:
    soak(tmp_path / "library", 10_000)


def crowd(base: Base, folder: Path, bursts: int, places: int, seed: int) -> None:
    """Small bursts of all kinds with few places for skills; other threads cancel at random."""
    library = Library.create(folder, base.id, base.fingerprint)
    with library.edit() as txn:
        for i, name in enumerate(SKILLS[:8]):
            txn.add(name, loud_adapter(base, i, rank=2), make_card(name), make_memory(i))
    draw = random.Random(seed)
    limits = Limits(max_rows=4, cache_bytes=BYTES, max_resident=places)

    def request() -> Submission:
        skills = draw.sample(SKILLS[:8], draw.randint(1, min(2, places)))
        mix = draw.choice(["auto", "base", *[",".join(f"{s}=0.5" for s in skills)] * 4])
        return engine.submit(
            ask(
                draw.choice(PROMPTS), mix, draw.randint(1, 6),
                n=draw.choice([1, 1, 3]), temperature=draw.choice([0.0, 1.0]),
                logprobs=draw.choice([None, 2]), stop=draw.choice([(), ("a",)]),
                deadline=draw.choice([None] * 9 + [0.002]),
            )
        )  # fmt: skip

    with Engine(base, library=library, router="fixed:s1", limits=limits) as engine:
        for number in range(bursts):
            if number % 20 == 10:  # a skill is replaced
                with Library.open(library.path).edit() as txn:
                    adapter = loud_adapter(base, number, rank=2)
                    txn.add("s0", adapter, make_card("s0"), make_memory(0), replace=True)
                engine.refresh()
            handles: list[Submission] = []
            for _ in range(draw.randint(1, 4)):
                handles.append(request())
                time.sleep(draw.choice([0, draw.random() * 0.004]))
                if draw.random() < 0.4:  # once: each cancel would wake an engine that sleeps
                    threading.Timer(draw.random() * 0.004, draw.choice(handles).cancel).start()
            assert settles(lambda handles=handles: all(handle.done for handle in handles))
            for handle in handles:
                assert handle.error is None or isinstance(handle.error, DeadlineError)
        assert settles(lambda: engine.stats().running == engine.stats().waiting == 0)
        assert not engine._residents._held


def test_a_small_crowd_that_is_cancelled_at_random_ends(tmp_path: Path) -> None:
    crowd(make_base(), tmp_path / "library", 25, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("places", "seed"), [(1, 1), (2, 2), (3, 3)])
def test_crowds_that_are_cancelled_at_random_end(places: int, seed: int, tmp_path: Path) -> None:
    crowd(make_base(), tmp_path / "library", 1_000, places, seed)
