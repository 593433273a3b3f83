"""`single`: one row against `model.generate`, and how near it comes to what memory allows."""

from __future__ import annotations

import contextlib
from typing import Any

from loramix.base import encode_prompt
from loramix.base.folder import pocket_path
from loramix.bench.machine import streaming_bandwidth
from loramix.bench.measure import Bar, Run, alternate, median
from loramix.bench.mix import dtype_of
from loramix.bench.ours import (
    PROMPT,
    EndlessBase,
    base_folder,
    check_room,
    engine_run,
    open_base,
    twin,
)
from loramix.bench.report import OURS, report
from loramix.bench.settings import Settings
from loramix.bench.theirs import generate_run
from loramix.errors import UsageError

DTYPES = ("fp32", "bf16", "int8")


def single(settings: Settings, bar: Bar) -> dict[str, Any]:
    """One row on pocket, or on the base that is given.

    A token of one row reads every weight once, so that no engine can write more than
    bandwidth ÷ bytes of weights; `share` says how much of that was reached in each dtype. Of a
    base that fits into the processor's cache it can be more than 1.
    """
    own = settings.filled(1, 64, 9)
    shipped = "pocket" if (pocket_path() / "config.json").exists() else None
    given = settings.base or shipped
    with base_folder(given, "pocket") as (id, shown):
        base = open_base(id, settings.dtype)
        check_room(base, len(encode_prompt(base, PROMPT)), own.tokens)
        missing: dict[str, str] = {}
        mixes = ["base"] * own.rows
        runs: dict[str, Run] = {
            OURS: engine_run(base, None, mixes, own.tokens),
            "generate": generate_run(twin(base), own.rows, own.tokens),
        }
        read = {}
        for dtype in DTYPES:
            try:
                other = open_base(id, dtype)
            except UsageError as error:
                missing[dtype] = error.what
                continue
            read[dtype] = bytes_read(other)
            runs[dtype] = engine_run(other, None, mixes, own.tokens)
        bandwidth = streaming_bandwidth()
        rates, failed = alternate(runs, own.rounds, bar)
        missing |= failed
        steps = {dtype: median(rates[dtype]) / own.rows for dtype in read}
        return report(
            "single",
            own,
            rates,
            {"generate": "generate"},
            missing,
            base=shown,
            dtype=dtype_of(base, settings),
            bandwidth_gb_per_second=bandwidth / 1e9,
            weights_mb={dtype: size / 1e6 for dtype, size in read.items()},
            share={dtype: size * steps[dtype] / bandwidth for dtype, size in read.items()},
        )


def bytes_read(base: EndlessBase) -> int:
    """Bytes of weights that one token reads: all, but for a table of embeddings of its own."""
    model: Any = base.model
    parts = {id(part): part for part in (*model.parameters(), *model.buffers())}
    head = model.get_output_embeddings()
    table = model.get_input_embeddings().weight
    if head is not None and getattr(head, "weight", None) is not table:
        parts.pop(id(table), None)
    with contextlib.suppress(AttributeError):
        return sum(part.nbytes for part in parts.values())
    return sum(part.numel() * part.element_size() for part in parts.values())
