"""`memory`: what serving takes, in a fresh process for each dtype."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from loramix.bench.measure import Bar, MissingPeer
from loramix.bench.ours import base_folder
from loramix.bench.peer import worker
from loramix.bench.report import report
from loramix.bench.settings import Settings

SKILLS = 5
DTYPES = ("bf16", "int8")


def memory(settings: Settings, bar: Bar) -> dict[str, Any]:
    """TinyLlama's shape with five skills of rank 16: MiB resident while it serves.

    `resident_mb` is the most that was resident while tokens were written, `peak_mb` the most
    that the process ever had, loading included. With a dtype only that one is measured.
    """
    own = settings.filled(1, 16, 1)
    dtypes = DTYPES if settings.dtype == "auto" else (settings.dtype,)
    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with base_folder(settings.base, "tinyllama") as (id, shown):
        for place, dtype in enumerate(dtypes):
            bar(place, len(dtypes), dtype)
            job = {"model": id, "dtype": dtype, "skills": SKILLS}
            job |= {"rows": own.rows, "tokens": own.tokens}
            try:
                with worker(Path(sys.executable), "memory_worker", job) as served:
                    found[dtype] = served.ready
            except MissingPeer as error:
                missing[dtype] = error.what
        bar(1, 1, "")
    rates = {dtype: [said["tokens"] / said["seconds"]] for dtype, said in found.items()}
    return report(
        "memory",
        own,
        rates,
        {},
        missing,
        base=shown,
        dtype=settings.dtype,
        skills=SKILLS,
        resident_mb={dtype: said["resident_mb"] for dtype, said in found.items()},
        peak_mb={dtype: said["peak_mb"] for dtype, said in found.items()},
    )
