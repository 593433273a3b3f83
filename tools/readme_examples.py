"""Write into the README what the shipped library answers to some prompts from real life.

    python tools/readme_examples.py

The answers come from the command line itself, as a user gets them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from loramix.demo.prompts import SHOWN
from markers import README, ROOT, fill

SHIPPED = ROOT / "src" / "loramix" / "pocket" / "library" / "library.json"

# The messages of those that the demo shows, and the one for two skills that is none.
PROMPTS = dict(SHOWN[:4]) | {
    title: prompt for title, prompt in SHOWN if title == "A program and the maths behind it"
}


def answer(prompt: str) -> dict[str, Any]:
    """What `loramix generate --json` prints for a prompt, with the shipped library on the CPU."""
    done = subprocess.run(
        [sys.executable, "-m", "loramix", "generate", prompt, "--device", "cpu", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def examples() -> str:
    """The prompts with their mixes and texts, as Markdown; "" while no library is shipped."""
    if not SHIPPED.is_file():
        return ""
    parts = []
    for title, prompt in PROMPTS.items():
        made = answer(prompt)
        mix = ", ".join(f"{name} {weight:.2f}" for name, weight in made["mix"].items()) or "base"
        parts.append(
            f"**{title}**\n\n{_quote(prompt)}\n\nmix: {mix}\n\n"
            f"```text\n{made['text'].strip()}\n```\n"
        )
    return "\n" + "\n".join(parts) + "\n"


if __name__ == "__main__":
    fill(README, "examples", examples())
