"""Candidates in turn, round after round.

A machine is never quiet. Candidates that run one after the other in each round are disturbed
alike, so that what is left of the noise falls on both sides of a ratio.
"""

from __future__ import annotations

import contextlib
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from loramix.errors import LoramixError

Bar = Callable[[float, float, str], None]
"""Called with how much is done, of how much, and a few words about where it is."""


class MissingPeer(LoramixError):
    """A peer that is not installed, or that does not run; the message says which."""


class Timed(NamedTuple):
    """What one run of a candidate wrote, in how many seconds."""

    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


Run = Callable[[], Timed]
"""A candidate: each call writes the same again."""


def alternate(
    runs: Mapping[str, Run], rounds: int, bar: Bar
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Tokens a second of each candidate in each round; one more round warms them up.

    Args:
        runs: the candidates by name.
        rounds: that count.
        bar: moves with each run.

    Returns:
        The rates, and why those candidates have none that raised MissingPeer in some round.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    failed: dict[str, str] = {}
    total, done = (rounds + 1) * len(runs), 0
    for place in range(rounds + 1):
        for name, run in runs.items():
            bar(done, total, f"round {place} of {rounds}: {name}")
            done += 1
            if name in failed:
                continue
            try:
                rate = run().rate
            except MissingPeer as error:  # the others' hour of rounds still counts
                failed[name] = error.what
                del rates[name]
                continue
            if place:
                rates[name].append(rate)
    bar(total, total, "")
    return rates, failed


def median(values: list[float]) -> float:
    """The one in the middle."""
    return statistics.median(values)


@contextlib.contextmanager
def bar_on_stderr(title: str) -> Iterator[Bar]:
    """A progress bar on stderr; where that is no terminal, one line at the end."""
    from loramix.phases import Phases

    with Phases() as phases, phases.phase(title) as step:
        yield step


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers and its kin say errors only, and draw no bars of their own."""
    from transformers.utils import logging

    log: Any = logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
