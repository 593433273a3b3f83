"""Bar: a five-skill expert of rank 64 at most keeps at least 0.90 of each skill's score.

The skills of a library that have a builtin task are merged with --auto; what each keeps on held-out
examples is printed next to plain linear, and whether the bar is met.

    python benches/merge_retention.py [--library DIR] [--seconds 1200] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from loramix.commands.merging import merge
from loramix.library import Library
from loramix.pocket.tasks import TASKS

BAR, RANK = 0.90, 64


def main() -> None:
    """Merges twice, prints one line a skill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    opened = Library.open(options.library) if options.library else Library.shipped()
    skills = [name for name in opened.skills if name in TASKS]
    shared = {"rank": RANK, "examples": options.examples, "library": options.library}
    with tempfile.TemporaryDirectory() as place:
        plain = merge(skills, Path(place) / "plain", **shared)
        found = merge(skills, Path(place) / "auto", auto_seconds=options.seconds, **shared)
    worst = min(share for share in found["retention"].values() if share is not None)
    report = {
        "linear": plain["retention"],
        "auto": found["retention"],
        "method": found["method"],
        "weights": found["weights"],
        "rank": found["rank"],
        "worst": worst,
        "bar": BAR,
        "met": worst >= BAR,
    }
    if options.json:
        json.dump(report, sys.stdout)
    else:
        print("\n".join(f"{key}: {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()
