"""`zipf`: a hundred and a thousand skills, of which a few are asked for often."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from loramix.base import encode_prompt
from loramix.bench.measure import Bar, Run, Timed, alternate
from loramix.bench.mix import dtype_of
from loramix.bench.ours import PROMPT, EndlessBase, base_folder, check_room, open_base, twin
from loramix.bench.report import report
from loramix.bench.settings import Settings
from loramix.bench.shapes import random_adapter
from loramix.card import SkillCard
from loramix.engine import Engine, Limits, Request
from loramix.library import Library
from loramix.sampling import Sampling

FEW, COUNTS = 8, (100, 1000)
RESIDENT = 64
REQUESTS = 64
"""Of a round, in all rows together."""
_KINDS = 8
"""Adapters that are made; the skills are these under many names, which no engine can know."""


def zipf(settings: Settings, bar: Bar, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Requests for one skill each, the k-th likeliest with a chance proportional to 1/k.

    Args:
        settings: rows that run at once, tokens of each request, rounds.
        bar: moves with the work.
        counts: of skills; each against `FEW`.
    """
    own = settings.filled(8, 24, 5)
    with contextlib.ExitStack() as stack:
        id, shown = stack.enter_context(base_folder(settings.base, "31m"))
        base = open_base(id, settings.dtype)
        check_room(base, len(encode_prompt(base, PROMPT)), own.tokens)
        into = stack.enter_context(tempfile.TemporaryDirectory(prefix="loramix-bench-"))
        library = _write_library(base, Path(into) / "library", max(counts), bar)
        limits = Limits(max_rows=own.rows, max_resident=RESIDENT, prefix_bytes=0)
        runs: dict[str, Run] = {}
        engines = {}
        for count in (FEW, *counts):
            engine = Engine(twin(base), library=library, limits=limits)
            engines[count] = stack.enter_context(engine)
            runs[f"skills_{count}"] = _load(engine, count, own.tokens)
        rates, _ = alternate(runs, own.rounds, bar)
        stats = {count: engine.stats() for count, engine in engines.items()}
    made = report(
        "zipf",
        own,
        rates,
        {},
        {},
        base=shown,
        dtype=dtype_of(base, settings),
        requests=REQUESTS,
        resident={f"skills_{count}": found.resident for count, found in stats.items()},
        resident_mb={f"skills_{c}": found.resident_bytes / 2**20 for c, found in stats.items()},
        loads={f"skills_{count}": found.loads for count, found in stats.items()},
    )
    rate = made["tokens_per_second"]
    made["ratio"] = {f"zipf_{c}": rate[f"skills_{c}"] / rate[f"skills_{FEW}"] for c in counts}
    return made


def _write_library(base: EndlessBase, folder: Path, count: int, bar: Bar) -> Library:
    """A library of `count` skills of rank 16."""
    adapters = [random_adapter(base, seed) for seed in range(_KINDS)]
    library = Library.create(folder, base.id, base.fingerprint)
    memory = torch.ones(1, 1)  # of a gate that nobody asks
    with library.edit() as change:
        for place, adapter in zip(range(count), itertools.cycle(adapters), strict=False):
            bar(place, count, "writing the library")
            change.add(f"s{place}", adapter, SkillCard(description=f"skill {place}"), memory)
    return library


def _load(engine: Engine, count: int, tokens: int) -> Run:
    """Rounds of requests; each round draws anew."""
    draws = random.Random(count)
    chances = list(itertools.accumulate(1 / (place + 1) for place in range(count)))

    def run() -> Timed:
        chosen = draws.choices(range(count), cum_weights=chances, k=REQUESTS)
        start = time.perf_counter()
        handles = [
            engine.submit(Request(PROMPT, f"s{place}", Sampling(tokens))) for place in chosen
        ]
        written = sum(len(done.token_ids) for handle in handles for done in handle.result())
        return Timed(written, time.perf_counter() - start)

    return run
