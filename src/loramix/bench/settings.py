"""How a benchmark is run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from loramix.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run; None leaves a value to the benchmark.

    Attributes:
        rows: that are written together.
        tokens: that are timed in each row.
        rounds: in which each candidate is timed once, after one that is not counted.
        dtype: of the base's weights, as `load_base` takes it.
        base: a base to measure on, or `shape:` and a name of `SHAPES` for random weights of that
            shape; None is the benchmark's own.
        peers: the folder with the peers' virtual environments.

    Raises:
        UsageError: a value is out of its range.
    """

    rows: int | None = None
    tokens: int | None = None
    rounds: int | None = None
    dtype: str = "auto"
    base: str | None = None
    peers: Path = Path("build/peers")

    def __post_init__(self) -> None:
        for name in ("rows", "tokens", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is out of range.", given=value, expected="at least 1")

    def filled(self, rows: int, tokens: int, rounds: int) -> Filled:
        """The same with a benchmark's own values where none was given."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name, value in (("rows", rows), ("tokens", tokens), ("rounds", rounds)):
            given[name] = given[name] or value
        return Filled(**given)


@dataclass(frozen=True)
class Filled(Settings):
    """Settings with every value given."""

    rows: int = 1
    tokens: int = 1
    rounds: int = 1
