"""Write into the README what a run of the demo reached, next to what it has to reach.

loramix demo --json > demo.json && python tools/readme_bars.py demo.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from markers import README, fill


def bars(result: dict[str, Any]) -> str:
    """The bars of a demo's JSON as a Markdown table."""
    lines = [
        f"| {line['name']} | {line['bar']} | {line['figure']:.4g} | "
        f"{'met' if line['met'] else 'missed'} |"
        for line in result["bars"]
    ]
    head = ["| what | bar | measured | |", "|---|---|---|---|"]
    note = f"`loramix demo --seed {result['seed']}` on {result['machine']}."
    return "\n".join(["", *head, *lines, "", note, "", ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    fill(README, "bars", bars(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
