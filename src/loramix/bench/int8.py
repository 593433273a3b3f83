"""`int8`: what int8 weights cost in quality, against bfloat16."""

from __future__ import annotations

from typing import Any

from loramix.bench.measure import Bar
from loramix.bench.ours import base_folder, open_base
from loramix.bench.report import report
from loramix.bench.settings import Settings
from loramix.errors import UsageError


def int8(settings: Settings, bar: Bar) -> dict[str, Any]:
    """Where `load_base` knows no int8, the report says that it is missing, and nothing else."""
    own = settings.filled(1, 1, 1)
    missing: dict[str, str] = {}
    with base_folder(settings.base, "pocket") as id:
        bar(0, 1, "loading int8 weights")
        try:
            open_base(id, "int8")
        except UsageError as error:
            missing["int8"] = f"load_base has no such dtype: {error.what}"
        bar(1, 1, "")
    base = settings.base or "pocket's shape, random weights"
    return report("int8", own, {}, {}, missing, base=base, dtype="int8")
