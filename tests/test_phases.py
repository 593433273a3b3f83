"""Progress of a long run, where stderr is a terminal and where it is not."""

from __future__ import annotations

import io
import time

from rich.console import Console

from loramix.phases import Phases


def shown(terminal: bool, seconds: float = 0.1) -> str:
    text = io.StringIO()
    with Phases(Console(file=text, force_terminal=terminal, width=60), every=0.02) as phases:
        with phases.phase("load the base"):
            time.sleep(seconds)
        with phases.phase("train") as step:
            step(1, 4, "loss 2.50")
            time.sleep(seconds)
    return text.getvalue()


def test_without_a_terminal_a_phase_tells_its_start_its_progress_and_its_end() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "load the base …"
    assert "load the base: 0 s so far" in lines
    assert "train …" in lines
    assert "train: 25%, 0 s so far, loss 2.50" in lines
    assert lines[-1] == "train: 0 s (0 s in all)"


def test_on_a_terminal_it_is_a_bar_alone() -> None:
    text = shown(terminal=True)
    assert "25%" in text
    assert "so far" not in text
