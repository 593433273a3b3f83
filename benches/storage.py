"""Claim: N skills beside one base take a fraction of the room of N full models.

    python benches/storage.py [--shape pocket|tinyllama] [--loaded 3] [--report FILE] [--json]

Everything is written and loaded for real, TinyLlama's shape with random weights: five full models
of it are 11 GB on disk, and `--loaded` of them are held in memory (five take 12 GB), in bf16 as
they are stored. What stands under N = 100 is no measurement: it goes on from the last one with the
mean step of all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from gate_data import say, table

from loramix.base import load_base
from loramix.bench.shapes import SHAPES, random_adapter, write_base
from loramix.evaluate import write_report
from loramix.evaluate.plots import straight_on
from loramix.evaluate.storage import measure_storage

SKILLS = 5
MANY = 100


def main() -> None:
    """Prints a table for each shape, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("pocket", "tinyllama"), help="only this one")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--loaded", type=int, default=3, help="full models in memory at once")
    parser.add_argument("--report", type=Path, help="draw the curves into a page")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    shapes = []
    for shape in [args.shape] if args.shape else ["pocket", "tinyllama"]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            id = "pocket"
            if shape != "pocket":
                id = str(write_base(SHAPES[shape], folder / "base"))
            base = load_base(id)
            adapters = {f"s{seed}": random_adapter(base, seed, args.rank) for seed in range(SKILLS)}
            (folder / "room").mkdir()
            loaded, dtype = (None, "auto") if shape == "pocket" else (args.loaded, "bf16")
            # `auto` looks at free memory, so the second of two large models may come in another one
            shapes.append(
                measure_storage(
                    base, adapters, folder / "room", name=shape, dtype=dtype, loaded=loaded
                )
            )
            del base
    if args.report:
        write_report({"title": "Storage and memory", "storage": {"shapes": shapes}}, args.report)
    if args.json:
        say(json.dumps({"shapes": shapes}))
        return
    for found in shapes:
        rows = []
        for where in ("disk", "resident"):
            for way in ("adapters", "full"):
                figures = found[where][way]
                cells = [f"{figure / 2**20:,.0f}" for figure in figures]
                cells += ["" for _ in range(found["n"] - len(figures))]
                far = straight_on(figures, MANY) if len(figures) > 1 else float("nan")
                rows.append([f"{where}, {way}", *cells, f"{far / 2**20:,.0f}"])
        say(f"\n{found['name']}: MiB of one base with N adapters, and of N full models")
        say(table(["", *(f"N = {n}" for n in range(1, found["n"] + 1)), f"N = {MANY}"], rows))


if __name__ == "__main__":
    main()
