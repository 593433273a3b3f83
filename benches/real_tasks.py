"""Claim: the YAML of five real tasks trains five skills that each beat their base, and a gate.

`loramix train examples/real_tasks.yaml` from scratch into a temporary folder (or `--library DIR`),
then the gate's accuracy on the prompts of all dev rows, raw texts with no request in them.

    python benches/real_tasks.py [--base pocket|FOLDER|ID] [--library DIR] [--json]

Absolute scores of a small base are low where a task needs knowledge or reasoning. The bars hold
what such a base can show: the gain of each skill over the base, with its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from gate_data import SHARED, say, table

from loramix.base import load_base
from loramix.commands.train import train
from loramix.config import Config, load_config
from loramix.data.load import load_examples
from loramix.evaluate import evaluate_router
from loramix.evaluate.bars import Bar, bar
from loramix.gate import read_gate
from loramix.library import Library
from loramix.pocket.tasks import NONE

YAML = Path(__file__).resolve().parent.parent / "examples" / "real_tasks.yaml"
NO_SKILL = 200
"""Prompts that need none of the skills, for the area under the curve of `base`."""


def config_for(base: str, library: Path, into: Path) -> Path:
    """The YAML of the examples with another base, its data at LORAMIX_SHARED."""
    document = yaml.safe_load(YAML.read_text("utf-8").replace("../../shared", str(SHARED)))
    document |= {"base": base, "library": str(library)}
    into.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return into


def routing(settings: Config, library: Library) -> dict[str, Any]:
    """How the library's gate routes the prompts of all dev rows."""
    prompts = {}
    for name, skill in settings.skills.items():
        assert skill.dev is not None  # all of them have held-out rows
        rows = load_examples(skill.dev, skill.prompt, skill.completion, split="dev")
        prompts[name] = [example.prompt for example in rows]
    none = [example.prompt for example in NONE.examples("test", NO_SKILL)]
    gate = read_gate(library, load_base(settings.base, device="cpu"))
    return evaluate_router(gate, prompts, none)


def bars(base: str, trained: dict[str, Any], routed: dict[str, Any]) -> list[Bar]:
    """What the run has to reach."""
    skills = trained["skills"]
    lines = [
        bar(f"{name}: gain over the base, low", row["gain"]["low"], ">", 0)
        for name, row in skills.items()
    ]
    lines.append(bar("SST-2 dev accuracy", skills["sentiment"]["skill"], "≥", 0.75))
    lines.append(bar("routing of raw texts", routed["accuracy"], "≥", 0.97))
    if base == "pocket":
        lines.append(bar("whole run", trained["seconds"], "≤", 900, "s"))
    return lines


def main() -> None:
    """Trains, measures, prints the scores and the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket", help="pocket, a folder, or a hub's id")
    parser.add_argument("--library", type=Path, help="keep the library there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"no shared data at {SHARED}; set LORAMIX_SHARED")
    base = str(Path(args.base).resolve()) if Path(args.base).is_dir() else args.base
    with tempfile.TemporaryDirectory() as place:
        library = (args.library or Path(place) / "library").resolve()
        config = config_for(base, library, Path(place) / "real_tasks.yaml")
        trained = train(config)
        routed = routing(load_config(config), Library.open(library))
    lines = bars(args.base, trained, routed)
    if args.json:
        load = os.getloadavg()[0]
        report = {"base": args.base, "load": load, "train": trained, "routing": routed}
        say(json.dumps({**report, "bars": [line.to_dict() for line in lines]}))
        return
    scores = [
        [
            name,
            row["n"],
            row["base"],
            row["skill"],
            f"{row['interval'][0]:.3f} to {row['interval'][1]:.3f}",
            row["gain"]["low"],
            row["routed"],
            row["dev_loss"],
        ]
        for name, row in trained["skills"].items()
    ]
    head = ["skill", "n", "base", "skill", "95 %", "gain, low", "routed", "dev loss"]
    say(table(head, scores))
    low, high = routed["low"], routed["high"]
    say(
        f"\ngate: {routed['accuracy']:.3f} ({low:.3f} to {high:.3f}) of {routed['n']} texts, "
        f"ECE {routed['ece']:.3f}; {trained['seconds']:.0f} s, {trained['peak_rss_mb']:.0f} MiB\n"
    )
    marks = [[line.name, line.bar, line.figure, "yes" if line.met else "NO"] for line in lines]
    say(table(["what", "bar", "figure", "met"], marks))


if __name__ == "__main__":
    main()
