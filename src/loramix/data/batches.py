"""Examples → token rows → batches of like length, for `transformers.Trainer`.

    rows = encode_examples(examples, encode, max_length).rows
    class Mine(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return LengthSampler([len(row) for row in rows], batch_size, seed)
    Mine(model, TrainingArguments(remove_unused_columns=False, …),
         train_dataset=rows, data_collator=Collator(pad_id))

A batch is as long as its longest row, so rows of unlike length are paid for in padding. Sorting
all rows would make every epoch the same; sorting within windows of a shuffled order keeps nearly
all of the saving (`padding_share` measures it) and the order random.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from loramix.data.example import Example
from loramix.errors import DataError

IGNORED = -100  # the label that the loss leaves out
WINDOW = 50  # batches that are sorted together

Encode = Callable[[Example], tuple[list[int], list[int]]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenRow:
    """One example as the model reads it.

    Attributes:
        input_ids: T token ids, prompt and completion.
        labels: T token ids to learn, IGNORED on the prompt.
        skill: which of the skills in training this row belongs to.
    """

    input_ids: list[int]
    labels: list[int]
    skill: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class TokenRows:
    """Encoded examples, and what did not fit.

    Attributes:
        rows: those of at most `max_length` tokens, in the order of the examples.
        max_length: the most tokens of a row.
        dropped: how many examples were longer.
        longest: tokens of the longest example, dropped ones included.
    """

    rows: list[TokenRow]
    max_length: int
    dropped: int
    longest: int

    @property
    def note(self) -> str | None:
        """What was left out, for the user to read; None if nothing was."""
        if not self.dropped:
            return None
        total = self.dropped + len(self.rows)
        return (
            f"{self.dropped} of {total} examples ({self.dropped / total:.1%}) are longer than "
            f"max_length {self.max_length} and were left out; the longest has {self.longest} tokens"
        )


def encode_examples(
    examples: Sequence[Example], encode: Encode, max_length: int, *, name: str = "", skill: int = 0
) -> TokenRows:
    """Token rows of the examples that fit. What does not fit is counted and logged.

    A row is never cut: half an answer teaches to stop early, half a prompt to guess.

    Args:
        examples: what to encode.
        encode: an example → its token ids and labels, of one length.
        max_length: the most tokens of a row.
        name: what to call the examples in messages.
        skill: the number of their skill.

    Raises:
        DataError: there are no examples, or none fits.
    """
    if not examples:
        raise DataError(f"{name or 'data'}: no examples to encode")
    rows = [TokenRow(*encode(example), skill) for example in examples]
    fitting = [row for row in rows if len(row) <= max_length]
    lengths = sorted(map(len, rows))
    result = TokenRows(fitting, max_length, len(rows) - len(fitting), lengths[-1])
    if not fitting:
        raise DataError(
            f"{name or 'data'}: every example is longer than max_length",
            given=f"{lengths[0]} to {lengths[-1]} tokens",
            expected=f"at most {max_length}",
            hint=f"raise max_length to {lengths[len(lengths) * 9 // 10]} to keep nine in ten, "
            "or shorten the prompts",
        )
    if result.note:
        log.warning("%s%s", f"{name}: " if name else "", result.note)
    return result


def token_batches(
    lengths: Sequence[int], batch_size: int, seed: int = 0, epoch: int = 0
) -> list[list[int]]:
    """Indices of all rows, cut into batches of like length in random order.

    Every row stands in one batch; all batches but the last have `batch_size` rows. The same
    arguments give the same batches, so that a resumed run meets the rows it has not seen.
    """
    order = list(range(len(lengths)))
    rng = random.Random(f"{seed}/{epoch}")
    rng.shuffle(order)
    window = WINDOW * batch_size
    batches = []
    for start in range(0, len(order), window):
        alike = sorted(order[start : start + window], key=lengths.__getitem__)
        batches += [alike[i : i + batch_size] for i in range(0, len(alike), batch_size)]
    # A loader that cuts this order every `batch_size` rows needs the short batch at the end.
    short = [batches.pop()] if batches and len(batches[-1]) < batch_size else []
    rng.shuffle(batches)
    return batches + short


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of padding in the tokens that the model computes: 1 - Σ T_row / Σ B·T_batch."""
    real = sum(lengths[i] for batch in batches for i in batch)
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - real / computed if computed else 0.0


class LengthSampler(Sampler[int]):
    """The order of `token_batches`, row by row, for a loader that batches by itself.

    `set_epoch` is called by the Trainer's loader, and gives each epoch an order of its own.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int = 0) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        for batch in token_batches(self.lengths, self.batch_size, self.seed, self.epoch):
            yield from batch


@dataclass(frozen=True)
class Collator:
    """Rows → one batch, padded on the right.

    Attributes:
        pad_id: the token that fills up; it is masked and never learnt.
        multiple: T is rounded up to a multiple of this; 8 suits tensor cores.
    """

    pad_id: int
    multiple: int = 1

    def __call__(self, rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and `labels` [B, T], `skills` [B], all int64."""
        longest = max(map(len, rows))
        width = -(-longest // self.multiple) * self.multiple
        shape = (len(rows), width)
        input_ids = torch.full(shape, self.pad_id)
        labels = torch.full(shape, IGNORED)
        attention_mask = torch.zeros(shape, dtype=torch.int64)
        for b, row in enumerate(rows):
            input_ids[b, : len(row)] = torch.tensor(row.input_ids)
            labels[b, : len(row)] = torch.tensor(row.labels)
            attention_mask[b, : len(row)] = 1
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "skills": torch.tensor([row.skill for row in rows]),
        }
