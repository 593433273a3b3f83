"""Rows of several skills → one batch, packed so that padding costs next to nothing.

Skills differ in length: an equation has 30 tokens, a passage with its question 200. Side by side
in one rectangle most of it would be padding. So short examples of one skill share a row: each
sees only itself (a block-diagonal causal mask) and counts its positions from 0, so that it
computes what it would alone. A row belongs to one skill, because the mix is one weight for each
row and skill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from loramix.data.batches import IGNORED, TokenRow


@dataclass(frozen=True)
class Batch:
    """What one forward pass reads.

    Attributes:
        names: the K skills.
        weights: [B, K] float32, one-hot: whose adapter a row trains.
        input_ids: [B, T] int64
        position_ids: [B, T] int64, from 0 in each example; None where rows hold one example.
        mask: [B, 1, T, T] bool, True where a token (third) sees another (last); None where
            plain causality does, as padding stands on the right.
        picks: [M] int64, flat positions b·T + t whose next token is learned.
        targets: [M] int64, these next tokens.
        owners: [M] int64, the skills that they belong to, as columns of `weights`.
        tokens: real tokens of each skill.
    """

    names: tuple[str, ...]
    weights: torch.Tensor
    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    mask: torch.Tensor | None
    picks: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    tokens: tuple[int, ...]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the weights stay, since the mixed forward moves them itself."""
        if device.type == self.input_ids.device.type:
            return self
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=None if self.position_ids is None else self.position_ids.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            picks=self.picks.to(device),
            targets=self.targets.to(device),
            owners=self.owners.to(device),
        )


def pack(lengths: Sequence[int], width: int) -> list[list[int]]:
    """First-fit decreasing: indices of `lengths`, grouped so that no group is over `width`."""
    groups: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        for g, left in enumerate(room):
            if lengths[i] <= left:
                groups[g].append(i)
                room[g] -= lengths[i]
                break
        else:
            groups.append([i])
            room.append(width - lengths[i])
    return groups


def build_batch(
    rows: Mapping[str, Sequence[TokenRow]], pad_id: int, *, packed: bool = True
) -> Batch:
    """One batch of the rows of each skill.

    Args:
        rows: skill → its examples in this forward pass; at least one in all.
        pad_id: fills up rows on the right; no loss looks at it, and no token before it sees it.
        packed: whether examples may share a row; not all architectures take such masks.
    """
    width = max(len(row) for some in rows.values() for row in some)
    bins: list[tuple[int, list[TokenRow]]] = []
    for k, some in enumerate(rows.values()):
        lengths = [len(row) for row in some]
        groups = pack(lengths, width) if packed else [[i] for i in range(len(some))]
        bins += [(k, [some[i] for i in group]) for group in groups]
    ids, positions, segments = [], [], []
    picks: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for b, (k, examples) in enumerate(bins):
        line: list[int] = []
        places: list[int] = []
        marks: list[int] = []
        for number, row in enumerate(examples, start=1):
            first = b * width + len(line) - 1
            for t, label in enumerate(row.labels):
                if t and label != IGNORED:
                    picks.append(first + t)
                    targets.append(label)
                    owners.append(k)
            line += row.input_ids
            places += range(len(row))
            marks += [number] * len(row)
        fill = width - len(line)
        ids.append(line + [pad_id] * fill)
        positions.append(places + [0] * fill)
        segments.append(marks + [0] * fill)
    weights = torch.zeros(len(bins), len(rows))
    weights[torch.arange(len(bins)), torch.tensor([k for k, _ in bins])] = 1.0
    shared = any(len(examples) > 1 for _, examples in bins)
    return Batch(
        names=tuple(rows),
        weights=weights,
        input_ids=torch.tensor(ids),
        position_ids=torch.tensor(positions) if shared else None,
        mask=_block_mask(torch.tensor(segments)) if shared else None,
        picks=torch.tensor(picks),
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
        tokens=tuple(sum(map(len, some)) for some in rows.values()),
    )


def _block_mask(segments: torch.Tensor) -> torch.Tensor:
    """[B, 1, T, T] bool from segment numbers [B, T]: the same example, and not later."""
    same = segments[:, None, :, None] == segments[:, None, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    return same & causal
