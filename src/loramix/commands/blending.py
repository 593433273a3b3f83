"""The blends of a YAML: the rows that skills learn together, and how well they then do."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loramix.config import BlendConfig, Config
from loramix.data import Example
from loramix.data.load import load_examples, load_train_dev
from loramix.errors import DataError
from loramix.evaluate import Answers, ScoreMany, both_right, score_each, score_of
from loramix.gate import RoutedExample
from loramix.mix import Mix
from loramix.pocket.tasks import COMPOSITES
from loramix.train import BlendJob, with_mixes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Blend:
    """A blend of the YAML with its data.

    Attributes:
        job: what is trained; its examples have their own mixes, or such as are near `stated`.
        stated: skill → weight, of what has no mix of its own.
        needs: its training prompts with what they need, for the gate.
        held: examples to score, with the mix that they are answered with.
        score_many: a composite's own score is 1 where all its parts are right.
        max_new_tokens: of an answer.
    """

    job: BlendJob
    stated: Mapping[str, float]
    needs: Sequence[RoutedExample]
    held: Sequence[Example]
    score_many: ScoreMany
    max_new_tokens: int

    @property
    def skills(self) -> set[str]:
        """All skills that take part."""
        return {name for example in self.job.train for name in example.mix or {}}

    def routed(self, most: int, seed: int) -> list[RoutedExample]:
        """At most `most` of its prompts with what they need, for the gate."""
        return random.Random(seed).sample(self.needs, min(most, len(self.needs)))


def read_blends(settings: Config, trained: Collection[str], kept: Collection[str]) -> list[Blend]:
    """The blends that can be learned now.

    Args:
        settings: the YAML.
        trained: skills of this run.
        kept: skills of the library that stay as they are.

    Raises:
        DataError: the data cannot be read, or a row's `skills` is no mix of the blend's skills.
    """
    blends = []
    for name, blend in settings.blends.items():
        if not blend.skills.keys() & set(trained):
            continue  # all of its skills stay as they are
        missing = [s for s in blend.skills if s not in trained and s not in kept]
        if missing:
            log.warning(
                "blend %s is left out until there is a skill %s", name, " and ".join(missing)
            )
            continue
        blends.append(_read(settings, name, blend))
    return blends


def _read(settings: Config, name: str, blend: BlendConfig) -> Blend:
    seed, evaluation = settings.train.seed, settings.evaluation
    templates = blend.prompt, blend.completion
    rows, dev = load_train_dev(
        blend.data, blend.dev, *templates, dev_fraction=settings.train.dev_fraction, seed=seed
    )
    composite = COMPOSITES.get(blend.data.builtin or "")
    if composite is None:
        rows, dev = ([_own_mix(e, name, blend) for e in some] for some in (rows, dev))
    held = dev or rows
    if composite is not None:
        test = blend.data.model_copy(update={"split": None, "limit": None})
        held = load_examples(test, *templates, limit=evaluation.examples, split="test", seed=seed)
    if len(held) > evaluation.examples:
        held = random.Random(seed).sample(held, evaluation.examples)
    metric = "exact" if blend.metric == "auto" else blend.metric

    def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        if composite is not None and blend.metric == "auto":
            return both_right(composite.score_parts(examples, texts))
        return score_each(metric, examples, texts)

    stated = dict(blend.skills)
    return Blend(
        BlendJob(name, with_mixes(rows, stated, seed), with_mixes(dev, stated, seed)),
        stated,
        [RoutedExample(example.prompt, example.mix or stated) for example in rows],
        [replace(example, mix=example.mix or stated) for example in held],
        score,
        composite.max_new_tokens if composite else evaluation.max_new_tokens,
    )


def _own_mix(example: Example, name: str, blend: BlendConfig) -> Example:
    """The example with the mix of its column `skills`, where it has one."""
    own = example.meta.get("skills")
    if own is None:
        return example
    fits = (
        isinstance(own, Mapping)
        and own.keys() <= blend.skills.keys()
        and all(isinstance(w, int | float) and w >= 0 for w in own.values())
        and sum(own.values()) > 0
    )
    if not fits:
        raise DataError(
            f"blends.{name}: a row's `skills` is no mix of the blend's skills.",
            given=str(own),
            expected=f"weights over {', '.join(blend.skills)}, such as {dict(blend.skills)}",
            hint="mend or remove that row's `skills`",
        )
    return replace(example, mix={skill: float(weight) for skill, weight in own.items() if weight})


def score_blends(answers: Answers, blends: Sequence[Blend], seed: int) -> dict[str, dict[str, Any]]:
    """For each blend its `score` under its mix, the 95 % `interval`, `n` and `skills`."""
    report = {}
    for blend in blends:
        prompts = [example.prompt for example in blend.held]
        mixes = [Mix.of(example.mix or {}) for example in blend.held]
        texts = [c.text for c in answers(prompts, mixes, blend.max_new_tokens)]
        found = score_of(blend.score_many(blend.held, texts), seed)
        report[blend.job.name] = {
            "score": found.mean,
            "interval": [found.low, found.high],
            "n": len(prompts),
            "skills": dict(blend.stated),
        }
    return report
