"""Rows of several lessons → a few batches of like length, in which padding costs next to nothing.

One forward pass has a fixed cost (some hundred small operations), and a cost for each token of
its rectangle, padding included. `split` finds the cut of a step's rows into passes that costs
least. Right-padded causal rows need no mask: no token sees what stands after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from loramix.data.batches import IGNORED, TokenRow


@dataclass(frozen=True)
class Batch:
    """What one forward pass reads.

    Attributes:
        names: the N lessons whose rows stand in it, each a skill or a blend of skills.
        skills: the K skills that run on some row.
        weights: [B, K] float32: whose adapters a row trains, and how much of each runs on it;
            one-hot for the rows of one skill.
        input_ids: [B, T] int64, padded on the right.
        picks: [M] int64, flat positions b·T + t whose next token is learned.
        targets: [M] int64, these next tokens; IGNORED where picks are filled up.
        owners: [M] int64, the lessons that they belong to, as places in `names`.
        tokens: real tokens of each lesson.
    """

    names: tuple[str, ...]
    skills: tuple[str, ...]
    weights: torch.Tensor
    input_ids: torch.Tensor
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
            picks=self.picks.to(device),
            targets=self.targets.to(device),
            owners=self.owners.to(device),
        )


class Grid(NamedTuple):
    """Shapes that passes are rounded up to, so that there are few of them.

    For half-precision products of a shape that it has not met lately, torch's library on a CPU
    makes machine code first, which takes milliseconds for each. On two Sapphire Rapids cores a
    step of the pocket base's five skills takes 0.54 s on a grid of 8 and 64 instead of 0.72, and
    the process 1.6 GB at its peak instead of 2.1; the padding adds 4 % to the tokens.

    Attributes:
        width: tokens.
        picks: positions that are learned.
        longest: the most tokens that the base takes.
    """

    width: int = 1
    picks: int = 1
    longest: int = 1 << 60

    def tokens(self, length: int) -> int:
        """The width of a pass whose longest row has `length` tokens."""
        return max(length, min(-(-length // self.width) * self.width, self.longest))


EXACT = Grid()


def grid(device: torch.device, half: bool, longest: int) -> Grid:
    """The grid that suits a device and the dtype of its products."""
    return Grid(8, 64, longest) if half and device.type == "cpu" else EXACT


def pass_cost(device: torch.device) -> int:
    """What one pass costs whatever its size, in tokens that could be computed instead.

    Measured on two cores with the pocket base: 20 to 45 ms a pass, 0.1 to 0.25 ms a token. A GPU
    is hardly slower for thousands of tokens than for one.
    """
    return 200 if device.type == "cpu" else 8192


def split(lengths: Sequence[int], cost: int) -> list[list[int]]:
    """Cuts rows into passes so that Σ (cost + rows · longest row) is least.

    Among rows in order of length each pass is a stretch, so dynamic programming finds the best.

    Returns:
        Indices of `lengths`, the longest pass first.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    best, cuts = [0], [0]  # the least cost of the first rows, and where their last pass starts
    for end in range(1, len(order) + 1):
        least, cut = 1 << 62, 0
        for start in range(end - 1, -1, -1):
            area = (end - start) * lengths[order[start]]
            if area >= least:
                break  # an earlier start only makes this pass larger
            if best[start] + cost + area < least:
                least, cut = best[start] + cost + area, start
        best.append(least)
        cuts.append(cut)
    passes, end = [], len(order)
    while end:
        passes.append(order[cuts[end] : end])
        end = cuts[end]
    return passes[::-1]


def build_batches(
    rows: Mapping[str, Sequence[TokenRow]],
    pad_id: int,
    cost: int = 1 << 60,
    shapes: Grid = EXACT,
) -> list[Batch]:
    """Batches of all the rows of each skill.

    Args:
        rows: lesson → its examples; at least one in all.
        pad_id: fills up rows; no loss looks at it.
        cost: of a pass, see `split`; without it there is one pass.
        shapes: what widths and picks are rounded up to.
    """
    flat = [(name, row) for name, some in rows.items() for row in some]
    cuts = split([shapes.tokens(len(row)) for _, row in flat], cost)
    return [_batch([flat[i] for i in sorted(cut)], pad_id, shapes) for cut in cuts]


def _batch(rows: Sequence[tuple[str, TokenRow]], pad_id: int, shapes: Grid) -> Batch:
    names = tuple(dict.fromkeys(name for name, _ in rows))
    mixes = [row.mix or {name: 1.0} for name, row in rows]
    skills = tuple(dict.fromkeys(skill for mix in mixes for skill in mix))
    width = shapes.tokens(max(len(row) for _, row in rows))
    ids: list[list[int]] = []
    picks: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    weights = torch.zeros(len(rows), len(skills))
    tokens = dict.fromkeys(names, 0)
    for b, (name, row) in enumerate(rows):
        for skill, weight in mixes[b].items():
            weights[b, skills.index(skill)] = weight
        tokens[name] += len(row)
        ids.append(row.input_ids + [pad_id] * (width - len(row)))
        learned = [t for t, label in enumerate(row.labels) if t and label != IGNORED]
        picks += [b * width + t - 1 for t in learned]
        targets += [row.labels[t] for t in learned]
        owners += [names.index(name)] * len(learned)
    filling = -len(picks) % shapes.picks
    picks += [0] * filling
    targets += [IGNORED] * filling
    owners += [0] * filling
    return Batch(
        names=names,
        skills=skills,
        weights=weights,
        input_ids=torch.tensor(ids),
        picks=torch.tensor(picks),
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
        tokens=tuple(tokens.values()),
    )
