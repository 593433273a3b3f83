"""Lines over a count: scores after each task learned, room over the number of skills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loramix.evaluate.drawing import INK, MUTED, SERIES, SYSTEM_COLORS, as_svg, canvas, styled

WAYS = (("loramix", "one skill after another"), ("one_adapter", "one adapter, task after task"))
MOST = 100
"""Skills up to which room is extrapolated."""


@styled
def forgetting_lines(found: Mapping[str, Any]) -> str:
    """Two panels: the score of every task after each stage, from the stage that taught it on.

    Args:
        found: what `Forgetting.to_dict` says.
    """
    tasks = list(found["tasks"])
    figure, panels = canvas(8.4, 3.4, columns=2, sharey=True)
    for axes, (way, title) in zip(panels, WAYS, strict=True):
        for place, name in enumerate(tasks):
            color = SERIES[place % 5]
            points = [(x, s[name]) for x, s in enumerate(found[way]) if name in s]
            at, scores = zip(*points, strict=True)
            axes.plot(at, scores, color=color, linewidth=2, clip_on=False)
            axes.scatter(at, scores, s=22, color=color, zorder=3, clip_on=False)
            # what it was when it had just been learned stands out
            axes.scatter(at[:1], scores[:1], s=70, facecolor="none", edgecolor=color, clip_on=False)
        axes.set_title(title)
        axes.set_xticks(range(len(tasks)), [f"+ {t}" for t in tasks], rotation=25, ha="right")
        axes.set_xlim(-0.25, len(tasks) - 0.75)
        axes.set_ylim(0, 1.02)
        axes.grid(axis="y")
    panels[0].set_ylabel("score, held-out examples")
    return as_svg(figure, "forgetting")


@styled
def room_lines(shape: Mapping[str, Any], name: str) -> str:
    """Two panels, files and memory: measured points, and dashes for what follows from them.

    Args:
        shape: what `measure_storage` says of one base.
        name: of the plot; no two of a page have the same.
    """
    figure, panels = canvas(8.4, 3.3, columns=2)
    titles = (("disk", "files on disk"), ("resident", "memory of a process"))
    for axes, (where, title) in zip(panels, titles, strict=True):
        for way, color in (("full", SYSTEM_COLORS["base"]), ("adapters", SYSTEM_COLORS["skill"])):
            sizes = shape[where][way]
            counts = range(1, len(sizes) + 1)
            axes.plot(counts, sizes, color=color, linewidth=2, marker="o", markersize=4)
            if len(sizes) < 2:
                continue
            later = [n for n in (1, 2, 5, 10, 20, 50, MOST) if n > len(sizes)]
            beyond = [at_count(sizes, n) for n in later]
            axes.plot(
                [len(sizes), *later],
                [sizes[-1], *beyond],
                color=color,
                linestyle=(0, (4, 3)),
                linewidth=1.5,
            )
            axes.annotate(
                readable(beyond[-1]),
                (MOST, beyond[-1]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                size=9,
                color=INK,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        ticks = [t for t in _SIZES if low <= t <= high]
        axes.set_yticks(ticks, [readable(t) for t in ticks])
        axes.set_xlim(0.9, 210)
        axes.set_title(title)
        axes.set_xlabel("skills")
        axes.grid(color=MUTED, alpha=0.18)
    return as_svg(figure, name)


def at_count(sizes: Sequence[float], count: int) -> float:
    """The size at `count`, measured or on the straight line through the first and the last."""
    if count <= len(sizes):
        return sizes[count - 1]
    slope = (sizes[-1] - sizes[0]) / (len(sizes) - 1)
    return sizes[-1] + slope * (count - len(sizes))


def readable(size: float) -> str:
    """Bytes as a person reads them: `850 kB`, `28.1 MB`, `2.2 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            value = size / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{size:.0f} B"


_SIZES = [factor * 10**power for power in range(4, 13) for factor in (1, 3)]
