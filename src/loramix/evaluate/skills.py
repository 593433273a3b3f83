"""Scores of the base, of each skill, and of the routed whole, on held-out examples.

    scores = evaluate_skills(base, library, TASKS, n=100, router=router)
    scores["math"]["skill"]["score"]

Systems: `base` answers with no adapter; `skill` with the task's own adapter, given by hand;
`routed` with whatever mix the router gives the prompt.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loramix.adapter import Adapter
from loramix.base import Base
from loramix.data import Example
from loramix.errors import UsageError
from loramix.evaluate.answering import Answers, mixed_model
from loramix.evaluate.measure import EvalTask, Measured, Progress, System, measure
from loramix.evaluate.metrics import score_of
from loramix.evaluate.scoring import own_metric
from loramix.gate.router import Router
from loramix.library import Library
from loramix.mix import Mix, Policy, check_skills
from loramix.mixed import MixedModel

SYSTEMS = ("base", "skill", "routed")

ScoreMany = Callable[[Sequence[Example], Sequence[str]], list[float]]
"""Examples and one text for each → one score for each, from 0 to 1."""


class EvaluationWarning(UserWarning):
    """Something of an evaluation that its scores alone do not say."""


@dataclass(frozen=True)
class TestSet:
    """Held-out examples and how answers to them are scored."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    examples: Sequence[Example]
    score_many: ScoreMany
    max_new_tokens: int = 128


class MakesExamples(Protocol):
    """A task that makes its own examples, such as those of `loramix.pocket.tasks`."""

    @property
    def score_many(self) -> ScoreMany: ...

    @property
    def max_new_tokens(self) -> int: ...

    def examples(self, split: Any, n: int, seed: int = 0) -> list[Example]: ...


def evaluate_skills(
    base: Base,
    skills: Library | Mapping[str, Adapter] | MixedModel,
    tasks: Mapping[str, MakesExamples | TestSet],
    systems: Sequence[str] = SYSTEMS,
    n: int = 100,
    seed: int = 0,
    *,
    router: Router | None = None,
    policy: Policy | None = None,
    answers: Answers | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Score each system on each task.

    Args:
        base: the frozen base.
        skills: a library, adapters by name, or a model that has them already.
        tasks: skill → its task (`n` held-out examples are made) or its test set.
        systems: some of `base`, `skill`, `routed`.
        n: held-out examples of each task that makes its own.
        seed: of the examples and of the bootstrap.
        router, policy: for `routed`.
        answers: to share answers with other measurements on the same model.
        progress: called as answers come.

    Returns:
        skill → system → `score`, `low`, `high` (95 % interval), `n`, `tokens`, and `values`, the
        score of each example in order. Rows that cannot be answered, such as prompts that do not
        fit into the context, count as wrong and are told by a warning.

    Raises:
        UsageError: an unknown system, or `routed` without a router.
        UnknownSkillError: a task without a skill of its name, where `skill` is asked for.
    """
    _check_systems(systems, router)
    answers = answers or Answers(base, mixed_model(base, skills))
    if "skill" in systems:
        check_skills(tasks, answers.mixed.names)
    sets = {name: held_out(task, n, seed) for name, task in tasks.items()}
    measured = measure(
        answers,
        [
            EvalTask(name, held.examples, own_metric(held.score_many), held.max_new_tokens, name)
            for name, held in sets.items()
        ],
        [each for system in systems for each in _systems(system, sets, router, policy)],
        progress=progress or (lambda _what, _done, _total: None),
    )
    _warn_of_failures(measured)
    scores: dict[str, dict[str, Any]] = {}
    for name, row in measured.items():
        scores[name] = {}
        for system, cell in row.items():
            values = cell.marks.values[:, 0].tolist()
            scores[name][system.partition(" ")[0]] = {
                **score_of(values, seed).to_dict(), "tokens": cell.tokens, "values": values,
            }  # fmt: skip
    return scores


def _systems(
    system: str, tasks: Collection[str], router: Router | None, policy: Policy | None
) -> list[System]:
    """One for all tasks, or each task's own skill."""
    if system == "skill":
        return [
            System(f"skill {name}", "skill", Mix.of({name: 1.0}), only=frozenset([name]))
            for name in tasks
        ]
    if system == "routed":
        return [System(system, "routed", router=router, policy=policy)]
    return [System(system, "base", Mix.base())]


def _warn_of_failures(measured: Mapping[str, Mapping[str, Measured]]) -> None:
    """One warning for each task and reason; the systems mostly fail on the same rows."""
    for name, row in measured.items():
        most: dict[str, int] = {}
        for cell in row.values():
            for reason, rows in cell.marks.failed.items():
                most[reason] = max(rows, most.get(reason, 0))
        for reason, rows in most.items():
            count = next(len(cell.marks.values) for cell in row.values())
            warnings.warn(
                f"{name}: {rows} of {count} rows count as wrong: {reason}",
                EvaluationWarning,
                stacklevel=3,
            )


def _check_systems(systems: Sequence[str], router: Router | None) -> None:
    for system in systems:
        if system not in SYSTEMS:
            raise UsageError(
                "There is no such system to evaluate.", given=system, expected=", ".join(SYSTEMS)
            )
    if "routed" in systems and router is None:
        raise UsageError("The routed system needs a router.", hint="pass router=…, or leave it out")


def held_out(task: MakesExamples | TestSet, n: int, seed: int) -> TestSet:
    """`n` held-out examples of a task that makes its own, or the test set as it is."""
    if isinstance(task, TestSet):
        return task
    return TestSet(task.examples("test", n, seed), task.score_many, task.max_new_tokens)
