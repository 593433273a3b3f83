"""The engine: takes requests from any thread, runs steps, hands the pieces over.

A step looks for what came in (requests, cancels, deadlines, skills that were read), gives free
slots to those in line, runs one forward for all rows that run, and chooses their next tokens.
With `start` (or as a context) a thread runs the steps; without, whoever reads a handle does.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loramix.base import Base, check_prompt, device_failed
from loramix.engine.attention import check_base, context_length
from loramix.engine.cache import KeyValueStore, token_bytes
from loramix.engine.forward import Feed, Runner
from loramix.engine.prefix import PrefixCache, root_of
from loramix.engine.request import AUTO, Piece, Request, Submission
from loramix.engine.residency import Resolved, Residents
from loramix.engine.row import Row
from loramix.engine.scheduler import Limits, Scheduler
from loramix.errors import (
    ClosedError,
    DeadlineError,
    ForwardError,
    LibraryError,
    LoramixError,
    PromptError,
    QueueFullError,
    UsageError,
)
from loramix.mix import Mix
from loramix.sampling import choose, logprobs

if TYPE_CHECKING:
    from loramix.gate.router import Router
    from loramix.library import Library
    from loramix.mix import Policy
    from loramix.mixed import MixedModel


@dataclass(frozen=True)
class Stats:
    """What the engine did and holds.

    Attributes:
        running, waiting: completions.
        failed: requests that ended with an error.
        steps: forwards for all rows.
        prompt_tokens, completion_tokens: that were computed.
        reused_tokens: of prompts, taken from the prefix cache.
        gate_seconds: spent choosing mixes.
        prompt_seconds: spent on prompt tokens, their share of the steps that they were in.
        step_seconds: of all steps.
        cache_bytes, prefix_bytes, resident_bytes: held now.
        resident, loads, evictions: skills in memory, read, and let go.
    """

    running: int
    waiting: int
    failed: int
    steps: int
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    gate_seconds: float
    prompt_seconds: float
    step_seconds: float
    cache_bytes: int
    prefix_bytes: int
    resident_bytes: int
    resident: int
    loads: int
    evictions: int

    @property
    def gate_share(self) -> float:
        """Gate time as a share of prompt time; 0 before the first prompt."""
        return self.gate_seconds / self.prompt_seconds if self.prompt_seconds else 0.0


class Engine:
    """Many requests on one base.

    Args:
        base: the frozen base.
        mixed: the base with its skills; made for the library where it is not given.
        library: skills that are read when they are asked for; without it a mix can hold the
            skills of `mixed`.
        router: chooses the mix where it is `auto`: a router, or the name of one for the library.
        policy: how scores become a mix: a policy, or the name of one; None is the library's.
        limits: what may be used.

    Attributes:
        failed: how many requests ended with an error.

    Raises:
        UnsupportedBaseError: the base's attention cannot be run.
        AdapterMismatchError: the library was made for another base.
    """

    def __init__(
        self,
        base: Base,
        mixed: MixedModel | None = None,
        *,
        library: Library | None = None,
        router: Router | str | None = None,
        policy: Policy | str | None = None,
        limits: Limits | None = None,
    ) -> None:
        check_base(base)
        if library is not None:
            library.check_base(base)
            if mixed is None:
                from loramix.mixed import MixedModel

                mixed = MixedModel(base.model)
        self.base, self.mixed, self.library = base, mixed, library
        self.limits = limits or Limits()
        self._router, self._policy = router, policy
        self._made: tuple[Router, Policy | None] | None = None
        self._context = context_length(base)
        self.store = KeyValueStore()
        self.prefix = PrefixCache(self.limits.prefix_bytes)
        self._pool: ThreadPoolExecutor | None = None
        limit = self.limits.max_resident
        self.residents = Residents(base, mixed, library, limit, self._load)
        size = token_bytes(base)
        room = self.limits.cache_bytes
        self.scheduler = Scheduler(
            self.store,
            self.prefix,
            self.residents,
            self.limits,
            _quarter_of_free_memory(base.device) if room is None else room,
            size,
        )
        self._runner = Runner(base, mixed, self.store)
        self._rows: dict[Submission, list[Row]] = {}
        self._inbox: deque[Submission] = deque()
        self._cancels: deque[Submission] = deque()
        self._deadlines: list[tuple[float, int, Submission]] = []
        self._count = self._entered = self._left = 0
        self._steps = self._prompt_tokens = self._completion_tokens = 0
        self._gate_seconds = self._prompt_seconds = self._step_seconds = 0.0
        self.failed = 0
        self._entrance = threading.Lock()
        self._stepping = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    # ── from any thread ──────────────────────────────────────────────────────────────────────

    def submit(self, request: Request) -> Submission:
        """Take a request; its pieces come through the handle.

        Raises:
            PromptError: the prompt is empty or fills the context.
            RecipeError, UnknownSkillError: the mix cannot be used.
            ResourceError: it could never fit into the cache, or its mix into memory.
            QueueFullError: too many wait already.
            ClosedError: the engine is closed.
        """
        if request.n < 1 or (request.deadline is not None and not request.deadline > 0):
            raise UsageError(
                "The request is out of range.",
                given=f"n={request.n}, deadline={request.deadline}",
                expected="n of at least 1, a deadline above 0 seconds",
            )
        mix = _parse(request.mix)
        if mix is not None:
            self.residents.resolve(mix)
        elif self._router is None:
            raise UsageError(
                "Nothing can choose the mix of this request.",
                given="mix=auto, an engine without a router",
                expected="a mix, or Engine(…, router=…)",
            )
        with self._entrance:  # tokenizers must not be set up by two threads at once
            ids = check_prompt(self.base, request.prompt, system=request.system)
        if len(ids) >= self._context:
            raise PromptError(
                f"The prompt does not fit into the context of {self.base.id}.",
                given=f"{len(ids)} tokens",
                expected=f"below {self._context}",
                hint="shorten the prompt",
            )
        room = min(request.sampling.max_new_tokens, self._context - len(ids))
        self.scheduler.check_fits(len(ids) + room - 1)
        submission = Submission(request, ids, self)
        submission.mix = mix
        with self._entrance:
            if self._closed:
                raise _closed()
            most = self.limits.max_queue
            if most is not None and self._waiting + request.n > most:
                raise QueueFullError(
                    "Too many requests wait.",
                    given=f"{self._waiting} completions wait",
                    expected=f"at most {most}",
                    hint="ask again later, or raise max_queue",
                )
            self._entered += request.n
            self._inbox.append(submission)
        self._wake.set()
        return submission

    def cancel(self, submission: Submission) -> None:
        """Stop writing a request's completions before the next step; see `Submission.cancel`."""
        self._cancels.append(submission)
        self._wake.set()
        if self._thread is None:
            with self._stepping:
                self._take_in()

    def refresh(self) -> None:
        """Read the library anew: later requests use the skills and the gate that it has now."""
        if self.library is not None:
            self.library.refresh()
            with self._stepping:
                self._made = None

    def stats(self) -> Stats:
        """What was done so far."""
        return Stats(
            running=len(self.scheduler.running),
            waiting=self._waiting,
            failed=self.failed,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            reused_tokens=self.prefix.hits,
            gate_seconds=self._gate_seconds,
            prompt_seconds=self._prompt_seconds,
            step_seconds=self._step_seconds,
            cache_bytes=self.store.bytes,
            prefix_bytes=self.prefix.bytes,
            resident_bytes=self.residents.bytes,
            resident=len(self.residents),
            loads=self.residents.loads,
            evictions=self.residents.evictions,
        )

    @property
    def busy(self) -> bool:
        """Whether some request is unfinished."""
        return bool(self._rows or self._inbox)

    @property
    def _waiting(self) -> int:
        """Completions without a slot: those that entered, but for those that left the line."""
        return self._entered - self._left

    # ── a life ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> Engine:
        """Let a thread run the steps, and another read skills; returns self."""
        if self._thread is None and not self._closed:
            self._pool = ThreadPoolExecutor(1, "loramix-skills")
            self._thread = threading.Thread(target=self._loop, name="loramix-engine", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End the threads, fail what is unfinished, and give all memory back."""
        with self._entrance:
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        with self._stepping:
            for submission in [*self._rows, *self._inbox]:
                self._end(submission, _closed())
            self._take_in()
            self.residents.clear()
            self.prefix.clear()
            self._deadlines.clear()
            self._runner.forget()

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def drive(self) -> bool:
        """Run a step, unless a thread does; says whether it did."""
        if self._thread is not None or self._closed:
            return False
        self.step()
        return True

    def _loop(self) -> None:
        while not self._closed:
            self._wake.clear()
            before = self._steps
            try:
                self.step()
            except Exception as error:  # a fault of the engine itself must not end the thread
                with self._stepping:
                    for submission in list(self._rows):
                        self._end(submission, _failed(error))
            if self._steps == before:
                self._wake.wait(self._until_deadline())

    def _load(self, read: Callable[[], None]) -> None:
        """Read a skill in the thread for that; without one, now."""
        if self._pool is None:
            read()
        else:
            self._pool.submit(read).add_done_callback(lambda _: self._wake.set())

    # ── a step ───────────────────────────────────────────────────────────────────────────────

    def step(self) -> list[tuple[Submission, Piece]]:
        """Take in what came, and write one token of each row that is ready to.

        Returns:
            What was handed over.
        """
        with self._stepping:
            self._take_in()
            feeds = self.scheduler.feeds()
            if not feeds:
                return []
            begun = time.perf_counter()
            fed, scores = self._forward(feeds)
            pieces = self._write(fed, scores) if fed else []
            seconds = time.perf_counter() - begun
            tokens = sum(len(feed.tokens) for _, feed in feeds)
            prompt = sum(len(feed.tokens) for _, feed in feeds if not feed.decodes)
            self._steps += 1
            self._step_seconds += seconds
            self._prompt_seconds += seconds * prompt / tokens
            self._prompt_tokens += prompt
            self._completion_tokens += len(pieces)
            return pieces

    def _take_in(self) -> None:
        arrived = []
        while self._inbox:
            arrived.append(self._inbox.popleft())
        self._route([s for s in arrived if s.mix is None])
        for submission in arrived:
            if submission.done:  # nothing could choose its mix, or it was cancelled at once
                self._left += submission.request.n
            else:
                self._open(submission)
        self._expire()
        while self._cancels:
            self._end(self._cancels.popleft(), None)
        self.residents.collect()
        self.scheduler.stage()
        before = len(self.scheduler.running)
        failed = self.scheduler.admit()
        self._left += len(self.scheduler.running) - before
        for submission, error in {row.submission: error for row, error in failed}.items():
            if not (isinstance(error, LibraryError) and self._try_newer(submission)):
                self._end(submission, error)
            self._wake.set()  # others may have their turn now

    def _route(self, submissions: Sequence[Submission]) -> None:
        """Let the router choose the mixes, for all that arrived at once."""
        if not submissions:
            return
        from loramix.gate.router import route

        begun = time.perf_counter()
        try:
            router, policy = self._routing()
            prompts = [submission.request.routed_by for submission in submissions]
            with self._entrance:
                routings = route(router, prompts, policy)
            for submission, routing in zip(submissions, routings, strict=True):
                submission.routing, submission.mix = routing, routing.mix
        except Exception as error:
            if len(submissions) > 1:  # find whose fault it is
                for submission in submissions:
                    self._route([submission])
            else:
                self._end(submissions[0], error)
        self._gate_seconds += time.perf_counter() - begun

    def _routing(self) -> tuple[Router, Policy | None]:
        if self._made is None:
            router, policy = self._router, self._policy
            if isinstance(router, str) or isinstance(policy, str):
                from loramix.gate import make_policy, make_router

                if self.library is None:
                    raise UsageError("A router or a policy can be named for a library only.")
                if isinstance(router, str):
                    router = make_router(router, base=self.base, library=self.library)
                if isinstance(policy, str) or policy is None:
                    policy = make_policy(self.library, policy)
            assert router is not None and not isinstance(router, str)
            self._made = router, policy
        return self._made

    def _open(self, submission: Submission) -> None:
        """Make the rows of a request and let them wait."""
        request = submission.request
        rows = [Row(submission, i, self.base, self._context) for i in range(request.n)]
        self._rows[submission] = rows
        self._count += 1
        if request.deadline is not None:
            due = submission.submitted + request.deadline
            heapq.heappush(self._deadlines, (due, self._count, submission))
        try:
            assert submission.mix is not None
            resolved = self.residents.resolve(submission.mix)
        except LoramixError as error:  # the skill vanished, or a router named a stranger
            self._end(submission, error)
            return
        for row in rows:
            row.resolved, row.root = resolved, self._root(resolved)
            row.twin = rows[0] if row is not rows[0] else None
            self.scheduler.waiting.append(row)

    def _root(self, resolved: Resolved) -> bytes | None:
        if not self.limits.prefix_bytes:
            return None
        how = f"{self.base.fingerprint} {self.base.dtype} {self.base.device.type}"
        if self.library is None and self.mixed is not None:
            how += f" {self.mixed.skills.edition}"  # adapters may be replaced under their names
        return root_of(how, resolved.weights)

    def _try_newer(self, submission: Submission) -> bool:
        """Whether the library has other versions of the skills by now; then it waits for them."""
        assert self.library is not None and submission.mix is not None
        rows = self._rows[submission]
        with contextlib.suppress(LoramixError):
            resolved = self.residents.resolve(submission.mix)
            if resolved.weights == rows[0].resolved.weights:
                self.library.refresh()
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
                self._end(feeds[0][0].submission, _failed(error), wipe=True)
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
            self._end(row.submission, _failed(fault), wipe=True)
        kept = [place for place, (row, _) in enumerate(fed) if not row.gone]
        scores = [scores[place] for place in kept]
        return [fed[place] for place in kept], torch.cat(scores) if scores else nothing

    def _go_on_with_cpu(self, error: Exception) -> None:
        self.base.to_cpu(error)
        if self.mixed is not None:
            self.mixed.to(self.base.device)
        self.scheduler.restart()

    def _write(
        self, fed: list[tuple[Row, Feed]], scores: Tensor
    ) -> list[tuple[Submission, Piece]]:
        """Choose the next token of each row that has fed all it had."""
        for row, feed in fed:
            row.filled += len(feed.tokens)
        places = [place for place, (row, _) in enumerate(fed) if row.pending == 0]
        if len(places) < len(fed):
            scores = scores[places]
        rows = [fed[place][0] for place in places]
        with torch.inference_mode():
            tokens = choose(scores, [row.draw for row in rows]) if rows else []
        pieces: list[tuple[Submission, Piece]] = []
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if row.gone:
                continue
            if token is None:
                self._end(row.submission, _failed(None), wipe=True)
                continue
            if row.root is not None and row.filled == row.prompt:
                self.prefix.keep(row.root, row.tokens, self.store, _slot(row))
            count = row.sampling.logprobs
            report = None if count is None else logprobs(scores[place], token, count)
            piece = row.take(token, report)
            pieces.append((row.submission, piece))
            if piece.finish_reason is not None:
                self._finish(row)
            else:
                self.scheduler.settle(row)
            row.submission.put(piece)
            if piece.finish_reason is not None:
                self._end_if_complete(row.submission)
        for row, _ in fed:
            self.scheduler.settle(row)  # one prompt token left: it goes with those that decode
        return pieces

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, row: Row) -> None:
        """A completion is whole: what it leaves may begin a later prompt."""
        if row.root is not None:
            self.prefix.keep(row.root, row.tokens[: row.filled], self.store, _slot(row))
        row.gone = True
        self.scheduler.leave(row)

    def _end_if_complete(self, submission: Submission) -> None:
        if all(row.gone for row in self._rows.get(submission, ())):
            self._rows.pop(submission, None)
            submission.finish()

    def _end(self, submission: Submission, error: Exception | None, wipe: bool = True) -> None:
        """No more of this request; its slots are wiped, since what is there may be anything."""
        for row in self._rows.pop(submission, ()):
            if row.gone:
                continue
            row.gone = True
            if row.slot is not None:
                self.scheduler.leave(row, wipe)
            else:
                self._left += 1
        if error is not None and not submission.done:
            self.failed += 1
        submission.finish(error)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, submission = heapq.heappop(self._deadlines)
            if submission in self._rows:
                late = DeadlineError(
                    "The request's time is over.",
                    given=f"{submission.request.deadline} seconds",
                    hint="allow more time, or ask for fewer tokens",
                )
                self._end(submission, late)
        if len(self._deadlines) > 2 * len(self._rows) + 64:  # most of them were in time
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self._rows]
            heapq.heapify(self._deadlines)

    def _until_deadline(self) -> float | None:
        """Seconds until the next deadline; None where there is none."""
        return max(0.0, self._deadlines[0][0] - time.monotonic()) if self._deadlines else None


def _slot(row: Row) -> int:
    assert row.slot is not None
    return row.slot


def _parse(mix: Mix | str) -> Mix | None:
    """The mix; None for `auto`."""
    if isinstance(mix, Mix):
        return mix
    return None if mix.strip() == AUTO else Mix.parse(mix)


def _closed() -> ClosedError:
    return ClosedError("The engine is closed.", hint="make another one")


def _failed(error: Exception | None) -> Exception:
    """What a request fails of; faults that have a name keep it."""
    if isinstance(error, LoramixError):
        return error
    if error is None:
        return ForwardError(
            "The model gave no numbers for this request.",
            given="NaN or infinite logits",
            hint="a skill of its mix may be damaged, or its weights too large",
        )
    first_line = (str(error).strip().splitlines() or [""])[0]
    failed = ForwardError(
        "The model failed on this request.", given=f"{type(error).__name__}: {first_line}"
    )
    failed.__cause__ = error
    return failed


def _quarter_of_free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    import psutil

    return int(psutil.virtual_memory().available) // 4
