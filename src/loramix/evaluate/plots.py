"""Plots as inline SVG that follows the page's colours, in light and in dark.

Matplotlib draws with stand-in colours; afterwards each becomes a CSS variable of the page, so one
drawing serves both schemes. Text stays text.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

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
def score_bars(skills: Mapping[str, Mapping[str, Any]], bar: float | None = None) -> str:
    """Scores of each system, grouped by skill, with their intervals.

    Args:
        skills: skill → system → score; `intervals` → system → (low, high) where known.
        bar: drawn as a dashed line.
    """
    systems = [s for s in SYSTEM_COLORS if any(row.get(s) is not None for row in skills.values())]
    figure, axes = _figure(7.6, 3.0)
    width = 0.8 / max(len(systems), 1)
    for place, system in enumerate(systems):
        shift = (place - (len(systems) - 1) / 2) * width
        for x, row in enumerate(skills.values()):
            value = row.get(system)
            if value is None:
                continue
            label = system if x == 0 else None
            axes.bar(x + shift, value, width * 0.9, color=SYSTEM_COLORS[system], label=label)
            axes.text(x + shift, -0.03, f"{value:.2f}", ha="center", va="top", size=8, color=MUTED)
            low, high = row.get("intervals", {}).get(system, (value, value))
            axes.plot([x + shift] * 2, [low, high], color=INK, linewidth=1.2)
    if bar is not None:
        axes.axhline(bar, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xticks(range(len(skills)), list(skills), color=INK)
    axes.tick_params(axis="x", pad=16)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(systems))
    return _svg(figure, "scores")


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
def heat_map(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Where prompts of each skill (rows) were sent (columns), as shares of the row."""
    figure, axes = _figure(4.0, 4.0)
    for y, row in enumerate(counts):
        total = sum(row)
        for x, count in enumerate(row):
            share = count / total if total else 0.0
            color, alpha = (SYSTEM_COLORS["skill"], max(share, 0.04))
            axes.add_patch(_square(x, y, color, alpha))
            if count:
                text = "#ffffff" if share > 0.55 else INK
                axes.text(x, y, str(count), ha="center", va="center", color=text, size=9)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", color=INK)
    axes.set_yticks(range(len(counts)), names, color=INK)
    axes.set_xlabel("routed to")
    axes.set_ylabel("prompt of")
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal")
    return _svg(figure, "routing")


@_styled
def calibration(curve: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against confidence; the size of a point is the share of prompts in its bin."""
    figure, axes = _figure(4.0, 4.0)
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


@_styled
def loss_curves(training: Mapping[str, Mapping[str, Any]]) -> str:
    """One small plot a skill: the loss of each step, smoothed, and the dev loss.

    Args:
        training: skill → `losses` (one a step) and `dev_losses` (step, loss).
    """
    figure, grid = _figure(7.6, 2.3, columns=max(len(training), 1), sharey=True)
    grid = grid if len(training) > 1 else [grid]
    for axes, color, (name, run) in zip(grid, SERIES, training.items(), strict=False):
        losses = list(run["losses"])
        steps = range(1, len(losses) + 1)
        axes.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smooth(losses), color=color, linewidth=1.6)
        if run["dev_losses"]:
            at, values = zip(*run["dev_losses"], strict=True)
            axes.plot(at, values, color=INK, linewidth=1, marker="o", markersize=2.5)
        axes.set_title(name)
        axes.grid(axis="y")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
    grid[0].set_ylabel("nats a token")
    return _svg(figure, "losses")


@_styled
def phase_bars(phases: Mapping[str, float]) -> str:
    """Seconds of each phase of the run."""
    figure, axes = _figure(7.6, 0.5 + 0.34 * len(phases))
    longest = max(phases.values(), default=1.0)
    for y, (name, seconds) in enumerate(phases.items()):
        axes.barh(y, seconds, 0.62, color=SYSTEM_COLORS["skill"])
        axes.text(seconds + longest * 0.01, y, f"{seconds:.0f} s", va="center", color=MUTED)
        axes.text(-longest * 0.015, y, name, va="center", ha="right", color=INK)
    axes.set_ylim(len(phases) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.1)
    axes.set_yticks([])
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return _svg(figure, "phases")


def standalone(svg: str) -> str:
    """A plot as a file of its own, in the page's light colours: many viewers know no variables."""
    from loramix.evaluate.page import COLORS

    light = dict(re.findall(r"(--[\w-]+): (#\w+)", COLORS.partition("@media")[0]))
    return re.sub(r"var\((--[\w-]+)\)", lambda found: light[found[1]], svg)


def _square(x: int, y: int, color: str, alpha: float) -> Any:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (x - 0.46, y - 0.46),
        0.92,
        0.92,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=color,
        alpha=alpha,
        linewidth=0,
    )


def _smooth(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """Exponential moving average, corrected for its start (Kingma and Ba 2015)."""
    smoothed, average = [], 0.0
    for step, value in enumerate(values, 1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**step))
    return smoothed


def _figure(width: float, height: float, columns: int = 1, sharey: bool = False) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # not pyplot: it would keep every figure, and pick a window system
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, columns, sharey=sharey)


def _svg(figure: Any, name: str) -> str:
    """The figure as an `<svg>` element whose ids no other plot of the page has."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, f"var({variable})")
    return svg.replace("<svg ", f'<svg class="plot" role="img" aria-label="{name}" ', 1)
