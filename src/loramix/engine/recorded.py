"""Decoding steps that are recorded once and replayed, on a GPU.

There a step of a small model is some hundreds of launches, each of which takes the processor longer
than the device. A CUDA graph launches them together, if nothing that the step reads or writes
moves: so its rows, the places that it attends to and its skills are those of the recording, and its
tokens, their places and the weights of the mixes are written into tensors that stay. The first
replay is compared with the step as it is run otherwise; where they differ, nothing is replayed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loramix.engine.attention import Plan
from loramix.engine.cache import KeyValueStore
from loramix.scope import MixScope

if TYPE_CHECKING:
    from loramix.engine.direct import Direct

_LOG = logging.getLogger(__name__)

_SETTLED = 16
"""Steps of one kind before it is recorded, which takes as long as some of them."""

_ENDS = 128
"""Places that a recording attends to come in multiples of this."""

_MOST = 8
"""Recordings that are kept."""

_NEAR = 0.05
"""By how much a replay's logits may differ, as a share of the largest: bfloat16's rounding."""


class Recorder:
    """Replays the decoding steps of one engine.

    Args:
        direct: the forward.
        store: the slots.

    Attributes:
        replayed: steps that were.
    """

    def __init__(self, direct: Direct, store: KeyValueStore) -> None:
        self._direct, self._store = direct, store
        self._kept: OrderedDict[tuple[object, ...], Recording] = OrderedDict()
        self._latest: tuple[object, ...] = ()
        self._steps = 0
        self._fault: str | None = None
        self._made: tuple[int, int] = (-1, -1)
        self.replayed = 0

    @staticmethod
    def why_not(device: torch.device) -> str | None:
        """Why steps are not replayed on a device; None where they are."""
        if device.type != "cuda":
            return f"steps are recorded on CUDA alone, and the base is on {device.type}"
        return None

    def __call__(
        self,
        tokens: Sequence[int],
        lengths: Sequence[int],
        scope: object,
        device: torch.device,
    ) -> Tensor | None:
        """Logits [B, V] of one token for each row; None where the step has to be run.

        Args:
            tokens: the newest of each row, row i in slot i.
            lengths: of the rows, that token included.
            scope: the `MixScope` in force; anything else where nothing is mixed.
            device: of the base.
        """
        if self._fault is not None or self.why_not(device) or self._direct.moved:
            return None
        made = (self._direct.joined, self._store.made)
        if made != self._made:  # what the recordings read is gone
            self._made = made
            self._kept.clear()
        mix = scope if isinstance(scope, MixScope) else None
        if mix is not None and mix.learns:  # it reads tensors that a training may change
            return None
        end = min(-(-max(lengths) // _ENDS) * _ENDS, self._store.capacity)
        key = len(tokens), end, mix and (mix.skills, mix.scaled)
        if key not in self._kept and not self._settled(key):
            return None
        try:
            if key not in self._kept:
                self._kept[key] = self._record(tokens, lengths, mix, end)
            self._kept.move_to_end(key)
            logits = self._kept[key](tokens, lengths, mix)
        except RuntimeError as error:  # of memory, say: without recordings there may be enough
            self._give_up(f"a step cannot be recorded: {error}")
            return None
        self.replayed += 1
        return logits

    def forget(self) -> None:
        """Drop all recordings."""
        self._kept.clear()

    def _settled(self, key: tuple[object, ...]) -> bool:
        self._steps = self._steps + 1 if key == self._latest else 1
        self._latest = key
        return self._steps > _SETTLED

    def _record(
        self, tokens: Sequence[int], lengths: Sequence[int], mix: MixScope | None, end: int
    ) -> Recording:
        made = Recording(self._direct, self._store, tokens, lengths, mix, end)
        inputs = torch.tensor(tokens, device=made.device)
        wanted = self._direct(inputs, Plan(lengths, (), made.device), self._store, None)
        apart = float((made(tokens, lengths, mix) - wanted).abs().max())
        if not apart <= _NEAR * float(wanted.abs().max()):
            raise RuntimeError(f"its logits are {apart:.3g} away from those of the step")
        if len(self._kept) >= _MOST:
            self._kept.popitem(last=False)
        return made

    def _give_up(self, fault: str) -> None:
        self._fault = fault
        self._kept.clear()
        _LOG.warning("%s; steps are run one launch after the other, which is slower", fault)


class StaticPlan(Plan):
    """A plan of decoding rows whose places are read from a tensor.

    Args:
        places: [B] int64, of each row's newest token.
        end: places that are attended to, at most.
    """

    def __init__(self, places: Tensor, end: int) -> None:
        self.device, self.chunks, self.lengths = places.device, (), ()
        self.decoding, self.longest, self.end = places.shape[0], end, end
        self.slots, self.places = torch.arange(places.shape[0], device=places.device), places
        self._masks: dict[Any, Tensor | None] = {}

    def decode_mask(self, window: int | None, dtype: torch.dtype) -> tuple[int, Tensor | None]:
        """All places, and what to add to their scores; for as long as `forget` is not called."""
        key = (window, dtype)
        if key not in self._masks:
            at = torch.arange(self.end, device=self.device)
            newest = self.places[:, None]
            seen = at <= newest
            if window is not None:
                seen &= at > newest - window
            mask = torch.zeros(seen.shape, device=self.device, dtype=dtype)
            self._masks[key] = mask.masked_fill_(~seen, -torch.inf)[:, None, None]
        return 0, self._masks[key]

    def forget(self) -> None:
        """The places are others now."""
        self._masks = {}


class Recording:
    """One kind of step.

    Args:
        direct, store: as for `Recorder`.
        tokens, lengths: of a step of that kind, which is run.
        mix: the scope in force, or None.
        end: places that it attends to, at most.
    """

    def __init__(
        self,
        direct: Direct,
        store: KeyValueStore,
        tokens: Sequence[int],
        lengths: Sequence[int],
        mix: MixScope | None,
        end: int,
    ) -> None:
        self.device = store.layer(0).keys.device
        self._inputs = torch.zeros(2, len(tokens), dtype=torch.int64, device=self.device)
        # its scales are read by what is recorded, and written over for the scopes that follow
        self._mix = None if mix is None else mix.twin()
        self._weighed = mix
        plan = StaticPlan(self._inputs[1], end)

        def run() -> Tensor:
            plan.forget()
            return direct(self._inputs[0], plan, store, None)

        self._feed(tokens, lengths)
        with self._mix or contextlib.nullcontext():
            self._replay = record(run, self.device)

    def __call__(
        self, tokens: Sequence[int], lengths: Sequence[int], mix: MixScope | None
    ) -> Tensor:
        """Logits [B, V] of a step of that kind."""
        if mix is not self._weighed and mix is not None and self._mix is not None:
            self._mix.weigh_as(mix)
            self._weighed = mix
        self._feed(tokens, lengths)
        return self._replay().clone()

    def _feed(self, tokens: Sequence[int], lengths: Sequence[int]) -> None:
        rows = [list(tokens), [length - 1 for length in lengths]]
        self._inputs.copy_(torch.tensor(rows))


def record(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """A CUDA graph of what `run` launches; called, it launches the same again.

    Raises:
        RuntimeError: something in it cannot be recorded.
    """
    cuda: Any = torch.cuda
    before = cuda.current_stream(device)
    aside = cuda.Stream(device)
    aside.wait_stream(before)
    with cuda.stream(aside):
        for _ in range(2):  # libraries take their memory and choose their kernels at first use
            run()
    before.wait_stream(aside)
    graph = cuda.CUDAGraph()
    # others may use the device from threads of their own meanwhile
    with cuda.graph(graph, capture_error_mode="thread_local"):
        logits = run()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay
