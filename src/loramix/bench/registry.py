"""The benchmarks by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from loramix.bench.measure import Bar
from loramix.bench.settings import Settings
from loramix.errors import UsageError, nearest

Bench = Callable[[Settings, Bar], dict[str, Any]]

BENCHES = {
    "mix": "loramix.bench.mix:mix",
    "mix-1b": "loramix.bench.mix:mix_1b",
    "single": "loramix.bench.single:single",
    "zipf": "loramix.bench.zipf:zipf",
    "memory": "loramix.bench.memory:memory",
    "int8": "loramix.bench.int8:int8",
}
"""Name → the function that runs it; loaded when it is asked for."""


def bench_of(name: str) -> Bench:
    """The function of a benchmark, which is given settings and a bar, and gives a `report`.

    Raises:
        UsageError: there is no such benchmark.
    """
    if name not in BENCHES:
        close = nearest(name, BENCHES)
        raise UsageError(
            "There is no such benchmark.",
            given=name,
            expected=", ".join(BENCHES),
            hint=None if close is None else f"did you mean {close}?",
        )
    module, _, function = BENCHES[name].partition(":")
    bench: Bench = getattr(importlib.import_module(module), function)
    return bench


def run_bench(name: str, settings: Settings, bar: Bar) -> dict[str, Any]:
    """Run a benchmark.

    Args:
        name: one of `BENCHES`.
        settings: how.
        bar: moves with the rounds.

    Returns:
        See `report`.

    Raises:
        UsageError: there is no such benchmark, or it cannot be run so.
        BaseError: the base cannot be loaded.
    """
    return bench_of(name)(settings, bar)
