"""report.html: everything that a run measured, on one page that needs nothing else.

    write_report(result, Path("report.html"))

`result` is a JSON-able dict; a part that it lacks is left out of the page:

    title, lead     text of the head
    training        NAME → {losses: [...], dev_losses: [[step, loss], ...], steps, tokens}, and
                    where known `examples`, their number, and `description`
    skills          NAME → {base, skill, routed, intervals: {SYSTEM: [low, high]}}
    gate            what `evaluate_router` returns
    routers         NAME → {accuracy, none_auroc, top_two}
    samples         [{title, prompt, scores: {NAME: share}, mix: {NAME: weight}, text}]
    blends          [{name, rows: [{mix, parts: [score, score], mean}]}]
    forgetting      what `Forgetting.to_dict` returns
    retention       {method, rank, before: {NAME: score}, after: {NAME: score},
                    intervals: {NAME: [low, high]} of the latter}
    storage         {shapes: [what `measure_storage` returns]}
    phases          NAME → seconds
    bars            [{name, bar, figure, met}]
    seconds, peak_rss_mb, machine
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loramix.evaluate import lines, plots, views
from loramix.evaluate.page import STYLE
from loramix.evaluate.template import TEMPLATE
from loramix.mix import BASE, Mix
from loramix.storage import storage_errors

PARTS = (
    ("trained", "training"),
    ("skills", "skills"),
    ("routing", "routing"),
    ("samples", "prompts and answers"),
    ("blends", "two at once"),
    ("forgetting", "nothing forgotten"),
    ("retention", "merged"),
    ("storage", "storage and memory"),
    ("time", "time"),
    ("bars", "bars"),
)


def write_report(result: Mapping[str, Any], path: Path) -> Path:
    """Write the page to `path`.

    Raises:
        StorageError: the disk is full or does not let us write.
    """
    page = render_report(result)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with storage_errors("writing the report", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(page, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return path


def render_report(result: Mapping[str, Any]) -> str:
    """The page as text. Whatever a model wrote is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = figure
    skills = result.get("skills") or {}
    gate = result.get("gate") or {}
    forgetting = result.get("forgetting") or {}
    shapes = (result.get("storage") or {}).get("shapes") or []
    colors = {name: f"--series-{place % 5 + 1}" for place, name in enumerate(_all_skills(result))}
    colors[BASE] = "--base"
    shown: dict[str, Any] = {
        "trained": views.trained(result.get("training") or {}),
        "skills": skills,
        "gate": gate,
        "routers": result.get("routers") or {},
        "samples": [_sample(sample, colors) for sample in result.get("samples") or []],
        "blends": result.get("blends") or [],
        "forgetting": forgetting,
        "retention": result.get("retention") or {},
        "rooms": [
            views.room(shape, Markup(lines.room_lines(shape, f"room-{place}")))
            for place, shape in enumerate(shapes)
        ],
        "phases": result.get("phases") or {},
        "bars": result.get("bars") or [],
    }
    there = shown | {
        "routing": gate or shown["routers"],
        "storage": shown["rooms"],
        "time": shown["phases"],
    }
    return environment.from_string(TEMPLATE).render(
        style=Markup(STYLE),
        title=result.get("title", "loramix"),
        lead=result.get("lead", ""),
        tiles=_tiles(result),
        parts=[(id, name) for id, name in PARTS if there[id]],
        gate_tiles=_gate_tiles(gate),
        see=views.sentences(result),
        legends={
            "forgetting": [
                (name, f"--series-{place % 5 + 1}")
                for place, name in enumerate(forgetting.get("tasks", ()))
            ],
            "storage": [("one base with N adapters", "--accent"), ("N full models", "--base")],
        },
        resources=_resources(result),
        plots={name: Markup(svg) for name, svg in _plots(result).items()},
        footer=result.get("footer", "Made by loramix."),
        **shown,
    )


def figure(value: float | None) -> str:
    """A number as the page shows it: three decimals below 10, none above."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


def _all_skills(result: Mapping[str, Any]) -> list[str]:
    """Every skill that the result names, in order, `base` left out."""
    named: list[str] = [*(result.get("skills") or {})]
    for sample in result.get("samples") or []:
        named += [*sample.get("scores", {}), *sample.get("mix", {})]
    return [name for name in dict.fromkeys(named) if name != BASE]


def _plots(result: Mapping[str, Any]) -> dict[str, str]:
    drawn: dict[str, str] = {}
    if result.get("skills"):
        drawn["scores"] = plots.score_bars(result["skills"], result.get("skill_bar"))
    if gate := result.get("gate"):
        confusion = gate["confusion"]
        drawn["routing"] = plots.heat_map(confusion["names"], confusion["counts"])
        drawn["calibration"] = plots.calibration(gate["calibration"])
    if result.get("training"):
        drawn["losses"] = plots.loss_curves(result["training"])
    if result.get("forgetting"):
        drawn["forgetting"] = lines.forgetting_lines(result["forgetting"])
    if result.get("retention"):
        drawn["retention"] = plots.retention_bars(views.retained(result["retention"]))
    if result.get("phases"):
        drawn["phases"] = plots.phase_bars(result["phases"])
    return drawn


def _tile(value: str, label: str) -> dict[str, str]:
    return {"value": value, "label": label}


def _tiles(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """The figures that a reader wants first."""
    tiles = []
    skills = result.get("skills") or {}
    for system, label in (
        ("skill", "mean score with the right adapter"),
        ("routed", "mean score, routed by the gate"),
        ("base", "mean score of the base alone"),
    ):
        values = [row[system] for row in skills.values() if row.get(system) is not None]
        if values:
            tiles.append(_tile(figure(sum(values) / len(values)), label))
    if result.get("gate"):
        tiles.append(_tile(figure(result["gate"]["accuracy"]), "gate accuracy"))
    if forgetting := result.get("forgetting"):
        tiles.append(_tile(f"{100 * forgetting['moved']:.1f}", "points lost by earlier skills"))
    if bars := result.get("bars"):
        tiles.append(_tile(f"{sum(bar['met'] for bar in bars)} / {len(bars)}", "bars met"))
    if result.get("seconds"):
        value, _, unit = duration(result["seconds"]).partition(" ")
        tiles.append(_tile(value, "minutes in all" if unit == "min" else "seconds in all"))
    return tiles


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `45 s`, `7:03 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


def _gate_tiles(gate: Mapping[str, Any]) -> list[dict[str, str]]:
    known = (
        ("accuracy", "accuracy"),
        ("macro_f1", "macro F1"),
        ("ece", "calibration error (ECE)"),
        ("none_auroc", "AUROC, none of these"),
        ("top_two", "composites: both skills on top"),
    )
    return [
        _tile(figure(gate[key]), label)
        for key, label in known
        if gate.get(key) is not None and not math.isnan(gate[key])
    ]


def _sample(sample: Mapping[str, Any], colors: Mapping[str, str]) -> dict[str, Any]:
    mix = dict(sample.get("mix") or {})
    total = sum(mix.values()) or 1.0
    ranked = sorted((sample.get("scores") or {}).items(), key=lambda item: -item[1])
    shares = mix or {BASE: 1.0}
    return {
        "title": sample.get("title", ""),
        "prompt": sample["prompt"],
        "text": sample.get("text"),
        "recipe": ", ".join(f"{n} {w:.2f}" for n, w in mix.items()) or str(Mix.base()),
        "parts": [
            {"percent": f"{100 * w / (total if mix else 1.0):.1f}", "color": colors[n]}
            for n, w in shares.items()
        ],
        "scores": [
            {"name": n, "score": f"{s:.2f}", "color": colors[n]} for n, s in ranked if s >= 0.005
        ],
    }


def _resources(result: Mapping[str, Any]) -> str:
    parts = []
    if result.get("seconds"):
        parts.append(f"{duration(result['seconds'])} in all")
    if result.get("peak_rss_mb"):
        parts.append(f"at most {result['peak_rss_mb']:.0f} MiB of memory")
    if result.get("machine"):
        parts.append(str(result["machine"]))
    return ", ".join(parts) + "." if parts else ""
