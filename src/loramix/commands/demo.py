"""`loramix demo`: the main job end to end, on the embedded base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loramix.errors import UsageError


def demo(out: Path, *, full: bool = False, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Train five skills, learn the gate, route, blend, evaluate, write report.html into `out`.

    Returns:
        skills.NAME.{base,skill,routed}, gate.accuracy, bars [{name, bar, figure, met}], seconds,
        peak_rss_mb, library, report; and what the report shows besides.

    Raises:
        UsageError: `out` is a file.
        LibraryError: `out` holds another library.
        StorageError: the disk is full or does not let us write.
        Interrupted: Ctrl-C while training; run it again to go on.
    """
    place = out.expanduser()
    for part in (place, *place.parents):
        if part.exists() and not part.is_dir():
            raise UsageError(
                f"{part} is a file, and the demo writes a folder",
                given=f"--out {out}",
                hint="give another place: loramix demo --out DIR",
            )
    from loramix.demo import full_settings, run_demo  # torch and more: seconds

    return run_demo(place, settings=full_settings() if full else None, seed=seed, device=device)
