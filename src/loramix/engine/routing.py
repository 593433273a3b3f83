"""Mixes for requests that leave them to the router."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramix.base import Base
from loramix.engine.request import Submission
from loramix.errors import UsageError

if TYPE_CHECKING:
    from loramix.gate.router import Router
    from loramix.library import Library
    from loramix.mix import Policy


class Mixer:
    """The router and the policy of an engine, made when they are first needed.

    Args:
        base, library: what a router is made for, where it is given by name.
        router: a router, its name, or None where every request names its mix.
        policy: a policy, its name, or None for the library's.
        encoding: held while the tokenizer is used.

    Attributes:
        seconds: spent choosing so far.
    """

    def __init__(
        self,
        base: Base,
        library: Library | None,
        router: Router | str | None,
        policy: Policy | str | None,
        encoding: threading.Lock,
    ) -> None:
        self._base, self._library = base, library
        self._router, self._policy, self._encoding = router, policy, encoding
        self._made: tuple[Router, Policy | None] | None = None
        self.seconds = 0.0

    @property
    def able(self) -> bool:
        """Whether there is a router at all."""
        return self._router is not None

    def refresh(self) -> None:
        """Make what was made by name anew: the library has changed."""
        self._made = None

    def choose(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Exception]]:
        """Give each request the mix that the router chooses for it; one call for all of them.

        Returns:
            Those for which it could not, and why.
        """
        if not submissions:
            return []
        from loramix.gate import route_prompts

        begun, before = time.perf_counter(), self.seconds
        try:
            router, policy = self._parts()
            reads = [submission.request.routed_by for submission in submissions]
            with self._encoding:
                routings = [read.routing for read in route_prompts(router, reads, policy)]
            for submission, routing in zip(submissions, routings, strict=True):
                submission.routing, submission.mix = routing, routing.mix
                submission.gate_seconds = time.perf_counter() - begun
        except Exception as error:
            if len(submissions) == 1:
                return [(submissions[0], error)]
            # find whose fault it is
            return [fault for submission in submissions for fault in self.choose([submission])]
        finally:
            self.seconds = before + time.perf_counter() - begun
        return []

    def _parts(self) -> tuple[Router, Policy | None]:
        if self._made is None:
            router, policy = self._router, self._policy
            if router is None:
                raise UsageError("The engine has no router.", expected="Engine(…, router=…)")
            if isinstance(router, str) or isinstance(policy, str):
                from loramix.gate import make_policy, make_router

                if self._library is None:
                    raise UsageError("A router or a policy can be named for a library only.")
                if isinstance(router, str):
                    router = make_router(router, base=self._base, library=self._library)
                if isinstance(policy, str) or policy is None:
                    policy = make_policy(self._library, policy)
            assert not isinstance(router, str)
            self._made = router, policy
        return self._made
