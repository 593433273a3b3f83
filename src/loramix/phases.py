"""Where a long run is: a bar on a terminal, plain lines elsewhere; and the seconds of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from typing_extensions import Self

EVERY = 15.0
"""Seconds between two lines about a phase where stderr is no terminal."""

Step = Callable[[float, float, str], None]
"""Called with how much is done, of how much, and a few words about where it is."""


@dataclass
class _Where:
    """How far a phase is, as it was last told; None where it tells nothing."""

    share: float | None = None
    note: str = ""


class Phases:
    """The phases of a run, one bar each, with its total shown below.

    Attributes:
        seconds: phase → its seconds, in order.
    """

    def __init__(self, console: Console | None = None, every: float = EVERY) -> None:
        # soft_wrap: a line of a log stays one line, however narrow the terminal is said to be
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.every = every
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            # where stderr is a file or a pipe, plain lines are all that can be read
            disable=not self.console.is_terminal,
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Step]:
        """One phase; the block is given a function that moves its bar."""
        task = self._progress.add_task(name, total=None, note="")
        start = time.monotonic()
        plain = not self.console.is_terminal
        if plain:
            self._say(f"{name} …")
        with self._lines(name, start) if plain else contextlib.nullcontext(_Where()) as where:

            def step(done: float, total: float, note: str) -> None:
                self._progress.update(task, completed=done, total=max(total, 1e-9), note=note)
                where.share, where.note = done / max(total, 1e-9), note

            yield step
        self.seconds[name] = time.monotonic() - start
        self._progress.update(task, completed=1, total=1, note="")
        if plain:
            self._say(f"{name}: {self.seconds[name]:.0f} s ({self.elapsed:.0f} s in all)")

    @contextlib.contextmanager
    def _lines(self, name: str, start: float) -> Iterator[_Where]:
        """While the block runs, a line now and then. A thread writes them: many phases are one
        long call that tells nothing until it ends.
        """
        where, ended = _Where(), threading.Event()

        def tell() -> None:
            while not ended.wait(self.every):
                share = "" if where.share is None else f" {where.share:.0%},"
                note = f", {where.note}" if where.note else ""
                self._say(f"{name}:{share} {time.monotonic() - start:.0f} s so far{note}")

        thread = threading.Thread(target=tell, name="loramix-progress", daemon=True)
        thread.start()
        try:
            yield where
        finally:
            ended.set()
            thread.join()

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)
