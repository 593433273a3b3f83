"""The library, the engine and the routers at work."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from loramix.base import Base, Prompt, load_base
from loramix.engine import Engine, Limits
from loramix.errors import DeadlineError, LibraryError
from loramix.gate import (
    Router,
    TurnRouting,
    Why,
    check_router,
    make_policy,
    make_router,
    route_prompts,
    why,
)
from loramix.lean import lean_imports
from loramix.manifest import MANIFEST
from loramix.serve.bodies import Message, Mixing
from loramix.serve.control import Control
from loramix.serve.faults import ApiError, api_error
from loramix.serve.logs import log
from loramix.serve.pace import Pace
from loramix.serve.parts import in_parts
from loramix.serve.places import open_library
from loramix.serve.settings import RouteBy, ServeSettings

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

GATE = "gate"
FIXED = "fixed:"
WATCH_SECONDS = 0.5


class Serving:
    """One library at work.

    Args:
        settings: how.
        base: already loaded; None loads the library's.

    Attributes:
        library, base, engine: what answers.
        changing: held by whoever changes the library.
        draining: whether the server is about to end.
        revived: how often the engine's thread had to be replaced.

    Raises:
        LoramixError: the library or the base cannot be used.
    """

    def __init__(self, settings: ServeSettings, base: Base | None = None) -> None:
        self.settings = settings
        self.library = open_library(settings)
        if base is None:
            with lean_imports():
                base = load_base(self.library.base_id, settings.device, settings.dtype)
        self.base = base
        self.changing = asyncio.Lock()
        self.draining = False
        self.revived = 0
        self.started = time.time()
        self.engine = Engine(
            base,
            library=self.library,
            router=settings.router or GATE,
            policy=settings.policy,
            limits=Limits(
                max_rows=settings.max_rows,
                max_queue=settings.max_queue,
                max_resident=settings.max_resident,
                cache_bytes=settings.cache_bytes,
                prefix_bytes=settings.prefix_bytes,
            ),
        )
        self._control = Control(base)
        self._longest = 64 * base.max_length
        self._routers: dict[str, Router] = {}
        self._routers_of = -1  # the generation that they were made of
        self._routed = 0
        self._explaining = asyncio.Lock()
        self._pace = Pace()

    # ── a life ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> Serving:
        """Let the engine run; returns self."""
        self.engine.start()
        self._tell_damage()
        if self.can_choose():
            try:  # no wait later
                self.engine.between(lambda: self._router(self.router_name)).result()
            except LibraryError as error:  # of a skill that a router remembers examples of
                log("the router cannot be made", {"error": str(error)}, level=logging.ERROR)
        return self

    def _tell_damage(self) -> None:
        """Log what is not served."""
        damaged = {**self.library.damaged, "the gate": self.library.gate_damage}
        for name, error in damaged.items():
            if error is not None:
                told = {"name": name, "error": str(error)}
                log("damaged, and not served", told, level=logging.ERROR)

    def close(self) -> None:
        """End the engine."""
        self.draining = True
        self.engine.close()

    async def watch(self) -> None:
        """Replace the engine's thread if something ends it, and see what others change.

        Until cancelled.
        """
        known = self._stamp()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self.engine.alive and not self.draining:
                self.engine.start()
                self.revived += 1
            stamp = self._stamp()
            try:
                mended = await asyncio.to_thread(self.library.is_mended)
                if (stamp != known or mended) and not self.draining:
                    known = stamp
                    await asyncio.to_thread(self.refresh)
            except Exception as error:  # damaged; what is in memory goes on, and so does this
                log("the library cannot be read", {"error": str(error)}, level=logging.ERROR)

    def _stamp(self) -> tuple[int, int] | None:
        """Of the one file that each change of the library renames into place."""
        try:
            found = (self.library.path / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self.engine.alive and not self.draining

    def check_open(self) -> None:
        """Raises ApiError where no request is taken any more."""
        if self.draining:
            raise ApiError(503, "shutting_down", "The server is about to end.", retry_after=5)

    def check_room(self) -> None:
        """Raises ApiError where a request could only wait, or would not be done in time.

        It is asked before a body is read, so that a server that is flooded keeps its time for
        those whom it has taken in.
        """
        waiting = self.engine.waiting
        soon = waiting / self._pace.rate if waiting and self._pace.rate else 0.0
        late = waiting > self.settings.max_rows and soon > self.settings.deadline / 3
        if late or self.engine.queued >= self.settings.max_queue:
            raise ApiError(
                429,
                "queue_full",
                f"{waiting} answers wait for their turn. Ask again later.",
                retry_after=min(60.0, soon),
            )

    def answered(self, count: int) -> None:
        """Completions have ended; tells how fast the line moves."""
        self._pace.add(count)

    def refresh(self) -> None:
        """Have the next requests see what the library has now."""
        self.engine.refresh()

    @property
    def has_gate(self) -> bool:
        """Whether the library has a gate."""
        return self.library.has_gate

    @property
    def report(self) -> Path | None:
        """The page of figures that is shown, if there is one."""
        path = self.settings.report or self.library.path.resolve().parent / "report.html"
        return path if path.is_file() else None

    @property
    def fingerprint(self) -> str:
        """OpenAI's `system_fingerprint`: the base and the state of the library."""
        return f"lm_{self.base.fingerprint[:8]}_{self.library.generation}"

    def error(
        self, error: Exception, param: str | None = None, hide: Mapping[str, str] | None = None
    ) -> ApiError:
        """What a client reads of it: no paths of this machine, nor what else is to be hidden."""
        hidden = {**(hide or {}), str(self.library.path.resolve()): "LIBRARY"}
        if self.library.path.is_absolute():
            hidden[str(self.library.path)] = "LIBRARY"
        return api_error(error, param=param, hide=hidden)

    # ── routing ──────────────────────────────────────────────────────────────────────────────

    @property
    def router_name(self) -> str:
        """The router where a request names none."""
        return self.settings.router or GATE

    def can_choose(self, router: str | None = None) -> bool:
        """Whether a router, or the server's own, can be made: all but a fixed one need the gate."""
        return (router or self.router_name).startswith(FIXED) or self.has_gate

    def check_gate(self, router: str | None) -> None:
        """Raises ApiError where a router is to decide and the library has no gate."""
        if not self.can_choose(router):
            if self.library.gate_damage is not None:
                raise self.error(self.library.gate_damage, "model")
            raise ApiError(
                400,
                "no_gate",
                "The library has no gate, so that nothing can choose the mix. Name a skill or a "
                "recipe as the model.",
            )

    def read_of(self, messages: Sequence[Message], how: RouteBy | None) -> Prompt:
        """What a router reads of a conversation: a text, or all of it for the last message."""
        how = how or self.settings.route_by
        if how == "last":
            return [message.turn() for message in messages]
        said = [message.text for message in messages if message.role == "user"]
        said = [text for text in said if text.strip()] or [messages[-1].text]
        if how == "conversation":
            return "\n".join(said)
        return said[0]

    def deadline_of(self, body: Mixing) -> float:
        """Seconds that a request may take: what it says, and at most the server's."""
        return min(body.deadline or self.settings.deadline, self.settings.deadline)

    async def route(
        self, read: Prompt, router: str | None, policy: str | None, end: float
    ) -> TurnRouting:
        """Route one text, or the last message of a conversation.

        Args:
            end: when it is to be done, by `time.monotonic`.

        Raises:
            DeadlineError: it took longer.
            LoramixError: there is no such router or policy, or the text is empty.
        """

        def work() -> TurnRouting:
            made = self._router(router or self.router_name)
            chosen = make_policy(self.library, policy or self.settings.policy)
            return route_prompts(made, [read], chosen)[0]

        with self._taken_in():
            return await in_time(asyncio.wrap_future(self.engine.between(work)), end)

    async def why(self, text: str, router: str | None, end: float) -> Why:
        """What carried the decision; the streams go on between the parts of the work.

        Args:
            end: when it is to be done, by `time.monotonic`.

        Raises:
            DeadlineError: it took longer.
        """

        over = threading.Event()

        def turn(work: Callable[[], torch.Tensor]) -> torch.Tensor:
            if over.is_set():
                raise _late()
            return self._turn(work)

        async def explained() -> Why:
            made = await asyncio.wrap_future(
                self.engine.between(lambda: self._router(router or self.router_name))
            )
            examples = {name: skill.card.examples for name, skill in self.library.skills.items()}
            async with self._explaining:
                parted = in_parts(made, turn)
                return await asyncio.to_thread(why, parted, text, examples=examples)

        try:
            with self._taken_in():
                return await in_time(explained(), end)
        finally:
            over.set()  # nobody waits for that thread any more

    @contextmanager
    def _taken_in(self) -> Iterator[None]:
        """Count a prompt that waits for a router. Raises ApiError where that is one too many."""
        if self._routed >= self.settings.max_queue:
            raise ApiError(
                429, "queue_full", f"{self._routed} prompts wait for a router.", retry_after=1
            )
        self._routed += 1
        try:
            yield
        finally:
            self._routed -= 1

    def _router(self, name: str) -> Router:
        """A router by name; between two steps only."""
        if self._routers_of != self.library.generation:
            self._routers, self._routers_of = {}, self.library.generation
        if name not in self._routers:
            check_router(name, self.library.skills, self.library.mixes)
            made = make_router(name, base=self.base, library=self.library)
            if name.startswith(FIXED):  # there is no end to these
                return made
            self._routers[name] = made
        return self._routers[name]

    def base_beside(self) -> Base:
        """The base for work beside the engine: its own tokenizer, and layers that wait their turn.

        Two threads must not set up one tokenizer, nor a step meet what reads layers.
        """
        tokenizer = copy.deepcopy(self.base.tokenizer)
        return dataclasses.replace(self.base, tokenizer=tokenizer, turn=self._turn)

    def _turn(self, work: Callable[[], T]) -> T:
        """Do a piece of another thread's work between two steps."""
        return self.engine.between(work).result()

    # ── prompts ──────────────────────────────────────────────────────────────────────────────

    def check_text(self, text: str, param: str) -> None:
        """Raises ApiError for a text that cannot be a prompt.

        Control texts of the base's template would end the user's turn and begin one of
        somebody else's.
        """
        if len(text) > self._longest:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"The prompt has {len(text)} characters, far more than the context of "
                f"{self.base.max_length} tokens holds. Shorten it.",
                param=param,
            )
        found = self._control.find(text)
        if found is not None:
            raise ApiError(
                400,
                "control_token",
                f"The prompt holds {found!r}, which has a meaning of its own for the base. "
                "Leave it out, or write it with a space inside.",
                param=param,
            )


def check_asks(messages: Sequence[Message]) -> None:
    """Raises ApiError for a conversation in which the user says nothing."""
    if not any(message.role == "user" for message in messages):
        raise ApiError(
            400,
            "invalid_prompt",
            "The conversation has no message of the user, so that there is nothing to answer. "
            "Add one with the role 'user'.",
            param="messages",
        )


async def in_time(work: Awaitable[T], end: float) -> T:
    """What `work` gives; raises DeadlineError where it is not done at `end` (`time.monotonic`)."""
    try:
        return await asyncio.wait_for(work, end - time.monotonic())
    except asyncio.TimeoutError:
        raise _late() from None


def _late() -> DeadlineError:
    return DeadlineError(
        "The request's time is over.", hint="allow more time, or ask again when less is going on"
    )


def new_id(prefix: str) -> str:
    """An id that nobody can guess."""
    return f"{prefix}-{secrets.token_hex(12)}"
