"""Features of a prompt, [B, F] float32: what the gate sees and what a skill's memory keeps.

A kind says where the token states come from: `embeddings`, `early` (a quarter of the layers) or
`middle` (half of them); or `words`, hashed words, which need no model; or `request`, what the
request encoder (encoder.py) makes of the whole prompt. Kinds are joined with `+`,
and `kind/pool,pool` chooses how the tokens become one vector of fixed width:

    mean, max         of the whole prompt
    first, last       means of the 25 tokens at an end
    sentences         the mean of each of 6 sentences, so that a request can be found among them
    asked, looked     of `request`: what is asked, and the words that the encoder looked at

The vector is the whole-prompt part, then the 6 slots. Since F is fixed, a skill's memory [N, F]
is enough to refit the gate without its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loramix.errors import ConfigError, nearest
from loramix.gate.encoder import ENCODED, WORD, encoder_print, shipped_encoder
from loramix.gate.router import check_prompts
from loramix.gate.states import StateReader
from loramix.gate.words import buckets_of, pieces_of, terms_of

if TYPE_CHECKING:
    from loramix.base import Base

AUTO = "embeddings/sentences+words/sentences+request"
STATES = ("embeddings", "early", "middle")
POOLS = {
    **dict.fromkeys(STATES, ("mean", "max", "first", "last", "sentences")),
    "words": ("mean", "sentences"),
    "request": ("asked", "looked"),
}
_DEFAULT_POOLS = {
    **dict.fromkeys(STATES, ("mean", "max", "sentences")),
    "words": ("mean",),
    "request": ("asked", "looked"),
}

SLOTS = 6
END_TOKENS = 25
MAX_TOKENS = 384  # of a longer prompt the middle is left out: requests stand near the ends
WORD_BUCKETS = {"mean": 1024, "sentences": 256}
_BATCH = 32
_BATCH_TOKENS = 1024  # padding included: others may wait for the base meanwhile


@dataclass(frozen=True)
class Layout:
    """What stands where in a feature vector of width F = whole + slots · slot.

    Attributes:
        whole: width of the part about the whole prompt.
        slots: how many sentence slots follow it.
        slot: width of one slot.
        words: columns of 0 or 1 for hashed words: (start, stop) in the whole part, and in a slot.
    """

    whole: int
    slots: int
    slot: int
    words: tuple[tuple[int, int], tuple[int, int]]

    @property
    def width(self) -> int:
        """F."""
        return self.whole + self.slots * self.slot


class FeatureExtractor:
    """Turns prompts into feature vectors with the frozen base.

    Args:
        base: the loaded base; it is only read.
        kind: `auto`, or kinds and pools as the module's docstring says.

    Raises:
        ConfigError: the kind or a pool is unknown, or this base has no such layers.
    """

    def __init__(self, base: Base, kind: str = "auto") -> None:
        self.kind = AUTO if kind == "auto" else kind
        self.parts = tuple(_parse(part) for part in self.kind.split("+"))
        self._tokenizer = base.tokenizer
        self._limit = min(MAX_TOKENS, base.max_length)
        self._states = StateReader(base, [source for source, _ in self.parts if source in STATES])
        self._encoder = shipped_encoder() if "request" in dict(self.parts) else None
        self._asked: slice | None = None
        self.layout = self._make_layout()

    @property
    def encoder_print(self) -> str | None:
        """Which request encoder makes the features: a checksum of its file; None without one."""
        return encoder_print() if self._encoder is not None else None

    @property
    def width(self) -> int:
        """F, the width of a feature vector."""
        return self.layout.width

    def features(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, F] float32 of `prompts`, on the CPU.

        Raises:
            PromptError: a prompt is empty.
        """
        check_prompts(prompts)
        encoded = self._encoder.encode_both(prompts) if self._encoder is not None else None
        out = torch.zeros(len(prompts), self.width)
        pieces = [pieces_of(prompt.strip()) for prompt in prompts]
        tokens = self._tokens(pieces) if self._states.sources else [([0], [0])] * len(prompts)
        for rows in _batches([len(ids) for ids, _ in tokens]):
            states = self._states.read([tokens[row][0] for row in rows])
            for place, row in enumerate(rows):
                length = len(tokens[row][0])
                own = {source: hidden[place, :length] for source, hidden in states.items()}
                if encoded is not None:
                    own["request"] = encoded[row]
                out[row] = self._vector(pieces[row], torch.tensor(tokens[row][1]), own)
        return out

    def sentences(self, prompt: str) -> list[str]:
        """The text that each filled slot stands for."""
        pieces = pieces_of(prompt.strip())
        return [
            "".join(pieces[i] for i in group).strip()
            for group in _slot_groups(len(pieces))
            if group
        ]

    def _tokens(self, pieces: Sequence[Sequence[str]]) -> list[tuple[list[int], list[int]]]:
        """For each prompt its token ids, and for each token the piece that it comes from."""
        flat = [piece for own in pieces for piece in own]
        ids_of = self._tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else []
        encoded = iter(ids_of)
        out = []
        for own in pieces:
            ids: list[int] = []
            owners: list[int] = []
            for index, _ in enumerate(own):
                found = next(encoded)
                ids += found
                owners += [index] * len(found)
            if len(ids) > self._limit:
                head, tail = self._limit - self._limit // 2, self._limit // 2
                ids, owners = ids[:head] + ids[-tail:], owners[:head] + owners[-tail:]
            out.append((ids or [0], owners or [0]))
        return out

    def _vector(self, pieces: Sequence[str], owners: Tensor, states: dict[str, Tensor]) -> Tensor:
        """The features [F] of one prompt: its pieces, and its token states [T, D] by source."""
        groups = _slot_groups(len(pieces))
        # [S, T], rows sum to 1 (or 0 where a slot has no tokens): one product pools all slots.
        member = torch.stack([torch.isin(owners, torch.tensor(group)) for group in groups]).float()
        member /= member.sum(1, keepdim=True).clamp_min(1)
        whole: list[Tensor] = []
        slots: list[Tensor] = []
        for source, pools in self.parts:
            for pool in pools:
                if source == "words":
                    texts = [pieces] if pool == "mean" else [[pieces[i] for i in g] for g in groups]
                    bags = torch.stack([_bag("".join(t), WORD_BUCKETS[pool]) for t in texts])
                    (slots if pool == "sentences" else whole).append(
                        bags if pool == "sentences" else bags[0]
                    )
                elif source == "request":
                    asked = pool == "asked"
                    whole.append(states[source][:ENCODED] if asked else states[source][ENCODED:])
                elif pool == "sentences":
                    slots.append(member @ states[source])
                else:
                    whole.append(_pool(pool, states[source]))
        parts = [*whole, torch.cat(slots, dim=1).flatten()] if slots else whole
        return torch.cat(parts)

    def _width_of(self, source: str, pool: str) -> int:
        if source != "request":
            return self._states.width
        return ENCODED if pool == "asked" else WORD

    def asked(self, features: Tensor) -> Tensor | None:
        """What is asked, of features [N, F]: the encoder's columns [N, 128]; None without any."""
        return None if self._asked is None else features[:, self._asked]

    def _make_layout(self) -> Layout:
        widths = {"whole": 0, "slots": 0}
        words = {"whole": (0, 0), "slots": (0, 0)}
        for source, pools in self.parts:
            for pool in pools:
                where = "slots" if pool == "sentences" else "whole"
                width = WORD_BUCKETS[pool] if source == "words" else self._width_of(source, pool)
                if pool == "asked":
                    self._asked = slice(widths[where], widths[where] + width)
                if source == "words":
                    words[where] = (widths[where], widths[where] + width)
                widths[where] += width
        slots = SLOTS if widths["slots"] else 0
        return Layout(widths["whole"], slots, widths["slots"], (words["whole"], words["slots"]))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of prompts of so many tokens, those of like length together.

    A batch is padded to its longest prompt.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == _BATCH or (len(batch) + 1) * lengths[place] > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _parse(part: str) -> tuple[str, tuple[str, ...]]:
    source, _, pools = (text.strip() for text in part.partition("/"))
    _check("kind", source, POOLS)
    chosen = tuple(dict.fromkeys(pool.strip() for pool in pools.split(","))) if pools else ()
    for pool in chosen:
        _check("pool", pool, POOLS[source])
    return source, chosen or _DEFAULT_POOLS[source]


def _check(what: str, given: str, known: Iterable[str]) -> None:
    if given not in known:
        near = nearest(given, known)
        raise ConfigError(
            f"There is no such {what} of gate features.",
            given=given,
            expected=", ".join(known),
            hint=f"did you mean {near!r}?" if near else "name one of them in gate.features",
        )


def _pool(pool: str, states: Tensor) -> Tensor:
    """One vector [D] for the states [T, D] of a prompt."""
    if pool == "mean":
        return states.mean(0)
    if pool == "max":
        return states.amax(0)
    return (states[:END_TOKENS] if pool == "first" else states[-END_TOKENS:]).mean(0)


def _bag(text: str, buckets: int) -> Tensor:
    """Which hashed words and pairs occur, [buckets] of 0 and 1."""
    bag = torch.zeros(buckets)
    bag[buckets_of(terms_of(text), buckets)] = 1.0
    return bag


def _slot_groups(pieces: int) -> list[list[int]]:
    """Which pieces go into each slot: the first, all the middle ones in one, the last."""
    if pieces <= SLOTS:
        return [[i] for i in range(pieces)] + [[] for _ in range(SLOTS - pieces)]
    head, tail = SLOTS // 2, SLOTS - SLOTS // 2 - 1
    middle = list(range(head, pieces - tail))
    return [*([i] for i in range(head)), middle, *([i] for i in range(pieces - tail, pieces))]
