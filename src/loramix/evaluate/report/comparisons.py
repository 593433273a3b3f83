"""Systems held against each other: means over the same tasks, paired differences, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loramix.evaluate.report.parts import SYSTEMS, known, short
from loramix.mix import BASE

Rows = Mapping[str, Mapping[str, Any]]
_OTHERS = ("mix", "expert", "model")
_NOUGHT = 1e-9  # what sums of the same scores in another order may differ by


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


# ── means ────────────────────────────────────────────────────────────────────────────────────


def common_means(rows: Rows) -> tuple[list[str], dict[str, float]]:
    """Means of base, skill and routed over the tasks that all of them were measured on.

    Returns:
        These tasks, and system → mean. Tasks of which less is better are not among them; a system
        that was measured nowhere has no mean. No tasks, no means.
    """
    higher = {name: row for name, row in rows.items() if row.get("higher_is_better", True)}
    shown = [s for s in SYSTEMS if any(known(row.get(s)) for row in higher.values())]
    tasks = [name for name, row in higher.items() if all(known(row.get(s)) for s in shown)]
    if not tasks:
        return [], {}
    return tasks, {s: sum(float(higher[n][s]) for n in tasks) / len(tasks) for s in shown}


# ── differences ──────────────────────────────────────────────────────────────────────────────


def difference_groups(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A group a task: the differences that say something, each on the same examples.

    The task's own skill over the base; what the library does by itself over the base and over the
    own skill; mixes, experts and whole models over the own skill, or where there is none the base.
    """
    groups = []
    systems = result.get("systems") or {}
    for name, task in (result.get("tasks") or {}).items():
        cells, own = task.get("systems") or {}, task.get("own_skill")
        found: list[tuple[str, Mapping[str, float]]] = []
        has_skill = own in cells
        for system, cell in cells.items():
            about = systems.get(system, {})
            usual, other = about.get("usual", False), about.get("kind") in _OTHERS
            beside = []
            if system == own or usual or (other and not has_skill):
                beside.append((BASE, "over_base"))
            if has_skill and (usual or other):
                beside.append((f"{own} alone", "over_skill"))
            found += [(f"{system} over {what}", cell[key]) for what, key in beside if key in cell]
        if found:
            note = "" if task.get("higher_is_better", True) else "less is better"
            groups.append(_group(name, note, found))
    over = (result.get("composites") or {}).get("blend_over") or {}
    if over:
        rows = [(f"blend over {other}", difference) for other, difference in over.items()]
        groups.append(_group("two skills at once", "", rows))
    return groups


def _group(
    name: str, note: str, found: Sequence[tuple[str, Mapping[str, float]]]
) -> dict[str, Any]:
    """Rows from -`most` to `most`, with nought in the middle."""
    ends = [abs(d[key]) for _, d in found for key in ("mean", "low", "high") if known(d[key])]
    most = max([1.0, *ends])

    def place(value: float) -> float:
        return round(50 + 50 * value / most, 2)

    rows = []
    for label, d in found:
        if not known(d["mean"]):
            continue
        left, right = sorted((50.0, place(d["mean"])))
        clear = d["low"] > _NOUGHT or d["high"] < -_NOUGHT
        rows.append(
            {
                "label": label,
                "left": left,
                "width": round(right - left, 2),
                "whisker": (place(d["low"]), round(place(d["high"]) - place(d["low"]), 2)),
                "value": signed(d["mean"]),
                "range": f"{signed(d['low'])} to {signed(d['high'])}",
                "clear": clear,
                "sign": (d["mean"] > 0) - (d["mean"] < 0),
            }
        )
    return {"name": name, "note": note, "rows": rows}


def signed(value: float) -> str:
    """A difference with its sign: `+0.12`, `−0.03`, `0.00`."""
    text = short(abs(value))
    if not text.strip("0."):
        return text
    return ("+" if value > 0 else "−") + text


def about_differences(groups: Sequence[Mapping[str, Any]]) -> str:
    """How many differences are clear of chance, and which way."""
    rows = [(group["name"], row) for group in groups for row in group["rows"]]
    if not rows:
        return "No two systems answered the same examples."
    sides = {
        "above": [row for _, row in rows if row["clear"] and row["sign"] > 0],
        "below": [row for _, row in rows if row["clear"] and row["sign"] < 0],
    }
    open_ = len(rows) - sum(map(len, sides.values()))
    said = (
        f"Of {len(rows)} differences {len(sides['above'])} are clearly above nought, "
        f"{len(sides['below'])} clearly below, and {open_} may be chance: their intervals hold "
        "nought."
    )
    if sides["below"]:
        name, worst = min(
            ((name, row) for name, row in rows if row["clear"] and row["sign"] < 0),
            key=lambda pair: pair[1]["left"],
        )
        said += f" Furthest below: {name}, {worst['label']}, {worst['value']}."
    return said


# ── failures ─────────────────────────────────────────────────────────────────────────────────


def failure_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each task and reason: how many rows of which system."""
    rows = [
        {"task": name, "reason": f"left out: {reason}", "rows": f"{count} of the source"}
        for name, task in (result.get("tasks") or {}).items()
        for reason, count in (task.get("left_out") or {}).items()
    ]
    alike: dict[tuple[str, str], dict[int, list[str]]] = {}
    for failure in result.get("failures") or ():
        counts = alike.setdefault((failure["task"], failure["reason"]), {})
        counts.setdefault(failure["rows"], []).append(failure["system"])
    for (task, reason), counts in alike.items():
        said = "; ".join(
            f"{count} of {_systems(systems)}" for count, systems in sorted(counts.items())[::-1]
        )
        rows.append({"task": task, "reason": reason, "rows": said})
    return rows


def _systems(names: Sequence[str], most: int = 4) -> str:
    if len(names) <= most:
        return listed(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def about_failures(result: Mapping[str, Any]) -> str:
    """Which task lost most rows, and of what."""
    failures = result.get("failures") or []
    tasks = (result.get("tasks") or {}).values()
    left = sum(sum((task.get("left_out") or {}).values()) for task in tasks)
    said = []
    if failures:
        worst = max(failures, key=lambda failure: failure["rows"])
        where = _unique(failure["task"] for failure in failures)
        said.append(
            f"Rows failed on {listed(where)}; most of them on {worst['task']} with "
            f"{worst['system']}, {worst['rows']}: {worst['reason']}."
        )
    if left:
        said.append(f"{left} rows of the sources are no examples and were left out.")
    return " ".join(said) or "Every row was read, answered and judged."


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

