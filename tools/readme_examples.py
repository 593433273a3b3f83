"""Write into the README what the shipped library answers to four prompts from real life.

    python tools/readme_examples.py

The answers come from the command line itself, as a user gets them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from markers import README, ROOT, fill

SHIPPED = ROOT / "src" / "loramix" / "pocket" / "library" / "library.json"

PROMPTS = {
    "A support message, to be summed up with its tone": (
        "Summarize this message in one line and say whether the tone is positive, negative, mixed "
        "or neutral: Hello, I ordered the desk lamp two weeks ago. The delivery was quick, but the "
        "switch stopped working after three days. I use it next to my computer. Please send me a "
        "new one."
    ),
    "An app review, to be put in one line": (
        "Put this app review in one line: I have used the app since spring. The design is lovely "
        "and the search is fast. Sadly the login fails every second morning. My sister uses it too."
    ),
    "An e-mail, to be classified": (
        "Is this e-mail positive, negative, mixed or neutral? Dear team, thank you for the quick "
        "refund. Your support was friendly and everything works perfectly now. Best regards, Maria"
    ),
    "Balanced product feedback": (
        "What is the sentiment of this feedback? The headphones sound great and the battery lasts "
        "all day, but the cable broke within a week and the case is too small."
    ),
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
