"""The object that a benchmark returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loramix.bench.machine import describe
from loramix.bench.measure import median
from loramix.bench.settings import Filled

OURS = "loramix"


def report(
    name: str,
    settings: Filled,
    rates: Mapping[str, list[float]],
    versus: Mapping[str, str],
    missing: Mapping[str, str],
    **facts: Any,
) -> dict[str, Any]:
    """What was measured.

    Args:
        name: of the benchmark.
        settings: as it was run.
        rates: tokens a second of each candidate, one for each round.
        versus: key of a ratio → the candidate whose median divides ours.
        missing: candidate or dtype → why there is no figure.
        facts: what else was found.

    Returns:
        bench, machine, base, dtype, rows, tokens, rounds; tokens_per_second and spread
        ([lowest, highest]) of each candidate; ratio, ours divided by theirs; missing.
    """
    medians: dict[str, float | None] = {key: median(values) for key, values in rates.items()}
    for key in missing:
        medians.setdefault(key, None)
    return {
        "bench": name,
        "machine": describe(),
        "rows": settings.rows,
        "tokens": settings.tokens,
        "rounds": settings.rounds,
        "tokens_per_second": medians,
        "spread": {key: [min(values), max(values)] for key, values in rates.items()},
        "ratio": {key: _ratio(medians.get(OURS), medians.get(v)) for key, v in versus.items()},
        "missing": dict(missing),
        **facts,
    }


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs
