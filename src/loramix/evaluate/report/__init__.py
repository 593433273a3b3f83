"""report.html: everything that a run measured, on one page that needs nothing else.

    write_report(result, Path("report.html"))

`result` is a JSON-able dict; a part that it lacks is left out of the page:

    title, lead, footer  texts
    skills          NAME → {base, skill, routed, intervals: {SYSTEM: [low, high]}, n}
    gate            what `evaluate_router` returns
    routers         NAME → {accuracy, low, high, none_auroc, top_two}
    bars            [{name, bar, figure, met}]
    samples         [{title, prompt, scores: {NAME: share}, mix: {NAME: weight}, text, expected}]
    blends          [{name, rows: [{mix, parts: [score, score], mean, interval}]}], the gate's
                    mix first
    composites      what `evaluate_composites` returns
    matrix          {tasks, systems, scores, low, high: [tasks][systems]}
    forgetting      {tasks, base: {TASK: score}, loramix: [{TASK: score}, one a stage],
                    one_adapter: the same, intervals: {loramix: [{TASK: [low, high]}], …}, n}
    retention       {method, rank, before: {NAME: score}, after: {NAME: score},
                    intervals: {NAME: [low, high]} of after}, or a list of these with `name`
    storage         {shapes: [{name, disk: {base, adapters: [bytes with 1, 2, … of them], full},
                    resident: {adapters, full}}]}
    training        NAME → {description, data, rank, parameters, losses: [...], dev_losses:
                    [[step, loss], ...], dev_loss, steps, tokens}
    failures        [{task, system, reason, rows}]
    not_measured    [{what, how}]: sections that are left out, and what would bring them
    phases          NAME → seconds
    seconds, peak_rss_mb, machine

What `loramix eval --json` prints will do as well: its `tasks` are drawn as skills and their cells'
`over_base` and `over_skill` as differences, its `routing` as gate and routers.

parts.py        what the template draws by itself: bars, heat maps, key numbers
comparisons.py  means over the same tasks, paired differences, what failed
sentences.py    what to see in each figure
page.py         the template; style.py: how it looks
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loramix.evaluate import plots
from loramix.evaluate.report import comparisons, parts, sentences
from loramix.evaluate.report.page import TEMPLATE
from loramix.evaluate.report.parts import duration, figure
from loramix.evaluate.report.style import STYLE
from loramix.mix import BASE
from loramix.storage import storage_errors

__all__ = ["duration", "figure", "machine", "render_report", "write_report"]

MOST = 100  # skills up to which storage is drawn
# anchor, words of the contents, and the values that the section is about
_SECTIONS = (
    ("training", "Training", "training"),
    ("skills", "Skills", "scores"),
    ("matrix", "Matrix", "matrix"),
    ("differences", "Differences", "differences"),
    ("routing", "Routing", "confusion"),
    ("routers", "Routers", "routers"),
    ("prompts", "Prompts", "samples"),
    ("blends", "Two at once", "blends composites"),
    ("forgetting", "Nothing forgotten", "forgetting"),
    ("retention", "Merging", "retention"),
    ("storage", "Storage", "storage"),
    ("failures", "Failures", "failures"),
    ("time", "Time", "phases"),
    ("bars", "Bars", "bar_rows"),
    ("missing", "Not measured", "not_measured"),
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
    values = _values(result)
    values["style"] = Markup(STYLE)
    values["plots"] = {
        name: [Markup(_inline(svg)) for svg in drawn]
        if isinstance(drawn, list)
        else Markup(_inline(drawn))
        for name, drawn in values["plots"].items()
    }
    for shape in values["storage"]:
        shape["plots"] = [Markup(_inline(svg)) for svg in shape["plots"]]
    values["contents"] = [
        (anchor, name)
        for anchor, name, shown in _SECTIONS
        if any(values[value] for value in shown.split())
    ]
    return environment.from_string(TEMPLATE).render(values)


def _values(result: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template names."""
    skills = _skills(result)
    routing = dict(result.get("routing") or {})
    gate = result.get("gate") or routing.get("gate") or {}
    routers = result.get("routers") or routing
    training = result.get("training") or {}
    composites = result.get("composites") or {}
    retention = _each(result.get("retention"))
    forgetting = result.get("forgetting") or {}
    samples, blends = result.get("samples") or [], result.get("blends") or []
    phases, bars = result.get("phases") or {}, result.get("bars") or []
    matrix = result.get("matrix") or {}
    colors = _colors(result, skills)
    storage = [_shape(shape, f"storage-{n}") for n, shape in
               enumerate((result.get("storage") or {}).get("shapes") or [])]  # fmt: skip
    plotted: dict[str, Any] = {}
    curves = {name: run for name, run in training.items() if run.get("losses")}
    if curves:
        plotted["losses"] = plots.loss_curves(curves, colors)
    if gate:
        plotted["calibration"] = plots.calibration(gate["calibration"], gate.get("n"))
    if forgetting:
        plotted["forgetting"] = [
            plots.stage_lines(forgetting["tasks"], forgetting[key], forgetting.get("base"), colors,
                              key, (forgetting.get("intervals") or {}).get(key))
            for key in ("loramix", "one_adapter")
        ]  # fmt: skip
    differences = comparisons.difference_groups(result)
    see = {
        "training": training and sentences.about_training(training),
        "skills": skills and sentences.about_skills(skills),
        "low": sentences.about_low(skills),
        "matrix": matrix and sentences.about_matrix(matrix),
        "routing": gate and sentences.about_routing(gate["confusion"]),
        "calibration": gate and sentences.about_calibration(gate),
        "heat": gate.get("heat") and sentences.about_heat(gate["heat"]),
        "routers": routers and sentences.about_routers(routers),
        "samples": samples and sentences.about_samples(samples),
        "blends": blends and sentences.about_blends(blends),
        "composites": composites and sentences.about_composites(composites),
        "forgetting": forgetting and sentences.about_forgetting(forgetting),
        "differences": comparisons.about_differences(differences),
        "failures": comparisons.about_failures(result),
        "time": phases and sentences.about_time(phases, result.get("seconds")),
        "bars": bars and sentences.about_bars(bars),
    }
    goal = result.get("skill_bar")
    return {
        "title": result.get("title", "loramix"),
        "lead": result.get("lead", ""),
        "footer": result.get("footer", "Made by loramix."),
        "summary": sentences.summary(result, skills, storage[0]["see"] if storage else None),
        "tiles_shown": parts.key_numbers(result, skills, gate, comparisons.common_means(skills)),
        "training": training,
        "training_rows": parts.training_rows(training),
        "training_losses": any(run.get("losses") or parts.known(run.get("dev_loss"))
                               for run in training.values()),
        "scores": parts.system_bars(skills, parts.SYSTEMS, goal),
        "systems": [(s, c) for s, c in parts.SYSTEMS.items()
                    if any(parts.known(row.get(s)) for row in skills.values())],
        "goal": None if goal is None else f"{goal:g}",
        "matrix": matrix and parts.matrix_map(matrix),
        "differences": differences,
        "failures": None if result.get("failures") is None
        else {"rows": comparisons.failure_rows(result)},
        "confusion": gate and parts.confusion_map(**gate["confusion"]),
        "heat_of_scores": see["heat"] and parts.score_map(gate["heat"]),
        "gate_tiles": parts.gate_numbers(gate),
        "routers": routers,
        "samples": [parts.sample_card(sample, colors) for sample in samples],
        "blends": parts.blend_bars(blends, colors),
        "blends_within": any(row.get("interval") for blend in blends for row in blend["rows"]),
        "composites": parts.system_bars(
            {name.replace("_", " "): row for name, row in composites.items()
             if isinstance(row, Mapping) and "n" in row},
            parts.COMPOSITES,
        ),
        "ways": " ".join(f"{name}: {way}." for name, way in parts.WAYS.items()
                         if name in composites),
        "forgetting": forgetting and {
            "n": f"{forgetting['n']} examples a task." if forgetting.get("n") else "",
            "key": [(name, colors[name]) for name in forgetting["tasks"]],
        },
        "retention": [_retention(each) for each in retention],
        "storage": storage,
        "phases": phases and parts.phase_bars(phases),
        "resources": _resources(result),
        "bar_rows": bars,
        "not_measured": result.get("not_measured") or [],
        "see": see,
        "plots": plotted,
    }  # fmt: skip


def _skills(result: Mapping[str, Any]) -> dict[str, Any]:
    """The rows that hold scores of base, skill or routed."""
    rows = result.get("tasks") or result.get("skills") or {}
    return {
        name: row
        for name, row in rows.items()
        if any(parts.known(row.get(system)) for system in parts.SYSTEMS)
    }


def _colors(result: Mapping[str, Any], skills: Mapping[str, Any]) -> dict[str, str]:
    """Each skill's colour, the same all over the page; `base` is grey."""
    named: list[str] = [*skills, *(result.get("training") or {})]
    named += (result.get("forgetting") or {}).get("tasks", [])
    for sample in result.get("samples") or []:
        named += [*sample.get("scores", {}), *sample.get("mix", {})]
    distinct = [name for name in dict.fromkeys(named) if name != BASE]
    return {name: f"--series-{n % 5 + 1}" for n, name in enumerate(distinct)} | {BASE: "--base"}


def _each(retention: Any) -> list[Mapping[str, Any]]:
    """One merge, or several."""
    if not retention:
        return []
    return [retention] if isinstance(retention, Mapping) else list(retention)


def _retention(retention: Mapping[str, Any]) -> dict[str, Any]:
    within = retention.get("intervals") or {}
    rows = [
        {
            "name": name,
            "note": "",
            "rows": [
                parts.bar_row("before", before, "--base"),
                parts.bar_row("after", retention["after"][name], "--accent",
                              interval=within.get(name)),
            ],
        }
        for name, before in retention["before"].items()
    ]  # fmt: skip
    how = [str(retention[key]) if key == "method" else f"rank {retention[key]}"
           for key in ("method", "rank") if retention.get(key)]  # fmt: skip
    said = f"({', '.join(how)})" if how else ""
    return {
        "groups": rows,
        "within": bool(within),
        "how": f"{retention.get('name', '')} {said}".strip(),
        "see": sentences.about_retention(retention),
    }


def _shape(shape: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Plots of disk and memory, and the sentence on what they come to at `MOST` skills.

    With one point there is no slope, and nothing is said of what was not measured.
    """
    drawn: list[str] = []
    ends: dict[str, tuple[float, float]] = {}
    for key, title in (("disk", "on disk"), ("resident", "in memory, the whole process")):
        lines = {label: shape[key][label] for label in ("full", "adapters") if shape[key][label]}
        if len(lines) < 2:
            continue
        drawn.append(plots.growth(lines, MOST, title, f"{name}-{key}"))
        if all(len(points) > 1 for points in lines.values()):
            adapters, full = (plots.straight_on(lines[way], MOST) for way in ("adapters", "full"))
            ends[key] = (adapters, full)
    see = "too few were weighed to say how it goes on."
    if "disk" in ends:
        see = sentences.about_storage(MOST, ends["disk"], ends.get("resident"))
    return {"name": shape["name"], "plots": drawn, "see": f"{shape['name']}: {see}"}


def _resources(result: Mapping[str, Any]) -> str:
    said = []
    if result.get("seconds"):
        said.append(f"{duration(result['seconds'])} in all")
    if result.get("peak_rss_mb"):
        said.append(f"at most {result['peak_rss_mb']:.0f} MiB of memory")
    if result.get("machine"):
        said.append(str(result["machine"]))
    return ", ".join(said) + "." if said else ""


def machine(device: object) -> str:
    """What a run was measured on, in words."""
    import platform

    import torch

    return f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}, {device}"


def _inline(svg: str) -> str:
    """Inside a page of HTML an SVG needs no namespaces."""
    return re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
