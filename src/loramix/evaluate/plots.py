"""Plots as inline SVG that follows the page's colours, in light and in dark."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from loramix.evaluate.drawing import (
    INK,
    MUTED,
    SERIES,
    SYSTEM_COLORS,
    as_svg,
    canvas,
    styled,
)


@styled
def score_bars(skills: Mapping[str, Mapping[str, Any]], bar: float | None = None) -> str:
    """Scores of each system, grouped by skill, with their intervals.

    Args:
        skills: skill → system → score; `intervals` → system → (low, high) where known.
        bar: drawn as a dashed line.
    """
    systems = [s for s in SYSTEM_COLORS if any(row.get(s) is not None for row in skills.values())]
    figure, axes = canvas(7.6, 3.0)
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
    return as_svg(figure, "scores")


@styled
def retention_bars(skills: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores before and after a merge, grouped by skill, with the share that is kept.

    Args:
        skills: skill → `before`, `after`, and `interval` (low, high) of the latter.
    """
    figure, axes = canvas(7.6, 3.0)
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
    return as_svg(figure, "retention")


@styled
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
    figure, axes = canvas(max(4.0, 1.4 + 0.38 * len(rows) * len(shown)), 3.2)
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
    return as_svg(figure, "scores")


@styled
def heat_map(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Where prompts of each skill (rows) were sent (columns), as shares of the row."""
    figure, axes = canvas(4.0, 4.0)
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
    return as_svg(figure, "routing")


@styled
def calibration(curve: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against confidence; the size of a point is the share of prompts in its bin."""
    figure, axes = canvas(4.0, 4.0)
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
    return as_svg(figure, "calibration")


@styled
def loss_curves(training: Mapping[str, Mapping[str, Any]]) -> str:
    """One small plot a skill: the loss of each step, smoothed, and the dev loss.

    Args:
        training: skill → `losses` (one a step) and `dev_losses` (step, loss).
    """
    figure, grid = canvas(7.6, 2.3, columns=max(len(training), 1), sharey=True)
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
    return as_svg(figure, "losses")


@styled
def phase_bars(phases: Mapping[str, float]) -> str:
    """Seconds of each phase of the run."""
    figure, axes = canvas(7.6, 0.5 + 0.34 * len(phases))
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
    return as_svg(figure, "phases")


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
