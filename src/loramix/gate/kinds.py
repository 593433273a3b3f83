"""What a new skill may be asked for, known from its description and a handful of examples.

The description is read by the request encoder. Where it says what a kind of the phrasing bank
says, that kind's phrasings teach the gate; otherwise the description itself is made a request.
Both are put around texts that have nothing to do with the skill.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from loramix.gate.encoder import shipped_encoder
from loramix.gate.phrasings import ALONE, bank, misspelt, placed, request, spoken

SURE = 0.75  # cosine from which a description says the same as a kind
TEXTS = (
    "The ferry left the harbour an hour late, since a crane had dropped its load on the pier.",
    "i bought these boots in march and the soles came off after two walks in the rain",
    "Nadia has 14 stamps. She gives 3 to each of her two brothers and buys 5 more.",
    "Open the file, read each line, and count how often every word occurs.",
    "Bees tell each other where food is by a dance: its angle shows the direction to the sun.",
    "A: Did you call the landlord? B: Yes, he will send somebody on Thursday. A: At last.",
    "the acting is wooden , but the last half hour is worth the price of the ticket .",
    "We study how small models forget. Our method keeps old skills at no cost in memory.",
)
"""Carriers where a skill's own examples are too few: they tell nothing about the request."""


@functools.cache
def _described() -> tuple[tuple[str, ...], Tensor]:
    rng = random.Random(0)
    kinds, descriptions = [], []
    for kind, lines in bank()[1].items():
        for _ in range(12):
            kinds.append(kind)
            descriptions.append(spoken(rng.choice(lines), rng))
    features = torch.nn.functional.normalize(shipped_encoder().encode(descriptions), dim=1)
    names = tuple(dict.fromkeys(kinds))
    means = [features[[i for i, k in enumerate(kinds) if k == name]].mean(0) for name in names]
    return names, torch.nn.functional.normalize(torch.stack(means), dim=1)


def kind_of(name: str, description: str = "") -> str | None:
    """The kind of the bank that a skill's name or description means, if one does.

    >>> kind_of("sentiment"), kind_of("mood", "tells how the writer feels")
    ('sentiment', 'sentiment')
    """
    if name in bank()[1]:
        return name
    if not description.strip():
        return None
    kinds, centres = _described()
    read = torch.nn.functional.normalize(shipped_encoder().encode([description]), dim=1)
    cosines = (read @ centres.T)[0]
    best = int(cosines.argmax())
    return kinds[best] if float(cosines[best]) >= SURE else None


def kinds_of(descriptions: Mapping[str, str]) -> dict[str, str]:
    """skill → kind, for the skills whose name or description (may be "") means one.

    Two skills never get the same kind, as its phrasings would then call for both: the second
    goes without.
    """
    found: dict[str, str] = {}
    for name, description in descriptions.items():
        kind = kind_of(name, description)
        if kind is not None and kind not in found.values():
            found[name] = kind
    return found


def prompts_for(
    name: str, description: str, examples: Sequence[str], *, count: int = 200, seed: int = 0
) -> list[str]:
    """Prompts to learn a skill from that has a description and a few examples.

    The examples themselves; the same with slips and gaps; and requests around `TEXTS`: phrasings
    of the skill's kind where the bank has it, else the description said as a request.

    Args:
        name: of the skill.
        description: a sentence, such as "tells how the writer feels"; may be "".
        examples: prompts of the skill.
        count: how many prompts, examples included.
        seed: of all choices.
    """
    rng = random.Random(seed)
    kind = kind_of(name, description)
    said = description.strip().rstrip(".")
    out = list(examples)
    while len(out) < count and (examples or said):
        draw = rng.random()
        if examples and (draw < 0.6 or not said):
            out.append(_worn(rng.choice(examples), rng))
        elif kind is not None:
            asked = request(kind, rng)
            out.append(placed(asked, "" if kind in ALONE else rng.choice(TEXTS), rng))
        else:
            out.append(placed(_as_request(said, rng), rng.choice(TEXTS), rng))
    return out


def _as_request(description: str, rng: random.Random) -> str:
    """ "finds the names in a text" → "find the names in a text", and the like."""
    verb, _, rest = description.partition(" ")
    if verb.endswith("ies"):
        verb = verb[:-3] + "y"
    elif verb.endswith(("ches", "shes", "sses", "xes")):
        verb = verb[:-2]
    elif verb.endswith("s") and not verb.endswith("ss"):
        verb = verb[:-1]
    wanted = f"{verb} {rest}".strip().lower()
    forms = (wanted, f"please {wanted}", f"can you {wanted}?", f"{wanted}, please", rest or wanted)
    return rng.choice(forms)


def _worn(prompt: str, rng: random.Random) -> str:
    """An example with some words misspelt, or with some gone."""
    if rng.random() < 0.4:
        return misspelt(prompt, rng)
    words = prompt.split(" ")
    kept = [word for word in words if rng.random() > 0.15] or words
    return " ".join(kept)
