"""`loramix bench`: one benchmark, peers included where they are installed."""

from __future__ import annotations

from typing import Any

from loramix.bench import BENCHES, Settings, bench_of
from loramix.bench.measure import bar_on_stderr

__all__ = ["BENCHES", "Settings", "bench"]


def bench(name: str, settings: Settings) -> dict[str, Any]:
    """Run a benchmark with a bar on stderr.

    Returns:
        bench, machine, base, dtype, rows, tokens, rounds, tokens_per_second, spread, ratio (each
        ours divided by theirs), missing (why there is no figure), and what is the benchmark's own.

    Raises:
        UsageError: there is no such benchmark, or it cannot be run so.
        BaseError: the base cannot be loaded.
    """
    run = bench_of(name)
    with bar_on_stderr(name) as bar:
        return run(settings, bar)
