"""Bars: what a run has to reach, next to what it did reach."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Bar:
    """One line of the table.

    Attributes:
        name: what is measured.
        bar: the bar as text, such as `≥ 0.92`.
        figure: what was measured; NaN counts as missed.
        met: whether the figure reaches the bar.
    """

    name: str
    bar: str
    figure: float
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """`name`, `bar`, `figure` and `met`."""
        return asdict(self)


def bar(name: str, figure: float, sign: str, limit: float, unit: str = "") -> Bar:
    """Hold `figure` against `sign limit`, such as `≥ 0.92`.

    Compared as measured, not as rounded for print.
    """
    met = not math.isnan(figure) and _COMPARE[sign](figure, limit)
    return Bar(name, f"{sign} {limit:g}{' ' + unit if unit else ''}", figure, met)


def bar_between(name: str, figures: list[float], low: float, high: float) -> Bar:
    """Hold all of `figures` against a range; shown is the one that is nearest to leaving it."""
    worst = min(figures, key=lambda figure: min(figure - low, high - figure), default=float("nan"))
    return Bar(name, f"{low:g} to {high:g}", worst, bool(figures) and low <= worst <= high)
