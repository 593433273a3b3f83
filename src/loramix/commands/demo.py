"""`loramix demo`: the main job end to end, on the embedded base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loramix.demo import run_demo


def demo(out: Path, *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Train five skills, learn the gate, route, blend, evaluate, write report.html into `out`.

    Returns:
        skills.NAME.{base,skill,routed}, gate.accuracy, bars [{name, bar, figure, met}], seconds,
        peak_rss_mb, library, report; and what the report shows besides.

    Raises:
        LibraryError: `out` holds another library.
        StorageError: the disk is full or does not let us write.
        Interrupted: Ctrl-C while training; run it again to go on.
    """
    return run_demo(out.expanduser(), seed=seed, device=device)
