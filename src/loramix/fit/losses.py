"""How likely a mix makes the right answers: nats a token of their completions.

The weights [K] are the only thing that may learn: the base and the adapters are frozen, and the
mixed forward carries gradients from the loss to the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.adapter import Adapter
from loramix.base import Base, encode_example
from loramix.data import Example
from loramix.data.batches import IGNORED, TokenRow
from loramix.errors import DataError
from loramix.mixed import MixedModel
from loramix.train.batches import Batch, build_batches
from loramix.train.module import TrainModule

ROWS = 8
"""Rows of one forward pass; their activations are kept where gradients are asked for."""


class Losses:
    """Losses of examples under any mix of `adapters`. A context: at its end the base is as before.

    Args:
        base: with full weights.
        adapters: the K skills, in the order of the weights.
        examples: what is to be answered.

    Attributes:
        names: the K skills.
        passes: rows that went forward so far, an estimate of what was spent.

    Raises:
        BaseError: the base is in int8.
        DataError: an example does not fit into the context.
    """

    def __init__(
        self, base: Base, adapters: Mapping[str, Adapter], examples: Sequence[Example]
    ) -> None:
        base.require_full_weights("Fitting a mix")
        self.names = tuple(adapters)
        self.passes = 0
        self._rows = [
            _row(base, number, example) for number, example in enumerate(examples, start=1)
        ]
        self._counts = torch.tensor(
            [sum(label != IGNORED for label in row.labels) for row in self._rows]
        )
        self._pad = base.pad_id
        mixed = MixedModel(base.model)
        for name, adapter in adapters.items():
            mixed.add(name, adapter)
        longest = max(map(len, self._rows))
        self._module = TrainModule(
            mixed, bf16=False, checkpointing=False, longest=longest, pad_id=self._pad
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._module.close()

    def values(self, weights: Tensor, rows: Sequence[int]) -> Tensor:
        """The loss of each of `rows`.

        Args:
            weights: [K] for all, or [N, K] with a mix for each of `rows`; the last skills may be
                left out.
            rows: N places in the examples.

        Returns:
            [N] float32, each the mean over the tokens of its completion, in nats.
        """
        each = self._rows_of(weights, len(rows))
        found = torch.zeros(len(rows))
        with torch.no_grad():
            for places, batch in self._batches(rows):
                found[places] = self._loss(batch, each[places], [rows[i] for i in places])
        return found

    def slope(self, weights: Tensor, rows: Sequence[int]) -> tuple[float, Tensor]:
        """The mean loss of `rows` under `weights` [K], and its gradient [K]."""
        leaf = weights.detach().clone().requires_grad_()
        total = 0.0
        for places, batch in self._batches(rows):
            each = self._rows_of(leaf, len(places))
            loss = self._loss(batch, each, [rows[i] for i in places]).sum() / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        assert leaf.grad is not None
        return total, leaf.grad

    def _rows_of(self, weights: Tensor, rows: int) -> Tensor:
        """[rows, K]; where fewer weights are given, the other skills have none."""
        each = weights.expand(rows, weights.shape[-1])
        return torch.nn.functional.pad(each, (0, len(self.names) - each.shape[1]))

    def _loss(self, batch: Batch, weights: Tensor, rows: Sequence[int]) -> Tensor:
        """[N] for the N rows of a batch under weights [N, K]."""
        self.passes += len(rows)
        sums: Tensor = self._module(replace(batch, skills=self.names, weights=weights))
        return sums / self._counts[list(rows)].to(sums)

    def _batches(self, rows: Sequence[int]) -> list[tuple[list[int], Batch]]:
        """Passes of at most `ROWS` rows of like length, each with the places of `rows` in it."""
        order = sorted(range(len(rows)), key=lambda place: len(self._rows[rows[place]]))
        made = []
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            lessons = {str(place): [self._rows[rows[place]]] for place in places}
            [batch] = build_batches(lessons, self._pad)
            made.append((places, batch.to(self._module.device)))
        return made


def _row(base: Base, number: int, example: Example) -> TokenRow:
    ids, labels = encode_example(base, example.prompt, example.completion)
    if len(ids) > base.max_length:
        raise DataError(
            f"Example {number} does not fit into the context of {base.id}.",
            given=f"{len(ids)} tokens",
            expected=f"at most {base.max_length}",
            hint="shorten it or leave it out",
        )
    return TokenRow(ids, labels)
