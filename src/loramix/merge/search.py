"""The merge with the best worst-skill retention, within a time budget.

First plain linear, the one to beat; then each method at a few scales and densities. Where there
are prompts of all skills, the best of them learns from the skills again for the rest of the time;
else its weights move, a step at a time towards the skill that keeps least. All is judged on the dev
examples, so that the held-out ones stay unseen.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loramix.errors import LoramixError
from loramix.lora import Adapter
from loramix.merge.expert import Expert, merge_adapters
from loramix.merge.inputs import Material
from loramix.merge.methods import METHODS
from loramix.merge.retention import Judge, Kept, kept, retention

DENSITIES = (0.3, 0.7)
STEPS = (1.6, 1.25)
"""What the weight of the weakest skill is multiplied by; the next one where the first is worse."""
GRID = 0.5
"""Share of the time for the methods; the weights of the best one get the rest."""
BEFORE_LESSONS = 0.3
"""The same where the best one learns from the skills in the rest, which gains more."""
_SETTLED = 0.999
_LEAST = 2.0
"""Seconds of learning that are worth it."""

log = logging.getLogger(__name__)


class _TimeUp(Exception):
    """The budget ended in the middle of a merge."""


@dataclass(frozen=True)
class Candidate:
    """One merge to try; `weights` before they are normalised."""

    method: str
    weights: tuple[float, ...]
    scale: float = 1.0
    density: float | None = None
    distilled: bool = False


@dataclass(frozen=True)
class Trial:
    """A candidate, what it kept, and of which skills."""

    candidate: Candidate
    kept: Kept
    retention: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """The candidate's settings with `worst` and `mean`."""
        return {
            "method": self.candidate.method,
            "weights": list(self.candidate.weights),
            "scale": self.candidate.scale,
            "density": self.candidate.density,
            "distilled": self.candidate.distilled,
            "worst": self.kept.worst,
            "mean": self.kept.mean,
        }


def search(
    adapters: Mapping[str, Adapter],
    first: Candidate,
    judge: Judge,
    before: Mapping[str, Mapping[str, Any]],
    seconds: float,
    *,
    rank: int | None,
    seed: int,
    material: Material,
    methods: Sequence[str] | None = None,
    scale: float | None = None,
    density: float | None = None,
    step: Callable[[float, float, str], None] = lambda _done, _all, _note: None,
) -> tuple[Expert, list[Trial]]:
    """The best expert found, and all trials, best first.

    Args:
        adapters: skill → adapter.
        first: plain linear, which is always tried.
        judge: scores a candidate on dev examples.
        before: the skills' scores on them.
        seconds: after which a merge is broken off; only plain linear is always made.
        rank: of the expert, see `merge_adapters`; concat is left out where it has another.
        seed: of what is random.
        material: what the methods that need inputs are given.
        methods: only these, as they are: then no expert learns from the skills.
        scale, density: only this one.
        step: called with the seconds gone, the seconds there are, and the best so far.
    """
    end, start = time.monotonic() + seconds, time.monotonic()
    lessons = methods is None and material.teaches
    trials: dict[Candidate, Trial] = {}
    took: dict[str, float] = {}
    winner: list[Expert] = []
    judged: list[float] = []

    def judging() -> float:
        """Seconds that judging takes, and a little more."""
        return 1.5 * max(judged)

    def learning(_steps: int, loss: float) -> None:
        gone = min(time.monotonic() - start, seconds)
        step(gone, seconds, f"learn from the skills, loss {loss:.3f}")

    def watch(_done: int, _all: int) -> None:
        if trials and time.monotonic() > end:
            raise _TimeUp

    def build(candidate: Candidate) -> Expert:
        if candidate.distilled:
            return material.distil(winner[0], end - judging(), seed, learning)
        return merge_adapters(
            adapters,
            candidate.weights,
            candidate.method,
            rank=rank,
            density=candidate.density,
            scale=candidate.scale,
            seed=seed,
            step=watch,
            **material.of(METHODS[candidate.method]),
        )

    def best() -> Trial:
        return max(trials.values(), key=lambda trial: trial.kept)

    def run(candidate: Candidate) -> Trial:
        began = time.monotonic()
        expert = build(candidate)
        built = time.monotonic()
        shares = retention(before, judge.expert(expert.adapter))
        judged.append(time.monotonic() - built)
        trials[candidate] = Trial(candidate, kept(shares), shares)
        took[candidate.method] = time.monotonic() - began
        top = best()
        if top.candidate == candidate:
            winner[:] = [expert]
        step(
            min(time.monotonic() - start, seconds),
            seconds,
            f"best worst-skill retention {top.kept.worst:.2f} ({top.candidate.method})",
        )
        return trials[candidate]

    def has_time(candidate: Candidate, until: float = end) -> bool:
        guess = took.get(candidate.method, took[first.method])
        return time.monotonic() + guess < until and best().kept.worst < _SETTLED

    run(first)
    share = BEFORE_LESSONS if lessons else GRID
    with contextlib.suppress(_TimeUp):
        for candidate in _grid(first, methods, scale, density):
            if candidate not in trials and has_time(candidate, start + seconds * share):
                run(candidate)
        if not lessons:
            _climb(list(adapters), best, run, trials, has_time)
        elif end - time.monotonic() > 2 * judging() + _LEAST:
            try:
                run(replace(best().candidate, distilled=True))
            except (LoramixError, RuntimeError, MemoryError) as error:
                log.warning("the expert learns nothing more from its skills: %s", error)
    ranked = sorted(trials.values(), key=lambda trial: trial.kept, reverse=True)
    return winner[0], ranked


def _grid(
    first: Candidate, methods: Sequence[str] | None, scale: float | None, density: float | None
) -> Iterator[Candidate]:
    """Every method once, the likeliest first; then more scales and densities."""
    count = sum(weight > 0 for weight in first.weights)
    scales = [1.0, count**0.5, float(count)] if scale is None else [scale]
    usual = [
        "regmean",
        "regmean_seq",
        "linear",
        "ties",
        "svd",
        "magnitude_prune",
        "dare_ties",
        "dare_linear",
    ]
    names = usual if methods is None else list(methods)
    densities = list(DENSITIES) if density is None else [density]
    for name in names:
        if METHODS[name].needs_inputs:  # least squares finds its own scale
            yield replace(first, method=name, scale=1.0 if scale is None else scale)
    for position in range(len(densities)):
        for factor in [*scales[1:2], *scales[:1], *scales[2:]]:
            for name in names:
                method = METHODS[name]
                if method.needs_inputs:
                    continue
                share = densities[position] if method.uses_density else None
                if position and share is None:
                    continue
                yield replace(first, method=name, scale=factor, density=share)


def _climb(
    names: Sequence[str],
    best: Callable[[], Trial],
    run: Callable[[Candidate], Trial],
    trials: Mapping[Candidate, Trial],
    has_time: Callable[[Candidate], bool],
) -> None:
    """Moves weight to the skill that keeps least, while that helps."""
    while has_time(best().candidate):
        top = best()
        known = {name: share for name, share in top.retention.items() if share is not None}
        moved = False
        for weakest in sorted(known, key=lambda name: known[name]):
            for factor in STEPS:
                weights = list(top.candidate.weights)
                weights[names.index(weakest)] *= factor
                candidate = replace(top.candidate, weights=tuple(weights))
                if candidate in trials or not has_time(candidate):
                    continue
                if run(candidate).kept > top.kept:
                    moved = True
                    break
            if moved:
                break
        if not moved:
            return
