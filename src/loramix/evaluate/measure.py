"""What systems make of tasks: the one place where an evaluation asks, rates and marks.

    measured = measure(answers, tasks, systems)
    measured["math"]["base"].marks.values

`matrix.py` makes a table of it, `skills.py` the scores of base, skill and routed whole, and
`composites.py` those of requests that need two skills. A row that cannot be answered is wrong and
told with its reason; it holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from loramix.base import encode_example
from loramix.data import Example
from loramix.errors import LoramixError
from loramix.evaluate.answering import Answer, Answers, is_text, why_not
from loramix.evaluate.cache import Question
from loramix.evaluate.likelihood import Likelihood, Row
from loramix.evaluate.result import SystemRow
from loramix.evaluate.scoring import NO_FUNCTION, Marks, Metric
from loramix.gate.router import Router
from loramix.mix import BASE, Mix, Policy, policy_mix

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how many steps of it are done, and how many there are."""

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
        builtin: the builtin task whose test examples they are; empty for none.
    """

    name: str
    examples: Sequence[Example]
    metric: Metric
    max_new_tokens: int
    skill: str | None = None
    source: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    builtin: str = ""


@dataclass(frozen=True)
class System:
    """What answers: one mix for every prompt, or a router and a policy.

    Attributes:
        name: unique; `base`, a skill, `ROUTER/POLICY`, `mix NAME`, `expert NAME`.
        kind: base, skill, routed, mix, expert or model.
        mix: of every prompt; None where a router chooses.
        router, policy: who chooses.
        usual: whether it is what the library does with a prompt if nothing else is said.
        only: the tasks that it is tried on; None is all.
        path: of the folder of an expert or a model.
        answers: of another model than the library's base; None is that one.
        then: a second mix, which reads the prompt and what `mix` wrote; both texts together are
            the answer.
    """

    name: str
    kind: str
    mix: Mix | None = None
    router: Router | None = None
    policy: Policy | None = None
    usual: bool = False
    only: frozenset[str] | None = None
    path: str | None = None
    answers: Answers | None = None
    then: Mix | None = None

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
        if self.usual:
            row["usual"] = True
        return row


@dataclass(frozen=True)
class Measured:
    """What a system made of the examples of a task.

    Attributes:
        marks: of the answers, or of the likelihoods where these are the metric.
        texts: the answers; empty where there is none.
        tokens: that were written.
        rated: likelihood of each right answer, None for what does not fit; None where it was
            not asked for.
    """

    marks: Marks
    texts: list[str]
    tokens: int
    rated: list[Likelihood | None] | None = None


def measure(
    answers: Answers,
    tasks: Sequence[EvalTask],
    systems: Sequence[System],
    *,
    perplexity: bool = False,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, dict[str, Measured]]:
    """Has every system answer every task that it takes, and marks the answers.

    Args:
        answers: of the base with all skills and experts of the systems beside it.
        tasks: their names are unique.
        systems: as are theirs.
        perplexity: rate the right answers of all tasks, beside their metrics.
        progress: called as answers come.

    Returns:
        task → system → what came of it, in the order of `systems`.
    """
    cells = [
        _Cell(task, system, system.answers or answers, mixes)
        for task in tasks
        for system, mixes in _mixes(task, systems)
    ]
    given = _texts([cell for cell in cells if cell.task.metric.mark is not None], progress)
    rated = _rated(
        [cell for cell in cells if perplexity or cell.task.metric.mark is None], progress
    )
    found: dict[str, dict[str, Measured]] = {task.name: {} for task in tasks}
    all_rows = sum(map(len, given.values())) or 1
    for task in tasks:
        progress(f"score {task.name}", all_rows, all_rows)
        for cell in cells:
            if cell.task.name == task.name:
                key = task.name, cell.system.name
                found[task.name][cell.system.name] = _mark(task, given.get(key), rated.get(key))
    return found


# ── asking ───────────────────────────────────────────────────────────────────────────────────


class _Cell(NamedTuple):
    """A system on a task: who answers, and the mix of each example."""

    task: EvalTask
    system: System
    who: Answers
    mixes: Sequence[Mix]


class _Given(NamedTuple):
    """What was written for a row, why it failed, and whether there is nothing at all."""

    text: str
    tokens: int
    failed: str | None = None
    blank: bool = False


_Key = tuple[str, str]
"""Names of a task and a system."""


def _mixes(task: EvalTask, systems: Sequence[System]) -> list[tuple[System, list[Mix]]]:
    """The systems that take the task, with the mix of each example."""
    prompts = [example.prompt for example in task.examples]
    scores: dict[str, list[dict[str, float]]] = {}
    found = []
    for system in systems:
        if not system.takes(task.name):
            continue
        if system.mix is not None:
            found.append((system, [system.mix] * len(prompts)))
            continue
        assert system.router is not None
        if system.router.name not in scores:
            names = (*system.router.skills, BASE)
            rows = system.router.scores(prompts).tolist() if prompts else []
            scores[system.router.name] = [dict(zip(names, row, strict=True)) for row in rows]
        policy = system.policy or Policy()
        found.append((system, [policy_mix(row, policy) for row in scores[system.router.name]]))
    return found


def _texts(cells: Sequence[_Cell], progress: Progress) -> dict[_Key, list[_Given]]:
    """What was written for each row; all questions that need no other answer are asked at once."""
    first = [
        (cell, Question(example.prompt, mix, cell.task.max_new_tokens))
        for cell in cells
        for example, mix in zip(cell.task.examples, cell.mixes, strict=True)
    ]
    begun = _ask([(cell.who, question) for cell, question in first], "answers", progress)
    second = {
        place: question._replace(prompt=f"{question.prompt}\n{done.text}", mix=cell.system.then)
        for place, ((cell, question), done) in enumerate(zip(first, begun, strict=True))
        if cell.system.then is not None and is_text(done)
    }
    asked = [(first[place][0].who, question) for place, question in second.items()]
    ended = dict(zip(second, _ask(asked, "second answers", progress), strict=True))
    found: dict[_Key, list[_Given]] = {(cell.task.name, cell.system.name): [] for cell in cells}
    for place, ((cell, _), done) in enumerate(zip(first, begun, strict=True)):
        found[cell.task.name, cell.system.name].append(_joined(done, ended.get(place)))
    return found


def _ask(
    asked: Sequence[tuple[Answers, Question]], what: str, progress: Progress
) -> list[Answer]:
    """The answers in order; those of one model come from one run of its engine."""
    done = 0

    def step(more: int) -> None:
        nonlocal done
        done += more
        progress(what, done, len(asked))

    found: dict[int, Answer] = {}
    for who in {id(who): who for who, _ in asked}.values():
        own = [place for place, (each, _) in enumerate(asked) if each is who]
        found |= zip(own, who.ask([asked[place][1] for place in own], step), strict=True)
    return [found[place] for place in range(len(asked))]


def _joined(first: Answer, second: Answer | None) -> _Given:
    """One answer, or that of a chain: the first one's text stays where the second fails."""
    if isinstance(first, LoramixError):
        return _Given("", 0, why_not(first), blank=True)
    if second is None:
        return _Given(first.text, first.completion_tokens)
    if isinstance(second, LoramixError):
        why = f"of the second of a chain: {why_not(second)}"
        return _Given(f"{first.text}\n", first.completion_tokens, why)
    both = first.completion_tokens + second.completion_tokens
    return _Given(f"{first.text}\n{second.text}", both)


def _rated(
    cells: Sequence[_Cell], progress: Progress
) -> dict[_Key, list[Likelihood | None]]:
    """Likelihoods of the right answers, None for what does not fit; a chain has none."""
    rows: list[tuple[_Cell, Row | None]] = []
    encoded: dict[tuple[int, str], list[tuple[list[int], list[int]]]] = {}
    for cell in cells:
        if cell.system.then is not None:
            continue
        base, key = cell.who.base, (id(cell.who), cell.task.name)
        if key not in encoded:
            examples = cell.task.examples
            encoded[key] = [encode_example(base, e.prompt, e.completion) for e in examples]
        for (ids, labels), mix in zip(encoded[key], cell.mixes, strict=True):
            start = max(1, sum(label == -100 for label in labels))
            fits = len(ids) <= base.max_length
            rows.append((cell, Row(tuple(ids), start, mix) if fits else None))
    todo = [(cell.who, row) for cell, row in rows if row is not None]
    done = 0

    def step(more: int) -> None:
        nonlocal done
        done += more
        progress("likelihoods", done, len(todo))

    known: dict[tuple[int, Row], Likelihood] = {}
    for who in {id(who): who for who, _ in todo}.values():
        own = [row for each, row in todo if each is who]
        known |= {(id(who), row): each for row, each in zip(own, who.rate(own, step), strict=True)}
    found: dict[_Key, list[Likelihood | None]] = {}
    for cell, row in rows:
        each = None if row is None else known[id(cell.who), row]
        found.setdefault((cell.task.name, cell.system.name), []).append(each)
    return found


# ── marking ──────────────────────────────────────────────────────────────────────────────────


def _mark(
    task: EvalTask, given: Sequence[_Given] | None, rated: list[Likelihood | None] | None
) -> Measured:
    if task.metric.mark is None:
        return Measured(nats(rated or ()), [], 0, rated)
    assert given is not None
    texts = [each.text for each in given]
    marks = task.metric.mark(task.examples, texts)
    failed: dict[str, int] = {}
    for row, each in enumerate(given):
        if each.failed is not None:
            failed[each.failed] = failed.get(each.failed, 0) + 1
        if each.blank and not task.metric.blank:
            marks.values[row] = 0.0  # no answer is wrong, even where an empty one is right
    rest = dict(marks.failed)
    if NO_FUNCTION in rest:  # these have no answer to hold one
        rest[NO_FUNCTION] -= sum(each.blank for each in given)
    failed |= {reason: rows for reason, rows in rest.items() if rows > 0}
    tokens = sum(each.tokens for each in given)
    return Measured(Marks(marks.values, failed), texts, tokens, rated)


def nats(rated: Sequence[Likelihood | None]) -> Marks:
    """Nats and tokens [n, 2] of likelihoods; rows that did not fit have neither, and are told."""
    values = np.asarray(
        [[0.0, 0.0] if row is None else [-row.logprob, row.tokens] for row in rated]
    ).reshape(-1, 2)
    long = sum(row is None for row in rated)
    return Marks(values, {TOO_LONG: long} if long else {})
