"""Why a prompt was routed as it was: what each word did for the score, and prompts like it.

Attribution is by Shapley values over words (Shapley, 1953; Štrumbelj & Kononenko, 2014): words
enter the prompt one by one in a random order, and each is credited with what its entry changes.
Whatever the router, the credits of one order telescope, so that they sum exactly to the score of
the prompt less that of the prompt without words; the mean over orders does too. Each order is
also walked backwards, which takes out most of the chance (Mitchell et al., 2022).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from loramix.errors import UnknownSkillError
from loramix.gate.learned import LearnedGate
from loramix.gate.router import Router, check_prompts
from loramix.mix import BASE

MOST_PARTS = 48  # of a longer prompt neighbouring words are credited together
_EMPTY = "."  # what is scored where all words are gone: prompts cannot be empty
_WORDS = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Why:
    """What carried the decision for one column of the scores.

    Attributes:
        skill: the column: a skill, or `base`.
        score: its score for the prompt.
        start: its score where the prompt has no words.
        parts: (text, credit) in the order of the prompt; start + all credits = score, and the
            texts joined are the prompt.
        nearest: (skill, example prompt, cosine) of the example prompts most like this one.
    """

    skill: str
    score: float
    start: float
    parts: tuple[tuple[str, float], ...]
    nearest: tuple[tuple[str, str, float], ...]


def why(
    router: Router,
    prompt: str,
    skill: str | None = None,
    *,
    examples: Mapping[str, Sequence[str]] | None = None,
    orders: int = 4,
    count: int = 3,
    seed: int = 0,
) -> Why:
    """Explains the score of `skill` for `prompt`.

    Args:
        router: any; it scores about 2 · orders · words shortened prompts.
        prompt: not empty.
        skill: a skill of the router, or `base`; None is the one that scores best.
        examples: skill → example prompts, such as those of the skills' cards.
        orders: random orders of the words; each is walked both ways.
        count: how many of the nearest examples.
        seed: of the orders.

    Raises:
        PromptError: the prompt is empty.
        UnknownSkillError: the router does not know the skill.
    """
    check_prompts([prompt])
    columns = (*router.skills, BASE)
    if skill is not None and skill not in columns:
        raise UnknownSkillError(
            "The router does not know this skill.", given=skill, expected=", ".join(columns)
        )
    column = columns.index(skill) if skill else int(router.scores([prompt])[0].argmax())
    parts = _parts(prompt)
    rng = random.Random(seed)
    walks: list[list[int]] = []
    for _ in range(orders):
        order = list(range(len(parts)))
        rng.shuffle(order)
        walks += [order, order[::-1]]
    shortened = [
        "".join(parts[i] for i in sorted(order[:n])) or _EMPTY
        for order in walks
        for n in range(len(parts) + 1)
    ]
    distinct = list(dict.fromkeys(shortened))
    found = dict(zip(distinct, router.scores(distinct)[:, column].double().tolist(), strict=True))
    credit = torch.zeros(len(parts), dtype=torch.float64)
    step = iter(shortened)
    for order in walks:
        before = found[next(step)]
        for part in order:
            after = found[next(step)]
            credit[part] += (after - before) / len(walks)
            before = after
    return Why(
        columns[column],
        found["".join(parts)],
        found[_EMPTY],
        tuple(zip(parts, credit.tolist(), strict=True)),
        _nearest(router, prompt, examples or {}, count),
    )


def _parts(prompt: str) -> list[str]:
    """Words with the blanks around them, neighbours joined until there are at most MOST_PARTS."""
    words = _WORDS.findall(prompt)
    words[0] = prompt[: prompt.index(words[0])] + words[0]
    size = -(-len(words) // MOST_PARTS)
    return ["".join(words[i : i + size]) for i in range(0, len(words), size)]


def _nearest(
    router: Router, prompt: str, examples: Mapping[str, Sequence[str]], count: int
) -> tuple[tuple[str, str, float], ...]:
    """The examples whose features point most nearly the same way; () without features."""
    pairs = [(name, text) for name, own in examples.items() for text in own if text.strip()]
    if not pairs or not isinstance(router, LearnedGate):
        return ()
    features = router.scaled([prompt, *(text for _, text in pairs)])
    unit = torch.nn.functional.normalize(features, dim=1)
    cosines = unit[1:] @ unit[0]
    best = cosines.topk(min(count, len(pairs))).indices.tolist()
    return tuple((*pairs[i], float(cosines[i])) for i in best)
