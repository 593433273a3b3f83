"""A request, and the handle through which its answer comes."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from loramix.base import Prompt
from loramix.errors import UsageError
from loramix.mix import Mix
from loramix.sampling import Logprobs, Sampling

if TYPE_CHECKING:
    import asyncio

    from loramix.gate.router import Routing

AUTO = "auto"


@dataclass(frozen=True)
class Request:
    """What is asked of the engine.

    Attributes:
        prompt: a text, or the turns of a conversation.
        mix: a mix or its recipe; `auto` lets the router choose.
        sampling: how the completions are written; completion i of `n` uses seed + i.
        system: a system text before the prompt.
        n: how many completions.
        deadline: seconds from the submission after which the request fails; None is never.
        read: what a router reads: a text, or turns, of which it reads the last user message and
            what that leans on (`loramix.gate.route_turns`); None is the prompt.
    """

    prompt: Prompt
    mix: Mix | str = AUTO
    sampling: Sampling = field(default_factory=Sampling)
    system: str | None = None
    n: int = 1
    deadline: float | None = None
    read: Prompt | None = None

    def check(self) -> None:
        """Raises UsageError where `n` or `deadline` is out of range."""
        late = self.deadline is not None and not (
            isinstance(self.deadline, Real) and self.deadline > 0
        )
        if not isinstance(self.n, Integral) or self.n < 1 or late:
            raise UsageError(
                "The request is out of range.",
                given=f"n={self.n}, deadline={self.deadline}",
                expected="n of at least 1, a deadline above 0 seconds",
            )

    @property
    def routed_by(self) -> Prompt:
        """What a router reads."""
        return self.prompt if self.read is None else self.read


class Piece(NamedTuple):
    """What one step adds to one row.

    Attributes:
        row: index of the completion in the request, or of the prompt in a call of `stream`.
        token_id: the token that was chosen.
        text: what can be shown now; may be empty, see `Detokenizer`.
        finish_reason: None while the row goes on; `stop` after the end-of-text token, a stop
            token or a stop text, `length` when no further token was allowed or fitted into the
            context.
        logprobs: where they were asked for.
    """

    row: int
    token_id: int
    text: str
    finish_reason: str | None
    logprobs: Logprobs | None = None


@dataclass(frozen=True)
class Completion:
    """A finished completion.

    Attributes:
        text: without the stop text.
        prompt_tokens: after the chat template.
        completion_tokens: that were computed, end-of-text included.
        finish_reason: `stop`, `length` or `cancel`.
        token_ids: the completion's tokens.
        logprobs: one for each token, where they were asked for.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    token_ids: tuple[int, ...]
    logprobs: tuple[Logprobs, ...] | None = None


class Driver(Protocol):
    """What a handle needs of its engine."""

    @property
    def alive(self) -> bool:
        """Whether a thread runs the steps."""

    def drive(self) -> bool:
        """Run a step, unless a thread does; says whether it did."""

    def cancel(self, submission: Submission) -> None:
        """Stop writing its completions soon."""


class Submission:
    """The handle of a request: iterate it for pieces, or ask for the `result`.

    Pieces wait here until they are read, so a reader that is slow or gone holds nobody up; there
    are never more than the request's tokens. Used as a context, it cancels what is unfinished
    at the end.

    Attributes:
        request: what was asked.
        prompt_ids: its tokens.
        mix: what it is answered with; None until a router has chosen.
        routing: how the router chose; None where the mix was given.
        gate_seconds: that the router took, for all that it chose together; 0 where it did not.
        due: when its time is over, by `time.monotonic`; infinite where it has no deadline.
        error: why it failed, or None.
    """

    def __init__(self, request: Request, prompt_ids: list[int], driver: Driver) -> None:
        self.request, self.prompt_ids = request, prompt_ids
        self.mix: Mix | None = None
        self.routing: Routing | None = None
        self.gate_seconds = 0.0
        self.error: Exception | None = None
        self.submitted = time.monotonic()
        self.due = self.submitted + (math.inf if request.deadline is None else request.deadline)
        self.cancelled = False
        self._driver = driver
        self._pieces: deque[Piece] = deque()
        self._rests = [""] * request.n
        self._taken: list[list[Piece]] = [[] for _ in range(request.n)]
        self._changed = threading.Condition()
        self._wakers: set[Callable[[], None]] = set()
        self._done = False

    @property
    def done(self) -> bool:
        """Whether no more pieces come."""
        return self._done

    def cancel(self) -> None:
        """Stop writing; pieces that were written stay, the rest never comes."""
        if not self._done:
            self.cancelled = True
            self._driver.cancel(self)

    def __iter__(self) -> Iterator[Piece]:
        """The pieces as they come. Raises what the request failed of."""
        while True:
            with self._changed:
                piece = self._pieces.popleft() if self._pieces else None
                ended = self._done
            if piece is not None:
                yield piece
            elif ended:
                self._raise()
                return
            else:
                self.wait_for_more()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """The same for a coroutine: other tasks run meanwhile."""
        async for pieces in self.batches():
            for piece in pieces:
                yield piece

    async def batches(self, interval: float = 0.0) -> AsyncGenerator[list[Piece], None]:
        """For a coroutine, all pieces that have come since it last looked; never none.

        Args:
            interval: seconds between two batches, at least; the end is not held back. A batch costs
                a reader over a network as much as some tokens cost the engine.
        """
        import asyncio  # nothing else needs it, and it takes a while

        loop, more, called = asyncio.get_running_loop(), asyncio.Event(), False

        def wake() -> None:
            nonlocal called
            if not called or self._done:  # one call is enough until it looks again
                called = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(more.set)

        def look() -> None:
            nonlocal called
            with self._changed:
                called = bool(self._pieces)
            if called:
                more.set()

        with self._changed:
            self._wakers.add(wake)
        try:
            while True:
                more.clear()
                with self._changed:
                    fresh, ended = list(self._pieces), self._done
                    self._pieces.clear()
                    called = bool(fresh and interval and not ended)
                if called:  # only the end wakes it before then
                    loop.call_later(interval, look)
                if fresh:
                    yield fresh
                if ended:
                    self._raise()
                    return
                await self._waiting(more)
        finally:
            with self._changed:
                self._wakers.discard(wake)

    def result(self) -> list[Completion]:
        """Wait for the end; `n` completions, whether or not the pieces were read.

        Raises:
            LoramixError: what the request failed of.
        """
        while not self._done:
            self.wait_for_more(until_done=True)
        return self._completions()

    async def wait(self) -> list[Completion]:
        """`result` for a coroutine."""
        import asyncio

        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if self._done:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(ended.set)

        with self._changed:
            self._wakers.add(wake)
        try:
            if not self._done:
                await self._waiting(ended)
        finally:
            with self._changed:
                self._wakers.discard(wake)
        return self._completions()

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()

    # ── what the engine calls ────────────────────────────────────────────────────────────────

    def put(self, piece: Piece) -> None:
        """Hand a piece over."""
        with self._changed:
            self._pieces.append(piece)
            self._taken[piece.row].append(piece)
            self._wake()

    def put_rest(self, row: int, text: str) -> None:
        """What a completion that is cut off had written and not yet shown; no piece tells it."""
        self._rests[row] = text

    def finish(self, error: Exception | None = None) -> None:
        """No more pieces come."""
        with self._changed:
            if self._done:
                return
            self._done, self.error = True, error
            self._wake()

    def wait_for_more(self, until_done: bool = False) -> None:
        """Return when there may be something new; without a thread this runs a step."""
        if self._driver.drive():
            return
        with self._changed:
            self._changed.wait_for(lambda: self._done or (self._pieces and not until_done))

    async def _waiting(self, event: asyncio.Event) -> None:
        """Wait for the event; without a thread this runs steps, beside the loop."""
        import asyncio

        while not event.is_set() and not self._driver.alive:
            if not await asyncio.to_thread(self._driver.drive):
                break
        await event.wait()

    def _wake(self) -> None:
        self._changed.notify_all()
        for waker in self._wakers:
            waker()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _completions(self) -> list[Completion]:
        self._raise()
        return [
            self._completion(pieces, rest)
            for pieces, rest in zip(self._taken, self._rests, strict=True)
        ]

    def _completion(self, pieces: list[Piece], rest: str) -> Completion:
        reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
        logprobs: Any = tuple(piece.logprobs for piece in pieces)
        return Completion(
            text="".join(piece.text for piece in pieces) + rest,
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=len(pieces),
            finish_reason=reasons[0] if reasons else "cancel",
            token_ids=tuple(piece.token_id for piece in pieces),
            logprobs=None if self.request.sampling.logprobs is None else logprobs,
        )
