"""How the result of `loramix eval` looks to a person: the dict that `--json` would print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loramix.tables import cell, say, table

_WIDE = 92  # columns of text, so that a table fits into a window of 100


def evaluate(result: dict[str, Any]) -> None:
    """The matrix, routers, composites, what blending did to the skills, and what failed."""
    if result.get("tasks"):
        _matrix(result)
        _other_metrics(result)
    if result.get("routing"):
        table(
            ("router", "right skill", "macro F1", "calibration error", "none told apart"),
            [
                (name, row["accuracy"], row["macro_f1"], row["ece"], row["none_auroc"])
                for name, row in result["routing"].items()
            ],
            "Routing",
        )
    if "composites" in result:
        found: Mapping[str, Any] = result["composites"]
        systems = [name for name, value in found.items() if not isinstance(value, Mapping)]
        kinds = {name: row for name, row in found.items() if "n" in _mapping(row)}
        _measured("both parts right", {**kinds, "all": found}, systems)
    if "skills" in result:
        _measured("skill alone", result["skills"], ("before", "after"))
    for line in _failures(result):
        say(line)
    if result["plot"]:
        say(f"plot: {result['plot']}")
    answers = result["answers"]
    broken = f"{answers['broken']} broken in the cache, " if answers["broken"] else ""
    say(
        f"library: {result['library']} ({answers['computed']} answers written, "
        f"{answers['cached']} known before, {broken}{result['seconds']:.0f} s)"
    )


def _matrix(result: Mapping[str, Any]) -> None:
    """A system a row, a task a column, each with its interval; at the end the mean of the tasks."""
    matrix, means = result["matrix"], result["multi_domain"]
    tasks = [
        name if metric == "own" else f"{name}\n{metric}"
        for name, metric in zip(matrix["tasks"], matrix["metrics"], strict=True)
    ]
    rows = []
    for column, system in enumerate(matrix["systems"]):
        cells = [
            None if scores[column] is None
            else _within(scores[column], low[column], high[column])
            for scores, low, high in zip(
                matrix["scores"], matrix["low"], matrix["high"], strict=True
            )
        ]  # fmt: skip
        rows.append((system, *cells, _mapping(means["systems"].get(system)).get("score")))
    several = len(means["tasks"]) > 1
    table(
        ("system", *tasks, *(["mean"] if several else [])),
        [row if several else row[:-1] for row in rows],
        f"{_counts(result['tasks'])}, ± half of the 95 % interval",
    )
    if several and len(means["tasks"]) < len(matrix["tasks"]):
        say(f"mean: of {', '.join(means['tasks'])}")
    for way, what in (("skill", "each task with its own skill"), ("routed", "routed")):
        if several and way in means["systems"]:
            row = means["systems"][way]
            say(f"{what}: {row['score']:.3f} ({row['low']:.3f} to {row['high']:.3f})")


def _other_metrics(result: Mapping[str, Any]) -> None:
    """What was computed beside the tasks' own metrics, in as many tables as the window needs."""
    columns = [
        (task, metric)
        for task, row in result["tasks"].items()
        for metric in dict.fromkeys(m for found in row["systems"].values() for m in found["also"])
    ]
    names = max(map(len, result["matrix"]["systems"]), default=0)
    while columns:
        room, taken = _WIDE - names, 0
        for task, metric in columns:
            room -= max(len(task), len(metric), 6) + 3
            taken += room >= 0 or taken == 0
            if room < 0:
                break
        shown, columns = columns[:taken], columns[taken:]
        rows = []
        for system in result["matrix"]["systems"]:
            found = [
                _mapping(_mapping(result["tasks"][task]["systems"].get(system)).get("also"))
                for task, _ in shown
            ]
            cells = [also.get(metric) for also, (_, metric) in zip(found, shown, strict=True)]
            if any(each is not None for each in cells):
                rows.append((system, *cells))
        table(("system", *(f"{t}\n{m}" for t, m in shown)), rows, "Other metrics")


def _counts(tasks: Mapping[str, Any]) -> str:
    counts = [row["n"] for row in tasks.values()]
    each = " each" if len(counts) > 1 else ""
    if len(set(counts)) == 1:
        return f"{counts[0]} examples{each}"
    return f"{', '.join(map(str, counts))} examples"


def _within(score: float, low: float, high: float) -> str:
    """A figure and half of its interval: `.975 ±.020`."""
    return f"{_short(score)} ±{_short((high - low) / 2)}"


def _short(figure: float) -> str:
    """Three digits behind the point, and no nought before it."""
    return cell(figure).removeprefix("0") if 0 <= figure < 1 else cell(figure)


def _failures(result: Mapping[str, Any]) -> list[str]:
    """What could not be read, answered or judged, and why: a line for each task and reason."""
    lines = [
        f"{name}: {rows} rows left out: {reason}"
        for name, task in result.get("tasks", {}).items()
        for reason, rows in task["left_out"].items()
    ]
    alike: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for failure in result.get("failures", ()):
        of = alike.setdefault((failure["task"], failure["reason"]), [])
        of.append((failure["system"], failure["rows"]))
    for (task, reason), systems in alike.items():
        of_each = ", ".join(f"{system} {rows}" for system, rows in systems)
        lines.append(f"{task}: rows that failed, {reason}: {of_each}")
    return lines


def _measured(first: str, rows: Mapping[str, Any], systems: Sequence[str]) -> None:
    """Scores with their 95 % intervals, a system a column; empty columns are left out."""
    kept = [system for system in systems if any(system in row for row in rows.values())]
    table(
        (first, *kept),
        [
            (name, *(
                None if row.get(system) is None
                else _within(row[system], *row["intervals"][system])
                for system in kept
            ))
            for name, row in rows.items()
        ],
    )  # fmt: skip


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
