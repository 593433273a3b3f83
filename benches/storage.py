"""Claim: N skills beside one base take a fraction of the room of N full models.

    python benches/storage.py [--shape pocket|tinyllama] [--rank 16] [--loaded 3] [--json]

Everything is written and loaded for real, TinyLlama's shape with random weights: five full models
of it are 11 GB on disk, and `--loaded` of them are held in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from gate_data import say, table

from loramix.base import load_base
from loramix.bench.shapes import SHAPES, random_adapter, write_base
from loramix.evaluate.storage import measure_storage

SKILLS = 5


def main() -> None:
    """Prints a table for each shape, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("pocket", "tinyllama"), help="only this one")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--loaded", type=int, default=3, help="full models in memory at once")
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
            loaded = None if shape == "pocket" else args.loaded
            shapes.append(
                measure_storage(base, adapters, folder / "room", name=shape, loaded=loaded)
            )
            del base
    if args.json:
        say(json.dumps({"shapes": shapes}))
        return
    for found in shapes:
        rows = []
        for where in ("disk", "resident"):
            for way in ("adapters", "full"):
                figures = found[where][way]
                rows.append([f"{where}, {way}", *(f"{figure / 2**20:,.0f}" for figure in figures)])
        say(f"\n{found['name']}: MiB of one base with N adapters, and of N full models")
        say(table(["", *(f"N = {n}" for n in range(1, found["n"] + 1))], rows))


if __name__ == "__main__":
    main()
