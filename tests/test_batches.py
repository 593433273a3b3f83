"""Batches of like length: every row once, little padding; what is too long is counted."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loramix.data import Example
from loramix.data.batches import IGNORED, TokenRow, encode_examples, token_batches
from loramix.errors import DataError


def encode(example: Example) -> tuple[list[int], list[int]]:
    """One token a character: enough to tell lengths apart."""
    prompt, answer = list(map(ord, example.prompt)), list(map(ord, example.completion))
    return prompt + answer, [IGNORED] * len(prompt) + answer


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of padding in the tokens that a model computes: 1 - Σ T_row / Σ B·T_batch."""
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths) / computed


def realistic(count: int, seed: int = 0) -> list[int]:
    """Lengths as texts have them: log-normal, a median of 90 tokens, some ten times as long."""
    rng = random.Random(seed)
    return [min(1024, 5 + int(rng.lognormvariate(4.4, 0.8))) for _ in range(count)]


@given(
    st.lists(st.integers(1, 500), max_size=300),
    st.integers(1, 40),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_every_row_stands_in_one_batch(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    batches = token_batches(lengths, batch_size, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert batches == token_batches(lengths, batch_size, seed, epoch)


@pytest.mark.parametrize("batch_size", [8, 16, 32])
@pytest.mark.parametrize("count", [2000, 5000])
def test_less_than_a_tenth_is_padding(count: int, batch_size: int) -> None:
    lengths = realistic(count)
    at_random = [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
    assert padding_share(lengths, at_random) > 0.45, "these lengths are a test"
    for epoch in range(3):
        assert padding_share(lengths, token_batches(lengths, batch_size, 0, epoch)) < 0.1


def test_epochs_differ_and_short_rows_do_not_always_come_first() -> None:
    lengths = realistic(1000)
    first, second = (token_batches(lengths, 16, 0, epoch) for epoch in (0, 1))
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    longest = [max(lengths[i] for i in batch) for batch in first]
    assert longest != sorted(longest)


# Rows that are too long


def test_rows_longer_than_max_length_are_counted_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    examples = [Example("p" * n, "answer") for n in (1, 2, 50, 70)]
    with caplog.at_level(logging.WARNING):
        encoded = encode_examples(examples, encode, max_length=10, name="qa")
    assert [len(row) for row in encoded.rows] == [7, 8]
    assert (encoded.dropped, encoded.longest) == (2, 76)
    assert encoded.note is not None
    assert "2 of 4 examples (50.0%) are longer than max_length 10" in encoded.note
    assert caplog.messages == [f"qa: {encoded.note}"]


def test_nothing_is_reported_when_everything_fits(caplog: pytest.LogCaptureFixture) -> None:
    encoded = encode_examples([Example("ab", "c")], encode, max_length=3)
    assert encoded.rows == [TokenRow([97, 98, 99], [IGNORED, IGNORED, 99])]
    assert (encoded.dropped, encoded.note, caplog.messages) == (0, None, [])


def test_rows_that_are_all_too_long_name_the_length_that_fits() -> None:
    examples = [Example("p" * n, "x") for n in range(20, 40)]
    with pytest.raises(DataError) as caught:
        encode_examples(examples, encode, max_length=10, name="qa")
    assert "qa: every example is longer than max_length" in str(caught.value)
    assert "21 to 40 tokens" in str(caught.value)
    assert "raise max_length to 39" in str(caught.value)
    with pytest.raises(DataError, match="no examples"):
        encode_examples([], encode, max_length=10)
