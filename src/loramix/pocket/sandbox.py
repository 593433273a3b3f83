"""Runs Python that a model wrote against tests, in a process that can do no harm.

`run_tests` judges one program, `run_many` a batch of them. Both start jail.py in a process of
its own (isolated mode, no site packages, empty environment, empty folder); jail.py forks a
limited child for each program and says what holds it, and what does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramix.errors import LoramixError

_JAIL = Path(__file__).with_name("jail.py")


@dataclass(frozen=True)
class TestOutcome:
    """What became of one program: whether it passed every test, and if not, why."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    passed: bool
    reason: str


def run_tests(code: str, tests: Sequence[str], seconds: float = 2.0) -> TestOutcome:
    """Run `code`, then each of `tests` (such as ``assert area(2, 3) == 6``) in its names.

    Args:
        code: a Python program, usually the definition of a function.
        tests: statements that raise when the program is wrong; at least one.
        seconds: wall and CPU time for the program and its tests together.

    Returns:
        passed only if the program and every test ran to their end without an exception and
        without a forbidden act (files, network, processes, too much output).

    Raises:
        LoramixError: on a system without `fork`, or if the sandbox itself fails.
    """
    return run_many([(code, tests)], workers=1, seconds=seconds)[0]


def run_many(
    items: Sequence[tuple[str, Sequence[str]]], workers: int = 2, seconds: float = 2.0
) -> list[TestOutcome]:
    """Judge many programs, each in a child of its own; outcomes in the order of `items`.

    A program costs one `fork` (about 3 ms); one that hangs costs `seconds`. Ctrl-C waits for the
    programs that run, and for no others.
    """
    if not hasattr(os, "fork"):
        raise LoramixError(
            "Model-written programs cannot be run here",
            given=sys.platform,
            expected="a system with fork (Linux, macOS)",
            hint="leave the code task out, or run loramix in a Linux container",
        )
    if any(not tests for _, tests in items):
        raise ValueError("a program without tests cannot be judged")
    workers = max(1, min(workers, len(items)))
    outcomes: list[TestOutcome | None] = [None] * len(items)
    stop = threading.Event()

    def work(first: int) -> None:
        todo = list(range(first, len(items), workers))
        while todo and not stop.is_set():  # a new server for each program that took its own down
            with _Jail() as jail:
                while todo and not stop.is_set():
                    answer = jail.judge(*items[todo[0]], seconds)
                    index = todo.pop(0)
                    outcomes[index] = answer or TestOutcome(False, "broke the sandbox's server")
                    if answer is None:
                        break

    if workers == 1:
        work(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            try:
                list(pool.map(work, range(workers)))
            finally:  # the pool waits for its threads, whatever ended this one
                stop.set()
    return [outcome for outcome in outcomes if outcome is not None]


def isolation() -> tuple[str, ...]:
    """The kernel's walls that hold here: of `network`, `processes`, `files`; maybe none.

    Limits on time, memory, files and processes, and the audit hook, hold in any case.
    """
    with _Jail() as jail:
        return jail.layers


class _Jail:
    """One running jail.py: write a line, read a line."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="loramix-jail-")
        os.chmod(self._folder.name, 0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_JAIL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder.name,
            env={},
            text=True,
            encoding="utf-8",
            errors="surrogatepass",
            start_new_session=True,  # Ctrl-C is for us; the server ends when its input does
        )
        hello = self._read()
        if hello is None:
            errors = self._process.stderr.read() if self._process.stderr else ""
            self.close()
            raise LoramixError("The sandbox for programs did not start", given=errors.strip())
        self.layers: tuple[str, ...] = tuple(hello["layers"])

    def __enter__(self) -> _Jail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def judge(self, code: str, tests: Sequence[str], seconds: float) -> TestOutcome | None:
        """The outcome of one program, or None if the server did not live to tell."""
        request = json.dumps({"code": code, "tests": list(tests), "seconds": seconds})
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self._read()
        return None if answer is None else TestOutcome(answer["passed"], answer["reason"])

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer
