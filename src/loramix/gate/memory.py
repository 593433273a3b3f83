"""Rows of features with their targets: what the gate is fitted on and what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loramix.mix import BASE

HELD_OUT = 5
"""Every 5th row of a memory was never fitted on, and never will be: it measures each refit."""

CORRECTED = 0.1
"""The share of the rows of a refit that corrections are brought up to."""
OFTEN = 20
"""How often one correction is repeated at most."""

_SINGLE = 0.95
_LEAST_HELD = 40


@dataclass(frozen=True)
class Rows:
    """Features [N, F] and targets [N, K + 1]."""

    features: Tensor
    targets: Tensor

    @classmethod
    def empty(cls, width: int, columns: int) -> Rows:
        """No rows."""
        return cls(torch.zeros(0, width, dtype=torch.float16), torch.zeros(0, columns))

    @classmethod
    def of(cls, features: Tensor, column: int, columns: int) -> Rows:
        """Rows that all need one column and nothing else."""
        targets = torch.zeros(len(features), columns)
        targets[:, column] = 1.0
        return cls(features, targets)

    def needing(self, column: int) -> Tensor:
        """Indices of the rows that need this column alone."""
        return (self.targets[:, column] > _SINGLE).nonzero().flatten()

    def needing_several(self) -> Tensor:
        """Indices of the rows that need several columns."""
        return (self.targets.amax(1) <= _SINGLE).nonzero().flatten()

    def take(self, rows: Tensor) -> Rows:
        """Some rows, by index or by mask."""
        return Rows(self.features[rows], self.targets[rows])

    def with_columns(self, old: Sequence[str], new: Sequence[str]) -> Rows:
        """The same rows for other skills; rows that need a skill that is gone are left out."""
        gone = [i for i, name in enumerate(old) if name not in new]
        kept = self.take(self.targets[:, gone].sum(1) == 0)
        targets = torch.zeros(len(kept.features), len(new) + 1)
        for i, name in enumerate((*old, BASE)):
            if i not in gone:
                targets[:, (*new, BASE).index(name)] = kept.targets[:, i]
        return Rows(kept.features, targets)


def join(groups: Sequence[Rows]) -> Rows:
    """All rows of the groups."""
    return Rows(torch.cat([g.features for g in groups]), torch.cat([g.targets for g in groups]))


def repeated(corrected: Rows, others: int) -> Rows:
    """Corrected rows as often as it takes for a handful to be heard among `others` rows.

    Together they get a share of the rows (`CORRECTED`), and each at most `OFTEN` times its own.
    """
    count = len(corrected.features)
    if not count:
        return corrected
    wanted = CORRECTED / (1 - CORRECTED) * others / count
    return join([corrected] * max(1, min(OFTEN, round(wanted))))


def held_out(memory: Rows) -> Tensor:
    """Mask [N] of the rows of a memory that measure rather than teach."""
    return torch.arange(len(memory.features)) % HELD_OUT == HELD_OUT - 1


def pick(rows: Tensor, memory: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Splits the rows of one kind by chance.

    Args:
        rows: indices.
        memory: how many to remember at most.

    Returns:
        Indices to fit on; to hold out; and to remember, where each 5th is a held-out one.
    """
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    held = min(len(rows) // HELD_OUT, max(memory // HELD_OUT, _LEAST_HELD))
    test, train = shuffled[:held], shuffled[held:]
    kept: list[int] = []
    sources = iter(train.tolist()), iter(test.tolist())
    while len(kept) < memory:
        index = next(sources[len(kept) % HELD_OUT == HELD_OUT - 1], None)
        if index is None:
            break
        kept.append(index)
    return train, test, torch.tensor(kept, dtype=torch.long)
