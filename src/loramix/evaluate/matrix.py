"""Every system on every task, in one run of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loramix.base import encode_example
from loramix.data import Example
from loramix.errors import LoramixError
from loramix.evaluate.answering import Answer, Answers, is_text, why_not
from loramix.evaluate.cache import Question
from loramix.evaluate.likelihood import Likelihood, Row, likelihoods
from loramix.evaluate.metrics import (
    figure_interval,
    interval_of,
    interval_of_mean,
    resampled_means,
)
from loramix.evaluate.result import Cell, Matrix, MultiDomain, SystemRow, TaskRow
from loramix.evaluate.scoring import SCORED, Array, Marks, Metric, companions
from loramix.gate.router import Router
from loramix.mix import BASE, Mix, Policy, policy_mix

Progress = Callable[[str, int, int], None]

TOO_LONG = "prompt and answer do not fit into the context"


@dataclass(frozen=True)
class EvalTask:
    """What is answered, and how answers are scored.

    Attributes:
        name: of the task.
        examples: at least one.
        metric: that fits them.
        max_new_tokens: of an answer.
        skill: the skill that was trained for it, or None.
        source: where the examples are from, in words.
        left_out: reason → rows of the source that are no examples.
    """

    name: str
    examples: Sequence[Example]
    metric: Metric
    max_new_tokens: int
    skill: str | None = None
    source: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """What answers: one mix for every prompt, or a router and a policy.

    Attributes:
        name: unique; `base`, a skill, `ROUTER/POLICY`, `mix NAME`, `expert NAME`.
        kind: base, skill, routed, mix or expert.
        mix: of every prompt; None where a router chooses.
        router, policy: who chooses.
        usual: whether it is what the library does with a prompt if nothing else is said.
        only: the tasks that it is tried on; None is all.
        path: of an expert's folder.
    """

    name: str
    kind: str
    mix: Mix | None = None
    router: Router | None = None
    policy: Policy | None = None
    usual: bool = False
    only: frozenset[str] | None = None
    path: str | None = None

    def takes(self, task: str) -> bool:
        """Whether it is tried on the task."""
        return self.only is None or task in self.only

    def row(self) -> SystemRow:
        """How it is described in the result."""
        row = SystemRow(kind=self.kind)
        if self.kind in ("base", "skill", "mix") and self.mix is not None:
            row["mix"] = dict(self.mix.weights)
        if self.router is not None and self.policy is not None:
            row["router"], row["policy"] = self.router.name, self.policy.kind
        if self.path is not None:
            row["path"] = self.path
        return row


@dataclass
class _Measured:
    """A cell before its interval: marks, and the texts that they are of."""

    marks: Marks
    texts: list[str]
    tokens: int


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
    mixes = {task.name: _mixes(task, systems) for task in tasks}
    texts = _texts(answers, tasks, mixes, progress)
    rated = _rated(answers, tasks, mixes, perplexity, progress)
    cells: dict[str, dict[str, Cell]] = {}
    failures: list[dict[str, Any]] = []
    for task in tasks:
        progress(f"score {task.name}", 1, 1)
        measured = {
            name: _mark(task, texts.get(task.name, {}).get(name), rated[task.name].get(name))
            for name in mixes[task.name]
        }
        resampled = {
            name: task.metric.figure(resampled_means(cell.marks.values, seed))
            for name, cell in measured.items()
        }
        cells[task.name] = {}
        for name, cell in measured.items():
            found = _cell(task, cell, resampled[name], rated[task.name].get(name))
            for key, other in (("over_base", BASE), ("over_skill", task.skill)):
                if other in measured and other != name:
                    found[key] = _difference(task.metric, measured, resampled, name, other)  # type: ignore[literal-required]
            cells[task.name][name] = found
            failures += [
                {"task": task.name, "system": name, "reason": reason, "rows": rows}
                for reason, rows in cells[task.name][name]["failed"].items()
            ]
    usual = next((system.name for system in systems if system.usual), None)
    return {
        "systems": {system.name: system.row() for system in systems},
        "tasks": {task.name: _task_row(task, cells[task.name], usual) for task in tasks},
        "matrix": _matrix(tasks, systems, cells),
        "multi_domain": _multi_domain(tasks, systems, cells, usual),
        "failures": failures,
    }


# ── asking ───────────────────────────────────────────────────────────────────────────────────


def _mixes(task: EvalTask, systems: Sequence[System]) -> dict[str, list[Mix]]:
    """system → the mix of each example."""
    prompts = [example.prompt for example in task.examples]
    scores: dict[str, list[dict[str, float]]] = {}
    found = {}
    for system in systems:
        if not system.takes(task.name):
            continue
        if system.mix is not None:
            found[system.name] = [system.mix] * len(prompts)
            continue
        assert system.router is not None
        assert system.policy is not None
        if system.router.name not in scores:
            names = (*system.router.skills, BASE)
            rows = system.router.scores(prompts).tolist()
            scores[system.router.name] = [dict(zip(names, row, strict=True)) for row in rows]
        each = scores[system.router.name]
        found[system.name] = [policy_mix(row, system.policy) for row in each]
    return found


def _texts(
    answers: Answers,
    tasks: Sequence[EvalTask],
    mixes: Mapping[str, Mapping[str, Sequence[Mix]]],
    progress: Progress,
) -> dict[str, dict[str, list[Answer]]]:
    """task → system → answers; all questions of all tasks and systems are asked at once."""
    asked = [
        (task, system, Question(example.prompt, mix, task.max_new_tokens))
        for task in tasks
        if task.metric.mark is not None
        for system, each in mixes[task.name].items()
        for example, mix in zip(task.examples, each, strict=True)
    ]
    questions = list(dict.fromkeys(question for _, _, question in asked))
    done = 0

    def step(more: int) -> None:
        nonlocal done
        done += more
        progress("answers", done, len(questions))

    known = dict(zip(questions, answers.ask(questions, step), strict=True))
    found: dict[str, dict[str, list[Answer]]] = {}
    for task, system, question in asked:
        found.setdefault(task.name, {}).setdefault(system, []).append(known[question])
    return found


def _rated(
    answers: Answers,
    tasks: Sequence[EvalTask],
    mixes: Mapping[str, Mapping[str, Sequence[Mix]]],
    every: bool,
    progress: Progress,
) -> dict[str, dict[str, list[Likelihood | None]]]:
    """task → system → likelihood of each right answer, None for what does not fit.

    Measured where perplexity is the metric, or is asked for beside it.
    """
    rows: dict[tuple[str, int, Mix], Row | None] = {}
    for task in tasks:
        if not every and task.metric.mark is not None:
            continue
        encoded = [encode_example(answers.base, e.prompt, e.completion) for e in task.examples]
        for each in mixes[task.name].values():
            for at, ((ids, labels), mix) in enumerate(zip(encoded, each, strict=True)):
                start = sum(label == -100 for label in labels)
                fits = len(ids) <= answers.base.max_length
                rows[task.name, at, mix] = Row(ids, max(start, 1), mix) if fits else None
    todo = {key: row for key, row in rows.items() if row is not None}
    done = 0

    def step(more: int) -> None:
        nonlocal done
        done += more
        progress("likelihoods", done, len(todo))

    rated = likelihoods(answers.mixed, answers.base, [*todo.values()], answers.batch_size, step)
    known = dict(zip(todo, rated, strict=True))
    found: dict[str, dict[str, list[Likelihood | None]]] = {task.name: {} for task in tasks}
    for task in tasks:
        if every or task.metric.mark is None:
            for system, each in mixes[task.name].items():
                found[task.name][system] = [
                    known.get((task.name, at, mix)) for at, mix in enumerate(each)
                ]
    return found


# ── scoring ──────────────────────────────────────────────────────────────────────────────────


def _mark(
    task: EvalTask, texts: Sequence[Answer] | None, rated: Sequence[Likelihood | None] | None
) -> _Measured:
    if task.metric.mark is None:
        return _Measured(_nats(rated or ()), [], 0)
    assert texts is not None
    given = [answer.text if is_text(answer) else "" for answer in texts]
    marks = task.metric.mark(task.examples, given)
    failed: dict[str, int] = {}
    for row, answer in enumerate(texts):
        if isinstance(answer, LoramixError):
            why = why_not(answer)
            failed[why] = failed.get(why, 0) + 1
            if marks.values.shape[1] == 1:
                marks.values[row] = 0.0  # no answer is wrong, even where an empty one is right
    tokens = sum(answer.completion_tokens for answer in texts if is_text(answer))
    unanswered = sum(failed.values())
    rest = dict(marks.failed)
    if "no Python function in the answer" in rest:  # these have no answer to hold one
        rest["no Python function in the answer"] -= unanswered
    failed |= {reason: rows for reason, rows in rest.items() if rows > 0}
    return _Measured(Marks(marks.values, failed), given, tokens)


def _nats(rated: Sequence[Likelihood | None]) -> Marks:
    values = np.asarray(
        [[0.0, 0.0] if row is None else [-row.logprob, row.tokens] for row in rated]
    ).reshape(-1, 2)
    long = sum(row is None for row in rated)
    return Marks(values, {TOO_LONG: long} if long else {})


def _cell(
    task: EvalTask,
    measured: _Measured,
    resampled: Array,
    rated: Sequence[Likelihood | None] | None,
) -> Cell:
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
        if rated is not None:
            nats = _nats(rated)
            figure = SCORED["perplexity"].figure(nats.values.mean(axis=0))
            cell["also"]["perplexity"] = float(figure)
            cell["failed"] |= nats.failed
    return cell


def _difference(
    metric: Metric,
    measured: Mapping[str, _Measured],
    resampled: Mapping[str, Array],
    name: str,
    other: str,
) -> dict[str, float]:
    """Paired: the same seed has drawn the same examples for both."""
    one, two = (float(metric.figure(measured[n].marks.values.mean(axis=0))) for n in (name, other))
    low, high = interval_of(resampled[name] - resampled[other])
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
