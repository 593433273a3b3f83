"""The engine: takes requests from any thread, and lets a thread run the steps.

With `start` (or as a context) a thread of its own runs them; without, whoever reads a handle does.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from loramix.base import Base, check_prompt
from loramix.engine.cache import KeyValueStore, token_bytes
from loramix.engine.faults import closed, failed
from loramix.engine.prefix import PrefixCache
from loramix.engine.request import AUTO, Request, Submission
from loramix.engine.residency import Residents
from loramix.engine.routing import Mixer
from loramix.engine.scheduler import Limits, Scheduler
from loramix.engine.stats import Stats
from loramix.engine.steps import Handed, Steps
from loramix.engine.support import check_base, context_length
from loramix.errors import PromptError, QueueFullError, UsageError
from loramix.mix import Mix

if TYPE_CHECKING:
    import asyncio

    from loramix.gate.router import Router
    from loramix.library import Library
    from loramix.mix import Policy
    from loramix.mixed import MixedModel

T = TypeVar("T")

TASKS = 8
"""What is done between two steps at most, so that a crowd of tasks does not stop the streams."""


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
        self._context = context_length(base)
        self._encoding = threading.Lock()  # tokenizers must not be set up by two threads at once
        self._mixer = Mixer(base, library, router, policy, self._encoding)
        self._residents = Residents(base, mixed, library, self.limits.max_resident, self._load)
        room = self.limits.cache_bytes
        self._scheduler = Scheduler(
            KeyValueStore(),
            PrefixCache(self.limits.prefix_bytes),
            self._residents,
            self.limits,
            _quarter_of_free_memory(base.device) if room is None else room,
            token_bytes(base),
        )
        self._steps = Steps(
            base, mixed, library, self._context, self._mixer, self._residents, self._scheduler
        )
        self._tasks: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._entered = 0
        self._entrance = threading.Lock()
        self._stepping = threading.RLock()
        self._wake = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    # ── from any thread ──────────────────────────────────────────────────────────────────────

    def submit(self, request: Request) -> Submission:
        """Take a request; its pieces come through the handle.

        Raises:
            UsageError: `n` or the deadline is out of range, or nothing can choose the mix.
            PromptError: the prompt is empty or fills the context.
            RecipeError, UnknownSkillError: the mix cannot be used.
            ResourceError: it could never fit into the cache, or its mix into memory.
            QueueFullError: too many wait already.
            ClosedError: the engine is closed.
        """
        request.check()
        mix = _parse(request.mix, self.library)
        resolved = None if mix is None else self._residents.resolve(mix)
        if mix is None and not self._mixer.able:
            raise UsageError(
                "Nothing can choose the mix of this request.",
                given="mix=auto, an engine without a router",
                expected="a mix, or Engine(…, router=…)",
            )
        with self._encoding:
            ids = check_prompt(self.base, request.prompt, system=request.system)
        if len(ids) >= self._context:
            raise PromptError(
                f"The prompt does not fit into the context of {self.base.id}.",
                given=f"{len(ids)} tokens",
                expected=f"below {self._context}",
                hint="shorten the prompt",
            )
        room = min(request.sampling.max_new_tokens, self._context - len(ids))
        fault = self._scheduler.fault(len(ids) + room - 1)
        if fault is not None:
            raise fault
        with self._entrance:
            if self._closed:
                raise closed()
            self._check_queue(request.n)
            submission = Submission(request, ids, self)
            submission.mix = mix
            self._entered += request.n
            self._steps.inbox.append((submission, resolved))
        self._wake.set()
        return submission

    def _check_queue(self, n: int) -> None:
        """Raises QueueFullError, or UsageError where there is never room for `n` completions."""
        most = self.limits.max_queue
        if most is None:
            return
        if n > most + self.limits.max_rows:
            raise UsageError(
                "The request has more completions than may run and wait.",
                given=f"n={n}",
                expected=f"at most {self.limits.max_rows} that run and {most} that wait",
                hint="ask for fewer, or raise max_queue",
            )
        if self.queued + n > most:
            raise QueueFullError(
                "Too many requests wait.",
                given=f"{self.waiting} completions wait",
                expected=f"at most {most}",
                hint="ask again later, or raise max_queue",
            )

    async def asubmit(self, request: Request) -> Submission:
        """`submit` for a coroutine: other tasks run while the prompt is read.

        If the coroutine is cancelled meanwhile, so is the request.
        """
        import asyncio  # nothing else needs it, and it takes a while

        entering = asyncio.ensure_future(asyncio.to_thread(self.submit, request))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(_cancel_entered)
            raise

    def between(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` between two steps, while nobody else uses the base or its tokenizer.

        For what reads the base beside the steps, such as a router; all streams wait meanwhile.
        """
        task: Future[T] = Future()
        self._tasks.append((task, work))
        self._wake.set()
        if not self.alive:
            with self._stepping:
                self._run_tasks()
        return task

    def cancel(self, submission: Submission) -> None:
        """Stop writing a request's completions before the next step; see `Submission.cancel`."""
        self._steps.cancels.append(submission)
        self._wake.set()
        if not self.alive and not self._closed:  # who closes ends what was cancelled
            with self._stepping:
                self._steps.take_in()

    def refresh(self) -> None:
        """Read the library anew: later requests use the skills and the gate that it has now."""
        if self.library is None:
            return
        take = self.library.newer()

        def both() -> None:  # else the gate could choose a skill that the library has no more
            take()
            self._mixer.refresh()

        self.between(both).result()

    def stats(self) -> Stats:
        """What was done so far."""
        steps, store, residents = self._steps, self._scheduler.store, self._residents
        return Stats(
            running=len(self._scheduler.running),
            waiting=self.waiting,
            failed=steps.failed,
            steps=steps.count,
            prompt_tokens=steps.prompt_tokens,
            completion_tokens=steps.completion_tokens,
            reused_tokens=self._scheduler.prefix.hits,
            gate_seconds=self._mixer.seconds,
            prompt_seconds=steps.prompt_seconds,
            step_seconds=steps.seconds,
            cache_bytes=store.bytes,
            prefix_bytes=self._scheduler.prefix.bytes,
            resident_bytes=residents.bytes,
            mixing_bytes=steps.mixing_bytes,
            resident=len(residents),
            loads=residents.loads,
            evictions=residents.evictions,
        )

    @property
    def alive(self) -> bool:
        """Whether a thread runs the steps; readers do where it ended, until `start` is called."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def busy(self) -> bool:
        """Whether some request is unfinished."""
        return bool(self._steps.open or self._steps.inbox)

    @property
    def failed(self) -> int:
        """How many requests ended with an error."""
        return self._steps.failed

    @property
    def waiting(self) -> int:
        """Completions without a slot: those that entered, but for those that left the line."""
        return self._entered - self._steps.left - self._scheduler.placed

    @property
    def queued(self) -> int:
        """Completions that wait, less the slots that are free for them; below 0 if there are more.

        A free slot may still have to wait for room in the cache.
        """
        return self.waiting - self.limits.max_rows + len(self._scheduler.running)

    # ── a life ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> Engine:
        """Let a thread run the steps, and another read skills; returns self."""
        if not self.alive and not self._closed:
            self._pool = self._pool or ThreadPoolExecutor(1, "loramix-skills")
            # a thread that is in a forward when the interpreter ends would abort the process
            atexit.unregister(self.close)
            atexit.register(self.close)
            self._thread = threading.Thread(target=self._run, name="loramix-engine", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End the threads, fail what is unfinished, and give all memory back."""
        with self._entrance:
            self._closed = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        atexit.unregister(self.close)
        with self._stepping:
            self._run_tasks()
            self._steps.refuse(closed())
            self._steps.reset(closed())
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
            self._residents.collect()
            self._residents.clear()

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def drive(self) -> bool:
        """Run a step, unless a thread does; says whether it did."""
        if self.alive or self._closed:
            return False
        self.step()
        return True

    def step(self) -> list[Handed]:
        """Take in what came, and write one token of each row that is ready to.

        Returns:
            The pieces that were handed over, each with its request.
        """
        with self._stepping:
            return self._steps.run()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # it is ended from outside; nobody may wait for it
            with self._stepping:
                with self._entrance:  # whoever enters from now on runs steps of their own
                    self._steps.refuse(failed(error))
                    self._steps.reset(failed(error))
                    self._thread = None
                while self._tasks:
                    task, _ = self._tasks.popleft()
                    if task.set_running_or_notify_cancel():
                        task.set_exception(failed(error))

    def _run_tasks(self, most: int | None = None) -> None:
        """What waits for a moment between two steps, as far as it had come by now."""
        for _ in range(min(len(self._tasks), most or len(self._tasks))):
            task, work = self._tasks.popleft()
            if not task.set_running_or_notify_cancel():
                continue
            try:
                with self._encoding:
                    done = work()
            except BaseException as error:
                task.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                task.set_result(done)

    def _loop(self) -> None:
        while not self._closed:
            self._wake.clear()
            before = self._steps.count
            with self._stepping:
                self._run_tasks(TASKS)
            if self._tasks:
                self._wake.set()
            try:
                self.step()
            except Exception as error:  # a fault of the engine itself must not end the thread
                with self._stepping:
                    self._steps.reset(failed(error))
            if self._steps.count == before and not self._steps.again:
                self._wake.wait(self._steps.until_deadline())

    def _load(self, read: Callable[[], None]) -> None:
        """Read a skill in the thread for that; without one, now."""
        if self._pool is None:
            read()
        else:
            self._pool.submit(read).add_done_callback(lambda _: self._wake.set())


def _cancel_entered(entering: asyncio.Future[Submission]) -> None:
    """Nobody waits for this request any more."""
    if not entering.cancelled() and entering.exception() is None:
        entering.result().cancel()


def _parse(mix: Mix | str, library: Library | None) -> Mix | None:
    """The mix, which may be one that the library keeps under a name; None for `auto`."""
    if isinstance(mix, Mix):
        return mix
    if mix.strip() == AUTO:
        return None
    return Mix.parse(mix, None if library is None else library.mixes)


def _quarter_of_free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    import psutil

    return int(psutil.virtual_memory().available) // 4
