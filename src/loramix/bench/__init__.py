"""Benchmarks: what loramix reaches, next to what others reach on the same machine at the same time.

    run_bench("mix", Settings(rounds=7))

measure.py     candidates in turn, round after round; rates, medians, spread
report.py      the object that `--json` prints
shapes.py      bases of random weights, and adapters for them
machine.py     what the figures were taken on; how fast its memory streams
ours.py        the engine as a candidate
theirs.py      PEFT, `model.generate` and `generate_batch` as candidates, in this process
peer.py        peers in interpreters of their own; workers/ is what runs there
mix.py, single.py, zipf.py, memory.py, int8.py   the benchmarks
"""

from __future__ import annotations

from loramix.bench.registry import BENCHES, bench_of, run_bench
from loramix.bench.settings import Settings

__all__ = ["BENCHES", "Settings", "bench_of", "run_bench"]
