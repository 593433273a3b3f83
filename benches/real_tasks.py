"""Claim: the YAML of five real tasks trains five skills that each beat their base, and a gate.

`loramix train examples/real_tasks.yaml` from scratch into a temporary folder (or `--library DIR`),
then the gate's accuracy on the prompts of all test rows, raw texts with no request in them, and
how likely base and skill find the right answers of up to 200 of them, nats a token as perplexity.

    python benches/real_tasks.py [--base pocket|FOLDER|ID] [--library DIR] [--json]

Absolute scores of a small base are low where a task needs knowledge or reasoning. The bars hold
what such a base can show: the gain of each skill over the base, with its 95 % bootstrap interval,
in the task's own metric and in the perplexity of the right answers. The second one shows what was
learned where no answer of so small a base is right as a whole, as with word problems.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from gate_data import SHARED, say, table

from loramix.base import Base, load_base
from loramix.commands.train import train
from loramix.config import Config, load_config
from loramix.data import Example
from loramix.data.load import load_examples
from loramix.evaluate import (
    Answers,
    EvalTask,
    System,
    evaluate_matrix,
    evaluate_router,
    mixed_model,
)
from loramix.evaluate.bars import Bar, bar
from loramix.evaluate.scoring import SCORED
from loramix.gate import read_gate
from loramix.library import Library
from loramix.mix import Mix
from loramix.pocket.tasks import NONE

YAML = Path(__file__).resolve().parent.parent / "examples" / "real_tasks.yaml"
NO_SKILL = 200
"""Prompts that need none of the skills, for the area under the curve of `base`."""
RATED = 200
"""Right answers of a task whose likelihood is measured."""


def config_for(base: str, library: Path, into: Path) -> Path:
    """The YAML of the examples with another base, its data at LORAMIX_SHARED."""
    document = yaml.safe_load(YAML.read_text("utf-8").replace("../../shared", str(SHARED)))
    document |= {"base": base, "library": str(library)}
    into.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return into


def test_rows(settings: Config) -> dict[str, list[Example]]:
    """All rows that the skills are scored on."""
    found = {}
    for name, skill in settings.skills.items():
        assert skill.test is not None  # all of them have such a file
        found[name] = load_examples(skill.test, skill.prompt, skill.completion, split="test")
    return found


def routing(base: Base, library: Library, rows: dict[str, list[Example]]) -> dict[str, Any]:
    """How the library's gate routes the prompts of all test rows."""
    prompts = {name: [example.prompt for example in some] for name, some in rows.items()}
    none = [example.prompt for example in NONE.examples("test", NO_SKILL)]
    return evaluate_router(read_gate(library, base), prompts, none)


def perplexities(base: Base, library: Library, rows: dict[str, list[Example]]) -> dict[str, Any]:
    """Perplexity of the right answers under the base and the skill; `gain` is paired."""
    metric = SCORED["perplexity"]
    tasks = [EvalTask(name, some[:RATED], metric, 1, name) for name, some in rows.items()]
    systems = [System("base", "base", Mix.base())]
    systems += [
        System(name, "skill", Mix.of({name: 1.0}), only=frozenset({name})) for name in rows
    ]
    found = evaluate_matrix(Answers(base, mixed_model(base, library)), tasks, systems)["tasks"]
    shown = {}
    for name, row in found.items():
        fell = row["systems"][name]["over_base"]
        gain = {"mean": -fell["mean"], "low": -fell["high"], "high": -fell["low"]}
        shown[name] = {"base": row["base"], "skill": row["skill"], "gain": gain, "n": row["n"]}
    return shown


def bars(
    base: str, trained: dict[str, Any], routed: dict[str, Any], rated: dict[str, Any]
) -> list[Bar]:
    """What the run has to reach."""
    skills = trained["skills"]
    lines = [
        bar(f"{name}: gain over the base, low", row["gain"]["low"], ">", 0)
        for name, row in skills.items()
    ]
    lines += [
        bar(f"{name}: perplexity of right answers falls by, low", row["gain"]["low"], ">", 0)
        for name, row in rated.items()
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
        before = time.process_time()
        trained = train(config)
        trained["cpu_seconds"] = time.process_time() - before
        settings, opened = load_config(config), Library.open(library)
        rows, loaded = test_rows(settings), load_base(settings.base, device="cpu")
        routed = routing(loaded, opened, rows)
        rated = perplexities(loaded, opened, rows)
    lines = bars(args.base, trained, routed, rated)
    if args.json:
        load = os.getloadavg()[0]
        report = {"base": args.base, "load": load, "train": trained, "routing": routed}
        report |= {"perplexity": rated, "bars": [line.to_dict() for line in lines]}
        say(json.dumps(report))
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
            f"{rated[name]['base']:.1f} → {rated[name]['skill']:.1f}",
        ]
        for name, row in trained["skills"].items()
    ]
    head = ["skill", "n", "base", "skill", "95 %", "gain, low", "routed", "perplexity"]
    say(table(head, scores))
    low, high = routed["low"], routed["high"]
    say(
        f"\ngate: {routed['accuracy']:.3f} ({low:.3f} to {high:.3f}) of {routed['n']} texts, "
        f"ECE {routed['ece']:.3f}; {trained['seconds']:.0f} s, {trained['cpu_seconds']:.0f} of the "
        f"processor, {trained['peak_rss_mb']:.0f} MiB\n"
    )
    marks = [[line.name, line.bar, line.figure, "yes" if line.met else "NO"] for line in lines]
    say(table(["what", "bar", "figure", "met"], marks))


if __name__ == "__main__":
    main()
