"""Plots as inline SVG that follows the page's colours, in light and in dark.

Matplotlib draws with stand-in colours; afterwards each becomes a CSS variable of the page, so one
drawing serves both schemes. Text stays text.
"""

from __future__ import annotations

import functools
import html
import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

from loramix.evaluate.metrics import wilson

INK, MUTED, GRID = "#0a0b01", "#0a0b02", "#0a0b03"
SYSTEM_COLORS = {"base": "#0a0b04", "skill": "#0a0b05", "routed": "#0a0b06"}
SERIES = [f"#0a0c{number:02x}" for number in range(1, 7)]
_CSS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    "#0a0b04": "--base",
    "#0a0b05": "--accent",
    "#0a0b06": "--second",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, 1)},
}
# those of the page, for a plot without one
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "figure.constrained_layout.use": True,
}

P = ParamSpec("P")


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw in our style: matplotlib reads parts of it only when a thing is drawn."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> str:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def retention_bars(skills: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores before and after a merge, grouped by skill, with the share that is kept.

    Args:
        skills: skill → `before`, `after`, and `interval` (low, high) of the latter.
    """
    figure, axes = _figure(7.6, 3.0)
    for x, row in enumerate(skills.values()):
        for shift, key, system in ((-0.2, "before", "base"), (0.2, "after", "skill")):
            label = key if x == 0 else None
            axes.bar(x + shift, row[key], 0.36, color=SYSTEM_COLORS[system], label=label)
            text = f"{row[key]:.2f}"
            axes.text(x + shift, -0.03, text, ha="center", va="top", size=8, color=MUTED)
        axes.plot([x + 0.2] * 2, row["interval"], color=INK, linewidth=1.2)
    axes.set_xticks(range(len(skills)), list(skills), color=INK)
    axes.tick_params(axis="x", pad=16)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
    return _svg(figure, "retention")


@_styled
def grouped_bars(rows: Mapping[str, Mapping[str, Any]], systems: Sequence[str]) -> str:
    """Scores of any systems, grouped by task, with their intervals.

    Args:
        rows: task → system → score; `intervals` → system → (low, high) where known.
        systems: in the order of their bars; `base` is grey, and those without a score are left out.
    """
    shown = [s for s in ("base", *systems) if any(row.get(s) is not None for row in rows.values())]
    shown = list(dict.fromkeys(shown))
    colors = dict(zip([s for s in shown if s != "base"], itertools.cycle(SERIES), strict=False))
    colors["base"] = SYSTEM_COLORS["base"]
    figure, axes = _figure(max(4.0, 1.4 + 0.38 * len(rows) * len(shown)), 3.2)
    width = 0.86 / max(len(shown), 1)
    named = set()
    for x, row in enumerate(rows.values()):
        for place, system in enumerate(shown):
            if row.get(system) is None:
                continue
            at, value = x + (place - (len(shown) - 1) / 2) * width, row[system]
            label = None if system in named else system
            named.add(system)
            axes.bar(at, value, width * 0.9, color=colors[system], label=label)
            axes.text(at, -0.03, f"{value:.2f}", ha="center", va="top", size=7, color=MUTED)
            low, high = row.get("intervals", {}).get(system, (value, value))
            axes.plot([at] * 2, [low, high], color=INK, linewidth=1.2)
    axes.set_xticks(range(len(rows)), list(rows), color=INK)
    axes.tick_params(axis="x", pad=16)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(shown))
    return _svg(figure, "scores")


@_styled
def calibration(curve: Sequence[Mapping[str, float]], n: int | None = None) -> str:
    """Accuracy against confidence; the size of a point is the share of prompts in its bin.

    With `n` prompts in all each point has its 95 % interval.
    """
    figure, axes = _figure(4.0, 4.0)
    for point in curve if n else ():
        ends = wilson(point["accuracy"], max(1, round(point["share"] * (n or 0))))
        axes.plot([point["confidence"]] * 2, ends, color=INK, linewidth=1.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.plot(
        [b["confidence"] for b in curve],
        [b["accuracy"] for b in curve],
        color=SYSTEM_COLORS["skill"],
        linewidth=1.5,
        alpha=0.6,
    )
    axes.scatter(
        [b["confidence"] for b in curve],
        [b["accuracy"] for b in curve],
        s=[20 + 400 * b["share"] for b in curve],
        color=SYSTEM_COLORS["skill"],
        alpha=0.75,
        linewidth=0,
        clip_on=False,
    )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    axes.set_aspect("equal")
    axes.grid()
    axes.set_xlabel("confidence of the gate")
    axes.set_ylabel("share that is right")
    return _svg(figure, "calibration")


def loss_curves(training: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str]) -> list[str]:
    """One small plot a skill: the loss of each step, smoothed, and the dev loss.

    Args:
        training: skill → `losses` (one a step) and `dev_losses` (step, loss).
        colors: skill → variable of the page.
    """
    shown = [loss for run in training.values() for loss in _smooth(run["losses"])]
    shown += [loss for run in training.values() for _, loss in run["dev_losses"]]
    kept = [loss for loss in shown if loss > 0] or [1.0]
    limits = (max(min(kept) / 1.5, max(kept) / 1e6), max(kept) * 1.5)
    return [
        _loss_curve(name, run, _stand_in(colors[name]), limits) for name, run in training.items()
    ]


@_styled
def _loss_curve(name: str, run: Mapping[str, Any], color: str, limits: tuple[float, float]) -> str:
    figure, axes = _figure(2.15, 1.95)
    losses = list(run["losses"])
    at, means = _thinned(losses)
    axes.plot(at, means, color=color, alpha=0.3, linewidth=0.8)
    at, means = _thinned(_smooth(losses))
    axes.plot(at, means, color=color, linewidth=1.8)
    if run["dev_losses"]:
        axes.plot(
            *zip(*run["dev_losses"], strict=True), color=INK, linewidth=1, marker="o", markersize=3
        )
    axes.set_title(name)
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.tick_params(which="minor", size=0)
    axes.grid(axis="y")
    axes.set_xlabel("step")
    return _svg(figure, f"loss-{name}", f"loss of {name}, nats a token")


@_styled
def stage_lines(
    tasks: Sequence[str],
    stages: Sequence[Mapping[str, float]],
    base: Mapping[str, float] | None,
    colors: Mapping[str, str],
    name: str,
    intervals: Sequence[Mapping[str, Sequence[float]]] | None = None,
) -> str:
    """Scores of the tasks learned so far, after each was learned; a dashed line is the base's mean.

    Args:
        tasks: in the order in which they were learned, one a stage.
        stages: task → score, after each stage.
        base: task → score of the base.
        colors: task → variable of the page.
        name: of the plot.
        intervals: task → (low, high), after each stage.
    """
    figure, axes = _figure(4.0, 3.0)
    if base:
        mean = sum(base.values()) / len(base)
        axes.axhline(mean, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
        axes.text(-0.25, mean + 0.02, "base alone", color=MUTED, size=8.5, va="bottom")
    for place, task in enumerate(tasks):
        points = [(n, stage[task]) for n, stage in enumerate(stages) if task in stage]
        at, scores = zip(*points, strict=True) if points else ((), ())
        # later ones are drawn smaller and on top, so that lines in one place all show
        thin = min(place, 5)
        axes.plot(
            at,
            scores,
            color=_stand_in(colors[task]),
            linewidth=3.4 - 0.4 * thin,
            marker="o",
            markersize=7 - 0.7 * thin,
            clip_on=False,
            zorder=3,
        )
        for stage, ends in enumerate(intervals or ()):
            if task in ends:
                # beside each other, since many scores of one stage are the same
                beside = stage + 0.05 * (place - (len(tasks) - 1) / 2)
                axes.plot([beside] * 2, ends[task], color=_stand_in(colors[task]), linewidth=1)
    axes.set_xlim(-0.3, max(len(tasks) - 0.7, 0.7))
    axes.set_ylim(0, 1.04)
    axes.grid(axis="y")
    axes.set_xticks(range(len(tasks)), [f"+ {task}" for task in tasks], rotation=28, ha="right")
    for label, task in zip(axes.get_xticklabels(), tasks, strict=True):
        label.set_color(_stand_in(colors[task]))
        label.set_rotation_mode("anchor")
    axes.set_ylabel("score")
    return _svg(figure, name, f"scores after each task, {name.replace('_', ' ')}")


@_styled
def growth(lines: Mapping[str, Sequence[int]], most: int, title: str, name: str) -> str:
    """Bytes with 1, 2, … skills: measured ones solid, dashed on to `most`; both axes logarithmic.

    Args:
        lines: `full` and `adapters` → bytes with 1, 2, … of them.
        most: where the dashed lines end.
        title: what is weighed.
        name: of the plot.
    """
    from loramix.evaluate.report.parts import size

    figure, axes = _figure(4.0, 3.0)
    names = {"full": "full models", "adapters": "base and\nadapters"}
    colors = {"full": SYSTEM_COLORS["routed"], "adapters": SYSTEM_COLORS["skill"]}
    highest = 0.0
    for line, points in lines.items():
        at = list(range(1, len(points) + 1))
        axes.plot(at, points, color=colors[line], linewidth=2.2, marker="o", markersize=4.5)
        if len(points) > 1:
            further = [len(points) + (most - len(points)) * step / 40 for step in range(41)]
            # where the dashes start, the line has its last measured point
            ends = [points[-1], *(straight_on(points, count) for count in further[1:])]
            axes.plot(further, ends, color=colors[line], linewidth=1.6, linestyle=(0, (4, 2.5)))
            last = (most, ends[-1])
        else:
            last = (at[-1], points[-1])
        highest = max(highest, last[1])
        axes.annotate(
            f"{names[line]}\n{size(last[1])}", last, (7, 0), textcoords="offset points",
            va="center", color=colors[line], size=9.5,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.9, most)
    lowest = min(min(points) for points in lines.values())
    axes.set_ylim(lowest * 0.45, highest * 2.2)
    ticks = [count for count in (1, 2, 5, 10, 20, 50, 100) if count <= most]
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.set_xticks([], minor=True)
    powers = [scale * 10**power for power in range(3, 16) for scale in (1, 3)]
    marks = [mark for mark in powers if lowest * 0.45 <= mark <= highest * 2.2]
    axes.set_yticks(marks, [size(mark).replace(".0 ", " ") for mark in marks])
    axes.set_yticks([], minor=True)
    axes.grid(axis="y")
    axes.set_title(title)
    axes.set_xlabel("skills")
    return _svg(figure, name, f"bytes {title}")


def straight_on(points: Sequence[float], count: float) -> float:
    """What `count` of them come to: on from the last point with the mean slope of all."""
    slope = (points[-1] - points[0]) / (len(points) - 1)
    return points[-1] + slope * (count - len(points))


def standalone(svg: str) -> str:
    """A plot as a file of its own, in the page's light colours: many viewers know no variables."""
    from loramix.evaluate.report.style import COLORS

    light = dict(re.findall(r"(--[\w-]+): (#\w+)", COLORS.partition("@media")[0]))
    return re.sub(r"var\((--[\w-]+)\)", lambda found: light[found[1]], svg)


def _smooth(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """Exponential moving average, corrected for its start (Kingma and Ba 2015)."""
    smoothed, average = [], 0.0
    for step, value in enumerate(values, 1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**step))
    return smoothed


def _thinned(values: Sequence[float], most: int = 120) -> tuple[list[float], list[float]]:
    """Steps and values, averaged over stretches where there are more than a small plot shows."""
    width = max(1, math.ceil(len(values) / most))
    parts = [values[start : start + width] for start in range(0, len(values), width)]
    at = [1 + place * width + (len(part) - 1) / 2 for place, part in enumerate(parts)]
    return at, [sum(part) / len(part) for part in parts]


def _stand_in(variable: str) -> str:
    """The colour that later becomes this variable."""
    return next(color for color, known in _CSS.items() if known == variable)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # not pyplot: it would keep every figure, and pick a window system
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _svg(figure: Any, name: str, label: str = "") -> str:
    """The figure as an `<svg>` element whose ids no other plot of the page has."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    name = re.sub(r"[^a-z0-9]+", "-", name.lower())
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, f"var({variable})")
    label = html.escape(label or name)
    return svg.replace("<svg ", f'<svg class="plot" role="img" aria-label="{label}" ', 1)
