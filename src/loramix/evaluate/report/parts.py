"""What the template draws by itself: groups of bars, heat maps, key numbers, prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from loramix.mix import BASE, Mix

SYSTEMS = {"base": "--base", "skill": "--accent", "routed": "--second"}
COMPOSITES = {
    "base": "--base",
    "top1": "--series-5",
    "naive": "--series-4",
    "chain": "--series-3",
    "blend": "--accent",
}
WAYS = {
    "base": "no skill",
    "top1": "the better single skill",
    "naive": "half of each of two adapters trained apart",
    "chain": "one skill after the other",
    "blend": "what the gate chose",
}


def figure(value: float | None) -> str:
    """A number as the page shows it: three decimals below 10, none above."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A number beside a bar or in a cell: two decimals below 10."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `45 s`, `7:03 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


def size(count: float) -> str:
    """Bytes as a person reads them, with decimal units: `14 MB`, `1.4 GB`."""
    units = ["TB", "GB", "MB", "kB", "B"]
    unit = units.pop()
    while count >= 999.5 and units:
        count, unit = count / 1000, units.pop()
    return f"{count:.1f} {unit}" if count < 10 else f"{count:,.0f} {unit}"


def known(value: Any) -> bool:
    """Whether it is a number that was measured."""
    return isinstance(value, (int, float)) and not math.isnan(value)


def bar_row(
    label: str,
    value: float,
    color: str,
    *,
    interval: Sequence[float] | None = None,
    top: float = 1.0,
    text: str | None = None,
    beside: str = "",
    goal: float | None = None,
) -> dict[str, Any]:
    """One bar, from 0 to `top`, with its interval as a line and a dashed line at `goal`."""

    def percent(part: float) -> float:
        return round(100 * min(1.0, max(0.0, part / top if top else 0.0)), 2)

    whisker = None
    if interval is not None:
        low, high = map(percent, interval)
        whisker = (low, round(high - low, 2)) if high > low else None
        beside = beside or f"{short(interval[0])}–{short(interval[1])}"
    return {
        "label": label,
        "width": percent(value),
        "color": color,
        "whisker": whisker,
        "goal": None if goal is None else percent(goal),
        "value": short(value) if text is None else text,
        "range": beside,
    }


def system_bars(
    rows: Mapping[str, Mapping[str, Any]], systems: Mapping[str, str], goal: float | None = None
) -> list[dict[str, Any]]:
    """A group a row, a bar a system.

    Args:
        rows: name → system → score; `intervals` → system → (low, high) and `n`, an int or
            system → int, where known.
        systems: system → colour, in the order of the bars.
        goal: of the systems other than the base.
    """
    groups = []
    for name, row in rows.items():
        intervals = row.get("intervals") or {}
        values = [row[s] for s in systems if known(row.get(s))]
        most = max([1.0, *values, *(high for _, high in intervals.values())])
        drawn = [
            bar_row(
                system,
                row[system],
                color,
                interval=intervals.get(system),
                top=most,
                goal=goal if most == 1.0 else None,
            )
            for system, color in systems.items()
            if known(row.get(system))
        ]
        groups.append({"name": name, "note": _counted(row.get("n")), "rows": drawn})
    return groups


def _counted(n: Any) -> str:
    if isinstance(n, Mapping):
        counts = sorted({int(count) for count in n.values()})
        return f"{' or '.join(map(str, counts))} examples" if counts else ""
    return f"{n} examples" if n else ""


def blend_bars(
    blends: Sequence[Mapping[str, Any]], colors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The mean of both parts for each mix; a skill alone has its own colour."""
    groups = []
    for blend in blends:
        rows = [
            bar_row(
                row["mix"],
                row["mean"],
                colors.get(str(row["mix"]).removesuffix(" alone"), "--ink"),
                interval=row.get("interval"),
                text=figure(row["mean"]),
                beside=" · ".join(map(short, row["parts"])),
            )
            for row in blend["rows"]
        ]
        note = f"{blend['n']} requests" if blend.get("n") else ""
        groups.append({"name": blend["name"], "note": note, "rows": rows})
    return groups


def phase_bars(phases: Mapping[str, float]) -> list[dict[str, Any]]:
    """Seconds of each phase."""
    longest = max(phases.values(), default=1.0)
    rows = [
        bar_row(name, seconds, "--accent", top=longest, text=duration(seconds))
        for name, seconds in phases.items()
    ]
    return [{"name": "", "note": "", "rows": rows}]


def confusion_map(names: Sequence[str], counts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Where prompts of each skill (rows) were sent (columns), as shares of the row."""
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row) or 1
        cells = [
            {"text": str(c) if c else "", "share": round(c / total, 3), "own": False, "within": ""}
            for c in row
        ]
        rows.append({"name": name, "cells": cells})
    caption = "rows: prompts of; columns: sent to"
    return {"columns": list(names), "rows": rows, "caption": caption}


def score_map(heat: Mapping[str, Any]) -> dict[str, Any]:
    """The mean scores that the gate gives (columns) to the prompts of each skill (rows)."""
    rows = [
        {
            "name": name,
            "cells": [
                {"text": f"{s:.2f}" if s >= 0.005 else "", "share": round(s, 3), "own": False,
                 "within": ""}
                for s in scores
            ],
        }
        for name, scores in zip(heat["rows"], heat["scores"], strict=True)
    ]  # fmt: skip
    caption = "rows: prompts of; columns: mean score of"
    return {"columns": list(heat["columns"]), "rows": rows, "caption": caption}


def matrix_map(matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of every system (column) on every task (row).

    A row whose figures are not from 0 to 1, such as perplexities, has no shades: of some less is
    better. Beside a figure stands half of its interval, where that is known.
    """
    rows = []
    metrics = matrix.get("metrics") or ["own"] * len(matrix["tasks"])
    unknown = [[None] * len(matrix["systems"])] * len(matrix["tasks"])
    lows, highs = matrix.get("low") or unknown, matrix.get("high") or unknown
    for task, metric, scores, low, high in zip(
        matrix["tasks"], metrics, matrix["scores"], lows, highs, strict=True
    ):
        shaded = all(0 <= s <= 1 for s in scores if known(s))
        cells = [
            {
                "text": short(score),
                "share": round(score, 3) if shaded and known(score) else 0,
                "own": system == task,
                "within": f"±{short((b - a) / 2)}" if known(a) and known(b) else "",
            }
            for system, score, a, b in zip(matrix["systems"], scores, low, high, strict=True)
        ]
        rows.append({"name": task if metric == "own" else f"{task} ({metric})", "cells": cells})
    caption = "score, from 0 to 1"
    if matrix.get("low"):
        caption += ", ± half of the 95 % interval"
    return {"columns": matrix["systems"], "rows": rows, "caption": caption}


def training_rows(training: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What each skill is, what it learned from, and where its loss ended."""
    return [
        {
            "name": name,
            "what": str(run.get("description") or ""),
            "data": str(run.get("data") or ""),
            "lora": _lora(run),
            "steps": f"{run['steps']:,}" if known(run.get("steps")) else "–",
            "tokens": f"{run['tokens']:,}" if known(run.get("tokens")) else "–",
            "last": figure(run["losses"][-1]) if run.get("losses") else "–",
            "dev": figure(
                run["dev_losses"][-1][1] if run.get("dev_losses") else run.get("dev_loss")
            ),
        }
        for name, run in training.items()
    ]


def _lora(run: Mapping[str, Any]) -> str:
    """`rank 16, 0.47 M parameters`."""
    said = [f"rank {run['rank']}"] if run.get("rank") else []
    if run.get("parameters"):
        said.append(f"{run['parameters'] / 1e6:.2f} M parameters")
    return ", ".join(said)


def tile(value: str, label: str) -> dict[str, str]:
    """A key number."""
    return {"value": value, "label": label}


def key_numbers(
    result: Mapping[str, Any],
    skills: Mapping[str, Mapping[str, Any]],
    gate: Mapping[str, Any],
    common: tuple[Sequence[str], Mapping[str, float]],
) -> list[dict[str, str]]:
    """The figures that a reader wants first; `common` is what `common_means` gives."""
    tiles = []
    tasks, means = common
    over = "" if len(tasks) == len(skills) else f", {len(tasks)} of {len(skills)} tasks"
    for system, label in (
        ("skill", "mean score with the right adapter"),
        ("routed", "mean score, routed by the gate"),
        ("base", "mean score of the base alone"),
    ):
        if system in means:
            tiles.append(tile(figure(means[system]), f"{label}{over}"))
    if gate:
        tiles.append(tile(figure(gate["accuracy"]), "gate accuracy"))
    if bars := result.get("bars"):
        tiles.append(tile(f"{sum(bar['met'] for bar in bars)} / {len(bars)}", "bars met"))
    if result.get("seconds"):
        value, _, unit = duration(result["seconds"]).partition(" ")
        tiles.append(tile(value, "minutes in all" if unit == "min" else "seconds in all"))
    return tiles


def gate_numbers(gate: Mapping[str, Any]) -> list[dict[str, str]]:
    """How well it routes, in figures."""
    shown = (
        ("accuracy", "accuracy"),
        ("macro_f1", "macro F1"),
        ("ece", "calibration error (ECE)"),
        ("none_auroc", "AUROC, none of these"),
        ("top_two", "composites: both skills on top"),
    )
    return [tile(figure(gate[k]), label) for k, label in shown if known(gate.get(k))]


_SHOWN = 700
"""Letters of a prompt that are shown."""


def _middle_out(text: str) -> str:
    """A long text without its middle: a request stands at one end or the other."""
    if len(text) <= _SHOWN:
        return text
    left_out = len(text) - _SHOWN
    half = _SHOWN // 2
    return f"{text[:half].rstrip()} [… {left_out:,} letters …] {text[-half:].lstrip()}"


def sample_card(sample: Mapping[str, Any], colors: Mapping[str, str]) -> dict[str, Any]:
    """A prompt, its mix as shares of a bar, the gate's scores, and the answer."""
    mix = dict(sample.get("mix") or {})
    total = sum(mix.values()) or 1.0
    ranked = sorted((sample.get("scores") or {}).items(), key=lambda item: -item[1])
    return {
        "title": sample.get("title", ""),
        "prompt": _middle_out(sample["prompt"]),
        "text": sample.get("text"),
        "expected": sample.get("expected"),
        "recipe": ", ".join(f"{n} {w:.2f}" for n, w in mix.items()) or str(Mix.base()),
        "parts": [
            {"percent": f"{100 * w / (total if mix else 1.0):.1f}", "color": colors[n]}
            for n, w in (mix or {BASE: 1.0}).items()
        ],
        "scores": [
            {"name": n, "score": f"{s:.2f}", "color": colors[n]} for n, s in ranked if s >= 0.005
        ],
    }
