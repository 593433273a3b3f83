"""What the page says in words and tables about the figures that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loramix.evaluate.lines import MOST, at_count, readable


def trained(training: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row of the table for each skill; losses are means over a tenth of the steps."""
    return [
        {
            "name": name,
            "what": run.get("description", ""),
            "examples": _count(run.get("examples")),
            "steps": _count(run.get("steps")),
            "tokens": _count(run.get("tokens")),
            "first": _mean(run["losses"][: _tenth(run)]),
            "last": _mean(run["losses"][-_tenth(run) :]),
        }
        for name, run in training.items()
    ]


def room(shape: Mapping[str, Any], svg: str) -> dict[str, Any]:
    """Plot, sentence and table for one base of `measure_storage`."""
    measured = [1, shape["n"]] if shape["n"] > 1 else [1]
    rows = []
    for where, place in (("disk", "on disk"), ("resident", "in memory")):
        for way, name in (("adapters", "one base, N adapters"), ("full", "N full models")):
            sizes = shape[where][way]
            cells = [_size(sizes, count) for count in measured]
            cells += [_size(sizes, MOST)] if len(sizes) > 1 else ["–"]
            rows.append({"name": f"{name}, {place}", "cells": cells})
    return {
        "name": shape["name"],
        "svg": svg,
        "see": _room_sentence(shape),
        "heads": [*(f"N = {count}" for count in measured), f"N = {MOST}"],
        "rows": rows,
    }


def retained(kept: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Skill → `before`, `after` and its `interval`, as `retention_bars` draws them."""
    return {
        name: {
            "before": before,
            "after": kept["after"][name],
            "interval": kept.get("intervals", {}).get(name, [kept["after"][name]] * 2),
        }
        for name, before in kept["before"].items()
    }


def sentences(result: Mapping[str, Any]) -> dict[str, str]:
    """What to see in each figure, plot → a sentence with the figures of this run."""
    said: dict[str, str] = {}
    if skills := result.get("skills"):
        gaps = {
            name: row["skill"] - row["routed"]
            for name, row in skills.items()
            if row.get("skill") is not None and row.get("routed") is not None
        }
        said["scores"] = "how far each skill stands above the base"
        if gaps:
            worst = max(gaps, key=lambda name: gaps[name])
            said["scores"] += (
                ", and how little is lost where the gate chooses: at most "
                f"{max(0.0, 100 * gaps[worst]):.1f} points"
                + (f", on {worst}" if gaps[worst] > 0 else "")
            )
        said["scores"] += "."
    if gate := result.get("gate"):
        said["routing"] = _routing_sentence(gate["confusion"])
    if found := result.get("forgetting"):
        left = "every line is flat" if found["moved"] == 0 else "how far the lines are from flat"
        said["forgetting"] = (
            f"on the left {left}: earlier skills moved by "
            f"{100 * found['moved']:.1f} points; on the right a task falls once the next ones are "
            f"learned, by up to {100 * found['fell']:.0f} points. A ring marks a task that has "
            "just been learned."
        )
    if kept := result.get("retention"):
        shares = {
            name: row["after"] / row["before"]
            for name, row in retained(kept).items()
            if row["before"] > 0
        }
        said["retention"] = "what each skill scores by itself (before) and in the expert (after)"
        if shares:
            worst = min(shares, key=lambda name: shares[name])
            said["retention"] += f"; {worst} keeps the least, {100 * shares[worst]:.0f} %"
        said["retention"] += "."
    if phases := result.get("phases"):
        longest = max(phases, key=lambda name: phases[name])
        share = phases[longest] / (sum(phases.values()) or 1.0)
        said["phases"] = f"where the time goes: “{longest}” takes {100 * share:.0f} % of it."
    return said


def _routing_sentence(confusion: Mapping[str, Any]) -> str:
    """The diagonal is right; the largest count beside it is named."""
    names, counts = confusion["names"], confusion["counts"]
    wrong = [
        (count, names[y], names[x])
        for y, row in enumerate(counts)
        for x, count in enumerate(row)
        if x != y and count
    ]
    if not wrong:
        return "all counts stand on the diagonal: every prompt went where it belongs."
    count, of, to = max(wrong)
    return (
        "the dark diagonal, prompts that went where they belong; the most common mistake is "
        f"{of} sent to {to}, {count} {'time' if count == 1 else 'times'}."
    )


def _room_sentence(shape: Mapping[str, Any]) -> str:
    disk = shape["disk"]
    if len(disk["full"]) < 2:
        return "what one skill takes as an adapter beside the base, and as a model of its own."
    small, large = at_count(disk["adapters"], MOST), at_count(disk["full"], MOST)
    more = disk["adapters"][-1] - disk["adapters"][-2]
    return (
        f"the blue line hardly rises, since one more skill is {readable(more)} of files instead of "
        f"{readable(disk['base'])}; {MOST} skills take {readable(small)} instead of "
        f"{readable(large)}. Points were measured, dashes go on in a straight line; both scales "
        "are logarithmic."
    )


def _size(sizes: list[float], count: int) -> str:
    """A measured size, or `≈` where the straight line says it."""
    if not sizes or (count > len(sizes) and len(sizes) < 2):
        return "–"
    return ("" if count <= len(sizes) else "≈ ") + readable(at_count(sizes, count))


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _tenth(run: Mapping[str, Any]) -> int:
    return max(1, len(run["losses"]) // 10)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
