"""Every system on every task, in one run of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loramix.evaluate.answering import Answers
from loramix.evaluate.measure import EvalTask, Measured, Progress, System, measure, nats
from loramix.evaluate.metrics import (
    figure_interval,
    interval_of,
    interval_of_mean,
    paired_interval,
    resampled_means,
)
from loramix.evaluate.result import Cell, Matrix, MultiDomain, TaskRow
from loramix.evaluate.scoring import SCORED, Array, Metric, companions
from loramix.mix import BASE


def evaluate_matrix(
    answers: Answers,
    tasks: Sequence[EvalTask],
    systems: Sequence[System],
    *,
    seed: int = 0,
    perplexity: bool = False,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Scores every system on every task.

    Args:
        answers: of the base with all skills and experts of the systems beside it.
        tasks: their names are unique.
        systems: as are theirs.
        seed: of the bootstrap.
        perplexity: measure it on all tasks, beside their metrics.
        progress: called as answers come.

    Returns:
        `systems`, `tasks`, `matrix`, `multi_domain` and `failures`; see `loramix.evaluate.result`.
    """
    found = measure(answers, tasks, systems, perplexity=perplexity, progress=progress)
    cells: dict[str, dict[str, Cell]] = {}
    failures: list[dict[str, Any]] = []
    for task in tasks:
        measured = found[task.name]
        resampled = {
            name: task.metric.figure(resampled_means(cell.marks.values, seed))
            for name, cell in measured.items()
        }
        cells[task.name] = {}
        for name, cell in measured.items():
            row = _cell(task, cell, resampled[name])
            for key, other in (("over_base", BASE), ("over_skill", task.skill)):
                if other in measured and other != name:
                    row[key] = _difference(task.metric, measured, resampled, name, other)  # type: ignore[literal-required]
            cells[task.name][name] = row
            failures += [
                {"task": task.name, "system": name, "reason": reason, "rows": rows}
                for reason, rows in row["failed"].items()
            ]
    usual = next((system.name for system in systems if system.usual), None)
    return {
        "systems": {system.name: system.row() for system in systems},
        "tasks": {task.name: _task_row(task, cells[task.name], usual) for task in tasks},
        "matrix": _matrix(tasks, systems, cells),
        "multi_domain": _multi_domain(tasks, systems, cells, usual),
        "failures": failures,
    }


def _cell(task: EvalTask, measured: Measured, resampled: Array) -> Cell:
    values = measured.marks.values
    score = float(task.metric.figure(values.mean(axis=0)))
    low, high = figure_interval(values, score, resampled)
    cell = Cell(
        score=score,
        low=low,
        high=high,
        n=len(values),
        failed=dict(measured.marks.failed),
        also={},
        tokens=measured.tokens,
    )
    if task.metric.mark is not None:
        for other in companions(task.metric, task.examples):
            assert other.mark is not None
            marks = other.mark(task.examples, measured.texts)
            cell["also"][other.name] = float(other.figure(marks.values.mean(axis=0)))
        if measured.rated is not None:
            beside = nats(measured.rated)
            figure = SCORED["perplexity"].figure(beside.values.mean(axis=0))
            cell["also"]["perplexity"] = float(figure)
            cell["failed"] |= beside.failed
    return cell


def _difference(
    metric: Metric,
    measured: Mapping[str, Measured],
    resampled: Mapping[str, Array],
    name: str,
    other: str,
) -> dict[str, float]:
    """Paired: the same seed has drawn the same examples for both."""
    one, two = (float(metric.figure(measured[n].marks.values.mean(axis=0))) for n in (name, other))
    apart = resampled[name] - resampled[other]
    values = [measured[n].marks.values for n in (name, other)]
    if values[0].shape[1] == 1 and all((each >= 0).all() and (each <= 1).all() for each in values):
        low, high = paired_interval((values[0] - values[1])[:, 0], one - two, apart)
    else:
        low, high = interval_of(apart)
    return {"mean": one - two, "low": low, "high": high}


def _task_row(task: EvalTask, cells: Mapping[str, Cell], usual: str | None) -> TaskRow:
    row = TaskRow(
        intervals={},
        n=len(task.examples),
        metric=task.metric.name,
        higher_is_better=task.metric.higher,
        own_skill=task.skill,
        source=task.source,
        left_out=dict(task.left_out),
        systems=dict(cells),
    )
    for key, system in (("base", BASE), ("skill", task.skill), ("routed", usual)):
        if system is not None and system in cells:
            row[key] = cells[system]["score"]  # type: ignore[literal-required]
            row["intervals"][key] = [cells[system]["low"], cells[system]["high"]]
    return row


def _matrix(
    tasks: Sequence[EvalTask],
    systems: Sequence[System],
    cells: Mapping[str, Mapping[str, Cell]],
) -> Matrix:
    def table(key: str) -> list[list[float | None]]:
        rows: list[list[float | None]] = []
        for task in tasks:
            found: Mapping[str, Any] = cells[task.name]
            rows.append([found[s.name][key] if s.name in found else None for s in systems])
        return rows

    return Matrix(
        tasks=[task.name for task in tasks],
        systems=[system.name for system in systems],
        metrics=[task.metric.name for task in tasks],
        scores=table("score"),
        low=table("low"),
        high=table("high"),
    )


def _multi_domain(
    tasks: Sequence[EvalTask],
    systems: Sequence[System],
    cells: Mapping[str, Mapping[str, Cell]],
    usual: str | None,
) -> MultiDomain:
    """Means over tasks, each of which counts the same."""
    counted = [task for task in tasks if task.skill is not None and task.metric.higher]
    found: dict[str, dict[str, float]] = {}
    ways: dict[str, dict[str, str]] = {
        "skill": {task.name: task.skill for task in counted if task.skill is not None},
        **({} if usual is None else {"routed": {task.name: usual for task in counted}}),
    }
    for system in systems:  # a skill may have one of these names
        ways.setdefault(system.name, {task.name: system.name for task in counted})
    for way, of in ways.items():
        if not counted or any(of[task.name] not in cells[task.name] for task in counted):
            continue
        each = [cells[task.name][of[task.name]] for task in counted]
        low, high = interval_of_mean([(c["score"], c["low"], c["high"]) for c in each])
        score = sum(c["score"] for c in each) / len(each)
        found[way] = {"score": score, "low": low, "high": high}
    return MultiDomain(tasks=[task.name for task in counted], systems=found)
