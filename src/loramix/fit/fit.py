"""fit_mix: choose a mix on a part of the examples, report on the rest, claim nothing of noise."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from loramix.adapter import Adapter
from loramix.base import Base
from loramix.data import Example
from loramix.errors import DataError
from loramix.evaluate import Answers, ScoreMany, difference_of, mixed_model
from loramix.fit.losses import Losses
from loramix.fit.methods import MOST, Method, minimise
from loramix.fit.trial import Trial, as_mix, chance, losses_of, scores_of
from loramix.mix import BASE, Mix

__all__ = ["MOST", "ROUTED", "UNIFORM", "FitResult", "Gain", "fit_mix"]

FEWEST = 5
FEW = 20
"""Examples below which all of them are needed on either side: then five folds take turns."""

FOLDS = 5
PAIRED = 5
"""The skills of least loss whose even pairs are tried too. Skills that learned to blend did so near
an even pair, and its answers can be right where the loss, of texts worded otherwise, is high.
"""

LEVEL = 0.025
UNIFORM, ROUTED = "uniform", "routed"

Part = tuple[list[int], list[int]]
"""Examples to choose on, and examples to report on."""

Progress = Callable[[str, float, float], None]
"""Called with what is going on, and how much of it is done, of how much."""


@dataclass(frozen=True)
class Gain:
    """How much better the mix scores than the best single skill, on examples not chosen on.

    Attributes:
        score, low, high: the mean difference and its 95 % paired bootstrap interval.
        p: how often chance alone would do as well.
        over: what the mix is compared with; in folds what most of them chose.
    """

    score: float
    low: float
    high: float
    p: float
    over: str

    @property
    def claimed(self) -> bool:
        """Whether it is more than noise: the interval is above 0, and chance is unlikely."""
        return self.low > 0 and self.p <= LEVEL


@dataclass(frozen=True)
class FitResult:
    """What was found.

    Attributes:
        mix: the best on the part that was chosen on: fitted, an even pair or uniform, where it
            leads by more than a standard error; else a single skill, or base.
        figures: its `score`, `low`, `high` and `loss` on the examples that it was not chosen on.
            In folds they are those of the mixes that the folds found.
        baselines: the same of base, each skill, uniform, and routed where there is a router.
        best_single: the best of the base and the single skills, on what was chosen on.
        gain: over it.
        reported: how many examples the figures are of.
        folds: 1 where the examples were parted once.
        evaluations: mixes whose loss was computed, all folds together.
    """

    mix: Mix
    figures: dict[str, float]
    baselines: dict[str, dict[str, float]]
    best_single: Mix
    gain: Gain
    reported: int
    folds: int
    evaluations: int

    @property
    def recommended(self) -> Mix:
        """The mix, or the best single skill where the gain may be noise."""
        return self.mix if self.gain.claimed else self.best_single


def fit_mix(
    base: Base,
    adapters: Mapping[str, Adapter],
    examples: Sequence[Example],
    score_many: ScoreMany,
    *,
    skills: Sequence[str] | None = None,
    routed: Sequence[Mix] | None = None,
    max_new_tokens: int = 128,
    method: Method = "gradient",
    evaluations: int = 60,
    seed: int = 0,
    progress: Progress = lambda _what, _done, _total: None,
) -> FitResult:
    """Find the mix of skills that does best on a task that none of them was trained for.

    With fewer than 20 examples, five folds take turns: each chooses on four fifths and reports on
    one, and the mix itself is chosen on all. From 20 on, one half is chosen on, the other reported.

    Args:
        base: the frozen base, with full weights.
        adapters: the skills, and any that `routed` needs.
        examples: of the task, at least 5.
        score_many: how answers are scored, each from 0 to 1.
        skills: which of `adapters` may be in the mix; all without it.
        routed: what a router gives each example, as one more baseline.
        max_new_tokens: of an answer.
        method: how the weights are found; see `loramix.fit.methods`.
        evaluations: mixes to try in each fit.
        seed: of parting the examples and of the intervals.
        progress: told now and then.

    Raises:
        DataError: too few examples, or one that does not fit into the context.
        BaseError: the base is in int8.
    """
    names = list(adapters if skills is None else skills)
    parts = part(examples, seed)
    jobs = [chosen for chosen, _ in parts]
    if len(parts) > 1:
        jobs.append(list(range(len(examples))))
    ordered = {n: adapters[n] for n in [*names, *(n for n in adapters if n not in names)]}
    with Losses(base, ordered, examples) as losses:
        fitted, spent = _fit_all(losses, names, jobs, method, evaluations, progress)
        fixed = {BASE: Mix.base(), **{name: Mix.of({name: 1.0}) for name in names}}
        uniform = Mix.of({name: round(1 / len(names), 4) for name in names})
        singles, own = list(fixed), [f"fit {i}" for i in range(len(fitted))]
        pairs = [_pairs(losses, names, chosen) for chosen in jobs]
        fixed |= {UNIFORM: uniform, **dict(zip(own, fitted, strict=True))}
        fixed |= {str(pair): pair for each in pairs for pair in each}
        mixes = {name: [mix] * len(examples) for name, mix in fixed.items()}
        if routed is not None:
            mixes[ROUTED] = list(routed)
        progress("losses of all", len(jobs), len(jobs))
        by_loss = losses_of(losses, mixes)
    progress("answers of all", len(jobs), len(jobs))
    answers = Answers(base, mixed_model(base, ordered))
    by_score = scores_of(answers, examples, mixes, score_many, max_new_tokens)
    trial = Trial(mixes, by_loss, by_score)

    pool = [*singles, UNIFORM]
    pools = [[UNIFORM, own[i], *map(str, each)] for i, each in enumerate(pairs)]
    chose = [trial.choose(singles, some, rows) for some, rows in zip(pools, jobs, strict=True)]
    found, last = chose[: len(parts)], chose[-1]
    against = [trial.best(singles, chosen) for chosen, _ in parts]
    rows = [row for _, reported in parts for row in reported]
    figures, ours, theirs = _pooled(trial, parts, found, against, seed)
    difference = difference_of(ours, theirs, seed)
    baselines = [*pool, *([ROUTED] if routed is not None else [])]
    return FitResult(
        mix=fixed[last],
        figures=figures,
        baselines={name: trial.figures(name, rows, seed) for name in baselines},
        best_single=fixed[trial.best(singles, jobs[-1])],
        gain=Gain(
            difference.mean,
            difference.low,
            difference.high,
            chance([a - b for a, b in zip(ours, theirs, strict=True)], seed),
            max(against, key=against.count),
        ),
        reported=len(rows),
        folds=len(parts),
        evaluations=spent,
    )


def part(examples: Sequence[Example], seed: int) -> list[Part]:
    """The examples to choose on and to report on; a prompt never stands on both sides.

    Raises:
        DataError: fewer than 5 distinct prompts.
    """
    prompts = sorted({example.prompt for example in examples})
    if len(prompts) < FEWEST:
        raise DataError(
            "There are too few examples to find a mix and to tell whether it helps.",
            given=f"{len(prompts)} distinct prompts",
            expected=f"at least {FEWEST}; 20 to 50 tell more",
            hint="write some more into the file of --examples",
        )
    random.Random(seed).shuffle(prompts)
    place = {prompt: i for i, prompt in enumerate(prompts)}
    if len(prompts) < FEW:
        turns = [{i for i in range(len(prompts)) if i % FOLDS == fold} for fold in range(FOLDS)]
    else:
        turns = [set(range(len(prompts) // 2, len(prompts)))]
    made = []
    for turn in turns:
        reported = [i for i, example in enumerate(examples) if place[example.prompt] in turn]
        made.append(([i for i in range(len(examples)) if i not in set(reported)], reported))
    return made


def _pairs(losses: Losses, names: Sequence[str], rows: Sequence[int]) -> list[Mix]:
    """Half and half of each two of the skills that have the least loss on `rows` alone."""
    alone = [float(losses.values(each, rows).mean()) for each in torch.eye(len(names))]
    best = sorted(range(len(names)), key=alone.__getitem__)[:PAIRED]
    return [
        Mix.of({names[i]: 0.5, names[j]: 0.5}) for i, j in itertools.combinations(sorted(best), 2)
    ]


def _fit_all(
    losses: Losses,
    names: Sequence[str],
    jobs: Sequence[Sequence[int]],
    method: Method,
    evaluations: int,
    progress: Progress,
) -> tuple[list[Mix], int]:
    """The mix of least loss for each of `jobs`, and how many losses that took."""
    count = len(names)
    starts = [*torch.eye(count), torch.full((count,), 1 / count)]
    fitted, spent = [], 0
    for number, rows in enumerate(jobs):
        before = spent

        def report(done: int, least: float, number: int = number, before: int = before) -> None:
            nonlocal spent
            spent = before + done
            share = number + min(1.0, done / evaluations)
            progress(f"loss {least:.3f} after {done} mixes", share, len(jobs))

        weights = minimise(losses, rows, starts, method, evaluations, report)
        fitted.append(as_mix(weights, names))
    return fitted, spent


def _pooled(
    trial: Trial, parts: Sequence[Part], found: Sequence[str], against: Sequence[str], seed: int
) -> tuple[dict[str, float], list[float], list[float]]:
    """Figures of what each part found, on what it did not see; and the scores of both, paired."""
    ours: list[float] = []
    theirs: list[float] = []
    losses: list[float] = []
    for (_, reported), name, other in zip(parts, found, against, strict=True):
        ours += trial.scores[name][reported].tolist()
        theirs += trial.scores[other][reported].tolist()
        losses += trial.losses[name][reported].tolist()
    whole = Trial({}, {"": np.asarray(losses)}, {"": np.asarray(ours)})
    return whole.figures("", range(len(ours)), seed), ours, theirs
