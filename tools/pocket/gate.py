"""Learns the gate of the library that ships anew, as the demo does: after its encoder has changed.

    python tools/pocket/gate.py [--library src/loramix/pocket/library]

The skills stay as they are; their memories for the gate are made anew, with the same prompts. The
work is done on a copy, which takes the library's place: a library that ships is not edited.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from loramix.base import load_base
from loramix.demo import DemoSettings, data
from loramix.gate import learn_gate
from loramix.library import Library
from loramix.pocket.tasks import TASKS

HERE = Path(__file__).resolve().parents[2] / "src" / "loramix" / "pocket" / "library"


def main() -> None:
    """Learns on a copy, and puts it in place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, default=HERE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "library"
        shutil.copytree(args.library, copy)
        learn(Library.open(copy))
        shutil.copytree(copy, args.library, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))


def learn(library: Library) -> None:
    """Writes the gate and the memories in one change of a library."""
    settings = DemoSettings()
    base = load_base(library.base_id, device="cpu")
    examples = data.gate_examples("train", settings.gate_prompts, 0)
    gate = learn_gate(base, examples, tuple(TASKS), seed=0, memory=settings.memory)
    with library.edit() as txn:
        for name, skill in library.skills.items():
            txn.add(name, skill.adapter(base.model), skill.card, gate.memories[name], replace=True)
        txn.set_gate(*gate.state())


if __name__ == "__main__":
    main()
