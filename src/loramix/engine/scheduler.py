"""Which rows run, in which slots, and what each feeds in the next step.

    waiting ──hold its skills──> staged ──skills read, a slot and memory free──> running

Rows that decode stand in the first slots, one token a step; behind them rows read their prompts
in chunks, so that a long prompt slows the streams down by a bounded amount.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from loramix.engine.cache import KeyValueStore
from loramix.engine.forward import Feed
from loramix.engine.prefix import PrefixCache
from loramix.engine.residency import Residents
from loramix.engine.row import Row
from loramix.errors import ResourceError, UsageError


@dataclass(frozen=True)
class Limits:
    """What the engine may use.

    Attributes:
        max_rows: rows that run at once.
        cache_bytes: of keys and values; None is a quarter of the memory that is free. All slots
            are as long as the longest row may become, so one of many tokens leaves few slots, in
            which the others take turns.
        prefix_bytes: of keys and values kept for prompts that begin alike; 0 keeps none.
        chunk_tokens: prompt tokens a step while other rows decode; a router reads as many, too.
        prompt_tokens: the same while none decodes.
        max_queue: completions that may wait, beside those that slots are free for; None is any
            number.
        max_resident: skills of the library in memory.

    Raises:
        UsageError: a value is out of its range.
    """

    max_rows: int = 32
    cache_bytes: int | None = None
    prefix_bytes: int = 64 << 20
    chunk_tokens: int = 256
    prompt_tokens: int = 2048
    max_queue: int | None = None
    max_resident: int = 64

    def __post_init__(self) -> None:
        least = {"max_rows": 1, "chunk_tokens": 1, "prompt_tokens": 1, "max_resident": 1}
        least |= {"cache_bytes": 0, "prefix_bytes": 0, "max_queue": 0}
        for name, bound in least.items():
            given = getattr(self, name)
            if given is not None and given < bound:
                raise UsageError(
                    f"{name} is out of range.", given=given, expected=f"at least {bound}"
                )


class Scheduler:
    """The rows.

    Args:
        store: the slots.
        prefix: keys and values of prompts before.
        residents: the skills in memory.
        limits: what may be used.
        cache_bytes: of the slots.
        token_bytes: of a token, until the store knows.

    Attributes:
        waiting, staged: rows without a slot; some may be gone.
        running: the row in each slot; the first `decoding` of them decode.
        placed: how many rows have had a slot so far.
    """

    def __init__(
        self,
        store: KeyValueStore,
        prefix: PrefixCache,
        residents: Residents,
        limits: Limits,
        cache_bytes: int,
        token_bytes: int,
    ) -> None:
        self.store, self.prefix, self.residents = store, prefix, residents
        self.limits, self.cache_bytes, self._guess = limits, cache_bytes, token_bytes
        self.waiting: deque[Row] = deque()
        self.staged: list[Row] = []
        self.running: list[Row] = []
        self.placed = 0
        self.decoding = 0

    @property
    def token_bytes(self) -> int:
        """Of one token in all layers."""
        return self.store.token_bytes or self._guess

    @property
    def prompt_budget(self) -> int:
        """Prompt tokens that a step may read, and that the router may read before it."""
        return self.limits.chunk_tokens if self.decoding else self.limits.prompt_tokens

    def fault(self, tokens: int) -> ResourceError | None:
        """The error for a row of so many tokens that could never run; None if it could."""
        if tokens * self.token_bytes <= self.cache_bytes:
            return None
        return ResourceError(
            "The request does not fit into the cache of keys and values.",
            given=f"{tokens} tokens, {tokens * self.token_bytes:,} bytes",
            expected=f"at most {self.cache_bytes:,} bytes",
            hint="ask for fewer new tokens, shorten the prompt, or raise cache_bytes",
        )

    def stage(self) -> None:
        """Let the next rows in line hold their skills, in order."""
        for row in [row for row in self.staged if row.gone]:
            self.unstage(row)
        ahead = self.limits.max_rows + len(self.running)
        while self.waiting and len(self.staged) < ahead:
            row = self.waiting[0]
            if not row.gone and not self.residents.reserve(row.resolved.skills):
                return
            self.waiting.popleft()
            if not row.gone:
                self.staged.append(row)

    def admit(self) -> list[tuple[Row, Exception]]:
        """Give slots to staged rows, in order; those whose skills are not yet read wait aside.

        Returns:
            The rows that cannot run, and why.
        """
        failed: list[tuple[Row, Exception]] = []
        kept: list[Row] = []
        full = False
        for row in self.staged:
            skills = row.resolved.skills
            fault: Exception | None = self.residents.fault(skills)
            if fault is None and not full and self.residents.ready(skills):
                if self._twin_reads(row):
                    pass
                elif self._fits(row):
                    self._place(row)
                    continue
                else:
                    full = True
                    fault = None if self.running else self.fault(row.need)
            if fault is not None:
                failed.append((row, fault))
            kept.append(row)
        self.staged = kept
        return failed

    def unstage(self, row: Row) -> None:
        """Let a row go back in line: it is to have other skills."""
        if row in self.staged:
            self.staged.remove(row)
            self.residents.release(row.resolved.skills)

    def feeds(self) -> list[tuple[Row, Feed]]:
        """What each row feeds in the next step, decoding rows first, and room for it."""
        if not self.running:
            return []
        budget = self.prompt_budget
        feeds = []
        for slot, row in enumerate(self.running):
            decodes = slot < self.decoding
            count = 1 if decodes else min(row.pending, budget)
            if not decodes:
                budget -= count
            if count:
                tokens = row.tokens[row.filled : row.filled + count]
                feeds.append((row, Feed(slot, tokens, row.filled, row.resolved.weights, decodes)))
        self._make_room()
        return feeds

    def settle(self, row: Row) -> None:
        """Let a row that has read its prompt stand with those that decode."""
        slot = row.slot
        if slot is None or slot < self.decoding or row.pending != 1:
            return
        if slot != self.decoding:
            other = self.running[self.decoding]
            self.store.swap(slot, self.decoding, max(row.filled, other.filled))
            self._stand(other, slot)
            self._stand(row, self.decoding)
        self.decoding += 1

    def leave(self, row: Row, wipe: bool = False) -> None:
        """Free the slot of a row, and let go of its skills.

        Args:
            wipe: zero the slot, because what is there may not be numbers.
        """
        slot = row.slot
        assert slot is not None
        if wipe:
            self.store.wipe(slot)
        if slot < self.decoding:
            self.decoding -= 1
            slot = self._fill(slot, self.decoding)
        self._fill(slot, len(self.running) - 1)
        self.running.pop()
        row.slot = None
        self.residents.release(row.resolved.skills)
        if not self.running:
            self.store.release()

    def restart(self) -> None:
        """Have all running rows read their tokens again: keys and values are lost."""
        self.decoding = 0
        self.store.forget()
        self.prefix.clear()
        for row in self.running:
            row.filled = 0
        for row in list(self.running):
            self.settle(row)

    def reset(self) -> None:
        """Drop all rows and what was kept for them."""
        self.waiting.clear()
        self.staged.clear()
        self.running.clear()
        self.decoding = 0
        self.residents.release_all()
        self.store.release()
        self.prefix.clear()

    def _fill(self, hole: int, last: int) -> int:
        """Move the row of slot `last` into a hole; returns the hole that is left."""
        if hole != last:
            moved = self.running[last]
            self.store.copy(last, hole, moved.filled)
            self._stand(moved, hole)
        return last

    def _stand(self, row: Row, slot: int) -> None:
        self.running[slot] = row
        row.slot = slot

    def _twin_reads(self, row: Row) -> bool:
        """Whether another row is about to have the prompt's keys and values."""
        twin = row.twin
        return twin is not None and not twin.gone and twin.filled < row.prompt - 1

    def _fits(self, row: Row) -> bool:
        rows = len(self.running) + 1
        need = max(row.need, *(other.need for other in self.running), 1)
        return rows <= self.limits.max_rows and rows * need * self.token_bytes <= self.cache_bytes

    def _place(self, row: Row) -> None:
        slot = len(self.running)
        self.running.append(row)
        self.placed += 1
        row.slot = slot
        self._make_room()
        twin = row.twin
        if twin is not None and twin.slot is not None:
            self.store.copy(twin.slot, slot, row.prompt - 1)
            row.filled = row.prompt - 1
        elif row.root is not None:
            row.filled = self.prefix.fetch(row.root, row.tokens, self.store, slot)
        self.settle(row)

    def _make_room(self) -> None:
        longest = max(len(row.tokens) for row in self.running)
        most = max(longest, *(row.need for row in self.running))
        slots = min(self.limits.max_rows, self.cache_bytes // (most * self.token_bytes))
        self.store.reserve(len(self.running), longest, slots, most)
