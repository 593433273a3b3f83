"""What a run will need at its peak, measured on short rows before it starts.

Formulas for activations hold for one architecture and one version of torch. Instead the tensors
that autograd keeps are counted on rows of a few lengths, and the parabola through these counts
(attention that is not fused grows with T²) gives those of the longest step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from loramix.data.batches import IGNORED, TokenRow
from loramix.errors import ResourceError
from loramix.train.batches import build_batches, split
from loramix.train.module import TrainModule
from loramix.train.room import MIB
from loramix.train.schedule import Schedule, completion_tokens

_SLACK = 1.3  # what passes between layers, and what allocators keep
_GROUND = 64 * MIB  # Python and torch themselves, from the first step on
_LOGIT_BYTES = 14  # a logit in the head's dtype, as float32, its softmax and its gradient


@dataclass(frozen=True)
class Need:
    """The cost of steps in memory.

    Attributes:
        fixed: bytes whatever the batch: gradients, optimizer, casts of weights.
        token: bytes kept for each token of a batch, padding included.
        pair: bytes kept for each token and each token of its row.
        logit: bytes for each picked position: its logits.
    """

    fixed: float
    token: float
    pair: float
    logit: float

    def peak(self, rows: Sequence[tuple[int, int]], longest: int) -> float:
        """Bytes at the peak of one forward and backward pass.

        Args:
            rows: (tokens, completion tokens) of each example in it.
            longest: longer examples are taken to be of this length.
        """
        lengths = [min(tokens, longest) for tokens, _ in rows]
        total, width = len(lengths) * max(lengths), max(lengths)
        picked = sum(min(learned, longest) for _, learned in rows)
        kept = self.token * total + self.pair * total * width + self.logit * picked
        return self.fixed + _SLACK * kept


def measure(module: TrainModule, checkpointing: bool) -> Need:
    """What steps of this module cost, from forward passes over short rows."""
    names = module.mixed.names
    room = int(getattr(module.base.config.get_text_config(), "max_position_embeddings", 64))
    lengths = [max(4, min(64, room) // part) for part in (4, 2, 1)]
    kept = [_kept_bytes(module, names, length) for length in lengths]
    constant, token, pair = _parabola(lengths, kept)
    params = [p for n in names for p in module.mixed.parameters_of(n) if p.requires_grad]
    weights = sum(p.numel() for p in params)
    layers = max(1, int(getattr(module.base.config.get_text_config(), "num_hidden_layers", 1)))
    if checkpointing:  # one layer at a time is computed again, with all that it keeps
        plain = module.train(False)
        whole = [_kept_bytes(plain, names, length) for length in lengths]
        _, all_token, all_pair = _parabola(lengths, whole)
        token, pair = token + all_token / layers, pair + all_pair / layers
    vocabulary = int(module.base.config.get_text_config().vocab_size)
    return Need(
        # a float32 gradient, two moments, and the copies of the best and the saved weights
        fixed=_GROUND + constant + 20.0 * weights,
        token=token / len(names),
        pair=pair / len(names),
        logit=vocabulary * _LOGIT_BYTES,
    )


def _kept_bytes(module: TrainModule, names: Sequence[str], length: int) -> float:
    """Bytes that autograd keeps for one row of each skill, weights of the model apart."""
    ids = [1 + t % 7 for t in range(length)]
    row = TokenRow(ids, [IGNORED] * (length - 1) + ids[-1:])
    batch = build_batches({name: [row] for name in names}, 0)[0].to(module.device)
    own = {t.untyped_storage().data_ptr() for t in module.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        loss = module(batch).sum()  # the graph must live until all is counted
    total = sum(kept.values())
    del loss
    return float(total)


def _parabola(x: Sequence[int], y: Sequence[float]) -> tuple[float, float, float]:
    """(c, b, a) ≥ 0 of y = c + b x + a x² through three points, by divided differences."""
    slope = (y[1] - y[0]) / (x[1] - x[0])
    bend = ((y[2] - y[1]) / (x[2] - x[1]) - slope) / (x[2] - x[0])
    a = max(0.0, bend)
    b = max(0.0, slope - a * (x[0] + x[1]))
    return max(0.0, y[0] - b * x[0] - a * x[0] ** 2), b, a


def check_memory(
    need: Need,
    schedules: Sequence[Schedule],
    room: float,
    cost: int,
    *,
    more_ways: Sequence[str] = (),
) -> float:
    """The bytes that the run will need at its peak.

    Args:
        need: the cost of its steps.
        schedules: what it computes.
        room: bytes that it may take.
        cost: of a pass, see `split`.
        more_ways: what else the user could do, besides a smaller max_length.

    Raises:
        ResourceError: they are more than `room`; names the `max_length` that fits.
    """
    passes = _passes(schedules, cost)
    longest = max(tokens for rows in passes for tokens, _ in rows)

    def peak(length: int) -> float:
        return max(need.peak(rows, length) for rows in passes)

    whole = peak(longest)
    if whole <= room:
        return whole
    fits = _largest(lambda length: peak(length) <= room, longest)
    ways = [f"set train.max_length to {fits}"] if fits else []
    ways += [*more_ways, "a smaller batch_size"]
    if not fits:
        ways.append("a smaller base")
    raise ResourceError(
        "Too little memory for this training; nothing was started.",
        given=f"about {room / MIB:.0f} MiB free",
        expected=f"about {whole / MIB:.0f} MiB, for rows of up to {longest} tokens",
        hint=", or ".join(ways),
    )


def _passes(schedules: Sequence[Schedule], cost: int) -> list[list[tuple[int, int]]]:
    """(tokens, completion tokens) of the examples of each forward pass of the run."""
    sizes = {s.name: [(len(row), completion_tokens(row)) for row in s.rows] for s in schedules}
    passes = []
    for step in range(max(map(len, schedules))):
        active = [s for s in schedules if step < len(s)]
        for micro in range(max(len(s.steps[step]) for s in active)):
            rows = [
                sizes[s.name][i]
                for s in active
                if micro < len(s.steps[step])
                for i in s.steps[step][micro]
            ]
            cuts = split([tokens for tokens, _ in rows], cost)
            passes += [[rows[i] for i in cut] for cut in cuts]
    return passes


def _largest(fits: Callable[[int], bool], longest: int) -> int:
    """The largest length in steps of 8 that fits, or 0."""
    low, high = 0, longest // 8
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * 8) else (low, middle - 1)
    return low * 8
