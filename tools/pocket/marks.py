"""Marks in the text that the project writes: turns, and what could be known."""

from __future__ import annotations

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "</s>"
KNOWN, DRAWN = "\x0e", "\x0f"  # where a part that can be known begins, and where it ends


def known(text: str) -> str:
    """Marks what follows from the text before it."""
    return f"{KNOWN}{text}{DRAWN}"
