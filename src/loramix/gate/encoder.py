"""The request encoder: a small network that reads the words of a prompt and finds the request.

    e_t = P v[w_t] + mean_g c[g]             word vector, and the word's letter groups (for slips)
    h   = conv(conv(conv(e)))                each word with its 12 neighbours on both sides
    a_q = softmax_t(u_q · h_t)               8 learned queries look for what is asked
    z   = [Σ_t a_qt V_q h_t  for each q, mean_t h_t]
    x   = r / |r| · sqrt(E),  r = MLP(z)     the features of the prompt, [E]

Attention pooling as in Lin et al. (2017), letter groups as in Bojanowski et al. (2017). It needs no
base: it was fitted once, by `benches/gate_encoder.py`, on requests of many kinds (`phrasings.py`)
put around texts that do not belong to them, so that what a text is about tells nothing. Word
vectors come from the public sentence encoder all-MiniLM-L6-v2 (Apache-2.0), one word at a time,
as model2vec does it, reduced to 96 columns.
"""

from __future__ import annotations

import functools
import math
import threading
import zlib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from loramix.gate.words import marked_words

WORD = 96
WIDTH = 128
QUERIES = 8
VALUE = 32
ENCODED = 128
GROUPS = 8192
_UNSEEN = 0.3
LONGEST = 400  # words and marks; of a longer prompt the middle is left out
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>", "<gap>")
_PAD, _START, _END, _UNKNOWN, GAP = range(5)


class Vocabulary:
    """Words and their letter groups as numbers.

    Args:
        words: known words, lower case, in the order of their vectors.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIAL, *words)
        self._id = {word: i for i, word in enumerate(self.words)}

        @functools.lru_cache(maxsize=65536)
        def look_up(word: str) -> tuple[int, tuple[int, ...]]:
            return self._id.get(word, _UNKNOWN), letter_groups(word)

        self._look_up = look_up

    def ids(self, text: str) -> list[tuple[int, tuple[int, ...]]]:
        """For each word its number and its letter groups, between a start and an end."""
        return self.ids_of(framed(marked_words(text)))

    def ids_of(self, words: Iterable[str]) -> list[tuple[int, tuple[int, ...]]]:
        """The same for words as they are, those of `SPECIAL` included."""
        return [self._look_up(word) for word in words]


def framed(words: Sequence[str]) -> list[str]:
    """The words of a text between a start and an end; of a long one the middle is gone."""
    if len(words) > LONGEST:
        words = [*words[: LONGEST // 2], SPECIAL[GAP], *words[-LONGEST // 2 :]]
    return [SPECIAL[_START], *words, SPECIAL[_END]]


def letter_groups(word: str) -> tuple[int, ...]:
    """The buckets of a word's groups of three and four letters; of marks and numbers none."""
    if len(word) < 3 or not word[0].isalpha():
        return ()
    framed = f"<{word[:24]}>"
    grams = {framed[i : i + n] for n in (3, 4) for i in range(len(framed) - n + 1)}
    return tuple(sorted(zlib.crc32(gram.encode()) % GROUPS for gram in grams))


class RequestEncoder(nn.Module):
    """Prompts → features [B, 128] float32.

    Args:
        vocabulary: the words that have vectors of their own.
    """

    vectors: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self._met: MetWords | None = None
        self.register_buffer("vectors", torch.zeros(len(vocabulary.words), WORD))
        self.special = nn.Embedding(len(SPECIAL), WIDTH)
        self.project = nn.Linear(WORD, WIDTH)
        self.groups = nn.EmbeddingBag(GROUPS, WIDTH, mode="mean")
        self.layers = nn.ModuleList(_Local(step) for step in (1, 1, 4))
        self.look = nn.Linear(WIDTH, QUERIES)
        self.value = nn.Linear(WIDTH, QUERIES * VALUE)
        self.out = nn.Sequential(
            nn.LayerNorm(QUERIES * VALUE + WIDTH),
            nn.Linear(QUERIES * VALUE + WIDTH, 2 * ENCODED),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(2 * ENCODED, ENCODED),
        )

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, 128] float32, each row of length sqrt(128): what is asked, as learned."""
        return self.encode_both(prompts)[:, :ENCODED]

    @torch.inference_mode()
    def encode_both(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, 128 + 96] float32: those of `encode`, and the words that were looked at.

        The second part tells requests apart that the encoder has never learned to tell apart.
        """
        rows = [framed(marked_words(prompt)) for prompt in prompts]
        out = torch.zeros(len(rows), ENCODED + WORD)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        met = self._met = self._met or MetWords(self)
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            states, vectors, mask = met.look_up([rows[row] for row in chosen])
            encoded, attention = self.pool(states, mask)
            out[chosen, :ENCODED] = encoded
            out[chosen, ENCODED:] = _looked_at(vectors, attention.mean(2))
        return out

    def train(self, mode: bool = True) -> RequestEncoder:
        """As of any module; what was kept of words that were met may change, and is gone."""
        self._met = None
        super().train(mode)
        return self

    def forward(self, rows: Sequence[Sequence[tuple[int, tuple[int, ...]]]]) -> Tensor:
        """Features [B, 128] of rows of word numbers with their letter groups."""
        states, mask = self.embed(rows)
        return self.pool(states, mask)[0]

    def embed(self, rows: Sequence[Sequence[tuple[int, tuple[int, ...]]]]) -> tuple[Tensor, Tensor]:
        """Word states [B, T, D] before any context, and which are there [B, T]."""
        longest = max(map(len, rows))
        ids = torch.tensor([[w for w, _ in row] + [_PAD] * (longest - len(row)) for row in rows])
        flat: list[int] = []
        offsets: list[int] = []
        for row in rows:
            for _, groups in row:
                offsets.append(len(flat))
                flat.extend(groups)
            for _ in range(longest - len(row)):
                offsets.append(len(flat))
        spelt = self.groups(torch.tensor(flat, dtype=torch.long), torch.tensor(offsets))
        states = self.project(self.vectors[ids]) + spelt.view(*ids.shape, WIDTH)
        named = ids < len(SPECIAL)
        states = states + self.special(ids.clamp(max=_UNKNOWN + 1)) * named.unsqueeze(2)
        mask = ids != _PAD
        return states * mask.unsqueeze(2), mask

    def pool(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 128] of word states [B, T, D], and the attention [B, T, Q]."""
        kept = mask.unsqueeze(2)
        for layer in self.layers:
            states = layer(states, kept)
        attention = self.look(states).masked_fill(~kept, -1e4).softmax(1)  # [B, T, Q]
        # V_q is the same for all words, so it is applied once, to what q has found.
        values = self.value.weight.view(QUERIES, VALUE, WIDTH)
        found = torch.einsum("bqd,qvd->bqv", attention.mT @ states, values)
        found = found.flatten(1) + self.value.bias
        mean = states.sum(1) / kept.sum(1)
        if self.training:  # it says what the text is about: of some, only the request is to be seen
            mean = mean * (torch.rand(len(mean), 1) > _UNSEEN)
        raw = self.out(torch.cat([found, mean], 1))
        return nn.functional.normalize(raw, dim=1) * math.sqrt(ENCODED), attention


class MetWords:
    """Words that were met, with what they are before any context: made once, then looked up.

    That is a fifth of the work for a prompt, most of it waiting for memory.

    Args:
        encoder: in eval mode; its weights stay as they are.
    """

    MOST = 16384
    """Words; when there are more, all are forgotten: 15 MB."""

    def __init__(self, encoder: RequestEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._forget()

    def look_up(self, rows: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor, Tensor]:
        """Of rows of words their states [B, T, D], vectors [B, T, 96], and which are there."""
        longest = max(map(len, rows))
        filled = [[*row, *[SPECIAL[_PAD]] * (longest - len(row))] for row in rows]
        with self._lock:
            if new := dict.fromkeys(w for row in filled for w in row if w not in self._places):
                if len(self._places) + len(new) > self.MOST:
                    self._forget()
                    new = dict.fromkeys(word for row in filled for word in row)
                self._meet([*new])
            places = torch.tensor([[self._places[word] for word in row] for row in filled])
            states, vectors = self._states[places], self._vectors[places]
        return states, vectors, places != self._places[SPECIAL[_PAD]]

    def _forget(self) -> None:
        self._places: dict[str, int] = {}
        self._states, self._vectors = torch.zeros(0, WIDTH), torch.zeros(0, WORD)
        self._meet([SPECIAL[_PAD]])

    def _meet(self, words: list[str]) -> None:
        start, end = len(self._places), len(self._places) + len(words)
        if end > len(self._states):  # room for twice as many, so that few copies are made
            more = 2 * end - len(self._states)
            self._states = torch.cat([self._states, torch.zeros(more, WIDTH)])
            self._vectors = torch.cat([self._vectors, torch.zeros(more, WORD)])
        row = self._encoder.vocabulary.ids_of(words)
        self._states[start:end] = self._encoder.embed([row])[0][0]
        self._vectors[start:end] = self._encoder.vectors[[number for number, _ in row]]
        self._places.update(zip(words, range(start, end), strict=True))


def _looked_at(vectors: Tensor, attention: Tensor) -> Tensor:
    """Word vectors [B, T, 96] → [B, 96] by the attention [B, T] around them, of length 9.8.

    The states that are attended to hold their neighbours too, so the weight is spread.
    """
    near = nn.functional.avg_pool1d(attention.unsqueeze(1), 5, stride=1, padding=2)
    mixed = torch.einsum("bt,btw->bw", near[:, 0], vectors)
    scaled: Tensor = nn.functional.normalize(mixed, dim=1) * math.sqrt(WORD)
    return scaled


class _Local(nn.Module):
    """Each state with two others on both sides, `step` apart: a residual convolution.

    As one product, which is up to twice as fast on a CPU as torch's convolution of one prompt.
    """

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step
        self.norm = nn.LayerNorm(WIDTH)
        self.near = nn.Linear(5 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, states: Tensor, kept: Tensor) -> Tensor:
        """[B, T, D] → the same shape; `kept` [B, T, 1] hides what only fills a batch."""
        wide = nn.functional.pad(self.norm(states) * kept, (0, 0, 2 * self.step, 2 * self.step))
        places = range(0, 5 * self.step, self.step)
        seen = torch.cat([wide[:, at : at + states.shape[1]] for at in places], 2)
        out: Tensor = (states + self.drop(nn.functional.gelu(self.near(seen)))) * kept
        return out


def save_encoder(encoder: RequestEncoder, folder: Path) -> None:
    """Writes `words.txt` and `encoder.safetensors`: word vectors in 8 bits, the rest in 16."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() for k, v in encoder.state_dict().items() if k != "vectors"}
    scale = encoder.vectors.abs().amax(1, keepdim=True).clamp_min(1e-6) / 127
    tensors["vectors"] = (encoder.vectors / scale).round().to(torch.int8)
    tensors["vectors.scale"] = scale.half()
    words = encoder.vocabulary.words[len(SPECIAL) :]
    (folder / "words.txt").write_text("\n".join(words), "utf-8")
    safetensors.torch.save_file(tensors, folder / "encoder.safetensors")


def read_encoder(folder: Path) -> RequestEncoder:
    """The encoder that `save_encoder` wrote, in float32 and eval mode."""
    encoder = RequestEncoder(Vocabulary((folder / "words.txt").read_text("utf-8").split("\n")))
    tensors = safetensors.torch.load_file(folder / "encoder.safetensors")
    scale = tensors.pop("vectors.scale").float()
    tensors["vectors"] = tensors["vectors"].float() * scale
    encoder.load_state_dict({name: value.float() for name, value in tensors.items()})
    return encoder.eval().requires_grad_(False)


@functools.cache
def shipped_encoder() -> RequestEncoder:
    """The encoder that ships with the package, read once."""
    with resources.as_file(resources.files("loramix.gate") / "requests") as folder:
        return read_encoder(folder)


@functools.cache
def encoder_print() -> str:
    """A checksum of the shipped encoder, so that features of another one are told apart."""
    stored = (resources.files("loramix.gate") / "requests" / "encoder.safetensors").read_bytes()
    return f"{zlib.crc32(stored):08x}"
