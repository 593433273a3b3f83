"""Scores of the base, of each skill, and of the routed whole, on held-out examples.

    scores = evaluate_skills(base, library, TASKS, n=100, router=router)
    scores["math"]["skill"]["score"]

Systems: `base` answers with no adapter; `skill` with the task's own adapter, given by hand;
`routed` with whatever mix the router gives the prompt.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loramix.adapter import Adapter
from loramix.base import Base, encode_prompt
from loramix.data import Example
from loramix.errors import UsageError
from loramix.evaluate.answering import Answers, mixed_model
from loramix.evaluate.metrics import score_of
from loramix.gate.router import Router, route
from loramix.library import Library
from loramix.mix import Mix, Policy, check_skills
from loramix.mixed import MixedModel

SYSTEMS = ("base", "skill", "routed")

ScoreMany = Callable[[Sequence[Example], Sequence[str]], list[float]]
"""Examples and one text for each → one score for each, from 0 to 1."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how many steps of it are done, and how many there are."""


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
        progress: called after each batch.

    Returns:
        skill → system → `score`, `low`, `high` (95 % interval), `n`, `seconds`, `tokens`,
        and `values`, the score of each example in order. Prompts that do not fit into the context
        count as wrong, stand last in `values`, and are told by a warning.

    Raises:
        UsageError: an unknown system, or `routed` without a router.
        UnknownSkillError: a task without a skill of its name, where `skill` is asked for.
    """
    _check_systems(systems, router)
    answers = answers or Answers(base, mixed_model(base, skills))
    if "skill" in systems:
        check_skills(tasks, answers.mixed.names)
    sets = {name: _test_set(task, n, seed) for name, task in tasks.items()}
    fitting = {name: _fitting(base, name, held) for name, held in sets.items()}
    total = sum(map(len, fitting.values())) * len(systems)
    done = 0
    scores: dict[str, dict[str, Any]] = {}
    for name, system, held in _jobs(sets, systems):

        def step(more: int, name: str = name, system: str = system) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress(f"{name}: {system}", done, total)

        start = time.monotonic()
        asked = fitting[name]
        prompts = [example.prompt for example in asked]
        completions = []
        if prompts:
            mixes = _mixes(system, name, prompts, router, policy)
            completions = answers(prompts, mixes, held.max_new_tokens, step)
        seconds = time.monotonic() - start
        values = held.score_many(asked, [c.text for c in completions])
        values += [0.0] * (len(held.examples) - len(asked))
        scores.setdefault(name, {})[system] = {
            **score_of(values, seed).to_dict(),
            "seconds": seconds,
            "tokens": sum(c.completion_tokens for c in completions),
            "values": values,
        }
    return scores


def _check_systems(systems: Sequence[str], router: Router | None) -> None:
    for system in systems:
        if system not in SYSTEMS:
            raise UsageError(
                "There is no such system to evaluate.", given=system, expected=", ".join(SYSTEMS)
            )
    if "routed" in systems and router is None:
        raise UsageError("The routed system needs a router.", hint="pass router=…, or leave it out")


def _test_set(task: MakesExamples | TestSet, n: int, seed: int) -> TestSet:
    if isinstance(task, TestSet):
        return task
    return TestSet(task.examples("test", n, seed), task.score_many, task.max_new_tokens)


def _fitting(base: Base, name: str, held: TestSet) -> list[Example]:
    """The examples whose prompts leave room for an answer."""
    kept = [e for e in held.examples if len(encode_prompt(base, e.prompt)) < base.max_length]
    if len(kept) < len(held.examples):
        warnings.warn(
            f"{name}: {len(held.examples) - len(kept)} of {len(held.examples)} prompts do not fit "
            f"into the context of {base.max_length} tokens and count as wrong",
            EvaluationWarning,
            stacklevel=3,
        )
    return kept


def _jobs(
    sets: Mapping[str, TestSet], systems: Sequence[str]
) -> Iterator[tuple[str, str, TestSet]]:
    for name, held in sets.items():
        for system in systems:
            yield name, system, held


def _mixes(
    system: str,
    name: str,
    prompts: Sequence[str],
    router: Router | None,
    policy: Policy | None,
) -> list[Mix]:
    if system == "routed":
        assert router is not None  # _check_systems
        return [routing.mix for routing in route(router, prompts, policy)]
    return [Mix.base() if system == "base" else Mix.of({name: 1.0})] * len(prompts)
