"""Requests that need two skills, answered in five ways; right means that both parts are.

base    no skill
top1    the better of the two skills alone, the same for all requests of a kind
naive   half of each of the two, of adapters that were trained apart
chain   the two one after another: the second reads the request and the first one's answer, and
        both answers together are the answer
blend   what the gate chooses for the request, by the library's policy
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from loramix.data import Example
from loramix.evaluate.answering import Answers
from loramix.evaluate.measure import EvalTask, Measured, Progress, System, measure
from loramix.evaluate.metrics import difference_of, score_of
from loramix.evaluate.scoring import Marks, Metric
from loramix.gate.router import Router
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
    progress: Progress = lambda _what, _done, _total: None,
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
        progress: called as answers come.

    Returns:
        system → its mean over the kinds; `intervals`, system → [low, high] (95 %, over all
        requests); `blend_over`, other system → {mean, low, high} of the paired difference, over
        all requests; and for each kind system → the share of requests both of whose parts are
        right, `intervals`, `parts` (system → skill → mean score of that part), `failed` (system →
        reason → rows, which count as wrong), `top1_skill` and `n`.
    """
    missing = {"naive": apart is None, "blend": router is None}
    systems = [s for s in COMPOSITE_SYSTEMS if s in systems and not missing.get(s)]
    measured = measure(
        answers,
        [
            EvalTask(name, kind.answerable("test", n, seed), _metric(kind), kind.max_new_tokens)
            for name, kind in composites.items()
        ],
        _systems(composites, systems, router, policy, apart),
        progress=progress,
    )
    kinds: dict[str, dict[str, Any]] = {}
    pooled: dict[str, list[float]] = {}
    for name, kind in composites.items():
        cells = measured[name]
        row: dict[str, Any] = {"intervals": {}, "parts": {}, "failed": {}}
        for system in systems:
            if system == "top1":
                row["top1_skill"] = max(kind.skills, key=lambda s: _rank(cells[_alone(s)]))
                cell = cells[_alone(row["top1_skill"])]
            else:
                cell = cells[_of_kind(system, name)]
            right = cell.marks.values[:, 0].tolist()
            found = score_of(right, seed)
            row[system], row["n"] = found.mean, found.n
            row["intervals"][system] = [found.low, found.high]
            shares = cell.marks.values[:, 1:].mean(axis=0).tolist()
            row["parts"][system] = dict(zip(kind.skills, shares, strict=True))
            if cell.marks.failed:
                row["failed"][system] = dict(cell.marks.failed)
            pooled.setdefault(system, []).extend(right)
        kinds[name] = row
    means: dict[str, Any] = {
        system: sum(row[system] for row in kinds.values()) / len(kinds) for system in systems
    }
    scores = {system: score_of(values, seed) for system, values in pooled.items()}
    means["intervals"] = {system: [score.low, score.high] for system, score in scores.items()}
    if "blend" in pooled:
        others = [system for system in systems if system != "blend"]
        apart_by = {s: difference_of(pooled["blend"], pooled[s], seed) for s in others}
        means["blend_over"] = {
            s: {"mean": d.mean, "low": d.low, "high": d.high} for s, d in apart_by.items()
        }
    return {**means, **kinds}


def both_right(parts: Mapping[str, Sequence[float]]) -> list[float]:
    """1 for each answer all of whose parts score 1; of part → a score for each answer."""
    return [float(min(each) > 1 - 1e-9) for each in zip(*parts.values(), strict=True)]


def _metric(kind: TwoSkills) -> Metric:
    """Of each answer whether all parts are right, then the score of each part."""

    def mark(examples: Sequence[Example], texts: Sequence[str]) -> Marks:
        parts = kind.score_parts(examples, texts)
        columns = [both_right(parts), *(parts[skill] for skill in kind.skills)]
        return Marks(np.asarray(columns, dtype=np.float64).T.copy())

    return Metric("both parts", mark)


def _systems(
    composites: Mapping[str, TwoSkills],
    wanted: Sequence[str],
    router: Router | None,
    policy: Policy | None,
    apart: Answers | None,
) -> list[System]:
    """Who answers; `top1` is the better of the skills alone."""
    found = [System("base", "base", Mix.base())] if "base" in wanted else []
    if "top1" in wanted:
        kinds: dict[str, set[str]] = {}
        for name, kind in composites.items():
            for skill in kind.skills:
                kinds.setdefault(skill, set()).add(name)
        found += [
            System(_alone(skill), "skill", Mix.of({skill: 1.0}), only=frozenset(only))
            for skill, only in kinds.items()
        ]
    for name, kind in composites.items():
        first, second = (Mix.of({skill: 1.0}) for skill in kind.skills)
        halves, only = Mix.of(dict.fromkeys(kind.skills, 0.5)), frozenset([name])
        if "naive" in wanted:
            found.append(
                System(_of_kind("naive", name), "mix", halves, only=only, answers=apart)
            )
        if "chain" in wanted:
            found.append(System(_of_kind("chain", name), "mix", first, only=only, then=second))
    if "blend" in wanted:
        found.append(System("blend", "routed", router=router, policy=policy))
    return found


def _alone(skill: str) -> str:
    return f"alone {skill}"


def _of_kind(system: str, kind: str) -> str:
    """The name of the system on a kind: halves and chains are of the kind's own skills."""
    return f"{system} {kind}" if system in ("naive", "chain") else system


def _rank(cell: Measured) -> tuple[float, float]:
    """How good a skill alone is: the answers that are right, then its parts."""
    values = cell.marks.values
    return float(values[:, 0].sum()), float(values[:, 1:].sum())
