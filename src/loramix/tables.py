"""Lines and tables on stdout, for what a person reads. rich is loaded when something is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_NARROW = 13  # columns of text fold, but not further than this


def say(*things: object) -> None:
    """Print a line as it is, however narrow the window."""
    from rich.console import Console

    # highlight would colour numbers inside a user's text; markup would eat its [brackets].
    Console(highlight=False, markup=False, soft_wrap=True).print(*things)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table; the first column stays whole, the others fold where they have to."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(cell(value)) for value in row] for row in rows]
    longest = [
        max(*map(len, column.split("\n")), *(row[at].cell_len for row in cells), 0)
        for at, column in enumerate(columns)
    ]
    # A name is what the next command is given, so it stays whole; the rest folds, to a point.
    least = [longest[0], *(min(length, _NARROW) for length in longest[1:])]
    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for at, (column, width) in enumerate(zip(columns, least, strict=True)):
        justify: Any = "left" if at == 0 else "default"
        drawn.add_column(column, justify=justify, min_width=width, overflow="fold", no_wrap=at == 0)
    for row in cells:
        drawn.add_row(*row)
    console = Console(highlight=False)
    # a window that is narrower still wraps the lines by itself, and loses nothing
    console.width = max(console.width, sum(least) + 3 * len(least))
    console.print(drawn)


def cell(value: object) -> str:
    """A value as a table shows it: three digits, a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
