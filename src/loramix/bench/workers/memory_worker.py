"""loramix serving several skills, as a worker of serve.py without rounds.

The job: model (a base), dtype, skills, rows, tokens. The answer: MiB resident while it serves
and at its peak, and how many tokens it wrote in how many seconds. In a process of its own, since
what a process has had it rarely gives back.
"""

from __future__ import annotations

import time
from typing import Any

import psutil

from loramix.bench.ours import PROMPT, open_base
from loramix.bench.shapes import random_adapter
from loramix.engine import Engine, Limits, Request
from loramix.mixed import MixedModel
from loramix.sampling import Sampling
from loramix.train.room import peak_rss_mb


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Serves, and looks at itself."""
    base = open_base(job["model"], job["dtype"])
    mixed = MixedModel(base.model)
    names = [f"s{place}" for place in range(job["skills"])]
    for place, name in enumerate(names):
        mixed.add(name, random_adapter(base, place))
    engine = Engine(base, mixed, limits=Limits(max_rows=job["rows"]))
    start = time.perf_counter()
    handles = [
        engine.submit(Request(PROMPT, f"{name}=0.6,{other}=0.4", Sampling(job["tokens"])))
        for place in range(job["rows"])
        for name, other in [(names[place % len(names)], names[(place + 1) % len(names)])]
    ]
    resident = 0
    while engine.busy:
        engine.step()
        resident = max(resident, psutil.Process().memory_info().rss)
    seconds = time.perf_counter() - start
    tokens = sum(len(done.token_ids) for handle in handles for done in handle.result())
    return {
        "resident_mb": resident / 2**20,
        "peak_mb": peak_rss_mb(),
        "tokens": tokens,
        "seconds": seconds,
        "skills": mixed.names,
    }
