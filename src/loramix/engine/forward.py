"""One forward of the base for all rows of a step, each with its own mix."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from loramix.base import Base
from loramix.engine.cache import KeyValueStore
from loramix.mixed import MixedModel

if TYPE_CHECKING:
    from loramix.engine.attention import Plan
    from loramix.engine.direct import Direct
    from loramix.engine.recorded import Recorder


class Feed(NamedTuple):
    """What one row feeds in a step.

    Attributes:
        slot: where its keys and values are.
        tokens: its newest ones; a decoding row feeds one.
        first: the place of the first of them in the row.
        weights: of its mix, by the names of `MixedModel`.
        decodes: whether its one token goes with the batch of decoding rows.
    """

    slot: int
    tokens: Sequence[int]
    first: int
    weights: Mapping[str, float]
    decodes: bool


_TURNS: MutableMapping[Tensor, threading.RLock] = WeakIdKeyDictionary()
"""Of each base, by its first parameter: one engine at a time runs it.

They share its hooks, or, where models of their own share its weights, the rows below those.
"""

_MAKING = threading.Lock()


class Runner:
    """Runs steps; where several engines share a base, one at a time.

    Args:
        base: the frozen base.
        mixed: the same with its skills; None where no row has any.
        store: the slots.
    """

    def __init__(self, base: Base, mixed: MixedModel | None, store: KeyValueStore) -> None:
        self.base, self.mixed, self.store = base, mixed, store
        model: Any = base.model
        with _MAKING:
            self._turn = _TURNS.setdefault(next(model.parameters()), threading.RLock())
        self._head: nn.Module | None = model.get_output_embeddings()
        self._head_path = next(
            (path for path, module in base.model.named_modules() if module is self._head), ""
        )
        self._looked = False
        self._short: Direct | None = None
        self._recorder: Recorder | None = None
        self._scope: AbstractContextManager[Any] = contextlib.nullcontext()
        self._scope_of: list[Mapping[str, float]] | None = None

    @torch.inference_mode()
    def __call__(self, feeds: Sequence[Feed]) -> Tensor:
        """Feed the rows' tokens and keep their keys and values.

        Args:
            feeds: decoding rows first, in the order of their slots, which begin at 0.

        Returns:
            Logits [B, V] after the last token of each row, in the order of `feeds`.
        """
        # here, since it loads much of transformers, which commands do in a way of their own
        from loramix.engine.attention import Chunk, Plan

        device = self.base.device
        ids = [token for feed in feeds for token in feed.tokens]
        lengths: list[int] = []
        chunks: list[Chunk] = []
        last: list[int] = []
        stop = 0
        for feed in feeds:
            start, stop = stop, stop + len(feed.tokens)
            last.append(stop - 1)
            if feed.decodes:
                lengths.append(feed.first + 1)
            else:
                end = feed.first + len(feed.tokens)
                chunks.append(Chunk(start, stop, feed.slot, feed.first, end))
        with self._turn, self._mixing(feeds):
            direct = self._direct()
            short = direct is not None and direct.unheard
            if short and self._recorder is not None and not chunks:
                logits = self._recorder(ids, lengths, self._scope, device)
                if logits is not None:
                    return logits
            plan = Plan(lengths, chunks, device)
            inputs = torch.tensor(ids, device=device)
            kept = None if len(ids) == len(feeds) else torch.tensor(last, device=device)
            if direct is not None and short:
                return direct(inputs, plan, self.store, kept)
            return self._whole(inputs[:, None], plan, kept, feeds)

    def _direct(self) -> Direct | None:
        """The short way through the base, if it has one."""
        if not self._looked:
            from loramix.engine.direct import Direct
            from loramix.engine.recorded import Recorder

            self._looked = True
            if Direct.fits(self.base.model):
                self._short = Direct(self.base.model)
                self._recorder = Recorder(self._short, self.store)
        return self._short

    def _whole(
        self, inputs: Tensor, plan: Plan, kept: Tensor | None, feeds: Sequence[Feed]
    ) -> Tensor:
        """The model's own forward of `inputs` [N, 1]."""
        from loramix.engine.attention import StepCache, running

        cache = StepCache(self.store, plan)
        with self._only(kept, feeds), running(self.base.model, cache):
            out: Any = self.base.model(
                input_ids=inputs,
                position_ids=plan.places[:, None],
                attention_mask=torch.ones_like(inputs),
                past_key_values=cache,
                use_cache=True,
            )
        cache.check_attended()
        logits: Tensor = out.logits[:, -1]
        if kept is not None and logits.shape[0] != len(feeds):
            logits = logits[kept]
        return logits

    @property
    def bytes(self) -> int:
        """That stacks of skills and copies with skills folded in take."""
        stacks = 0 if self.mixed is None else self.mixed.skills.kept.bytes
        return stacks + (0 if self._short is None else self._short.bytes)

    def rest(self) -> None:
        """Nothing runs: keep no more of the latest skills than may be kept then."""
        with self._turn:
            if self.mixed is not None and self.mixed.skills.kept.rest():
                self.forget()

    def forget(self) -> None:
        """Drop what was gathered for the latest rows, and what was made of their skills."""
        with self._turn:  # another engine's step may read the rows below the weights
            if self._short is not None:
                self._short.forget()
            if self._recorder is not None:
                self._recorder.forget()
            self._scope, self._scope_of = contextlib.nullcontext(), None

    def _mixing(self, feeds: Sequence[Feed]) -> AbstractContextManager[Any]:
        """The scope in which each token has the mix of its row; one scope for like batches."""
        of = [feed.weights for feed in feeds for _ in feed.tokens]
        if self._scope_of is None or not _same(of, self._scope_of):
            names = sorted({name for feed in feeds for name in feed.weights})
            scope: AbstractContextManager[Any] = contextlib.nullcontext()
            if self.mixed is not None and names:
                rows = [[weights.get(name, 0.0) for name in names] for weights in of]
                weights = torch.tensor(rows, dtype=torch.float32, device=self.base.device)
                scope = self.mixed.using(weights, names)
            self._scope, self._scope_of = scope, of  # after what may fail
        return self._scope

    @contextlib.contextmanager
    def _pick(self, head: nn.Module, kept: Tensor) -> Any:
        handle = head.register_forward_pre_hook(lambda _, args: (args[0][kept], *args[1:]))
        try:
            yield
        finally:
            handle.remove()

    def _only(self, kept: Tensor | None, feeds: Sequence[Feed]) -> AbstractContextManager[Any]:
        """Inside, the head sees only the rows `kept` of the batch; a mixed head sees all."""
        if kept is None or self._head is None or self._mixes_head(feeds):
            return contextlib.nullcontext()
        picked: AbstractContextManager[Any] = self._pick(self._head, kept)
        return picked

    def _mixes_head(self, feeds: Sequence[Feed]) -> bool:
        if self.mixed is None:
            return False
        names = {name for feed in feeds for name in feed.weights}
        return any(self._head_path in self.mixed.skills.skill(name).index for name in names)


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether both hold the very same objects: the mixes of the same rows."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
