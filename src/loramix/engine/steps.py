"""What happens in a step; one thread at a time does all of it.

A step looks for what came in (requests, cancels, deadlines, skills that were read), gives free
slots to those in line, runs one forward for all rows that run, and chooses their next tokens.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loramix.base import Base, device_failed
from loramix.engine.cache import KeyValueStore
from loramix.engine.faults import failed
from loramix.engine.forward import Feed, Runner
from loramix.engine.prefix import PrefixCache, root_of
from loramix.engine.request import Piece, Submission
from loramix.engine.residency import Residents, Resolved
from loramix.engine.routing import Mixer
from loramix.engine.row import Row
from loramix.engine.scheduler import Scheduler
from loramix.errors import DeadlineError, LibraryError, LoramixError
from loramix.sampling import choose_each, logprobs
from loramix.snapshot import stamp_of

if TYPE_CHECKING:
    from loramix.library import Library
    from loramix.mixed import MixedModel

Arrival = tuple[Submission, Resolved | None]
"""A request, and its skills as they were when it came; None where a router is to choose."""

Handed = tuple[Submission, Piece]


class Steps:
    """The rows of an engine, and what is done with them.

    Args:
        base, mixed, library: as the engine was given them.
        context: tokens of prompt and completion together.
        mixer: chooses mixes.
        residents: the skills in memory.
        scheduler: who runs.

    Attributes:
        inbox: requests that came and are not yet opened; any thread may append.
        cancels: requests of which no more is wanted; any thread may append.
        open: the unfinished requests and their rows.
        again: whether another step may find work that this one did not.
        left: completions that no longer wait: they run, or ended before they did.
        failed, count, seconds, prompt_seconds, prompt_tokens, completion_tokens: see `Stats`.
    """

    def __init__(
        self,
        base: Base,
        mixed: MixedModel | None,
        library: Library | None,
        context: int,
        mixer: Mixer,
        residents: Residents,
        scheduler: Scheduler,
    ) -> None:
        self.base, self.mixed, self.library, self._context = base, mixed, library, context
        self.mixer, self.residents, self.scheduler = mixer, residents, scheduler
        self.store: KeyValueStore = scheduler.store
        self.prefix: PrefixCache = scheduler.prefix
        self._runner = Runner(base, mixed, self.store)
        self.inbox: deque[Arrival] = deque()
        self.cancels: deque[Submission] = deque()
        self.open: dict[Submission, list[Row]] = {}
        self.again = False
        self._stamp: tuple[int, int, int] | None = None
        # weak, since most requests end long before they are due
        self._deadlines: list[tuple[float, int, weakref.ref[Submission]]] = []
        self._opened = self.left = self.failed = 0
        self.count = self.prompt_tokens = self.completion_tokens = 0
        self.seconds = self.prompt_seconds = 0.0

    def run(self) -> list[Handed]:
        """Take in what came, and write one token of each row that is ready to.

        Returns:
            What was handed over.
        """
        self.take_in()
        feeds = self.scheduler.feeds()
        pieces = self._step(feeds) if feeds else []
        if not self.open:
            self._runner.rest()
        return pieces

    def _step(self, feeds: list[tuple[Row, Feed]]) -> list[Handed]:
        begun = time.perf_counter()
        fed, scores = self._forward(feeds)
        pieces = self._write(fed, scores) if fed else []
        seconds = time.perf_counter() - begun
        tokens = sum(len(feed.tokens) for _, feed in feeds)
        prompt = sum(len(feed.tokens) for _, feed in feeds if not feed.decodes)
        self.count += 1
        self.seconds += seconds
        self.prompt_seconds += seconds * prompt / tokens
        self.prompt_tokens += prompt
        self.completion_tokens += len(pieces)
        return pieces

    @property
    def mixing_bytes(self) -> int:
        """See `Stats`."""
        return self._runner.bytes

    def take_in(self) -> None:
        """Open what arrived, end what is over, and give free slots to those in line."""
        self._end_cancelled()
        self._expire()
        self._open_arrivals()
        self.scheduler.stage()
        read = self.residents.collect()
        faults = self.scheduler.admit()
        # a skill that was read for somebody who left takes the place that the next one waits for
        self.again = bool(faults) or read or bool(self.inbox)
        for submission, error in {row.submission: error for row, error in faults}.items():
            if not (isinstance(error, LibraryError) and self._try_newer(submission)):
                self.end(submission, failed(error))

    def _open_arrivals(self) -> None:
        """Open what came, in order, up to what a router is to read in a later step.

        A request leaves the inbox when it is opened, so that none is lost.
        """
        count, unrouted = 0, list[Submission]()
        budget = self.scheduler.prompt_budget
        for submission, _ in self.inbox.copy():
            if submission.mix is None and not submission.done:
                budget -= len(submission.prompt_ids)
                if unrouted and budget < 0:
                    break
                unrouted.append(submission)
            count += 1
        for submission, error in self.mixer.choose(unrouted):
            self.end(submission, error)
        for _ in range(count):
            submission, resolved = self.inbox.popleft()
            if submission.done:  # cancelled or overdue, or nothing could choose its mix
                self.left += submission.request.n
            else:
                self._open(submission, resolved)

    def _open(self, submission: Submission, resolved: Resolved | None) -> None:
        """Make the rows of a request and let them wait; what this fails of is its own fault.

        Args:
            resolved: its skills as they were when it came; None where a router chose them.
        """
        request = submission.request
        try:
            if resolved is None:
                assert submission.mix is not None
                resolved = self.residents.resolve(submission.mix)  # the skill may not be there
            rows = [Row(submission, i, self.base, self._context) for i in range(request.n)]
            root = self._root(resolved)
        except BaseException as error:
            self.left += request.n
            self.end(submission, failed(error))
            if isinstance(error, Exception):
                return
            raise
        self.open[submission] = rows
        self._opened += 1
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (submission.due, self._opened, weakref.ref(submission)))
        for row in rows:
            row.resolved, row.root = resolved, root
            row.twin = rows[0] if row is not rows[0] else None
            self.scheduler.waiting.append(row)

    def refuse(self, error: Exception) -> None:
        """Fail what came and is not yet opened, but for what nobody wants any more."""
        self._end_cancelled()
        while self.inbox:
            submission, _ = self.inbox.popleft()
            self.left += submission.request.n
            self.end(submission, failed(error))

    def _root(self, resolved: Resolved) -> bytes | None:
        if not self.prefix.limit:
            return None
        how = f"{self.base.fingerprint} {self.base.precision} {self.base.device.type}"
        if self.library is None and self.mixed is not None:
            how += f" {self.mixed.skills.edition}"  # adapters may be replaced under their names
        return root_of(how, resolved.weights)

    def _try_newer(self, submission: Submission) -> bool:
        """Whether the library has other versions of the skills by now; then it waits for them."""
        assert self.library is not None
        assert submission.mix is not None
        rows = self.open[submission]
        with contextlib.suppress(LoramixError):
            resolved = self.residents.resolve(submission.mix)
            stamp = stamp_of(self.library.path)
            if resolved.weights == rows[0].resolved.weights and stamp != self._stamp:
                self.library.refresh()  # all streams wait for this: once for each change will do
                self._stamp = stamp
                self.mixer.refresh()
                resolved = self.residents.resolve(submission.mix)
            if resolved.weights == rows[0].resolved.weights:
                return False
            for row in reversed(rows):
                self.scheduler.unstage(row)
                row.resolved, row.root = resolved, self._root(resolved)
                self.scheduler.waiting.appendleft(row)
            return True
        return False

    def _forward(self, feeds: list[tuple[Row, Feed]]) -> tuple[list[tuple[Row, Feed]], Tensor]:
        """Run the rows; where that fails, without those whose fault it is.

        Returns:
            The rows that were run, and their logits [B, V].
        """
        nothing = torch.empty(0)
        try:
            return feeds, self._runner([feed for _, feed in feeds])
        except Exception as error:
            self._runner.forget()
            if self.base.device.type != "cpu" and device_failed(error):
                self._go_on_with_cpu(error)
                return [], nothing
            if len(feeds) == 1:
                self.end(feeds[0][0].submission, failed(error), wipe=True)
                return [], nothing
        # What was written to the slots is written again, so each row can be tried by itself.
        fed, scores, errors = [], [], []
        for row, feed in feeds:
            try:
                scores.append(self._runner([feed._replace(decodes=False)]))
                fed.append((row, feed))
            except Exception as error:
                self._runner.forget()
                errors.append((row, error))
        for row, fault in errors:
            self.end(row.submission, failed(fault), wipe=True)
        kept = [place for place, (row, _) in enumerate(fed) if not row.gone]
        scores = [scores[place] for place in kept]
        return [fed[place] for place in kept], torch.cat(scores) if scores else nothing

    def _go_on_with_cpu(self, error: Exception) -> None:
        self.base.to_cpu(error)
        if self.mixed is not None:
            self.mixed.to(self.base.device)
        self.scheduler.restart()

    def _write(self, fed: list[tuple[Row, Feed]], scores: Tensor) -> list[Handed]:
        """Choose the next token of each row that has fed all it had."""
        for row, feed in fed:
            row.filled += len(feed.tokens)
        places = [place for place, (row, _) in enumerate(fed) if row.pending == 0]
        if len(places) < len(fed):
            scores = scores[places]
        rows = [fed[place][0] for place in places]
        pieces: list[Handed] = []
        chosen = choose_each(scores, [row.draw for row in rows])
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if row.gone:
                continue
            try:
                pieces.append((row.submission, self._hand_over(row, token, scores[place])))
            except Exception as error:
                self.end(row.submission, failed(error), wipe=True)
        for row, _ in fed:
            self.scheduler.settle(row)  # one prompt token left: it goes with those that decode
        return pieces

    def _hand_over(self, row: Row, token: int | Exception | None, scores: Tensor) -> Piece:
        """Give a row its next token, and what it says to whoever waits.

        Args:
            token: None where the row's logits are no numbers.
            scores: the row's logits [V].

        Raises:
            Exception: what went wrong with this row alone.
        """
        if token is None or isinstance(token, Exception):
            raise failed(token)
        if row.root is not None and row.filled == row.prompt:
            self.prefix.keep(row.root, row.tokens, self.store, _slot(row))
        count = row.sampling.logprobs
        report = None if count is None else logprobs(scores, token, count)
        piece = row.take(token, report)
        if piece.finish_reason is not None:
            self._finish(row)
        else:
            self.scheduler.settle(row)
        row.submission.put(piece)
        if piece.finish_reason is not None:
            self._end_if_complete(row.submission)
        return piece

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, row: Row) -> None:
        """A completion is whole: what it leaves may begin a later prompt."""
        if row.root is not None:
            self.prefix.keep(row.root, row.tokens[: row.filled], self.store, _slot(row))
        row.gone = True
        self.scheduler.leave(row)

    def _end_if_complete(self, submission: Submission) -> None:
        if all(row.gone for row in self.open.get(submission, ())):
            self.open.pop(submission, None)
            submission.finish()

    def _end_cancelled(self) -> None:
        for _ in range(len(self.cancels)):
            self.end(self.cancels.popleft(), None)

    def end(self, submission: Submission, error: Exception | None, wipe: bool = True) -> None:
        """No more of this request; its slots are wiped, since what is there may be anything."""
        for row in self.open.pop(submission, ()):
            if row.gone:
                continue
            row.gone = True
            if error is None:
                with contextlib.suppress(Exception):  # its slot is to be free, whatever it wrote
                    submission.put_rest(row.index, row.rest())
            if row.slot is not None:
                self.scheduler.leave(row, wipe)
            else:
                self.left += 1
        if error is not None and not submission.done:
            self.failed += 1
        submission.finish(error)

    def reset(self, error: Exception) -> None:
        """Fail all that is open, and begin anew."""
        for submission, rows in self.open.items():
            self.left += sum(row.slot is None and not row.gone for row in rows)
            self.failed += 1
            submission.finish(failed(error))
        self.open.clear()
        self._deadlines.clear()
        self._runner.forget()
        self.scheduler.reset()

    def _expire(self) -> None:
        now = time.monotonic()
        for submission, _ in self.inbox.copy():
            if submission.due <= now and not submission.done:
                self.end(submission, _late(submission))
        while self._deadlines and self._deadlines[0][0] <= now:
            late = heapq.heappop(self._deadlines)[2]()
            if late is not None and late in self.open:
                self.end(late, _late(late))
        if len(self._deadlines) > 2 * len(self.open) + 64:  # most of them were in time
            self._deadlines = [entry for entry in self._deadlines if entry[2]() in self.open]
            heapq.heapify(self._deadlines)

    def until_deadline(self) -> float | None:
        """Seconds until the next deadline; None where there is none."""
        if not self._deadlines:
            return None
        left = self._deadlines[0][0] - time.monotonic()
        return min(max(0.0, left), threading.TIMEOUT_MAX)


def _late(submission: Submission) -> DeadlineError:
    return DeadlineError(
        "The request's time is over.",
        given=f"{submission.request.deadline} seconds",
        hint="allow more time, or ask for fewer tokens",
    )


def _slot(row: Row) -> int:
    assert row.slot is not None
    return row.slot
