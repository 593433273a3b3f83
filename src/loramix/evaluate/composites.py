"""Requests that need two skills, answered in five ways; right means that both parts are.

base    no skill
top1    the better of the two skills alone, the same for all requests of a kind
naive   half of each of the two, of adapters that were trained apart
chain   the two one after another: the second reads the request and the first one's answer, and
        both answers together are the answer
blend   what the gate chooses for the request, by the library's policy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from loramix.base import check_prompt
from loramix.data import Example
from loramix.errors import PromptError
from loramix.evaluate.answering import Answers
from loramix.evaluate.cache import Question
from loramix.evaluate.metrics import score_of
from loramix.gate.router import Router, route
from loramix.mix import Mix, Policy

COMPOSITE_SYSTEMS = ("base", "top1", "naive", "chain", "blend")


class TwoSkills(Protocol):
    """A kind of request that needs two skills, such as those of `loramix.pocket.tasks`."""

    @property
    def skills(self) -> tuple[str, str]: ...

    @property
    def max_new_tokens(self) -> int: ...

    def answerable(self, split: Any, n: int, seed: int = 0) -> list[Example]: ...

    def score_parts(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, list[float]]: ...


def evaluate_composites(
    answers: Answers,
    composites: Mapping[str, TwoSkills],
    *,
    router: Router | None = None,
    policy: Policy | None = None,
    apart: Answers | None = None,
    systems: Sequence[str] = COMPOSITE_SYSTEMS,
    n: int = 60,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Joint success of each system on each kind of request.

    Args:
        answers: of the library.
        composites: name → kind of request; the skills are there.
        router, policy: for `blend`, which is left out without a router.
        apart: answers of the skills trained apart, for `naive`, which is left out without them.
        systems: of `COMPOSITE_SYSTEMS`.
        n: held-out requests of each kind.
        seed: of the requests and of the intervals.
        progress: told before each system.

    Returns:
        system → its mean over the kinds, and `intervals`, system → [low, high] (95 %, over all
        requests); and for each kind system → the share of requests both of whose parts are right,
        `intervals`, `parts` (system → skill → mean score of that part), `top1_skill` and `n`.
    """
    kinds: dict[str, dict[str, Any]] = {}
    pooled: dict[str, list[float]] = {}
    missing = {"naive": apart is None, "blend": router is None}
    systems = [s for s in COMPOSITE_SYSTEMS if s in systems and not missing.get(s)]
    total = len(systems) * len(composites)
    requests = {name: kind.answerable("test", n, seed) for name, kind in composites.items()}
    _ask_ahead(answers, composites, requests, systems, router, policy, apart)
    for number, (name, composite) in enumerate(composites.items()):
        examples = requests[name]
        row: dict[str, Any] = {"intervals": {}, "parts": {}, "n": len(examples)}
        for place, system in enumerate(systems):
            progress(f"{name}: {system}", number * len(systems) + place, total)
            if system == "top1":
                parts, row["top1_skill"] = _best_alone(answers, composite, examples)
            else:
                who = apart if system == "naive" and apart is not None else answers
                texts = _answer(system, who, composite, examples, router, policy)
                parts = composite.score_parts(examples, texts)
            right = both_right(parts)
            found = score_of(right, seed)
            row[system] = found.mean
            row["intervals"][system] = [found.low, found.high]
            row["parts"][system] = {s: score_of(v, seed).mean for s, v in parts.items()}
            pooled.setdefault(system, []).extend(right)
        kinds[name] = row
    means: dict[str, Any] = {
        system: sum(row[system] for row in kinds.values()) / len(kinds) for system in systems
    }
    scores = {system: score_of(values, seed) for system, values in pooled.items()}
    intervals = {system: [score.low, score.high] for system, score in scores.items()}
    return {**means, "intervals": intervals, **kinds}


def both_right(parts: Mapping[str, Sequence[float]]) -> list[float]:
    """1 for each answer all of whose parts score 1; of part → a score for each answer."""
    return [float(min(each) > 1 - 1e-9) for each in zip(*parts.values(), strict=True)]


def _ask_ahead(
    answers: Answers,
    composites: Mapping[str, TwoSkills],
    requests: Mapping[str, Sequence[Example]],
    systems: Sequence[str],
    router: Router | None,
    policy: Policy | None,
    apart: Answers | None,
) -> None:
    """Have all that needs no other answer written in full batches; the loop then finds it."""
    first: list[Question] = []
    naive: list[Question] = []
    for name, kind in composites.items():
        prompts, length = [example.prompt for example in requests[name]], kind.max_new_tokens
        alone = [Mix.base()] if "base" in systems else []
        if {"top1", "chain"} & set(systems):
            alone += [Mix.of({skill: 1.0}) for skill in kind.skills]
        first += [Question(prompt, mix, length) for mix in alone for prompt in prompts]
        if router is not None and "blend" in systems:
            routed = route(router, prompts, policy)
            first += [Question(p, r.mix, length) for p, r in zip(prompts, routed, strict=True)]
        halves = Mix.of(dict.fromkeys(kind.skills, 0.5))
        naive += [Question(prompt, halves, length) for prompt in prompts]
    answers.ask(first)
    if apart is not None and "naive" in systems:
        apart.ask(naive)


def _answer(
    system: str,
    answers: Answers,
    composite: TwoSkills,
    examples: Sequence[Example],
    router: Router | None,
    policy: Policy | None,
) -> list[str]:
    """What the system writes for each of the examples; see the head of this file."""
    prompts = [example.prompt for example in examples]
    first, second = composite.skills

    def written(texts: Sequence[str], mixes: Sequence[Mix]) -> list[str]:
        return [done.text for done in answers(texts, mixes, composite.max_new_tokens)]

    if system == "chain":
        begun = written(prompts, [Mix.of({first: 1.0})] * len(prompts))
        asked = [f"{prompt}\n{text}" for prompt, text in zip(prompts, begun, strict=True)]
        fits = [_fits(answers, text) for text in asked]
        read = [text for text, fit in zip(asked, fits, strict=True) if fit]
        ends = iter(written(read, [Mix.of({second: 1.0})] * len(read)))
        return [
            f"{text}\n{next(ends) if fit else ''}" for text, fit in zip(begun, fits, strict=True)
        ]
    if system == "blend":
        assert router is not None  # else it is not asked for
        return written(prompts, [routing.mix for routing in route(router, prompts, policy)])
    mix = Mix.base() if system == "base" else Mix.of({first: 0.5, second: 0.5})
    return written(prompts, [mix] * len(prompts))


def _best_alone(
    answers: Answers, composite: TwoSkills, examples: Sequence[Example]
) -> tuple[dict[str, list[float]], str]:
    """The parts' scores of the skill that gets more right by itself, and its name."""
    prompts = [example.prompt for example in examples]
    tried = {}
    for name in composite.skills:
        mixes = [Mix.of({name: 1.0})] * len(prompts)
        done = answers(prompts, mixes, composite.max_new_tokens)
        tried[name] = composite.score_parts(examples, [each.text for each in done])

    def rank(name: str) -> tuple[float, float]:
        return sum(both_right(tried[name])), sum(map(sum, tried[name].values()))

    best = max(composite.skills, key=rank)
    return tried[best], best


def _fits(answers: Answers, prompt: str) -> bool:
    try:
        check_prompt(answers.base, prompt)
    except PromptError:
        return False
    return True
