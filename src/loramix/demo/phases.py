"""Where a long run is: a bar on stderr all the time, and the seconds of each phase."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
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

Step = Callable[[float, float, str], None]
"""Called with how much is done, of how much, and a few words about where it is."""


class Phases:
    """The phases of a run, one bar each, with its total shown below.

    Attributes:
        seconds: phase → its seconds, in order.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
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
            # where stderr is a file or a pipe, a line a phase is all that can be read
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

        def step(done: float, total: float, note: str) -> None:
            self._progress.update(task, completed=done, total=max(total, 1e-9), note=note)

        yield step
        self.seconds[name] = time.monotonic() - start
        self._progress.update(task, completed=1, total=1, note="")
        if not self.console.is_terminal:
            self.console.print(
                f"{name}: {self.seconds[name]:.0f} s ({self.elapsed:.0f} s in all)", markup=False
            )
